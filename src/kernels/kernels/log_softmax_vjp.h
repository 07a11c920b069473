// The derivatives of log_softmax from its output.
#pragma once

#include "rows/reductions.h"
#include "rows/row_loop.h"

namespace {

// e^y for log-probabilities, and e^y/UNSCALE.
template <class T>
struct Probability {
    static constexpr T UNSCALE = (T)(sizeof(T) == 4 ? 0x1p-70 : 0x1p-512);
    Exp<T, FAR> exp{splat<T>(0), Temperature<T>()};
    Vec<T> operator()(Vec<T> y) const { return exp(y) * UNSCALE; }
    Vec<T> scaled(Vec<T> y) const { return exp(y); }
    DoubleWord<T> in_two_parts(Vec<T> y) const {
        const DoubleWord<T> e = exp.parts(y).rounded();
        return {e.high * UNSCALE, e.low * UNSCALE};
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

// v − Σ e^y v; where y is −inf, v is not read and the derivative is 0.
template <class T>
struct LogSoftmaxJvp {
    template <class Shape>
    [[gnu::flatten]] static void run(const Shape shape, const T* y, const T* v, T* out) {
        const Probability<T> probability;
        const Vec<T> at_argmax = Argmax<Shape>(shape, y).of(shape, v), zero = splat<T>(0);
        const auto mean_of = [&](auto weight) {
            const auto term = [&](auto place) {
                const Vec<T> log = place(y, -INF<T>), product = weight(log) * (place(v, 0) - at_argmax);
                return log == -INF<T> ? zero : product;
            };
            return sum_of<T>(shape, term).high;
        };
        const Vec<T> mean = without_underflow<T>(mean_of(probability), [&] {
            return mean_of([&](Vec<T> log) { return probability.scaled(log); }) * probability.UNSCALE;
        });
        shape.finish(out, [&](auto place) {
            const Vec<T> centred = (place(v, 0) - at_argmax) - mean;
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
        const Argmax<Shape> argmax(shape, y);
        const Vec<T> zero = splat<T>(0), nothing = splat(-INF<T>);
        const DoubleWord<T> others = argmax.sum_of_others(shape, [&](auto place) {
            const Vec<T> direction = place(g, 0);
            return place(y, -INF<T>) == nothing ? zero : direction;
        });
        // At the argmax entry g − e^y Σ g = (1 − e^y) g − e^y Σ_{j≠k} g.
        const Vec<T> log_argmax = argmax.of(shape, y), at_argmax = log_argmax == nothing ? zero : argmax.of(shape, g);
        const Vec<T> p_argmax = probability(log_argmax), complement = complement_of_exp<T>(log_argmax, p_argmax);
        const Vec<T> saturated = fma(complement, at_argmax, -(p_argmax * others.high));
        const DoubleWord<T> total = plus<T>(at_argmax, others);
        argmax.finish(shape, out, log_argmax == nothing ? zero : saturated, [&](auto place) {
            const Vec<T> log = place(y, 0), p = probability(log);
            const Vec<T> direct = fma(-p, total.high, place(g, 0)) - p * total.low;
            return log == nothing ? zero : direct;
        });
    }
};

template <template <class> class Map, class S>
void log_softmax_derivative(const Call& call) {
    typedef Computed<S> T;
    RowLoop<S, 2, 1>(call).run(
        [](auto shape, ptrdiff_t, const T* const* in, T* const* out) { Map<T>::run(shape, in[0], in[1], out[0]); });
}
}  // namespace
