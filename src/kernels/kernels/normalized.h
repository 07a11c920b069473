// What the losses, entropies and states know of a row.
#pragma once

#include <type_traits>

#include "kernels/unshifted.h"
#include "math/log.h"

namespace {

// What is known of a row: e^(x − max) at some scale, written by `add_up`, times `inverse` is p.
template <class T>
struct Normalized {
    Vec<T> max, ties;
    DoubleWord<T> argmax, others;   // e^0 at the scale of the sum, and Σ e^(x − max) over all below the maximum
    DoubleWord<T> inverse, excess;  // 1/Σ e^(x − max), and Σ e^(x − max) − 1
    Vec<T> complement;              // 1 − p at the maximum

    // `visit(place, x, e, max)` sees every vector, with what the rounding of its exponentials lost, and `end_block()`
    // the end of each block; with e a null pointer the exponentials are not kept.
    template <class Shape, class Visit, class EndBlock>
    void add_up(const Shape shape, const T* x, T* e, Visit visit, EndBlock end_block) {
        const Range<T> range = shape.range(x);
        max = range.max;
        if (range.near())
            add_up<NEAR>(shape, x, e, visit, end_block);
        else
            add_up<FAR>(shape, x, e, visit, end_block);
    }
    template <class Shape>
    void add_up(const Shape shape, const T* x, T* e) {
        add_up(shape, x, e, NoOp{}, NoOp{});
    }

    // `add_up` for rows of small logits where no term outweighs all others, which are nearly all: no maximum
    // beforehand, so one pass less, and the sum without the largest term by subtraction, which is exact enough where
    // that is not all. Which way a row goes depends on itself alone, in
    // a lane batch, too.
    template <class Shape>
    [[gnu::flatten]] void add_up_rounded(const Shape shape, const T* x, T* e) {
        const Exp<T, UNSHIFTED> exp;
        if (!Shape::IS_LANE_BATCH && begins_beyond<T>(x, exp.most())) return add_up(shape, x, e);
        const SmallSum<T, Shape, false> small(shape, x, exp, [&](auto place, Vec<T> value) {
            if (e) place.store(e, value);
        });
        const ArgmaxAndOthers<T> sum(exp, small.largest, small.total.parts(), LEAST_PART<T>);
        const Bits<T> applies = small.small & sum.applies;
        if (!any<T>(~applies)) {
            take(small.largest, sum);
            return;
        }
        add_up(shape, x, e);
        if (!Shape::IS_LANE_BATCH) return;
        const Vec<T> scale = argmax.high / sum.argmax.high;  // a power of two
        ties = applies ? splat<T>(1) : ties;
        others.high = applies ? sum.others.high * scale : others.high;
        others.low = applies ? sum.others.low * scale : others.low;
    }

    // `add_up` for a lockstep batch; returns which rows were done.
    [[gnu::flatten]] Bits<T> add_up_rounded(const Lockstep<T> rows, const T* x, bool keeps) {
        const SmallSums<T, false> sums(rows, x, keeps);
        const ArgmaxAndOthers<T> sum(Exp<T, UNSHIFTED>(), sums.largest, sums.total, LEAST_PART<T>);
        take(sums.largest, sum);
        return sums.small & sum.applies;
    }

    [[gnu::always_inline]] void total() {
        const Vec<T> argmaxes = ties * argmax.high;
        const DoubleWord<T> total =
            plus<T>(DoubleWord<T>(argmaxes, fma(ties, argmax.high, -argmaxes) + ties * argmax.low), others);
        inverse = over<T>(DoubleWord<T>(splat<T>(1), splat<T>(0)), total);
        complement = product<T>(others, inverse).high;
        excess = plus<T>(ties - 1, over<T>(others, argmax));
    }

    [[gnu::always_inline]] DoubleWord<T> log() const { return log1p<T>(excess); }
    Vec<T> probability(Vec<T> e) const { return times(e, inverse); }
    // 1 − p for p up to about a half: to p/2 · u and its own rounding. With both, p (1 − p) is off by (ρ + σ) (1 −
    // 2p)/(1 − p) from the exponential and the sum, by 1 + 1/2 + 1/2 from roundings before the last, which is half an
    // ulp: below 4.
    Vec<T> complement_of(Vec<T> e) const { return fma(-e, inverse.high, splat<T>(1)); }
    // Where the gradient and the curvature have to be taken from the other entries.
    Bits<T> saturated(Vec<T> x) const { return (x == max) & (ties == 1); }

   private:
    void take(Vec<T> largest, const ArgmaxAndOthers<T>& sum) {
        max = largest;
        ties = splat<T>(1);  // ties are among the others
        argmax = sum.argmax;
        others = sum.others;
    }

    template <Mode MODE, class Shape, class Visit, class EndBlock>
    [[gnu::flatten]] void add_up(const Shape shape, const T* x, T* e, Visit visit, EndBlock end_block) {
        const Vec<T> top = max;  // not a member, which e might overwrite as far as the compiler knows
        const Exp<T, MODE> exp(top, Temperature<T>());
        RowTotal<Shape> whole, equal;
        shape.blocks([&](const Shape block) {
            Sum<T> sum, count;
            block.at_each_prefetching([&](auto place) {
                const Vec<T> v = place(x, x[0]), one = place.keep(splat<T>(1)), zero = splat<T>(0);
                const DoubleWord<T> exact = exp.parts(v).rounded();
                const Vec<T> value = place.keep(exact.high), lost = place.keep(exact.low);
                if (e) place.store(e, value);
                count.sum = v == top ? count.sum + one : count.sum;
                sum.add(v == top ? zero : value);
                sum.error += v == top ? zero : lost;
                visit(place, v, DoubleWord<T>(value, lost), top);
            });
            whole.add(sum);
            equal.add(count);
            end_block();
        });
        ties = equal.parts().high;
        others = whole.parts();
        argmax = exp.parts(top).rounded();  // not exactly 1: x and the maximum are reduced apart
    }
};

// c p from the exponentials of a row: times c/Σ in two parts, so that it is rounded once. In lanes where c/Σ would not
// have its digits, p is rounded before it is multiplied.
//
// With ρ and σ of softmax.h, an entry is off by 1/2 + ρ + σ ulp; in such lanes, by 1/2 + ρ + σ + 1 + 1.
template <class T>
struct Multiple {
    DoubleWord<T> factor;  // c/Σ, or 1/Σ
    Vec<T> then;           // 1, or c

    Multiple() = default;
    Multiple(const DoubleWord<T>& factor, Vec<T> then) : factor(factor), then(then) {}
    Multiple(const Normalized<T>& row, const DoubleWord<T>& c) {
        const DoubleWord<T> all = product<T>(row.inverse, c);
        const Bits<T> in_range = has_digits(all.high);
        factor = {in_range ? all.high : row.inverse.high, in_range ? all.low : row.inverse.low};
        then = in_range ? splat<T>(1) : c.high;
    }

    // Whether factors of exponentials are so far from the smallest and the largest number that both of their parts and
    // the products have their digits.
    static Bits<T> has_digits(Vec<T> factor) {
        constexpr T LEAST = (T)(sizeof(T) == 4 ? 0x1p-118 : 0x1p-1010), MOST = (T)(sizeof(T) == 4 ? 0x1p100 : 0x1p900);
        const Vec<T> size = absolute<T>(factor);
        return (size >= LEAST) & (size <= MOST);
    }

    bool is_direct() const { return !any<T>(then != 1); }
    // IS_DIRECT: as every lane is.
    template <bool IS_DIRECT>
    [[gnu::always_inline]] Vec<T> of(Vec<T> e) const {
        if constexpr (IS_DIRECT) return times(e, factor);
        return then == 0 ? splat<T>(0) : times(e, factor) * then;
    }
};

// f(std::true_type()) or f(std::false_type()).
template <class F>
inline void with_constant(bool condition, F f) {
    if (condition)
        f(std::true_type());
    else
        f(std::false_type());
}

// max − x in two parts; the second is 0 where the first is infinite.
template <class T>
inline DoubleWord<T> gap_below(Vec<T> max, Vec<T> x) {
    const Vec<T> difference = max - x, of_x = max - difference;
    const Vec<T> error = (max - (difference + of_x)) + (of_x - x);
    return {difference, difference < INF<T> ? error : splat<T>(0)};
}

}  // namespace
