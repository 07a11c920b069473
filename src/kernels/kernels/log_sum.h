// log Σ e^(x/T) of a row.
#pragma once

#include "kernels/unshifted.h"
#include "math/log.h"

namespace {

// log Σ e^((x − max)/T) of a row, in two parts.
//
// The terms at the maximum are counted, not summed: next to a 1 the others would be lost, and where they are all that
// matters log1p takes them without it.
template <class T, bool IS_TEMPERED>
struct LogSum {
    Vec<T> max;
    DoubleWord<T> log;
    Vec<T> lower;  // a power of 2 that makes the entries so small that no difference or product of them overflows

    template <class Shape, class X>
    LogSum(const Shape shape, X x, const Temperature<T>& t) {
        const Range<T> range = shape.range(x);
        max = range.max;
        lower = max_absolute<T>(range.min, absolute<T>(max)) > LARGE ? splat(1 / LARGE) : splat<T>(1);
        if constexpr (IS_TEMPERED)
            add_up<TEMPERED>(shape, x, t);
        else if (range.near())
            add_up<NEAR>(shape, x, t);
        else
            add_up<FAR>(shape, x, t);
    }

   private:
    static constexpr T LARGE = (T)(sizeof(T) == 4 ? 0x1p60 : 0x1p500);

    template <Mode MODE, class Shape, class X>
    [[gnu::flatten]] void add_up(const Shape shape, X x, const Temperature<T>& t) {
        const Exp<T, MODE> exp(max, t);
        RowTotal<Shape> others, ties;
        shape.blocks([&](const Shape block) {
            Sum<T> sum, count;
            block.at_each_prefetching([&](auto place) {
                const Vec<T> v = place(x, x[0]);
                const auto keep = [&](Vec<T> power) { return v == max ? splat<T>(0) : place.keep(power); };
                const DoubleWord<T> e = exp.parts(v, keep).rounded();
                count.sum = v == max ? count.sum + place.keep(splat<T>(1)) : count.sum;
                sum.add(e.high);
                sum.error += e.low;
            });
            others.add(sum);
            ties.add(count);
        });
        // e^0 at the scale of the sum: not exactly 1, since x and the maximum are reduced apart.
        const DoubleWord<T> argmax = exp.parts(max).rounded();
        log = log1p<T>(plus<T>(ties.parts().high - 1, over<T>(others.parts(), argmax)));
    }
};

// log Σ e^(x/T) from the sum of the exponentials and the largest of small x, to be used where it `applies`. Where one
// term outweighs all others, log_softmax is their ratio to it, and the log is taken from their sum.
template <class T, Mode MODE>
struct PlainLog {
    // A smaller log would have lost its digits next to the largest x, 32 in float32 and 256 in float64, in two parts of
    // a log.
    static constexpr T LEAST = sizeof(T) == 4 ? (T)0x1p-14 : LEAST_PART<T>;

    Bits<T> applies;
    DoubleWord<T> log;

    PlainLog(Vec<T> largest, const DoubleWord<T>& total, const Temperature<T>& t) {
        const Exp<T, MODE> exp(t);
        applies = total.high > 0;  // false for NaN and for a row with no valid entry
        log = log_of<T>(total.high, total.low, splat<T>(0));
        const Bits<T> outweighs = exp(largest) > (T)0.5 * total.high;
        if (!any<T>(outweighs)) return;
        const ArgmaxAndOthers<T> sum(exp, largest, total, LEAST);
        const DoubleWord<T> by_others =
            plus<T>(t.template quotient<MODE != UNSHIFTED>(largest), log1p<T>(over<T>(sum.others, sum.argmax)));
        applies &= ~outweighs | sum.applies;
        log = {outweighs ? by_others.high : log.high, outweighs ? by_others.low : log.low};
    }

    // Of one row.
    template <bool IS_MASKED, class X>
    [[gnu::flatten]] static PlainLog of(const Row<T> row, X x, const Temperature<T>& t) {
        const Exp<T, MODE> exp(t);
        if (begins_beyond<T>(x, exp.most())) return PlainLog();
        const SmallSum<T, Row<T>, IS_MASKED> sum(row, x, exp, NoOp{});
        if (!any<T>(sum.small)) return PlainLog();
        return PlainLog(sum.largest, sum.total.parts(), t);
    }
    // Of a lockstep batch, lane by lane.
    template <bool IS_MASKED, class X>
    static PlainLog of(const Lockstep<T> rows, X x, const Temperatures<T, MODE>& t) {
        const SmallSums<T, IS_MASKED, MODE> sums(rows, x, false, t);
        PlainLog all(sums.largest, sums.total, t.all);
        all.applies &= sums.small;
        return all;
    }

   private:
    PlainLog() : applies(Bits<T>{}) {}
};

// PlainLog of each column (column_block.h), and where it does not apply.
template <class T>
struct LogOfColumns {
    static constexpr int CHAINS = 1;

    static Bits<T> factor(const Range<T>& range, const Wide<T>* totals, DoubleWord<T>& log) {
        const PlainLog<T, UNSHIFTED> plain(range.max, double_words(totals), Temperature<T>());
        log = plain.log;
        return ~(range.within(Exp<T, UNSHIFTED>().most()) & plain.applies);
    }
};

}  // namespace
