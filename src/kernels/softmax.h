// softmax, log_softmax and logsumexp of one contiguous row, and of WIDTH short rows at once (a panel).
//
// A panel holds entry j of WIDTH rows side by side at panel[j], so that a lane is a row and nothing is ever summed
// across lanes. Rows with NaN or +inf, or with nothing but −inf, come out as NaN by the arithmetic itself:
// inf − inf and 0 · inf. logsumexp, which is not NaN there, is put right by the loops.
#pragma once

#include "sum.h"

namespace {

template <class T>
inline T row_max(const T* x, ptrdiff_t n) {
    const T none = (T)-INFINITY;
    Vec<T> a = splat(none), b = a, c = a, d = a;  // four chains hide the latency of a maximum
    ptrdiff_t i = 0;
    for (; i + 4 * WIDTH<T> <= n; i += 4 * WIDTH<T>) {
        a = max(load(x + i), a);  // in this order NaN is dropped
        b = max(load(x + i + WIDTH<T>), b);
        c = max(load(x + i + 2 * WIDTH<T>), c);
        d = max(load(x + i + 3 * WIDTH<T>), d);
    }
    for (; i + WIDTH<T> <= n; i += WIDTH<T>) a = max(load(x + i), a);
    if (i < n) b = max(load_head(x + i, n - i, none), b);
    return largest_lane<T>(max(max(a, b), max(c, d)));
}

// `a` in two parts of type T, for products that round only once.
template <class T>
struct Split {
    Vec<T> high, low;
    explicit Split(Wide<T> a) : high(splat((T)a)), low(splat((T)(a - (Wide<T>)(T)a))) {}
    Split(Vec<T> high, Vec<T> low) : high(high), low(low) {}
};

template <class T>
inline Vec<T> times(Vec<T> a, const Split<T>& b) {
    return fma(a, b.high, a * b.low);
}

// 1/total for each lane.
template <class T>
inline Split<T> reciprocal(const SumOfExp<T>& sum) {
    const Vec<T> total = sum.high() + sum.error, dropped = (sum.high() - total) + sum.error;
    const Vec<T> inverse = 1 / total;
    const Vec<T> residual = fma(-inverse, total, splat<T>(1)) - inverse * dropped;
    return {inverse, inverse * residual};
}

inline double wide_log1p(double a) { return ::log1p(a); }
inline long double wide_log1p(long double a) { return ::log1pl(a); }
inline double wide_exp(double a) { return ::exp(a); }
inline long double wide_exp(long double a) { return ::expl(a); }

// What a row's logarithms need: its maximum, and log Σ e^((x − max)/T).
//
// The terms at the maximum are counted, not summed: beside a 1 the others would be lost when they are all that matters,
// and log1p takes them without it.
template <class T>
struct LogSum {
    Vec<T> max, high, low;

    LogSum(Vec<T> max, Wide<T> log) : max(max) {
        const Split<T> parts(log);
        high = parts.high;
        low = parts.low;
    }
    LogSum(Vec<T> max, Vec<T> high, Vec<T> low) : max(max), high(high), low(low) {}

    static Wide<T> log(Wide<T> rest, Wide<T> count, Wide<T> peak) { return wide_log1p(rest / peak + (count - 1)); }
};

template <class T, bool TEMPERED>
struct Logarithms {
    Exp<T, TEMPERED> exp;
    Vec<T> max, count = splat<T>(0);
    SumOfExp<T> rest;

    Logarithms(Vec<T> max, const Temperature<T>& t) : exp(max, t), max(max) {}

    void add(Vec<T> x) {
        auto e = exp.parts(x);
        e.scale = x == max ? splat<T>(0) : e.scale;
        count = x == max ? count + 1 : count;
        rest.add(e);
    }
    // e^0 at the scale of the sum: not exactly 1, since x and m are reduced apart.
    Wide<T> peak(int lane = 0) const {
        const auto e = exp.parts(max);
        return ((Wide<T>)e.high[lane] + (Wide<T>)e.low[lane]) * (Wide<T>)e.scale[lane];
    }
};

template <class T, bool TEMPERED>
inline LogSum<T> row_logsum(const T* x, ptrdiff_t n, const Temperature<T>& t) {
    const Vec<T> max = splat(row_max(x, n));
    Logarithms<T, TEMPERED> logs(max, t);
    Wide<T> rest = 0, count = 0;
    for (ptrdiff_t start = 0; start < n; start += BLOCK) {
        const ptrdiff_t stop = start + BLOCK < n ? start + BLOCK : n;
        ptrdiff_t i = start;
        for (; i + WIDTH<T> <= stop; i += WIDTH<T>) logs.add(load(x + i));
        if (i < stop) logs.add(load_head(x + i, stop - i, (T)-INFINITY));
        rest += logs.rest.total();
        count += sum_of_lanes<T>(logs.count, splat<T>(0));
        logs.rest = SumOfExp<T>();
        logs.count = splat<T>(0);
    }
    return {max, LogSum<T>::log(rest, count, logs.peak())};
}

template <class T, bool TEMPERED>
inline LogSum<T> panel_logsum(const T* panel, ptrdiff_t n, const Temperature<T>& t) {
    Vec<T> max_ = splat((T)-INFINITY);
    for (ptrdiff_t j = 0; j < n; ++j) max_ = max(load(panel + j * WIDTH<T>), max_);
    Logarithms<T, TEMPERED> logs(max_, t);
    for (ptrdiff_t j = 0; j < n; ++j) logs.add(load(panel + j * WIDTH<T>));
    const Vec<T> sum = logs.rest.high();
    T high[WIDTH<T>], low[WIDTH<T>];
    for (int lane = 0; lane < WIDTH<T>; ++lane) {
        const Wide<T> rest = (Wide<T>)sum[lane] + (Wide<T>)logs.rest.error[lane];
        const Wide<T> log = LogSum<T>::log(rest, logs.count[lane], logs.peak(lane));
        high[lane] = (T)log;
        low[lane] = (T)(log - (Wide<T>)high[lane]);
    }
    return {max_, load(high), load(low)};
}

// (x − max)/T − log: both are at most 0 after the sign, so nothing cancels.
template <class T, bool TEMPERED>
struct Subtract {
    LogSum<T> log;
    Temperature<T> temperature;

    Vec<T> operator()(Vec<T> x) const {
        // The difference with its rounding error (Knuth); tempered rows subtract quarters, which cannot overflow.
        const Vec<T> a = TEMPERED ? x * (T)0.25 : x, b = TEMPERED ? log.max * (T)0.25 : log.max;
        Vec<T> difference = a - b, of_b = difference - a;
        Vec<T> error = (a - (difference - of_b)) - (b + of_b);
        if constexpr (TEMPERED) {
            const Vec<T> inverse = 4 * temperature.inverse, exact = difference;
            difference = exact * inverse;
            error = mul_add(error, inverse, fma(exact, inverse, -difference) + exact * (4 * temperature.inverse_low));
        }
        const Vec<T> y = difference - log.high, of_log = y - difference;
        error += ((difference - (y - of_log)) - (log.high + of_log)) - log.low;
        return y > (T)-INFINITY ? y + error : y;  // where x is −inf the errors are NaN
    }
};

template <class T>
struct Softmax {
    static constexpr T MASKED = 0;

    template <bool TEMPERED>
    static void row(const T* x, T* y, ptrdiff_t n, const Temperature<T>& t) {
        const Exp<T, TEMPERED> exp(splat(row_max(x, n)), t);
        Wide<T> total = 0;
        for (ptrdiff_t start = 0; start < n; start += BLOCK) {
            const ptrdiff_t stop = start + BLOCK < n ? start + BLOCK : n;
            SumOfExp<T> sum;
            ptrdiff_t i = start;
            for (; i + WIDTH<T> <= stop; i += WIDTH<T>) {
                const Vec<T> e = exp(load(x + i));
                store(y + i, e);
                sum.add(e);
            }
            if (i < stop) {
                const Vec<T> e = exp(load_head(x + i, stop - i, (T)-INFINITY));
                store_head(y + i, e, stop - i);
                sum.add(e);
            }
            total += sum.total();
        }
        const Split<T> inverse(1 / total);
        ptrdiff_t i = 0;
        for (; i + WIDTH<T> <= n; i += WIDTH<T>) store(y + i, times(load(y + i), inverse));
        if (i < n) store_head(y + i, times(load_head(y + i, n - i, (T)0), inverse), n - i);
    }

    template <bool TEMPERED>
    static void panel(T* panel, ptrdiff_t n, const Temperature<T>& t) {
        Vec<T> max_ = splat((T)-INFINITY);
        for (ptrdiff_t j = 0; j < n; ++j) max_ = max(load(panel + j * WIDTH<T>), max_);
        const Exp<T, TEMPERED> exp(max_, t);
        SumOfExp<T> sum;
        for (ptrdiff_t j = 0; j < n; ++j) {
            const Vec<T> e = exp(load(panel + j * WIDTH<T>));
            store(panel + j * WIDTH<T>, e);
            sum.add(e);
        }
        const Split<T> inverse = reciprocal(sum);
        for (ptrdiff_t j = 0; j < n; ++j)
            store(panel + j * WIDTH<T>, times(load(panel + j * WIDTH<T>), inverse));
    }

    static Wide<T> value(Wide<T> /* shifted */, Wide<T> e, Wide<T> rest) { return e / (1 + rest); }
};

template <class T>
struct LogSoftmax {
    static constexpr T MASKED = (T)-INFINITY;

    template <bool TEMPERED>
    static void row(const T* x, T* y, ptrdiff_t n, const Temperature<T>& t) {
        const Subtract<T, TEMPERED> subtract{row_logsum<T, TEMPERED>(x, n, t), t};
        ptrdiff_t i = 0;
        for (; i + WIDTH<T> <= n; i += WIDTH<T>) store(y + i, subtract(load(x + i)));
        if (i < n) store_head(y + i, subtract(load_head(x + i, n - i, (T)0)), n - i);
    }

    template <bool TEMPERED>
    static void panel(T* panel, ptrdiff_t n, const Temperature<T>& t) {
        const Subtract<T, TEMPERED> subtract{panel_logsum<T, TEMPERED>(panel, n, t), t};
        for (ptrdiff_t j = 0; j < n; ++j) store(panel + j * WIDTH<T>, subtract(load(panel + j * WIDTH<T>)));
    }

    static Wide<T> value(Wide<T> shifted, Wide<T> /* e */, Wide<T> rest) { return shifted - wide_log1p(rest); }
};

template <class T>
struct LogSumExp {
    static Vec<T> result(const LogSum<T>& log) {
        // max + (high + low), rounded once and a little: the parts of the logarithm enter smallest first.
        const Vec<T> sum = log.max + log.high, of_high = sum - log.max;
        return sum + (((log.max - (sum - of_high)) + (log.high - of_high)) + log.low);
    }
    static T row(const T* x, ptrdiff_t n) { return result(row_logsum<T, false>(x, n, Temperature<T>()))[0]; }
    static Vec<T> panel(const T* panel, ptrdiff_t n) {
        return result(panel_logsum<T, false>(panel, n, Temperature<T>()));
    }
};

}  // namespace
