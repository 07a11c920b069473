// logsumexp, and log_softmax from it.
#pragma once

#include "shape.h"

namespace {

// log Σ e^((x − max)/T) of a row, in two parts.
//
// The terms at the maximum are counted, not summed: beside a 1 the others would be lost, and where they are all that
// matters log1p takes them without it.
template <class T, bool IS_TEMPERED>
struct LogSum {
    Vec<T> max, high, low;

    template <class Shape>
    LogSum(const Shape shape, const T* x, const Temperature<T>& t) {
        const Range<T> range = shape.range(x);
        max = range.max;
        if constexpr (IS_TEMPERED)
            add_up<TEMPERED>(shape, x, t);
        else if (range.near())
            add_up<NEAR>(shape, x, t);
        else
            add_up<FAR>(shape, x, t);
    }

   private:
    template <Mode MODE, class Shape>
    [[gnu::flatten]] void add_up(const Shape shape, const T* x, const Temperature<T>& t) {
        const Exp<T, MODE> exp(max, t);
        Wide<T> rest[WIDTH<T>] = {}, count[WIDTH<T>] = {};
        shape.blocks([&](const Shape block) {
            Sum<T> sum;
            Vec<T> ties = splat<T>(0);
            block.at_each_fetching([&](auto place) {
                const Vec<T> v = place(x, x[0]);
                const auto e = exp.parts(v, [&](Vec<T> power) { return v == max ? splat<T>(0) : place.keep(power); });
                ties = v == max ? ties + place.keep(splat<T>(1)) : ties;
                sum.add(e.high());
                sum.error += e.low();
            });
            block.collect(rest, sum.sum, sum.error);
            block.collect(count, ties, splat<T>(0));
        });
        // e^0 at the scale of the sum: not exactly 1, since x and the maximum are reduced apart.
        const auto peak = exp.parts(max);
        T parts[2][WIDTH<T>] = {};
        for (int lane = 0; lane < shape.lanes; ++lane) {
            const Wide<T> one = (Wide<T>)peak.high()[lane] + (Wide<T>)peak.low()[lane];
            const Wide<T> log = wide_log1p(rest[lane] / one + (count[lane] - 1));
            parts[0][lane] = (T)log;
            parts[1][lane] = (T)(log - (Wide<T>)parts[0][lane]);
        }
        high = shape.spread(parts[0]);
        low = shape.spread(parts[1]);
    }
};

template <class T>
struct LogSoftmax {
    static constexpr T MASKED = -INF<T>;

    template <bool IS_TEMPERED, class Shape>
    [[gnu::flatten]] static void run(const Shape shape, const T* x, T* y, const Temperature<T>& t) {
        const LogSum<T, IS_TEMPERED> log(shape, x, t);
        // (x − max)/T − log: neither part is positive after the sign, so nothing cancels.
        shape.finish(y, [&](auto place) {
            const Vec<T> v = place(x, x[0]);
            // The difference with its rounding error (Knuth); tempered rows subtract quarters, which cannot overflow.
            const Vec<T> a = IS_TEMPERED ? v * (T)0.25 : v, b = IS_TEMPERED ? log.max * (T)0.25 : log.max;
            Vec<T> shifted = a - b, of_b = shifted - a;
            Vec<T> error = (a - (shifted - of_b)) - (b + of_b);
            if constexpr (IS_TEMPERED) {
                const Vec<T> inverse = 4 * t.inverse, exact = shifted;
                shifted = exact * inverse;
                error = mul_add(error, inverse, fma(exact, inverse, -shifted) + exact * (4 * t.inverse_low));
            }
            const Vec<T> result = shifted - log.high, of_log = result - shifted;
            error += ((shifted - (result - of_log)) - (log.high + of_log)) - log.low;
            return result > -INF<T> ? result + error : result;  // where x is −inf the errors are NaN
        });
    }

    static Wide<T> value(Wide<T> shifted, Wide<T> rest) { return shifted - wide_log1p(rest); }
};

template <class T>
struct LogSumExp {
    // max + log, the parts of the logarithm entered smallest last and rounded once and a little.
    template <class Shape>
    static Vec<T> run(const Shape shape, const T* x) {
        const LogSum<T, false> log(shape, x, Temperature<T>());
        const Vec<T> sum = log.max + log.high, of_high = sum - log.max;
        return sum + (((log.max - (sum - of_high)) + (log.high - of_high)) + log.low);
    }
};

}  // namespace
