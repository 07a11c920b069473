// log_softmax.
#pragma once

#include "kernels/forward.h"
#include "kernels/log_sum.h"

namespace {

template <class T>
struct LogSoftmax : LogOfColumns<T> {
    static constexpr T MASKED = -INF<T>, OF_ONE = 0;
    static constexpr Workspace WORKSPACE = NONE;

    template <bool IS_TEMPERED, bool IS_MASKED, class Shape, class X>
    static bool run(const Shape shape, X x, T* y, const Temperature<T>& t) {
        if constexpr (!Shape::IS_LANE_BATCH) {  // (in a lane batch the lanes would have to agree on it)
            typedef PlainLog<T, IS_TEMPERED ? UNSHIFTED_TEMPERED : UNSHIFTED> Plain;
            const Plain plain = Plain::template of<IS_MASKED>(shape, x, t);
            if (any<T>(plain.applies)) return subtract<IS_TEMPERED, IS_MASKED>(shape, x, y, t, plain.log);
        }
        return large<IS_TEMPERED>(shape, x, y, t);
    }

    // Rows where PlainLog does not apply.
    template <bool IS_TEMPERED, class Shape, class X>
    [[gnu::flatten]] static bool large(const Shape shape, X x, T* y, const Temperature<T>& t) {
        const LogSum<T, IS_TEMPERED> sum(shape, x, t);
        const DoubleWord<T> log = sum.log;
        // Differences may overflow where the results do not, and without FMA so may the products that stand in for it.
        const Vec<T> lower = sum.lower, inverse = t.inverse / lower, inverse_low = t.inverse_low / lower;
        // (x − max)/T − log: neither part is positive after the sign, so nothing cancels.
        shape.finish(y, [&](auto place) {
            const Vec<T> v = place(x, x[0]);
            // The difference with its rounding error (Knuth).
            const Vec<T> a = IS_TEMPERED ? v * lower : v, b = IS_TEMPERED ? sum.max * lower : sum.max;
            Vec<T> shifted = a - b, of_b = shifted - a;
            Vec<T> error = (a - (shifted - of_b)) - (b + of_b);
            if constexpr (IS_TEMPERED) {
                const Vec<T> exact = shifted;
                shifted = exact * inverse;
                error = mul_add(error, inverse, fma(exact, inverse, -shifted) + exact * inverse_low);
            }
            const Vec<T> result = shifted - log.high, of_log = result - shifted;
            error += ((shifted - (result - of_log)) - (log.high + of_log)) - log.low;
            return result > -INF<T> ? result + error : result;  // where x is −inf the errors are NaN
        });
        const Vec<T> number = (sum.max - sum.max) + log.high;
        return !any<T>(number != number);
    }

    // A lockstep batch; returns which rows are done. The others are left.
    template <bool IS_MASKED, class X, Mode MODE>
    [[gnu::flatten]] static Bits<T> run(const Lockstep<T> rows, X x, T* y, const Temperatures<T, MODE>& t) {
        for (int lane = 0; lane < rows.lanes; ++lane) rows.prefetch_result(y, lane);
        const auto plain = PlainLog<T, MODE>::template of<IS_MASKED>(rows, x, t);
        const DoubleWordLanes<T> logs(plain.log);
        rows.each([&](int lane, const Row<T> row) {
            if (plain.applies[lane])
                subtract<MODE == UNSHIFTED_TEMPERED, IS_MASKED>(row, rows.in(x, lane), rows.out(y, lane), t[lane],
                                                                logs[lane]);
        });
        return plain.applies;
    }

    static Wide<T> value(Wide<T> shifted, Wide<T> others) { return shifted - wide_log1p(others); }

    // An entry of a column.
    static Vec<T> result(Vec<T> v, const DoubleWord<T>& log) { return difference<false>(v, Temperature<T>(), log); }

   private:
    // x/T − log, where |x/T| is small. Each difference rounds by half an ulp of the result; near 0, where the second
    // part of log counts, the first is exact.
    template <bool IS_TEMPERED>
    [[gnu::always_inline]] static Vec<T> difference(Vec<T> v, const Temperature<T>& t, const DoubleWord<T>& log) {
        const auto [a, low] = t.template quotient<IS_TEMPERED>(v);
        return (a - log.high) - (IS_TEMPERED ? log.low - low : log.low);
    }

    template <bool IS_TEMPERED, bool IS_MASKED, class X>
    [[gnu::flatten]] static bool subtract(const Row<T> row, X x, T* y, const Temperature<T>& t,
                                          const DoubleWord<T>& log) {
        row.template finish<2>(y, [&](auto place) {
            const Vec<T> v = place(x, x[0]), exact = difference<IS_TEMPERED>(v, t, log);
            if constexpr (IS_MASKED) return v == -INF<T> ? v - log.high : exact;  // NaN where the row has NaN
            return exact;
        });
        return !any<T>(log.high != log.high);
    }
};

}  // namespace
