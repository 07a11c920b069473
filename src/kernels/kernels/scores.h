// What an evaluation and the fit of a temperature ask of a row x of logits, its label y and a temperature T.
//
// With m = x_k the first of the largest entries, d = Σ_{j≠k} p_j, which is 1 − p_k, and z_j = (m − x_j)/T, these are
//     the loss        log(1 + d/p_k) + z_y
//     the Brier score d² + Σ_{j≠k} p_j² where y = k, else 1 − 2 p_y + Σ_j p_j²
//     the entropy     log(1 + d/p_k) + Σ_j p_j z_j
//     the confidence  p_k
//     the rank        how many entries are larger than x_y, or equal to it and before it
// and the derivative of the loss with respect to log 1/T, z_y − Σ_j p_j z_j, with the variance Σ_j p_j z_j² − (Σ_j p_j
// z_j)² of z.
//
// But for 2 p_y and the last two, no sum has terms of two signs: with the exponentials exact to ρ (softmax.h), sums in
// double precision of terms that are rounded twice are off by ρ + 1 ulp, and so are the scores.
#pragma once

#include "kernels/normalized.h"
#include "rows/label.h"
#include "rows/numbers.h"
#include "rows/row_loop.h"

namespace {

// The sums of a row over the entries below its maximum: of e^((x − m)/T) at some scale, of that times m − x, and of
// what `second(e, m − x, 1/T)` gives of the two.
template <class T, class Shape>
struct ScoreSums {
    Vec<T> ties;
    DoubleWord<T> argmax, others, gaps, seconds;  // `argmax` is e^0 at the scale of the sums

    // A number for each lane in double precision.
    struct Numbers {
        T high[WIDTH<T>], low[WIDTH<T>];
        explicit Numbers(const DoubleWord<T>& v) {
            ::store(high, v.high);
            ::store(low, v.low);
        }
        explicit Numbers(Vec<T> v) : Numbers(DoubleWord<T>(v, splat<T>(0))) {}
        double operator[](int lane) const { return (double)high[lane] + (double)low[lane]; }
    };

    // log Σ_j e^((x_j − m)/T).
    Numbers log() const { return Numbers(log1p<T>(plus<T>(ties - 1, over<T>(others, argmax)))); }

    // Returns the exponential of `x_label`.
    template <Mode MODE, class Second>
    [[gnu::flatten]] Vec<T> add_up(const Shape shape, const T* x, const Vec<T> top, Vec<T> x_label,
                                   const Temperature<T>& t, Second second) {
        const Vec<T> zero = splat<T>(0);
        const Exp<T, MODE> exp(top, t);
        RowTotal<Shape> of_others, of_seconds, of_gaps, of_ties;
        shape.blocks([&](const Shape block) {
            WideSum<T> sum, seconds, gap;
            Sum<T> count;
            block.runs([&](const Shape run) {
                Vec<T> lost = zero;
                run.at_each_prefetching([&](auto place) {
                    const Vec<T> v = place(x, x[0]), one = place.keep(splat<T>(1));
                    const DoubleWord<T> e = exp.parts(v).rounded();
                    const Vec<T> value = v == top ? zero : place.keep(e.high), below = top - v;
                    lost += v == top ? zero : place.keep(e.low);
                    count.sum = v == top ? count.sum + one : count.sum;
                    sum.add(value);
                    gap.add(value == 0 ? zero : value * below);  // the difference may be infinite
                    seconds.add(value == 0 ? zero : second(value, below, t.inverse));
                });
                sum.add_lost(lost);
            });
            of_others.add(sum);
            of_gaps.add(gap);
            of_seconds.add(seconds);
            of_ties.add(count);
        });
        others = of_others.parts();
        gaps = of_gaps.parts();
        seconds = of_seconds.parts();
        ties = of_ties.parts().high;
        argmax = exp.parts(top).rounded();
        return exp(x_label);
    }
};

// How many entries of a row are before the one at the label, and the range of the row.
template <class T, class Shape>
struct Rank {
    Range<T> range;
    typename Types<T>::Integer larger[WIDTH<T>], equal[WIDTH<T>];

    Rank(const Shape shape, const T* x, Vec<T> x_label) {
        Range<T> lanes;
        Bits<T> larger_{}, equal_{};
        shape.at_each([&](auto place) {
            const Vec<T> v = place(x, (T)NAN);  // a range passes over NaN
            lanes.add(v);
            larger_ -= v > x_label;
            equal_ -= v == x_label;
        });
        range = shape.across(lanes);
        __builtin_memcpy(larger, &larger_, sizeof larger);
        __builtin_memcpy(equal, &equal_, sizeof equal);
    }

    int64_t of(int lane, const T* x, int64_t label) const {
        constexpr bool IS_BATCH = Shape::IS_LANE_BATCH;
        constexpr ptrdiff_t STEP = IS_BATCH ? WIDTH<T> : 1;
        int64_t before = 0, alike = 0;
        for (int k = IS_BATCH ? lane : 0; k < (IS_BATCH ? lane + 1 : WIDTH<T>); ++k) {
            before += larger[k];
            alike += equal[k];
        }
        const T own = x[label * STEP + lane];
        for (int64_t j = 0; alike > 1 && j < label; ++j) before += x[j * STEP + lane] == own;
        return before;
    }
};

// Calls each_row(shape, i, x, label, x_label, add_up) for each row or lane batch, from row i on, where
// add_up(sums, range, second) adds it up at its temperature.
template <class S, class EachRow>
void each_labelled_row(const Call& call, EachRow each_row) {
    typedef Computed<S> T;
    const auto labels = call.numbers<const int64_t>(1);
    const auto t = call.numbers<const double>(2);
    const bool is_tempered = call.rows() && (t.row != 0 || t.at(0, 0) != 1);
    RowLoop<S, 1, 0>(call).run([&](auto shape, ptrdiff_t i, const T* const* in, T* const*) {
        typedef decltype(shape) Shape;
        const T* const x = in[0];
        int64_t label[WIDTH<T>];
        load_each(shape, labels, i, label);
        const Vec<T> x_label = Label<Shape>(shape, label).take(x);
        each_row(shape, i, x, label, x_label, [&](ScoreSums<T, Shape>& sums, const Range<T>& range, auto second) {
            if (is_tempered) {
                const DoubleWord<T> each = load_numbers<T>(shape, t, i);
                const Temperature<T> temperature(each.high, each.low);
                return sums.template add_up<TEMPERED>(shape, x, range.max, x_label, temperature, second);
            }
            if (range.near()) return sums.template add_up<NEAR>(shape, x, range.max, x_label, Temperature<T>(), second);
            return sums.template add_up<FAR>(shape, x, range.max, x_label, Temperature<T>(), second);
        });
    });
}

template <int FIRST, int COUNT>
inline void store_row(const Call& call, ptrdiff_t row, const double (&found)[COUNT]) {
    for (int k = 0; k < COUNT; ++k) call.numbers<double>(FIRST + k).at(row, 0) = found[k];
}

template <class S>
void scores(const Call& call) {
    typedef Computed<S> T;
    // Exponentials are scaled to half their exponent before they are squared.
    static constexpr T HALVED = (T)(sizeof(T) == 4 ? 0x1p-35 : 0x1p-256);
    const auto t = call.numbers<const double>(2);
    const auto square = [](Vec<T> e, Vec<T>, Vec<T>) { return (e * HALVED) * (e * HALVED); };
    const auto each_row = [&](auto shape, ptrdiff_t i, const T* x, const int64_t* labels, Vec<T> x_label, auto add_up) {
        typedef ScoreSums<T, decltype(shape)> Sums;
        typedef typename Sums::Numbers Numbers;
        const Rank<T, decltype(shape)> ranks(shape, x, x_label);
        Sums sums;
        const Numbers e_label(add_up(sums, ranks.range, square)), max(ranks.range.max), of_label(x_label),
            first_(sums.argmax), ties(sums.ties), others(sums.others), squares(sums.seconds), gaps(sums.gaps),
            log(sums.log());
        for (int lane = 0; lane < shape.lanes; ++lane) {
            const double first = first_[lane], more = (ties[lane] - 1) * first, rest = more + others[lane];
            const double inverse = 1 / (first + rest), d = rest * inverse, p_first = first * inverse;
            const double p_label = e_label[lane] * inverse, rescaled = inverse / HALVED;
            const double of_rest = (squares[lane] + more * HALVED * first * HALVED) * rescaled * rescaled;
            const int64_t rank = ranks.of(lane, x, labels[lane]);
            const double nll = log[lane] + (max[lane] - of_label[lane]) / t.at(i + lane, 0);
            const double brier = (rank == 0 ? d * d : 1 - 2 * p_label + p_first * p_first) + of_rest;
            const double entropy = log[lane] + gaps[lane] * inverse / t.at(i + lane, 0);
            store_row<3>(call, i + lane, {nll, brier, entropy, p_first, (double)rank});
        }
    };
    each_labelled_row<S>(call, each_row);
}

// The loss, its derivative with respect to log 1/T, and the variance of x/T under p.
template <class S>
void temperature_slope(const Call& call) {
    typedef Computed<S> T;
    const auto t = call.numbers<const double>(2);
    const auto square = [](Vec<T> e, Vec<T> below, Vec<T> inverse) { return (e * below) * (below * inverse); };
    const auto each_row = [&](auto shape, ptrdiff_t i, const T* x, const int64_t*, Vec<T> x_label, auto add_up) {
        typedef ScoreSums<T, decltype(shape)> Sums;
        typedef typename Sums::Numbers Numbers;
        const Range<T> range = shape.range(x);
        Sums sums;
        add_up(sums, range, square);
        const Numbers max(range.max), of_label(x_label), first(sums.argmax), ties(sums.ties), others(sums.others),
            squares(sums.seconds), gaps(sums.gaps), log(sums.log());
        for (int lane = 0; lane < shape.lanes; ++lane) {
            const double T_ = t.at(i + lane, 0), inverse = 1 / (ties[lane] * first[lane] + others[lane]) / T_;
            const double fall = (max[lane] - of_label[lane]) / T_, mean = gaps[lane] * inverse;
            store_row<3>(call, i + lane, {log[lane] + fall, fall - mean, squares[lane] * inverse - mean * mean});
        }
    };
    each_labelled_row<S>(call, each_row);
}

}  // namespace
