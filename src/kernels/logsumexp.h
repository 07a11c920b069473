// logsumexp, and log_softmax from it.
#pragma once

#include "log.h"

namespace {

// log Σ e^((x − max)/T) of a row, in two parts.
//
// The terms at the maximum are counted, not summed: beside a 1 the others would be lost, and where they are all that
// matters log1p takes them without it.
template <class T, bool IS_TEMPERED>
struct LogSum {
    Vec<T> max;
    Split<T> log;

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

// Where a term of the sum `total` outweighs all others: beside it they would be lost.
template <class T, Mode MODE>
inline Bits<T> outweighs(const Exp<T, MODE>& exp, Vec<T> largest, const Split<T>& total) {
    return exp(largest) > (T)0.5 * total.high;
}

template <class T>
inline Split<T> log_of(const Split<T>& total) {
    return log_of<T>(total.high, total.low, splat<T>(0));
}

// Σ e^x and the largest x of a row of small logits where no term outweighs all others, which needs no maximum beforehand,
// so one pass less; to be used where `applies`. (In a panel the lanes would have to agree on it.)
template <class T, bool HAS_GAPS, Mode MODE = UNSHIFTED>
struct PlainSum {
    bool applies = true;
    Vec<T> largest = splat(-INF<T>);
    Split<T> total;

    template <class... Temperatures>
    [[gnu::flatten]] PlainSum(const Row<T> row, const T* x, const Temperatures&... t) {
        const Exp<T, MODE> exp(t...);
        if constexpr (MODE != UNSHIFTED) applies = !begins_beyond<T>(x, exp.most());  // at T = 1 most rows are small
        Vec<T> size = splat<T>(0), max = largest;
        Whole<Row<T>> whole;
        row.blocks([&](const Row<T> block) {
            if (!applies) return;
            WideSum<T> sum;
            block.at_each_fetching([&](auto place) {
                const Vec<T> v = place(x, x[0]);
                max = ::max(v, max);
                sum.add(place.keep(exp_but_gaps<T, HAS_GAPS>(
                    exp, v, [&](Vec<T> finite) { size = max_absolute<T>(finite, size); })));
            });
            whole.add(sum);
            applies = !any<T>(size > exp.most());
        });
        if (!applies) return;
        total = whole.parts();
        largest = reduce_lanes<T>(max, [](Vec<T> a, Vec<T> b) { return ::max(a, b); });
        // A row of nothing but gaps has no terms.
        applies = largest[0] > -INF<T> && !any<T>(outweighs<T>(exp, largest, total));
    }

    Split<T> log() const { return log_of<T>(total); }
    // Σ e^(x − largest), the largest itself left out.
    Split<T> rest() const {
        return plus<T>(splat<T>(-1), over<T>(total, Exp<T, UNSHIFTED>().parts(largest).split()));
    }
};

// The log of PlainSum of rows that keep step, lane by lane, and where it applies.
template <class T, bool HAS_GAPS>
struct PlainLogs {
    Bits<T> applies;
    Split<T> log;

    PlainLogs(const Rows<T> rows, const T* x) {
        const SmallSums<T, HAS_GAPS> sums(rows, x, false);
        applies = sums.small & (sums.largest > -INF<T>) & ~outweighs<T>(Exp<T, UNSHIFTED>(), sums.largest, sums.total);
        log = log_of<T>(sums.total);
    }
};

// The log of PlainSum of each column (columns.h), and where it does not apply.
template <class T>
struct LogOfColumns {
    static constexpr int CHAINS = 1;

    static Bits<T> factor(const Range<T>& range, const Wide<T>* totals, Split<T>& log) {
        const Exp<T, UNSHIFTED> exp;
        const Split<T> total = split(totals);
        log = log_of<T>(total);
        return ~range.within(exp.most()) | (total.high != total.high) | outweighs<T>(exp, range.max, total);
    }
};

template <class T>
struct LogSoftmax : LogOfColumns<T> {
    static constexpr T MASKED = -INF<T>;

    template <bool IS_TEMPERED, bool HAS_GAPS, class Shape>
    static bool run(const Shape shape, const T* x, T* y, const Temperature<T>& t) {
        if constexpr (!Shape::IS_PANEL) {
            if constexpr (IS_TEMPERED) {
                const PlainSum<T, HAS_GAPS, UNSHIFTED_TEMPERED> sum(shape, x, t);
                if (sum.applies) return subtract<IS_TEMPERED, HAS_GAPS>(shape, x, y, t, sum.log());
            } else {
                const PlainSum<T, HAS_GAPS> sum(shape, x);
                if (sum.applies) return subtract<IS_TEMPERED, HAS_GAPS>(shape, x, y, t, sum.log());
            }
        }
        return large<IS_TEMPERED>(shape, x, y, t);
    }

    // The same of rows where PlainSum does not apply.
    template <bool IS_TEMPERED, class Shape>
    [[gnu::flatten]] static bool large(const Shape shape, const T* x, T* y, const Temperature<T>& t) {
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
    template <bool HAS_GAPS>
    [[gnu::flatten]] static Bits<T> run(const Rows<T> rows, const T* x, T* y) {
        for (int lane = 0; lane < rows.lanes; ++lane) rows.fetch_result(y, lane);
        const PlainLogs<T, HAS_GAPS> plain(rows, x);
        const Bits<T> done = HAS_GAPS ? plain.applies & (plain.log.high == plain.log.high) : plain.applies;
        const SplitLanes<T> logs(plain.log);
        rows.each([&](int lane, const Row<T> row) {
            if (done[lane])
                subtract<false, HAS_GAPS>(row, rows.in(x, lane), rows.out(y, lane), Temperature<T>(), logs[lane]);
        });
        return done;
    }

    static Wide<T> value(Wide<T> shifted, Wide<T> rest) { return shifted - wide_log1p(rest); }

    // An entry of a column.
    static Vec<T> result(Vec<T> v, const Split<T>& log) { return difference<false>(v, Temperature<T>(), log); }

   private:
    // x/T − log, where |x/T| is small and the difference at least log 2.
    template <bool IS_TEMPERED>
    [[gnu::always_inline]] static Vec<T> difference(Vec<T> v, const Temperature<T>& t, const Split<T>& log) {
        const Vec<T> a = IS_TEMPERED ? v * t.inverse : v, result = a - log.high, of_log = result - a;
        Vec<T> error = ((a - (result - of_log)) - (log.high + of_log)) - log.low;
        if constexpr (IS_TEMPERED) error += mul_add(v, t.inverse_low, fma(v, t.inverse, -a));
        return result + error;
    }

    template <bool IS_TEMPERED, bool HAS_GAPS>
    [[gnu::flatten]] static bool subtract(const Row<T> row, const T* x, T* y, const Temperature<T>& t, const Split<T>& log) {
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
    template <bool HAS_GAPS, class Shape>
    static Vec<T> run(const Shape shape, const T* x) {
        if constexpr (!Shape::IS_PANEL) {
            const PlainSum<T, HAS_GAPS> sum(shape, x);
            if (sum.applies) return sum.log().high;
        }
        return large(shape, x);
    }
    // The same of rows where PlainSum does not apply.
    template <class Shape>
    static Vec<T> large(const Shape shape, const T* x) {
        const LogSum<T, false> sum(shape, x, Temperature<T>());
        return plus<T>(sum.max, sum.log).high;
    }

    // Rows that keep step; those of them that are not `done` are left.
    template <bool HAS_GAPS>
    [[gnu::flatten]] static Vec<T> run(const Rows<T> rows, const T* x, Bits<T>& done) {
        const PlainLogs<T, HAS_GAPS> plain(rows, x);
        done = plain.applies;
        return plain.log.high;
    }
};

}  // namespace
