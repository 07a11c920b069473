// Derivatives of softmax and log_softmax from their output, exact on saturated rows.
//
// With k the largest probability, 1 − p_k is summed as Σ_{j≠k} p_j, and directions v enter as v − v_k: where p_k → 1
// the plain formulas subtract nearly equal numbers and return 0 for the small true value.
#pragma once

#include "rows/shapes.h"

namespace {

// Σ of the terms that `term(place)` gives for the vectors of a row.
template <class T, class Shape, class Term>
inline Split<T> sum_of(const Shape shape, Term term) {
    Whole<Shape> total;
    shape.blocks([&](const Shape block) {
        WideSum<T> sum;
        block.at_each_fetching([&](auto place) { sum.add(term(place)); });
        total.add(sum);
    });
    return total.parts();
}

// Σ a b of the factors that `factors(place)` gives. Two neighbouring products are added before the sum takes them, which
// costs half an ulp and halves what widening costs.
template <class T, class Shape, class Factors>
inline Split<T> sum_of_products(const Shape shape, Factors factors) {
    Whole<Shape> total;
    shape.blocks([&](const Shape block) {
        WideSum<T> sum;
        block.in_pairs_fetching(
            [&](auto place, auto neighbour) {
                const auto [a, b] = factors(place);
                const auto [c, d] = factors(neighbour);
                sum.add(mul_add(c, d, a * b));
            },
            [&](auto place) {
                const auto [a, b] = factors(place);
                sum.add(a * b);
            });
        total.add(sum);
    });
    return total.parts();
}

// The largest entry of a row, or of each lane; the first, where several are. NaN is passed over.
template <class Shape>
struct Peak;

template <class T>
struct Peak<Row<T>> {
    Vec<T> value;
    ptrdiff_t index;

    Peak(const Row<T> row, const T* x) {
        if (row.stop < LONG * WIDTH<T>)
            find<1>(row, x);
        else
            find<8>(row, x);
    }
    // What an array of the row's length holds there.
    Vec<T> of(const Row<T>, const T* v) const { return splat(v[index]); }
    // Σ of what `term(place)` gives for all other entries.
    template <class Term>
    Split<T> sum_of_others(const Row<T> row, Term term) const {
        return plus<T>(sum_of<T>(row.part(row.start, index), term), sum_of<T>(row.part(index + 1, row.stop), term));
    }
    // y, and `value` at the peak: a row writes that over what it has written.
    template <class F>
    void finish(const Row<T> row, T* y, Vec<T> value, F f) const {
        row.finish(y, f);
        if (row.route.streams) end_streams();
        y[index] = value[0];
    }

   private:
    // Vectors in a row from which on it is worth a search to look at groups of them only.
    static constexpr ptrdiff_t LONG = 32;

    // Lane by lane first: the largest entry, and the group of so many vectors where it is found first.
    template <int GROUP>
    void find(const Row<T> row, const T* x) {
        constexpr int W = WIDTH<T>;
        const ptrdiff_t n = row.stop;
        Vec<T> top = splat(-INF<T>);
        Bits<T> group{}, here{};
        const auto take = [&](Vec<T> largest) {
            group = largest > top ? here : group;
            top = largest;
            here += 1;
        };
        ptrdiff_t i = 0;
        for (; i + GROUP * W <= n; i += GROUP * W) {
            for (int k = 0; k < GROUP; ++k) row.fetch(row.route.to_search, i + k * W);
            Vec<T> even = top, odd = top;
#pragma GCC unroll 8
            for (int k = 0; k < GROUP; ++k) {
                Vec<T>& chain = k % 2 ? odd : even;
                chain = max(load(x + i + k * W), chain);
            }
            take(max(even, odd));
        }
        Vec<T> last = top;
        for (; i + W <= n; i += W) last = max(load(x + i), last);
        if (i < n) last = max(load_head(x + i, n - i, -INF<T>), last);
        take(last);

        value = row.largest(top);
        typename Types<T>::Integer groups[W];
        __builtin_memcpy(groups, &group, sizeof groups);
        index = n;
        for (unsigned lanes = lanes_where<T>(top == value); lanes; lanes &= lanes - 1) {
            const int lane = __builtin_ctz(lanes);
            ptrdiff_t found = (ptrdiff_t)groups[lane] * GROUP * W + lane;
            if (GROUP > 1)
                while (found + W < n && x[found] != value[0]) found += W;
            index = found < index ? found : index;
        }
    }
};

template <class T>
struct Peak<Panel<T>> {
    Vec<T> value = splat(-INF<T>);
    Bits<T> offset{};

    Peak(const Panel<T> panel, const T* x) {
        panel.at_each([&](auto place) {
            const Vec<T> v = place(x, 0);
            offset = v > value ? Bits<T>{} + (typename Types<T>::Integer)place.i : offset;
            value = max(v, value);
        });
    }
    Vec<T> of(const Panel<T> panel, const T* v) const {
        Vec<T> found = load(v);
        panel.at_each([&](auto place) { found = at(place) ? place(v, 0) : found; });
        return found;
    }
    template <class Term>
    Split<T> sum_of_others(const Panel<T> panel, Term term) const {
        return sum_of<T>(panel, [&](auto place) { return at(place) ? splat<T>(0) : term(place); });
    }
    template <class F>
    void finish(const Panel<T> panel, T* y, Vec<T> value, F f) const {
        panel.finish(y, [&](auto place) { return at(place) ? value : f(place); });
    }

   private:
    template <class Place>
    Bits<T> at(Place place) const {
        return offset == (typename Types<T>::Integer)place.i;
    }
};

// e^y for log-probabilities.
template <class T>
struct Probability {
    Exp<T, FAR> exp{splat<T>(0), Temperature<T>()};
    Vec<T> operator()(Vec<T> y) const {
        constexpr T UNSCALE = (T)(sizeof(T) == 4 ? 0x1p-70 : 0x1p-512);
        return exp(y) * UNSCALE;
    }
};

// 1 − e^y for y ≤ 0 and p = e^y: near 0 by the series of e^y − 1, whose terms left out are below a tenth of an ulp.
template <class T>
inline Vec<T> complement_of_exp(Vec<T> y, Vec<T> p) {
    constexpr int TERMS = sizeof(T) == 4 ? 9 : 16;
    Vec<T> series = splat<T>(1);
#pragma GCC unroll 16
    for (int n = TERMS; n > 1; --n) series = mul_add(series * y, splat((T)1 / n), splat<T>(1));
    return y > (T)-0.35 ? -(y * series) : 1 - p;
}

// p ∘ (v − Σ p v); where p is 0, v is not read.
template <class T>
struct SoftmaxVjp {
    template <class Shape>
    [[gnu::flatten]] static void run(const Shape shape, const T* p, const T* v, T* out) {
        const Vec<T> at_peak = Peak<Shape>(shape, p).of(shape, v);
        write(shape, p, v, out, at_peak, mean_of<false>(shape, p, v, at_peak));
    }
    [[gnu::flatten]] static void run(const Rows<T> rows, const T* p, const T* v, T* out) {
        T at_peak[WIDTH<T>], mean[WIDTH<T>];
        rows.each([&](int lane, const Row<T> row) {
            if (BYTES == 64) rows.fetch_result(out, lane);  // AVX2 takes a tenth longer with it, measured on Zen 4
            const Peak<Row<T>> peak(row, rows.in(p, lane));
            at_peak[lane] = rows.in(v, lane, 1)[peak.index];
        });
        rows.each([&](int lane, const Row<T> row) {
            mean[lane] = mean_of<false>(row, rows.in(p, lane), rows.in(v, lane, 1), splat(at_peak[lane]))[0];
        });
        rows.each([&](int lane, const Row<T> row) {
            write(row, rows.in(p, lane), rows.in(v, lane, 1), rows.out(out, lane), splat(at_peak[lane]), splat(mean[lane]));
        });
    }

    // A mean that was taken without regard to gaps and is finite tells that 0 · v was, wherever p is 0.
    static Bits<T> has_gaps(Vec<T> mean) { return mean - mean != 0; }

    // HAS_GAPS: where p is 0, v may be anything.
    template <bool HAS_GAPS>
    static Vec<T> entry(Vec<T> p, Vec<T> v, Vec<T> at_peak, Vec<T> mean) {
        return mul_add(p, but_gaps<HAS_GAPS>(p, (v - at_peak) - mean), splat<T>(0));  // −0 + 0 is 0
    }

   private:
    template <bool HAS_GAPS>
    static Vec<T> but_gaps(Vec<T> p, Vec<T> centred) {
        return HAS_GAPS ? (p == 0 ? splat<T>(0) : centred) : centred;
    }
    // Σ p (v − v_k).
    template <bool HAS_GAPS, class Shape>
    static Vec<T> mean_of(const Shape shape, const T* p, const T* v, Vec<T> at_peak) {
        return sum_of_products<T>(shape, [&](auto place) {
                   const Vec<T> probability = place(p, 0), centred = place(v, 0) - at_peak;
                   return std::pair<Vec<T>, Vec<T>>(probability, but_gaps<HAS_GAPS>(probability, centred));
               }).high;
    }
    template <class Shape>
    static void write(const Shape shape, const T* p, const T* v, T* out, Vec<T> at_peak, Vec<T> mean) {
        if (any<T>(has_gaps(mean)))
            write_entries<true>(shape, p, v, out, at_peak, mean_of<true>(shape, p, v, at_peak));
        else
            write_entries<false>(shape, p, v, out, at_peak, mean);
    }
    template <bool HAS_GAPS, class Shape>
    static void write_entries(const Shape shape, const T* p, const T* v, T* out, Vec<T> at_peak, Vec<T> mean) {
        shape.finish(out, [&](auto place) { return entry<HAS_GAPS>(place(p, 0), place(v, 0), at_peak, mean); });
    }
};

// v − Σ e^y v; where y is −inf, v is not read and the derivative is 0.
template <class T>
struct LogSoftmaxJvp {
    template <class Shape>
    [[gnu::flatten]] static void run(const Shape shape, const T* y, const T* v, T* out) {
        const Probability<T> probability;
        const Vec<T> at_peak = Peak<Shape>(shape, y).of(shape, v), zero = splat<T>(0);
        const Vec<T> mean = sum_of<T>(shape, [&](auto place) {
                                const Vec<T> log = place(y, -INF<T>), product = probability(log) * (place(v, 0) - at_peak);
                                return log == -INF<T> ? zero : product;
                            }).high;
        shape.finish(out, [&](auto place) {
            const Vec<T> centred = (place(v, 0) - at_peak) - mean;
            return place(y, 0) == -INF<T> ? zero : centred;
        });
    }
};

// g − e^y Σ g; where y is −inf, g is not read and the derivative is 0.
template <class T>
struct LogSoftmaxVjp {
    template <class Shape>
    [[gnu::flatten]] static void run(const Shape shape, const T* y, const T* g, T* out) {
        const Probability<T> probability;
        const Peak<Shape> peak(shape, y);
        const Vec<T> zero = splat<T>(0), nothing = splat(-INF<T>);
        const Split<T> rest = peak.sum_of_others(shape, [&](auto place) {
            const Vec<T> direction = place(g, 0);
            return place(y, -INF<T>) == nothing ? zero : direction;
        });
        // At the peak g − e^y Σ g = (1 − e^y) g − e^y Σ_{j≠k} g.
        const Vec<T> log_peak = peak.of(shape, y), at_peak = log_peak == nothing ? zero : peak.of(shape, g);
        const Vec<T> p_peak = probability(log_peak), complement = complement_of_exp<T>(log_peak, p_peak);
        const Vec<T> saturated = fma(complement, at_peak, -(p_peak * rest.high));
        const Split<T> total = plus<T>(at_peak, rest);
        peak.finish(shape, out, log_peak == nothing ? zero : saturated, [&](auto place) {
            const Vec<T> log = place(y, 0), p = probability(log);
            const Vec<T> direct = fma(-p, total.high, place(g, 0)) - p * total.low;
            return log == nothing ? zero : direct;
        });
    }
};

// One row of probabilities, ready to write any line of its Jacobian (diag(p) − p pᵀ)/T.
template <class T>
struct SaturatedRow {
    const T* p;
    ptrdiff_t n, peak;
    T others;  // 1 − p at the peak

    SaturatedRow(const T* p, ptrdiff_t n) : p(p), n(n) {
        const Peak<Row<T>> largest(Row<T>(n), p);
        peak = largest.index;
        const auto entry = [&](auto place) { return place(this->p, 0); };
        others = largest.sum_of_others(Row<T>(n), entry).high[0];
    }

    void jacobian_line(const Route<T>& route, ptrdiff_t i, double temperature, T* out) const {
        const T scaled = scaled_by(temperature, i);
        const auto entry = [&](auto place) { return entries(scaled, place(p, 0)); };
        if (route.streams)
            Row<T>(n, route).finish(out, entry);
        else  // writing is all there is to do here, and lines of memory are written whole or twice
            Row<T>(n, route).at_each_aligned(out, [&](auto place) { place.store(out, entry(place)); });
        if (route.streams) end_streams();
        out[i] = at_diagonal(scaled, i);
    }
    // The same in whole vectors, of which the last may reach beyond the line, for what comes there is written later. p holds
    // whole vectors, too.
    void spilling_line(ptrdiff_t i, double temperature, T* out) const {
        const T scaled = scaled_by(temperature, i);
        for (ptrdiff_t j = 0; j < n; j += WIDTH<T>) store(out + j, entries(scaled, load(p + j)));
        out[i] = at_diagonal(scaled, i);
    }

   private:
    T scaled_by(double temperature, ptrdiff_t i) const {
        return temperature == 1 ? p[i] : (T)((Wide<T>)p[i] / (Wide<T>)temperature);
    }
    static Vec<T> entries(T scaled, Vec<T> p) { return mul_add(splat(-scaled), p, splat<T>(0)); }  // −0 + 0 is 0
    T at_diagonal(T scaled, ptrdiff_t i) const { return scaled * (i == peak ? others : 1 - p[i]); }
};

}  // namespace
