// Entmax: p = (σ − s d)_+^(1/s) with s = α − 1, d = (max x − x)/T, and the σ for which Σ p = 1. A solver knows how to
// find σ: `Products` here for α = 2 (sparsemax) and α = 1.5, `Powers` (kernels/entmax.h) for any α.
//
// Only entries with u = s d up to 1 can be positive: of a long row they are copied. For s ≤ 1 Σ (σ − u)_+^(1/s) − 1 is
// convex in σ, so that Newton's steps from σ = 1 fall monotonically. The last ones of `Products` know σ, u and the sum
// as pairs of float64: the errors of u are a few units of 2^-104, and those of σ are a mean of theirs and of what the
// sum loses, 2^-105 of its value, which is 1. So p is within 2^-100 before it is rounded, for every dtype.
#pragma once

#include "math/double_word.h"
#include "rows/row_loop.h"

namespace {

// s = 1/POWER of every row.
template <int POWER>
struct FixedShare {
    static constexpr double S = 1.0 / POWER;
    explicit FixedShare(Vec<double>) {}
    DoubleWord<double> of(const DoubleWord<double>& d) const { return {d.high * S, d.low * S}; }
};

// The margins u of entries, as pairs of float64, one of which may be positive at σ up to 1; others are 2. Either of one
// row, or, if LANES, of a row per lane. A share has s. The solver's solve() leaves p in `high`.
template <class SomeShare, bool LANES>
struct Margins {
    typedef SomeShare Share;
    typedef Vec<double> V;
    static constexpr int W = WIDTH<double>;

    double *high, *low;
    ptrdiff_t count;  // whole vectors
    Share share;
    ptrdiff_t* index = nullptr;  // of entries of one row: where they are
    ptrdiff_t entries = 0;       // of one row

    // Where T is neither so small that (max − a)/T may be subnormal nor so large that T overflows.
    static bool takes(double temperature) { return temperature >= 0x1p-300 && temperature <= 0x1p400; }
    template <bool IS_TEMPERED>
    void set(ptrdiff_t i, V a, V max, V temperature) {
        if constexpr (IS_TEMPERED) {
            // Half of both where the difference may overflow: for a smaller T it is beyond 1 then.
            const V scale = temperature > 4 ? splat(0.5) : splat(1.0);
            put(i, over<double>(difference(max * scale, a * scale), {temperature * scale, splat(0.0)}));
        } else {
            put(i, difference(max, a));
        }
    }
    // d.
    void put(ptrdiff_t i, const DoubleWord<double>& d) {
        const DoubleWord<double> u = share.of(d);
        const Bits<double> is_max = d.high == 0, near = (u.high <= 1) & ~is_max;
        store(high + i, is_max ? splat(0.0) : near ? u.high : splat(2.0));
        store(low + i, near ? u.low : splat(0.0));
    }

   protected:
    // Of one row only entries whose u is up to `most`: others are 0.
    void keep_up_to(double most) {
        ptrdiff_t kept = 0;
        for (ptrdiff_t k = 0; k < entries; ++k) {
            const double u = high[k], rest = low[k];  // read first: no load waits for a store
            const ptrdiff_t place = index[k];
            high[kept] = u, low[kept] = rest, index[kept] = place;
            kept += u <= most;
        }
        entries = kept;
        count = in_vectors<double>(entries);
        for (ptrdiff_t k = entries; k < count; ++k) high[k] = 2, low[k] = 0;
    }
    static V total(V v) {
        return LANES ? v : reduce_lanes<double>(v, [](V a, V b) { return a + b; });
    }
    DoubleWord<double> at(ptrdiff_t i) const { return {load(high + i), load(low + i)}; }
    static DoubleWord<double> exact_sum(V a, V b) {
        const V sum = a + b, of_b = sum - a;
        return {sum, (a - (sum - of_b)) + (b - of_b)};
    }
    static DoubleWord<double> difference(V a, V b) { return exact_sum(a, -b); }
    // (σ − u)_+ of entries i and following.
    DoubleWord<double> above(const DoubleWord<double>& root, ptrdiff_t i) const {
        const DoubleWord<double> w = difference(root.high, load(high + i));
        const V lower = w.low + (root.low - load(low + i)), sum = w.high + lower;
        const Bits<double> inside = sum > 0;
        return {inside ? sum : splat(0.0), inside ? lower - (sum - w.high) : splat(0.0)};
    }
};

// p = (σ − u)_+^POWER.
template <int POWER, bool LANES>
struct Products : Margins<FixedShare<POWER>, LANES> {
    typedef Margins<FixedShare<POWER>, LANES> Base;
    typedef Vec<double> V;
    using Base::above, Base::count, Base::difference, Base::exact_sum, Base::high, Base::total, Base::W;

    void solve() {
        const DoubleWord<double> root = this->root();
        for (ptrdiff_t i = 0; i < count; i += W) {
            const DoubleWord<double> p = power(above(root, i));
            store(high + i, p.high + p.low);
        }
    }

   private:
    // The root of Σ p = 1. A row that is done keeps its σ, whatever the other lanes need.
    DoubleWord<double> root() const {
        constexpr int STEPS = 64;  // a handful for most; halving the distance to the root, as of ties at 1.5, more
        constexpr double TOLERANCE = 0x1p-46;  // relative, of a last step: rounding makes smaller ones
        constexpr double FINEST = 0x1p-100;    // of pairs
        V sigma = splat(1.0);
        Bits<double> active = sigma == sigma;
        for (int i = 0; i < STEPS && any<double>(active); ++i) {
            const V step = rounded_step(sigma);
            sigma = active ? sigma - step : sigma;
            active &= step > TOLERANCE * sigma;
        }
        // From the wrong side of the root the first step leads to the right one. Where entries are within the rounding
        // of the root, further ones find the support.
        DoubleWord<double> root(sigma, splat(0.0));
        active = sigma == sigma;
        for (int i = 0; i < STEPS && any<double>(active); ++i) {
            const V step = exact_step(root);
            const DoubleWord<double> next = difference(root.high, step);
            root = {active ? next.high : root.high, active ? next.low + root.low : root.low};
            active &= (step > FINEST) | (step < -FINEST);
        }
        return root;
    }

    static DoubleWord<double> total(const DoubleWord<double>& v) {
        if constexpr (LANES) return v;
        DoubleDouble sum = 0;
        for (int lane = 0; lane < W; ++lane) sum += DoubleDouble(v.high[lane], v.low[lane]);
        return DoubleWord<double>(sum);
    }
    static V slope(V sum) { return POWER == 1 ? total(sum) : 2 * total(sum); }

    V rounded_step(V sigma) const {
        V sum[2] = {}, slopes[2] = {};
        const auto add = [&](ptrdiff_t i, int chain) {
            const V w = max(sigma - load(high + i), splat(0.0));
            if constexpr (POWER == 1) {
                sum[chain] += w;
                slopes[chain] += w > 0 ? splat(1.0) : splat(0.0);
            } else {
                sum[chain] = mul_add(w, w, sum[chain]);
                slopes[chain] += w;
            }
        };
        ptrdiff_t i = 0;
        for (; i + 2 * W <= count; i += 2 * W) add(i, 0), add(i + W, 1);
        if (i < count) add(i, 0);
        return (total(sum[0] + sum[1]) - 1) / slope(slopes[0] + slopes[1]);
    }

    V exact_step(const DoubleWord<double>& root) const {
        V sum = {}, lost = {}, slopes = {};
        for (ptrdiff_t i = 0; i < count; i += W) {
            const DoubleWord<double> w = above(root, i), p = power(w), both = exact_sum(sum, p.high);
            sum = both.high;
            lost += both.low + p.low;
            slopes += POWER == 1 ? (w.high > 0 ? splat(1.0) : splat(0.0)) : w.high;
        }
        const DoubleWord<double> all = total({sum, lost});
        return ((all.high - 1) + all.low) / slope(slopes);
    }

    static DoubleWord<double> power(const DoubleWord<double>& w) { return POWER == 1 ? w : product<double>(w, w); }
};

// `a` as float so that rounding it once more, to a narrower type, gives what rounding `a` would: the last bit is set if
// a was not exact.
inline float rounded_to_odd(double a) {
    float rounded = (float)a;
    if ((double)rounded == a) return rounded;
    uint32_t bits;
    __builtin_memcpy(&bits, &rounded, sizeof bits);
    if (bits % 2 == 0) bits += (double)rounded < a ? 1 : -1;  // a is not negative
    __builtin_memcpy(&rounded, &bits, sizeof bits);
    return rounded;
}
template <class S>
inline Computed<S> probability(double p) {
    if constexpr (IS_NARROW<S>)
        return rounded_to_odd(p);
    else
        return (Computed<S>)p;
}

// Rows of S by a solver of one row, or of a row per lane, which is Solver<LANES>.
template <class S, template <bool> class Solver>
struct Sparse {
    typedef Computed<S> T;
    typedef Vec<double> V;
    static constexpr int W = WIDTH<double>;

    double* memory;
    Operand<Mask> mask;           // no data: nothing is masked
    Operand<const double> t;      // no data: T = 1
    Operand<const double> alpha;  // no data: every row has s
    double s;

    // Memory for rows of n entries, in float64.
    static ptrdiff_t needed(ptrdiff_t n) { return 3 * in_vectors<double>(n); }

    void operator()(const Row<T> row, ptrdiff_t i, const T* const* in, T* const* out) const {
        if (row.context.mask)
            solve(row, Masked<T>{in[0], row.context.mask}, out[0], i);
        else
            solve(row, in[0], out[0], i);
    }

    // Every entry of short rows; masked ones are −inf.
    void operator()(const LaneBatch<T> batch, ptrdiff_t i, const T* const* in, T* const* out) const {
        alignas(BYTES) double high[LONGEST_BATCHED * W], low[LONGEST_BATCHED * W];
        for (int lane = 0; lane < batch.lanes; lane += W) {
            bool all_one = true, all_taken = true;
            V temperatures = splat(1.0), shares = splat(s);
            for (int k = 0; k < W && t.data; ++k) {
                const ptrdiff_t row = i + (lane + k < batch.lanes ? lane + k : batch.lanes - 1);
                const double own = temperature(row);
                temperatures[k] = own, shares[k] = share(row);
                all_one &= own == 1;
                all_taken &= Solver<true>::takes(own);
            }
            const T* const x = in[0] + lane;
            V max = wide(x);
            Bits<double> has_nan = max != max;
            for (ptrdiff_t j = 1; j < batch.n; ++j) {
                const V a = wide(x + j * WIDTH<T>);
                max = ::max(a, max);
                has_nan |= a != a;
            }
            const Bits<double> defined = (max - max == 0) & ~has_nan;
            const V safe = defined ? max : splat(0.0);
            Solver<true> margins{{high, low, batch.n * W, typename Solver<true>::Share(shares)}};
            for (ptrdiff_t j = 0; j < batch.n; ++j) {
                const V a = wide(x + j * WIDTH<T>);
                if (all_one) {
                    margins.template set<false>(j * W, a, safe, temperatures);
                } else if (all_taken) {
                    margins.template set<true>(j * W, a, safe, temperatures);
                } else {
                    DoubleWord<double> d;
                    for (int k = 0; k < W; ++k) {
                        const DoubleDouble own = gap(a[k], safe[k], temperatures[k]);
                        d.high[k] = own.high, d.low[k] = own.low;
                    }
                    margins.put(j * W, d);
                }
            }
            margins.solve();
            for (ptrdiff_t j = 0; j < batch.n; ++j) {
                const V p = defined ? load(high + j * W) : splat((double)NAN);
                store_probabilities(out[0] + j * WIDTH<T> + lane, p);
            }
            if (mask.data && any<double>(~defined))
                for (int k = 0; k < W && lane + k < batch.lanes; ++k)
                    for (ptrdiff_t j = 0; j < batch.n; ++j)
                        if (!defined[k] && !mask.at(i + lane + k, j)) out[0][j * WIDTH<T> + lane + k] = 0;
        }
    }

   private:
    static V wide(const T* p) {
        if constexpr (sizeof(T) == 4)
            return widen(p);
        else
            return load(p);
    }

    static void store_probabilities(T* y, V p) {
        if constexpr (IS_NARROW<S>) {
            for (int k = 0; k < W; ++k) y[k] = probability<S>(p[k]);
        } else if constexpr (sizeof(T) == 4) {
            const Vec<float> both = narrow(p, p);
            __builtin_memcpy(y, &both, BYTES / 2);
        } else {
            store(y, p);
        }
    }

    double temperature(ptrdiff_t i) const { return t.data ? t.at(i, 0) : 1; }
    double share(ptrdiff_t i) const { return alpha.data ? alpha.at(i, 0) - 1 : s; }

    template <class X>
    void solve(const Row<T> row, X x, T* y, ptrdiff_t i) const {
        const double temperature = this->temperature(i), share = this->share(i);
        const T max = row.range(x).max[0];
        double* const low = memory + in_vectors<double>(row.stop);
        Solver<false> margins{{memory, low, 0, typename Solver<false>::Share(splat(share)),
                               (ptrdiff_t*)(low + in_vectors<double>(row.stop))}};
        if (!(max - max == 0) || !find(row, x, lower_limit(max, temperature / share), margins)) return fill_nan(row, y);
        while (margins.count < margins.entries) {
            const ptrdiff_t at = margins.count;
            for (ptrdiff_t k = margins.entries; k < at + W; ++k) margins.high[k] = -INFINITY;
            set_margins(margins, at, max, temperature);
            margins.count += W;
        }
        margins.solve();
        row.finish(y, [](auto) { return splat<T>(0); });
        if (row.context.nontemporal) fence_nontemporal();
        for (ptrdiff_t k = 0; k < margins.entries; ++k) y[margins.index[k]] = probability<S>(margins.high[k]);
    }

    // A number below which no entry is positive: `reach` below the largest, T/s.
    static T lower_limit(T max, double reach) {
        constexpr double SLACK = 0x1p-20, LEAST = sizeof(T) == 4 ? 0x1p-147 : 0x1p-1072;  // of roundings
        const double size = max < 0 ? -(double)max : (double)max;
        return (T)((double)max - reach * (1 + SLACK) - size * SLACK - LEAST);
    }

    // Copies the entries from `lower` on, and where they are; whether no entry is NaN.
    template <class X>
    static bool find(const Row<T> row, X x, T lower, Solver<false>& margins) {
        bool is_number = true;
        row.at_each_prefetching([&](auto place) {
            const Vec<T> v = place(x, -INF<T>);
            for (unsigned lanes = lanes_where<T>(~(v < lower)); lanes; lanes &= lanes - 1) {
                const int lane = __builtin_ctz(lanes);
                const T a = v[lane];
                is_number &= a == a;
                if (!(a > -INF<T>)) continue;  // beyond the end, or where every entry is from `lower` on
                margins.high[margins.entries] = (double)a;
                margins.index[margins.entries++] = place.i + lane;
            }
        });
        return is_number;
    }

    // Of the entries that margins.high holds from `at` on.
    static void set_margins(Solver<false>& margins, ptrdiff_t at, double max, double temperature) {
        const V a = load(margins.high + at);
        if (temperature == 1) return margins.template set<false>(at, a, splat(max), a);
        if (margins.takes(temperature)) return margins.template set<true>(at, a, splat(max), splat(temperature));
        for (ptrdiff_t k = at; k < at + W; ++k) {
            const DoubleDouble d = gap(margins.high[k], max, temperature);
            margins.high[k] = d.high, margins.low[k] = d.low;
        }
        margins.put(at, {load(margins.high + at), load(margins.low + at)});
    }

    // (max − a)/T, with the limits at T = 0 and T = inf.
    static DoubleDouble gap(double a, double max, double temperature) {
        if (a == max) return 0;
        if (temperature == 0 || !(a > -INFINITY)) return INFINITY;
        // The difference may overflow, and what a small T leaves may be subnormal.
        const double scale = temperature > 4 ? 0.5 : temperature < 0x1p-300 ? 0x1p600 : 1;
        return ::exact_sum(max * scale, -a * scale) / DoubleDouble(temperature * scale);
    }

    static void fill_nan(const Row<T> row, T* y) {
        Mask* const mask = row.context.mask;
        for (ptrdiff_t j = 0; j < row.stop; ++j) y[j] = !mask || mask[j] ? (T)NAN : 0;
    }
};

template <template <bool> class Solver, class S>
void sparse_rows(const RowLoop<S, 1, 1>& loop, const Operand<const double>& t, const Operand<const double>& alpha,
                 double s) {
    typedef Sparse<S, Solver> Kernel;
    if (!loop.rows || !loop.n) return;
    const Scratch<double> memory(loop.n > LONGEST_BATCHED ? Kernel::needed(loop.n) : 1);
    if (memory) loop.run(Kernel{memory.aligned(), loop.mask, t, alpha, s});
}

template <bool LANES>
using Sparsemax = Products<1, LANES>;
template <bool LANES>
using Entmax15 = Products<2, LANES>;

template <class S>
void sparsemax(const Call& call) {
    sparse_rows<Sparsemax>(RowLoop<S, 1, 1>(call), {}, {}, 1);
}
template <class S>
void sparsemax_where(const Call& call) {
    sparse_rows<Sparsemax>(RowLoop<S, 1, 1>(call, call.mask(1)), call.numbers<const double>(2), {}, 1);
}
template <class S>
void entmax15(const Call& call) {
    sparse_rows<Entmax15>(RowLoop<S, 1, 1>(call), {}, {}, 0.5);
}
template <class S>
void entmax15_where(const Call& call) {
    sparse_rows<Entmax15>(RowLoop<S, 1, 1>(call, call.mask(1)), call.numbers<const double>(2), {}, 0.5);
}

}  // namespace
