// Derivatives of softmax and log_softmax from their output, exact on saturated rows.
//
// With k the largest probability, 1 − p_k is summed as Σ_{j≠k} p_j, and directions v enter as v − v_k: where p_k → 1
// the plain formulas subtract nearly equal numbers and return 0 for the small true value.
#pragma once

#include "shape.h"

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

// The largest entry of a row, or of each lane; the first, where several are. NaN is passed over.
template <class Shape>
struct Peak;

template <class T>
struct Peak<Row<T>> {
    Vec<T> value;
    ptrdiff_t index = 0;

    Peak(const Row<T> row, const T* x) : value(row.range(x).max) {
        const ptrdiff_t n = row.stop;
        while (index + WIDTH<T> <= n && !any<T>(load(x + index) == value)) index += WIDTH<T>;
        while (index < n - 1 && x[index] != value[0]) ++index;
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
        const Vec<T> at_peak = Peak<Shape>(shape, p).of(shape, v), zero = splat<T>(0);
        const Vec<T> mean = sum_of<T>(shape, [&](auto place) {
                                const Vec<T> probability = place(p, 0), product = probability * (place(v, 0) - at_peak);
                                return probability == 0 ? zero : product;
                            }).high;
        shape.finish(out, [&](auto place) {
            const Vec<T> probability = place(p, 0), product = probability * ((place(v, 0) - at_peak) - mean);
            return probability == 0 ? zero : product;
        });
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
        const T scaled = temperature == 1 ? p[i] : (T)((Wide<T>)p[i] / (Wide<T>)temperature);
        const Vec<T> minus = splat(-scaled), zero = splat<T>(0);
        Row<T>(n, route).finish(out, [&](auto place) { return mul_add(minus, place(p, 0), zero); });  // −0 + 0 is 0
        if (route.streams) end_streams();
        out[i] = scaled * (i == peak ? others : 1 - p[i]);
    }
};

}  // namespace
