// log |Σ b e^x| and the sign of the sum. Where b is 0, x is not read.
#pragma once

#include "math/log.h"
#include "rows/row_loop.h"

namespace {

// The sum over e^max, and the largest x and |b| of what is read, for each lane or for the row.
//
// The terms at the maximum are summed separately, without an exponential: next to them the others would be lost, and
// where they come to 1 the others are all that matters. What the product b e^x loses is kept with the sum's own errors.
template <class T>
struct WeightedSum {
    Vec<T> max, size;
    DoubleWord<T> total;

    template <class Shape>
    WeightedSum(const Shape shape, const T* x, const T* b) {
        Range<T> range;
        Vec<T> sizes = splat<T>(0);
        shape.at_each([&](auto place) {
            const Vec<T> weight = place(b, 0), v = place(x, x[0]);
            const Bits<T> unread = weight == 0;
            range.max = ::max(unread ? splat(-INF<T>) : v, range.max);
            range.min = ::min(unread ? splat(INF<T>) : v, range.min);
            sizes = max_absolute<T>(weight, sizes);
        });
        range = shape.across(range);
        max = range.max;
        size = shape.largest(sizes);
        if (range.near())
            add_up<NEAR>(shape, x, b);
        else
            add_up<FAR>(shape, x, b);
    }

    // Where the logarithm may be taken: no term that matters is lost below GAP or is subnormal, and none is infinite.
    Bits<T> is_ordinary() const {
        const T LEAST = sizeof(T) == 4 ? (T)0x1p-100 : (T)0x1p-800;
        const Vec<T> sum = absolute<T>(total.high), least = LEAST * ::max(size, splat<T>(1));
        return (sum >= least) & (sum <= 1 / LEAST) & (absolute<T>(max) < INF<T>);
    }
    Vec<T> sign() const { return total.high < 0 ? splat<T>(-1) : splat<T>(1); }
    Vec<T> log() const { return plus<T>(max, log_of<T>(total.high * sign(), total.low * sign(), splat<T>(0))).high; }

   private:
    template <Mode MODE, class Shape>
    [[gnu::flatten]] void add_up(const Shape shape, const T* x, const T* b) {
        const Vec<T> top = max, zero = splat<T>(0);
        const Exp<T, MODE> exp(top, Temperature<T>());
        RowTotal<Shape> others, argmaxes;
        shape.blocks([&](const Shape block) {
            Sum<T> sum, at_top;
            block.at_each_prefetching([&](auto place) {
                const Vec<T> weight = place(b, 0), v = weight == 0 ? top : place(x, x[0]);
                const Bits<T> is_top = v == top;
                const DoubleWord<T> e = exp.parts(v, [&](Vec<T> power) { return is_top ? zero : power; }).rounded();
                const Vec<T> term = weight * e.high;
                sum.add(term);
                sum.error += mul_add(weight, e.low, fma(weight, e.high, -term));
                at_top.add(is_top ? weight : zero);
            });
            others.add(sum);
            argmaxes.add(at_top);
        });
        // e^0 at the scale of the sum: not exactly 1, since x and the maximum are reduced apart.
        total = plus<T>(argmaxes.parts(), over<T>(others.parts(), exp.parts(top).rounded()));
    }
};

// log |Σ b e^x| and the sign of the sum: −inf and 0 of nothing; NaN where the row has NaN or inf − inf.
template <class T>
struct SignedLog {
    T log, sign;

    // Of any row, entry by entry in a wider type, relative to the x of the largest term.
    SignedLog(const Operand<const T>& x, const Operand<const T>& b, ptrdiff_t n) {
        bool above = false, below = false;
        Wide<T> origin = 0, largest = -INFINITY;
        for (ptrdiff_t j = 0; j < n; ++j) {
            const T weight = b.at(0, j), v = x.at(0, j), size = fabs(weight);
            if (weight == 0) continue;
            if (v != v || size != size || (v == -INF<T> && size == INF<T>)) {
                log = sign = NAN;
                return;
            }
            if (v == INF<T> || size == INF<T>) (weight > 0 ? above : below) = true;
            const Wide<T> term = (Wide<T>)v + wide_log((Wide<T>)size);
            if (term > largest) {
                largest = term;
                origin = v;
            }
        }
        if (above || below) {
            log = above && below ? (T)NAN : INF<T>;
            sign = above && below ? (T)NAN : above ? 1 : -1;
            return;
        }
        Wide<T> sum = 0, error = 0;
        for (ptrdiff_t j = 0; j < n; ++j) {
            if (b.at(0, j) == 0) continue;
            // The exponential itself may overflow where the term does not.
            const Wide<T> quarter = wide_exp(((Wide<T>)x.at(0, j) - origin) * 0.25);
            const Wide<T> term = (Wide<T>)b.at(0, j) * quarter * quarter * quarter * quarter;
            const Wide<T> next = sum + term, of_term = next - sum;
            error += (sum - (next - of_term)) + (term - of_term);
            sum = next;
        }
        const Wide<T> total = sum + error;
        sign = total > 0 ? 1 : total < 0 ? -1 : 0;
        log = sign == 0 ? -INF<T> : (T)(origin + (wide_log(sum * sign) + wide_log1p(error / sum)));
    }
};

template <class S>
void signed_logsumexp(const Call& call) {
    typedef Computed<S> T;
    const Operand<S> log = call.numbers<S>(2), sign = call.numbers<S>(3);
    RowLoop<S, 2, 0>(call).run([&](auto shape, ptrdiff_t i, const T* const* in, T* const*) {
        const ptrdiff_t step = sizeof(T) * (shape.IS_LANE_BATCH ? WIDTH<T> : 1);
        const WeightedSum<T> sum(shape, in[0], in[1]);
        const Bits<T> ordinary = sum.is_ordinary();
        T logs[WIDTH<T>], signs[WIDTH<T>];
        store(logs, sum.log());
        store(signs, sum.sign());
        for (int lane = 0; lane < shape.lanes; ++lane) {
            if (!ordinary[lane]) {
                const SignedLog<T> one({(char*)(in[0] + lane), 0, step}, {(char*)(in[1] + lane), 0, step},
                                       shape.length());
                logs[lane] = one.log;
                signs[lane] = one.sign;
            }
            log.at(i + lane, 0) = stored<S>(logs[lane]);
            sign.at(i + lane, 0) = stored<S>(signs[lane]);
        }
    });
}

}  // namespace
