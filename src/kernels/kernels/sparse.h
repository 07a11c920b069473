// Entmax for α = 2 (sparsemax) and α = 1.5: p = (σ − s d)_+^(1/s) with s = α − 1, d = (max x − x)/T, and the σ for
// which Σ p = 1.
//
// Only entries with u = s d below 1 can be positive: a row has few of them, and they are copied. Σ (σ − u)_+^(1/s) − 1
// is convex in σ, so that Newton's steps from σ = 1 fall monotonically. The last two know σ, u and the sum as pairs of
// float64: the errors of u are a few units of 2^-104, and those of σ are a mean of theirs and of what the sum loses,
// 2^-105 of its value, which is 1. So p is within 2^-100 before it is rounded, for every dtype.
#pragma once

#include "math/double_word.h"
#include "rows/row_loop.h"

namespace {

// The entries of a row that may be positive: u as pairs, and where they are.
struct Candidates {
    double *high, *low;
    ptrdiff_t* index;
    ptrdiff_t count = 0;

    // Memory for rows of n entries, in float64.
    static ptrdiff_t memory(ptrdiff_t n) { return 3 * in_vectors<double>(n); }
    Candidates(double* memory, ptrdiff_t n)
        : high(memory), low(memory + in_vectors<double>(n)), index((ptrdiff_t*)(low + in_vectors<double>(n))) {}

    void add(const DoubleDouble& u, ptrdiff_t i) {
        high[count] = u.high;
        low[count] = u.low;
        index[count++] = i;
    }
    // Whole vectors: what is added is never positive.
    void pad() {
        for (ptrdiff_t i = count; i < in_vectors<double>(count); ++i) high[i] = 2, low[i] = 0;
    }
};

// The root of Σ w^POWER = 1 with w = (σ − u)_+.
template <int POWER>
struct SparseRoot {
    typedef Vec<double> V;
    const Candidates& c;

    DoubleDouble solve() const {
        constexpr int STEPS =
            64;  // a handful for most; halving the distance to the root, as of n ties at POWER = 2, more
        constexpr double TOLERANCE = 0x1p-46;  // relative, of a last step: rounding makes smaller ones
        DoubleDouble sigma = 1;
        for (int i = 0; i < STEPS; ++i) {
            const double step = rounded_step(sigma.high);
            sigma = sigma.high - step;
            if (!(step > TOLERANCE * sigma.high)) break;
        }
        for (int i = 0; i < 2; ++i) sigma = polished(sigma);  // the first finds the support that rounding missed
        return sigma;
    }

   private:
    static double across(V v) {
        return reduce_lanes<double>(v, [](V a, V b) { return a + b; })[0];
    }
    static double slope(V lanes) { return POWER == 1 ? across(lanes) : 2 * across(lanes); }

    double rounded_step(double sigma) const {
        constexpr int W = WIDTH<double>;
        V sum[2] = {}, slopes[2] = {};
        const auto add = [&](ptrdiff_t i, int chain) {
            const V w = max(splat(sigma) - load(c.high + i), splat(0.0));
            if constexpr (POWER == 1) {
                sum[chain] += w;
                slopes[chain] += w > 0 ? splat(1.0) : splat(0.0);
            } else {
                sum[chain] = mul_add(w, w, sum[chain]);
                slopes[chain] += w;
            }
        };
        ptrdiff_t i = 0;
        for (; i + 2 * W <= c.count; i += 2 * W) add(i, 0), add(i + W, 1);
        for (; i < c.count; i += W) add(i, 0);
        return (across(sum[0] + sum[1]) - 1) / slope(slopes[0] + slopes[1]);
    }

    DoubleDouble polished(const DoubleDouble& sigma) const {
        DoubleWord<double> sum(0.0);
        V slopes = {};
        const DoubleWord<double> root(splat(sigma.high), splat(sigma.low));
        for (ptrdiff_t i = 0; i < c.count; i += WIDTH<double>) {
            const DoubleWord<double> w = minus<double>(root, {load(c.high + i), load(c.low + i)});
            const Bits<double> inside = w.high > 0;
            const DoubleWord<double> kept(inside ? w.high : splat(0.0), inside ? w.low : splat(0.0));
            sum = plus<double>(sum, POWER == 1 ? kept : product<double>(kept, kept));
            slopes += POWER == 1 ? (inside ? splat(1.0) : splat(0.0)) : kept.high;
        }
        DoubleDouble excess = -1;
        for (int lane = 0; lane < WIDTH<double>; ++lane) excess += DoubleDouble(sum.high[lane], sum.low[lane]);
        return sigma - DoubleDouble(excess.high / slope(slopes));
    }
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

template <class S, int POWER>
struct Sparse {
    typedef Computed<S> T;

    double* memory;
    Operand<const double> t;  // no data: T = 1

    void operator()(const Row<T> row, ptrdiff_t i, const T* const* in, T* const* out) const {
        if (row.context.mask)
            solve(row, Masked<T>{in[0], row.context.mask}, out[0], temperature(i));
        else
            solve(row, in[0], out[0], temperature(i));
    }

   private:
    double temperature(ptrdiff_t i) const { return t.data ? t.at(i, 0) : 1; }

    template <class X>
    void solve(const Row<T> row, X x, T* y, double temperature) const {
        const T max = row.range(x).max[0];
        Candidates candidates(memory, row.stop);
        if (!(max - max == 0) || !find(row, x, max, temperature, candidates)) return fill_nan(row, y);
        candidates.pad();
        const DoubleDouble sigma = SparseRoot<POWER>{candidates}.solve();
        row.finish(y, [](auto) { return splat<T>(0); });
        if (row.context.nontemporal) fence_nontemporal();
        for (ptrdiff_t k = 0; k < candidates.count; ++k) {
            const DoubleDouble w = sigma - DoubleDouble(candidates.high[k], candidates.low[k]);
            if (!(w.high > 0)) continue;
            const double p = POWER == 1 ? w.high : (w * w).high;
            if constexpr (IS_NARROW<S>)
                y[candidates.index[k]] = rounded_to_odd(p);
            else
                y[candidates.index[k]] = (T)p;
        }
    }

    // The entries with u below 1, or 1 but for rounding; whether no entry is NaN.
    template <class X>
    static bool find(const Row<T> row, X x, T max, double temperature, Candidates& candidates) {
        constexpr double SLACK = 0x1p-20, LEAST = sizeof(T) == 4 ? 0x1p-147 : 0x1p-1072;  // of roundings
        const double size = max < 0 ? -(double)max : (double)max;
        const T lower = (T)((double)max - POWER * temperature * (1 + SLACK) - size * SLACK - LEAST);
        bool is_number = true;
        row.at_each_prefetching([&](auto place) {
            const Vec<T> v = place(x, -INF<T>);
            for (unsigned lanes = lanes_where<T>(~(v < lower)); lanes; lanes &= lanes - 1) {
                const int lane = __builtin_ctz(lanes);
                const T a = v[lane];
                is_number &= a == a;
                if (!(a > -INF<T>)) continue;
                const DoubleDouble u = margin(a, max, temperature);
                if (u.high <= 1) candidates.add(u, place.i + lane);
            }
        });
        return is_number;
    }

    // (max − a)/T/POWER, with the limits at T = 0 and T = inf.
    static DoubleDouble margin(T a, T max, double temperature) {
        constexpr double SHARE = 1.0 / POWER;
        if (a == max) return 0;
        if (temperature == 1) {
            const DoubleDouble d = exact_sum((double)max, -(double)a);
            return {d.high * SHARE, d.low * SHARE};
        }
        if (temperature == 0) return INFINITY;
        // The difference may overflow, and what a small T leaves may be subnormal.
        const double scale = temperature > 4 ? 0.5 : temperature < 0x1p-300 ? 0x1p600 : 1;
        const DoubleDouble d = exact_sum((double)max * scale, -(double)a * scale);
        const DoubleDouble u = d / DoubleDouble(temperature * scale);
        return {u.high * SHARE, u.low * SHARE};
    }

    static void fill_nan(const Row<T> row, T* y) {
        Mask* const mask = row.context.mask;
        for (ptrdiff_t j = 0; j < row.stop; ++j) y[j] = !mask || mask[j] ? (T)NAN : 0;
    }
};

template <class S, int POWER>
void sparse_rows(const RowLoop<S, 1, 1>& loop, const Operand<const double>& t) {
    if (!loop.rows || !loop.n) return;
    const Scratch<double> memory(Candidates::memory(loop.n));
    if (memory) loop.groups(Sparse<S, POWER>{memory.aligned(), t}, 0, loop.rows);
}

template <class S, int POWER>
void sparse(const Call& call) {
    sparse_rows<S, POWER>(RowLoop<S, 1, 1>(call), {});
}

template <class S, int POWER>
void sparse_where(const Call& call) {
    sparse_rows<S, POWER>(RowLoop<S, 1, 1>(call, call.mask(1)), call.numbers<const double>(2));
}

}  // namespace
