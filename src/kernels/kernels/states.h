// The state that one pass over a row leaves behind (see softgrad/arrays/states.py), rows from the state of all of their
// slice, and the state of a slice from those of its chunks.
#pragma once

#include "kernels/entropy.h"
#include "kernels/logsumexp.h"
#include "kernels/softmax.h"

namespace {

// A state to the float64 results, one operand for each part. Where the sums are NaN, the maximum, which passes over
// NaN, is found again among the entries of x.
template <int COUNT, class T, class Shape>
inline void store_state(const Shape shape, const T* x, const Vec<T> (&parts)[COUNT], const Call& call, ptrdiff_t i) {
    T values[COUNT][WIDTH<T>];
    for (int k = 0; k < COUNT; ++k) store(values[k], parts[k]);
    for (int lane = 0; lane < shape.lanes; ++lane) {
        const bool is_number = values[1][lane] == values[1][lane];
        if (!is_number) {
            constexpr ptrdiff_t STEP = Shape::IS_LANE_BATCH ? WIDTH<T> : 1;
            values[0][lane] = special_logsumexp<T>(shape.length(), [&](ptrdiff_t j) { return x[j * STEP + lane]; });
        }
        for (int k = 0; k < COUNT; ++k)
            call.numbers<double>(k + 1).at(i + lane, 0) = is_number || k == 0 ? values[k][lane] : (T)NAN;
    }
}

// The largest entry m and, in two parts, Σ_{j≠k} e^(x_j − m) with k one of the largest.
template <class S>
void max_and_rest(const Call& call) {
    typedef Computed<S> T;
    const auto kernel = [&](auto shape, ptrdiff_t i, const T* const* in, T* const*) {
        Normalized<T> row;
        row.add_up_rounded(shape, in[0], nullptr);
        row.total();
        const Vec<T> parts[] = {row.max, row.excess.high, row.excess.low};
        store_state(shape, in[0], parts, call, i);
    };
    RowLoop<S, 1, 0>(call).run(kernel);
}

// The state of max_and_rest, and Σ_j e^(x_j − m)(m − x_j).
template <class S>
void state(const Call& call) {
    typedef Computed<S> T;
    const auto kernel = [&](auto shape, ptrdiff_t i, const T* const* in, T* const*) {
        Entropy<T, decltype(shape)> row;
        row.add_up(shape, in[0], nullptr);
        row.total();
        const DoubleWord<T> others = row.others(), gap = row.gap();
        const Vec<T> parts[] = {row.max(), others.high, others.low, gap.high, gap.low};
        store_state(shape, in[0], parts, call, i);
    };
    RowLoop<S, 1, 0>(call).run(kernel);
}

// softmax of a row, or of some of its entries, from the state of all. Small logits, which are nearly all, need no shift
// and have no subnormal results; the bits are the same.
template <class T>
struct SoftmaxOfState {
    // What a row is divided by, from Σ_{j≠k} e^(x_j − max).
    static Wide<T> prepared(Wide<T> others) { return others + 1; }

    template <class Shape>
    [[gnu::flatten]] static void run(const Shape shape, const T* x, T* y, Vec<T> max, const DoubleWord<T>& total) {
        const Exp<T, FAR> far(max, Temperature<T>());
        const Exp<T, UNSHIFTED> near;
        const DoubleWord<T> inverse = inverse_of(far, max, total), near_inverse = inverse_of(near, max, total);
        const SubnormalQuotient<T, FAR> quotient{far, {inverse.high * quotient.LIFT, inverse.low * quotient.LIFT}};
        const bool is_small = !any<T>(absolute<T>(max) > Constants<T>::SMALL);
        shape.finish(y, [&](auto place) {
            const Vec<T> v = place(x, 0);
            if (is_small && !any<T>(absolute<T>(v) > Constants<T>::SMALL)) return times(near(v), near_inverse);
            const Vec<T> e = far(v), p = times(e, inverse);
            const Bits<T> subnormal = (e > 0) & (p < Constants<T>::SMALLEST);
            return any<T>(subnormal) ? (subnormal ? quotient(v) : p) : p;
        });
    }

   private:
    template <class Exponential>
    static DoubleWord<T> inverse_of(const Exponential& exp, Vec<T> max, const DoubleWord<T>& total) {
        return over<T>(DoubleWord<T>(splat<T>(1), splat<T>(0)), product<T>(exp.parts(max).rounded(), total));
    }
};

template <class T>
struct LogSoftmaxOfState {
    static Wide<T> prepared(Wide<T> others) { return wide_log1p(others); }

    // Both parts of the sum are positive, so nothing cancels.
    template <class Shape>
    [[gnu::flatten]] static void run(const Shape shape, const T* x, T* y, Vec<T> max, const DoubleWord<T>& log) {
        shape.finish(y, [&](auto place) { return -plus<T>(gap_below<T>(max, place(x, 0)), log).high; });
    }
};

// Rows of x with the state of their slices: max, and the sum of the other terms in two parts.
template <template <class> class Map, class S>
void of_state(const Call& call) {
    typedef Computed<S> T;
    const auto max = call.numbers<const double>(1), others = call.numbers<const double>(2),
               low = call.numbers<const double>(3);
    const auto kernel = [&](auto shape, ptrdiff_t i, const T* const* in, T* const* out) {
        Wide<T> prepared[WIDTH<T>];
        for (int lane = 0; lane < WIDTH<T>; ++lane) {
            const ptrdiff_t row = i + (lane < shape.lanes ? lane : 0);
            prepared[lane] = lane < shape.lanes || lane == 0
                                 ? Map<T>::prepared((Wide<T>)others.at(row, 0) + (Wide<T>)low.at(row, 0))
                                 : prepared[0];
        }
        Map<T>::run(shape, in[0], out[0], load_numbers<T>(shape, max, i).high, double_words(prepared));
    };
    RowLoop<S, 1, 1>(call).run_entries(kernel);
}

// The state of a slice from those of its chunks, m of them. With f the fall from the maximum of a chunk to that of the
// slice, its sums gain Σ e^(x − m) e^−f and Σ e^(x − m) (m − x) e^−f + f Σ e^(x − m) e^−f: nothing cancels, and errors
// of 2^-80 do not add up to one of float64.
inline void merge_states(const Call& call) {
    constexpr int PARTS = 5;
    for (ptrdiff_t i = 0; i < call.rows(); ++i) {
        const auto part = [&](int k, ptrdiff_t j) { return call.slices<const double>(k).at(i, j); };
        ptrdiff_t winner = 0;
        for (ptrdiff_t j = 1; j < call.length(); ++j)
            if (!(part(0, j) <= part(0, winner)) && part(0, winner) == part(0, winner)) winner = j;
        const double max = part(0, winner);
        DoubleDouble others = exact_sum(part(1, winner), part(2, winner)),
                     gap = exact_sum(part(3, winner), part(4, winner));
        for (ptrdiff_t j = 0; j < call.length(); ++j) {
            if (j == winner) continue;
            if (max == -INFINITY) {  // the sums are 0, or NaN, which stays
                others += exact_sum(part(1, j), part(2, j));
                gap += exact_sum(part(3, j), part(4, j));
                continue;
            }
            const DoubleDouble fall = exact_sum(max, -part(0, j)), factor = wide_exp(-fall);
            if (factor == 0) continue;
            const DoubleDouble total = exact_sum(part(1, j), part(2, j)) + 1;
            others += factor * total;
            gap += factor * (exact_sum(part(3, j), part(4, j)) + fall * total);
        }
        const double parts[PARTS] = {max, others.high, others.low, gap.high, gap.low};
        for (int k = 0; k < PARTS; ++k) call.numbers<double>(PARTS + k).at(i, 0) = parts[k];
    }
}

}  // namespace
