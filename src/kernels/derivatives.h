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
    const T m = Row<T>(n).range(x).max[0];
    ptrdiff_t k = 0;
    while (k < n - 1 && x[k] != m) ++k;
    return k;
}

// Σ of the terms that `term(load)` gives for the vectors of [start, stop), with rounding errors kept; `load(p, fill)`
// reads the entries of any row at the same place.
template <class T, class Term>
inline Wide<T> sum_of(ptrdiff_t start, ptrdiff_t stop, Term term) {
    Wide<T> total = 0;
    Row<T>(start, stop).blocks([&](const Row<T> block) {
        Sum<T> sum;
        block.at_each([&](auto load) { sum.add(term(load)); });
        total += sum.total();
    });
    return total;
}

// out = value(load) along a row.
template <class T, class Value>
inline void write(T* out, ptrdiff_t n, Value value) {
    Row<T>(n).at_each([&](auto load) { load.store(out, value(load)); });
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
    static void row(const T* p, const T* v, T* out, ptrdiff_t n) {
        const Vec<T> at_peak = splat(v[row_argmax(p, n)]), zero = splat<T>(0);
        const auto relative = [&](Vec<T> probability, Vec<T> direction) {
            return probability == 0 ? zero : direction - at_peak;
        };
        const Wide<T> sum = sum_of<T>(0, n, [&](auto load) {
            const Vec<T> probability = load(p, 0);
            return probability * relative(probability, load(v, 0));
        });
        const Vec<T> mean = splat((T)sum);
        write(out, n, [&](auto load) {
            const Vec<T> probability = load(p, 0);
            const Vec<T> product = probability * (relative(probability, load(v, 0)) - mean);
            return probability == 0 ? zero : product;
        });
    }
};

// v − Σ e^y v; where y is −inf, v is not read and the derivative is 0.
template <class T>
struct LogSoftmaxJvp {
    static void row(const T* y, const T* v, T* out, ptrdiff_t n) {
        const Probability<T> probability;
        const Vec<T> at_peak = splat(v[row_argmax(y, n)]), zero = splat<T>(0);
        const auto relative = [&](Vec<T> log, Vec<T> direction) {
            return log == -INF<T> ? zero : direction - at_peak;
        };
        const Wide<T> sum = sum_of<T>(0, n, [&](auto load) {
            const Vec<T> log = load(y, -INF<T>);
            return probability(log) * relative(log, load(v, 0));
        });
        const Vec<T> mean = splat((T)sum);
        write(out, n, [&](auto load) {
            const Vec<T> log = load(y, 0);
            return log == -INF<T> ? zero : relative(log, load(v, 0)) - mean;
        });
    }
};

// g − e^y Σ g; where y is −inf, g is not read and the derivative is 0.
template <class T>
struct LogSoftmaxVjp {
    static void row(const T* y, const T* g, T* out, ptrdiff_t n) {
        const Probability<T> probability;
        const ptrdiff_t k = row_argmax(y, n);
        const Vec<T> zero = splat<T>(0);
        const auto read = [&](auto load) { return load(y, -INF<T>) == -INF<T> ? zero : load(g, 0); };
        // At k, g − e^y Σ g = (1 − e^y) g − e^y Σ_{j≠k} g, and 1 − e^y is −expm1(y) without cancellation.
        const Wide<T> rest = sum_of<T>(0, k, read) + sum_of<T>(k + 1, n, read);
        const T peak = y[k], at_peak = peak == -INF<T> ? 0 : g[k];
        const Split<T> total(rest + (Wide<T>)at_peak);
        write(out, n, [&](auto load) {
            const Vec<T> log = load(y, 0), p = probability(log);
            const Vec<T> direct = fma(-p, total.high, load(g, 0)) - p * total.low;
            return log == -INF<T> ? zero : direct;
        });
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
        const auto entry = [&](auto load) { return load(this->p, 0); };
        others = (T)(sum_of<T>(0, peak, entry) + sum_of<T>(peak + 1, n, entry));
    }

    void jacobian_line(ptrdiff_t i, double temperature, T* out) const {
        const T scaled = temperature == 1 ? p[i] : (T)((Wide<T>)p[i] / (Wide<T>)temperature);
        const Vec<T> minus = splat(-scaled), zero = splat<T>(0);
        write(out, n, [&](auto load) { return mul_add(minus, load(p, 0), zero); });  // −0 + 0 is 0
        out[i] = scaled * (i == peak ? others : 1 - p[i]);
    }
};

}  // namespace
