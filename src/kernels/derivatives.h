// Derivatives of softmax and log_softmax from their output, exact on saturated rows.
//
// With k the largest probability, 1 − p_k is summed as Σ_{j≠k} p_j, and directions v enter as v − v_k: where p_k → 1
// the plain formulas subtract nearly equal numbers and return 0 for the small true value.
#pragma once

#include "shape.h"

namespace {

// The index of the largest entry; of the first, where several are. NaN is passed over.
template <class T>
inline ptrdiff_t row_argmax(const T* x, ptrdiff_t n) {
    const Vec<T> m = Row<T>(n).range(x).max;
    ptrdiff_t k = 0;
    while (k + WIDTH<T> <= n && !any<T>(load(x + k) == m)) k += WIDTH<T>;
    while (k < n - 1 && x[k] != m[0]) ++k;
    return k;
}

// Σ of the terms that `term(place)` gives for the vectors of a row, with rounding errors kept.
template <class T, class Term>
inline Wide<T> sum_of(const Row<T> row, Term term) {
    Wide<T> total = 0;
    row.blocks([&](const Row<T> block) {
        Sum<T> sum;
        block.at_each_fetching([&](auto place) { sum.add(term(place)); });
        total += sum.total();
    });
    return total;
}

// e^y for log-probabilities.
template <class T>
struct Probability {
    Exp<T, FAR> exp{splat<T>(0), Temperature<T>()};
    Vec<T> operator()(Vec<T> y) const {
        constexpr T UNSCALE = (T)(sizeof(T) == 4 ? 0x1p-70 : 0x1p-512);
        return exp(y) * UNSCALE;
    }
};

// p ∘ (v − Σ p v); where p is 0, v is not read.
template <class T>
struct SoftmaxVjp {
    [[gnu::flatten]] static void run(const Row<T> row, const T* p, const T* v, T* out) {
        const Vec<T> at_peak = splat(v[row_argmax(p, row.stop)]), zero = splat<T>(0);
        const Wide<T> sum = sum_of(row, [&](auto place) {
            const Vec<T> probability = place(p, 0), product = probability * (place(v, 0) - at_peak);
            return probability == 0 ? zero : product;
        });
        const Vec<T> mean = splat((T)sum);
        row.finish(out, [&](auto place) {
            const Vec<T> probability = place(p, 0), product = probability * ((place(v, 0) - at_peak) - mean);
            return probability == 0 ? zero : product;
        });
    }
};

// v − Σ e^y v; where y is −inf, v is not read and the derivative is 0.
template <class T>
struct LogSoftmaxJvp {
    [[gnu::flatten]] static void run(const Row<T> row, const T* y, const T* v, T* out) {
        const Probability<T> probability;
        const Vec<T> at_peak = splat(v[row_argmax(y, row.stop)]), zero = splat<T>(0);
        const Wide<T> sum = sum_of(row, [&](auto place) {
            const Vec<T> log = place(y, -INF<T>), product = probability(log) * (place(v, 0) - at_peak);
            return log == -INF<T> ? zero : product;
        });
        const Vec<T> mean = splat((T)sum);
        row.finish(out, [&](auto place) {
            const Vec<T> centred = (place(v, 0) - at_peak) - mean;
            return place(y, 0) == -INF<T> ? zero : centred;
        });
    }
};

// g − e^y Σ g; where y is −inf, g is not read and the derivative is 0.
template <class T>
struct LogSoftmaxVjp {
    [[gnu::flatten]] static void run(const Row<T> row, const T* y, const T* g, T* out) {
        const Probability<T> probability;
        const ptrdiff_t k = row_argmax(y, row.stop);
        const Vec<T> zero = splat<T>(0);
        const auto read = [&](auto place) { return place(y, -INF<T>) == -INF<T> ? zero : place(g, 0); };
        // At k, g − e^y Σ g = (1 − e^y) g − e^y Σ_{j≠k} g, and 1 − e^y is −expm1(y) without cancellation.
        const T peak = y[k], at_peak = peak == -INF<T> ? 0 : g[k];
        const Wide<T> rest = sum_of(row.part(0, k), read) + sum_of(row.part(k + 1, row.stop), read);
        const Split<T> total(rest + (Wide<T>)at_peak);
        row.finish(out, [&](auto place) {
            const Vec<T> log = place(y, 0), p = probability(log);
            const Vec<T> direct = fma(-p, total.high, place(g, 0)) - p * total.low;
            return log == -INF<T> ? zero : direct;
        });
        if (row.route.streams) end_streams();
        if (peak != -INF<T>)
            out[k] = (T)(-wide_expm1((Wide<T>)peak) * (Wide<T>)at_peak - wide_exp((Wide<T>)peak) * rest);
    }
};

// One row of probabilities, ready to write any line of its Jacobian (diag(p) − p pᵀ)/T.
template <class T>
struct SaturatedRow {
    const T* p;
    ptrdiff_t n, peak;
    T others;  // 1 − p at the peak

    SaturatedRow(const T* p, ptrdiff_t n) : p(p), n(n), peak(row_argmax(p, n)) {
        const auto entry = [&](auto place) { return place(this->p, 0); };
        others = (T)(sum_of(Row<T>(0, peak), entry) + sum_of(Row<T>(peak + 1, n), entry));
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
