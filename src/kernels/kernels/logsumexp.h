// logsumexp, and log_softmax from it.
#pragma once

#include "kernels/unshifted.h"
#include "math/log.h"

namespace {

// log Σ e^((x − max)/T) of a row, in two parts.
//
// The terms at the maximum are counted, not summed: beside a 1 the others would be lost, and where they are all that
// matters log1p takes them without it.
template <class T, bool IS_TEMPERED>
struct LogSum {
    Vec<T> max;
    Split<T> log;

    template <class Shape, class X>
    LogSum(const Shape shape, X x, const Temperature<T>& t) {
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
    template <Mode MODE, class Shape, class X>
    [[gnu::flatten]] void add_up(const Shape shape, X x, const Temperature<T>& t) {
        const Exp<T, MODE> exp(max, t);
        Whole<Shape> rest, ties;
        shape.blocks([&](const Shape block) {
            Sum<T> sum, count;
            block.at_each_fetching([&](auto place) {
                const Vec<T> v = place(x, x[0]);
                const auto e = exp.parts(v, [&](Vec<T> power) { return v == max ? splat<T>(0) : place.keep(power); });
                count.sum = v == max ? count.sum + place.keep(splat<T>(1)) : count.sum;
                sum.add(e.high());
                sum.error += e.low();
            });
            rest.add(sum);
            ties.add(count);
        });
        // e^0 at the scale of the sum: not exactly 1, since x and the maximum are reduced apart.
        const Split<T> peak = exp.parts(max).split();
        log = log1p<T>(plus<T>(ties.parts().high - 1, over<T>(rest.parts(), peak)));
    }
};

// log Σ e^(x/T) from the sum of the exponentials and the largest of small x, to be used where it `applies`. Where one term
// outweighs all others, log_softmax is what they are beside it, and the log is taken from their sum.
template <class T, Mode MODE>
struct PlainLog {
    // Less would have lost its digits beside the largest x, 32 in float32 and 256 in float64, in two parts of a log.
    static constexpr T LEAST = sizeof(T) == 4 ? (T)0x1p-14 : LEAST_PART<T, Row<T>>;

    Bits<T> applies;
    Split<T> log;

    PlainLog(Vec<T> largest, const Split<T>& total, const Temperature<T>& t) {
        const Exp<T, MODE> exp(t);
        applies = total.high > 0;  // which neither NaN is nor a row of nothing but gaps
        log = log_of<T>(total.high, total.low, splat<T>(0));
        const Bits<T> outweighs = exp(largest) > (T)0.5 * total.high;
        if (!any<T>(outweighs)) return;
        const PeakAndRest<T> sum(exp, largest, total, LEAST);
        const Split<T> by_rest = plus<T>(t.template quotient<MODE != UNSHIFTED>(largest), log1p<T>(over<T>(sum.rest, sum.peak)));
        applies &= ~outweighs | sum.applies;
        log = {outweighs ? by_rest.high : log.high, outweighs ? by_rest.low : log.low};
    }

    // Of one row.
    template <bool HAS_GAPS, class X>
    [[gnu::flatten]] static PlainLog of(const Row<T> row, X x, const Temperature<T>& t) {
        const Exp<T, MODE> exp(t);
        if (begins_beyond<T>(x, exp.most())) return PlainLog();
        const SmallSum<T, Row<T>, HAS_GAPS> sum(row, x, exp, Nobody{});
        if (!any<T>(sum.small)) return PlainLog();
        return PlainLog(sum.largest, sum.total.parts(), t);
    }
    // Of rows that keep step, lane by lane.
    template <bool HAS_GAPS, class X>
    static PlainLog of(const Rows<T> rows, X x, const Temperatures<T, MODE>& t) {
        const SmallSums<T, HAS_GAPS, MODE> sums(rows, x, false, t);
        PlainLog all(sums.largest, sums.total, t.all);
        all.applies &= sums.small;
        return all;
    }

   private:
    PlainLog() : applies(Bits<T>{}) {}
};

// The same of each column (columns.h), and where it does not apply.
template <class T>
struct LogOfColumns {
    static constexpr int CHAINS = 1;

    static Bits<T> factor(const Range<T>& range, const Wide<T>* totals, Split<T>& log) {
        const PlainLog<T, UNSHIFTED> plain(range.max, split(totals), Temperature<T>());
        log = plain.log;
        return ~(range.within(Exp<T, UNSHIFTED>().most()) & plain.applies);
    }
};

template <class T>
struct LogSoftmax : LogOfColumns<T> {
    static constexpr T MASKED = -INF<T>;

    template <bool IS_TEMPERED, bool HAS_GAPS, class Shape, class X>
    static bool run(const Shape shape, X x, T* y, const Temperature<T>& t) {
        if constexpr (!Shape::IS_PANEL) {  // (in a panel the lanes would have to agree on it)
            typedef PlainLog<T, IS_TEMPERED ? UNSHIFTED_TEMPERED : UNSHIFTED> Plain;
            const Plain plain = Plain::template of<HAS_GAPS>(shape, x, t);
            if (any<T>(plain.applies)) return subtract<IS_TEMPERED, HAS_GAPS>(shape, x, y, t, plain.log);
        }
        return large<IS_TEMPERED>(shape, x, y, t);
    }

    // The same of rows where PlainLog does not apply.
    template <bool IS_TEMPERED, class Shape, class X>
    [[gnu::flatten]] static bool large(const Shape shape, X x, T* y, const Temperature<T>& t) {
        const LogSum<T, IS_TEMPERED> sum(shape, x, t);
        const Split<T> log = sum.log;
        // (x − max)/T − log: neither part is positive after the sign, so nothing cancels.
        shape.finish(y, [&](auto place) {
            const Vec<T> v = place(x, x[0]);
            // The difference with its rounding error (Knuth); tempered rows subtract quarters, which cannot overflow.
            const Vec<T> a = IS_TEMPERED ? v * (T)0.25 : v, b = IS_TEMPERED ? sum.max * (T)0.25 : sum.max;
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
        const Vec<T> number = (sum.max - sum.max) + log.high;
        return !any<T>(number != number);
    }

    // Rows that keep step; which of them are done, the others being left.
    template <bool HAS_GAPS, class X, Mode MODE>
    [[gnu::flatten]] static Bits<T> run(const Rows<T> rows, X x, T* y, const Temperatures<T, MODE>& t) {
        for (int lane = 0; lane < rows.lanes; ++lane) rows.fetch_result(y, lane);
        const auto plain = PlainLog<T, MODE>::template of<HAS_GAPS>(rows, x, t);
        const SplitLanes<T> logs(plain.log);
        rows.each([&](int lane, const Row<T> row) {
            if (plain.applies[lane])
                subtract<MODE == UNSHIFTED_TEMPERED, HAS_GAPS>(row, rows.in(x, lane), rows.out(y, lane), t[lane], logs[lane]);
        });
        return plain.applies;
    }

    static Wide<T> value(Wide<T> shifted, Wide<T> rest) { return shifted - wide_log1p(rest); }

    // An entry of a column.
    static Vec<T> result(Vec<T> v, const Split<T>& log) { return difference<false>(v, Temperature<T>(), log); }

   private:
    // x/T − log, where |x/T| is small.
    template <bool IS_TEMPERED>
    [[gnu::always_inline]] static Vec<T> difference(Vec<T> v, const Temperature<T>& t, const Split<T>& log) {
        const auto [a, low] = t.template quotient<IS_TEMPERED>(v);
        const Vec<T> result = a - log.high, of_log = result - a;
        Vec<T> error = ((a - (result - of_log)) - (log.high + of_log)) - log.low;
        if constexpr (IS_TEMPERED) error += low;
        return result + error;
    }

    template <bool IS_TEMPERED, bool HAS_GAPS, class X>
    [[gnu::flatten]] static bool subtract(const Row<T> row, X x, T* y, const Temperature<T>& t, const Split<T>& log) {
        row.finish(y, [&](auto place) {
            const Vec<T> v = place(x, x[0]), exact = difference<IS_TEMPERED>(v, t, log);
            if constexpr (HAS_GAPS) return v == -INF<T> ? v - log.high : exact;  // NaN beside NaN
            return exact;
        });
        return !any<T>(log.high != log.high);
    }
};

template <class T>
struct LogSumExp : LogOfColumns<T> {
    template <bool HAS_GAPS, class Shape, class X>
    static Vec<T> run(const Shape shape, X x) {
        if constexpr (!Shape::IS_PANEL) {
            const auto plain = PlainLog<T, UNSHIFTED>::template of<HAS_GAPS>(shape, x, Temperature<T>());
            if (any<T>(plain.applies)) return plain.log.high;
        }
        return large(shape, x);
    }
    // The same of rows where PlainLog does not apply.
    template <class Shape, class X>
    static Vec<T> large(const Shape shape, X x) {
        const LogSum<T, false> sum(shape, x, Temperature<T>());
        return plus<T>(sum.max, sum.log).high;
    }

    // Rows that keep step; those of them that are not `done` are left.
    template <bool HAS_GAPS, class X>
    [[gnu::flatten]] static Vec<T> run(const Rows<T> rows, X x, Bits<T>& done) {
        const auto plain = PlainLog<T, UNSHIFTED>::template of<HAS_GAPS>(rows, x, {});
        done = plain.applies;
        return plain.log.high;
    }
};

}  // namespace
