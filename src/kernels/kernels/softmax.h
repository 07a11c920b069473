// softmax. Rows with NaN or +inf, or with nothing but −inf, come out as NaN by the arithmetic: inf − inf and 0 · inf.
//
// The error, for any length and any entries, with u = 2^-24 or 2^-53: an exponential in two parts is exact to σ u
// relatively, σ ≤ 0.36, and rounded to ρ u, ρ ≤ 1.12 (tests/kernels/test_exp.py measures both). The sum takes both
// parts, so it is exact to σ u and what the summation adds: in float64, or in two parts, less than 2^-20 u. Its inverse
// is in two parts, and e · (1/Σ) is rounded once. So p is off by at most (ρ + σ) u relatively, which is less than ρ + σ
// of its ulp, and half an ulp: 1/2 + 1.12 + 0.36 < 2. (Sums of rounded exponentials make it 1/2 + 2 · 1.12, and rows
// were found where it was 2.35.)
#pragma once

#include "kernels/forward.h"
#include "kernels/unshifted.h"

namespace {

// Probabilities below the normal numbers have fewer bits, and a product of rounded factors misses them by more than one
// spacing. Here everything is 2^LIFT larger until the last step, which alone rounds.
template <class T, Mode MODE>
struct SubnormalQuotient {
    static constexpr T LIFT = (T)(sizeof(T) == 4 ? 0x1p48 : 0x1p106), LOWER = 1 / LIFT;
    Exp<T, MODE> exp;
    DoubleWord<T> inverse;  // LIFT/total

    Vec<T> operator()(Vec<T> x) const {
        const auto e = exp.parts(x);
        return fma(e.high(), inverse.high, fma(e.high(), inverse.low, e.low() * inverse.high)) * LOWER;
    }
};

template <class T>
struct Softmax {
    static constexpr T MASKED = 0, OF_ONE = 1;
    static constexpr Workspace WORKSPACE = CACHED;

    // Whether every row came out as numbers. IS_MASKED: −inf is frequent, since a mask put it there.
    template <bool IS_TEMPERED, bool IS_MASKED, class Shape, class X>
    static bool run(const Shape shape, X x, T* y, const Temperature<T>& t) {
        DoubleWord<T> inverse;
        if (!unshifted<IS_TEMPERED ? UNSHIFTED_TEMPERED : UNSHIFTED, IS_MASKED>(shape, x, y, t, inverse))
            return large<IS_TEMPERED>(shape, x, y, t);
        return !any<T>(inverse.high != inverse.high);
    }
    // Rows that are known not to be small.
    template <bool IS_TEMPERED, class Shape, class X>
    static bool large(const Shape shape, X x, T* y, const Temperature<T>& t) {
        const DoubleWord<T> inverse = shifted<IS_TEMPERED ? TEMPERED : FAR>(shape, x, y, t);
        return !any<T>(inverse.high != inverse.high);
    }

    // A lockstep batch; returns which rows were small and are done. The others are left.
    template <bool IS_MASKED, class X, Mode MODE>
    [[gnu::flatten]] static Bits<T> run(const Lockstep<T> rows, X x, T* y, const Temperatures<T, MODE>& t) {
        typename Types<T>::Integer small[WIDTH<T>] = {};
        Wide<T> inverse[WIDTH<T>] = {};
        typename Row<T>::Written written[WIDTH<T>];
        rows.each([&](int lane, const Row<T> row) {
            const Exp<T, MODE> exp(t[lane]);
            const Vec<T> most = exp.most();
            const X from = rows.in(x, lane);
            if (begins_beyond<T>(from, most)) return;
            rows.prefetch_result(y, lane);
            Vec<T> size = splat<T>(0);
            const auto value = [&](auto place) {
                const auto measure = [&](Vec<T> v, auto) { size = max_absolute<T>(v, size); };
                return masked_exp<T, IS_MASKED>(exp, place, from, measure).rounded();
            };
            written[lane] = row.template write<true>(rows.exponentials(lane), value);
            small[lane] = any<T>(size > most) ? 0 : -1;
        });
        rows.each([&](int lane, const Row<T> row) {
            typename Row<T>::Total total;
            if (small[lane]) row.template add<true>(total, written[lane], rows.exponentials(lane));
            inverse[lane] = total.sum;
        });
        for (int lane = 0; lane < WIDTH<T>; ++lane) inverse[lane] = (Wide<T>)1 / inverse[lane];
        const DoubleWord<T> all = double_words(inverse);
        Bits<T> done;
        __builtin_memcpy(&done, small, sizeof done);
        if constexpr (IS_MASKED) done &= all.high < INF<T>;
        __builtin_memcpy(small, &done, sizeof done);
        const DoubleWordLanes<T> each(all);
        rows.each([&](int lane, const Row<T> row) {
            if (!small[lane]) return;
            const T* const e = rows.exponentials(lane);
            const DoubleWord<T> own = each[lane];
            row.template finish<4>(rows.out(y, lane), [&](auto place) { return times(place(e, 0), own); });
        });
        return done;
    }

    // The value at an entry (x − m)/T = shifted, where `others` sums e^shifted over all others.
    static Wide<T> value(Wide<T> shifted, Wide<T> others) { return wide_exp(shifted) / (others + 1); }

    // 1/total of each column (columns.h), and where it is not to be used; an entry.
    static constexpr int CHAINS = 2;
    static Bits<T> factor(const Range<T>& range, const Wide<T>* totals, DoubleWord<T>& inverse) {
        Wide<T> inverses[WIDTH<T>];
        for (int lane = 0; lane < WIDTH<T>; ++lane) inverses[lane] = (Wide<T>)1 / totals[lane];
        inverse = double_words(inverses);
        return ~range.within(Exp<T, UNSHIFTED>().most()) | (inverse.high != inverse.high);
    }
    static Vec<T> result(Vec<T> v, const DoubleWord<T>& inverse) { return times(Exp<T, UNSHIFTED>()(v), inverse); }

   private:
    // Rows of small logits, which are nearly all: no maximum, so one pass less. Whether the row is one shows on the
    // way.
    template <Mode MODE, bool IS_MASKED, class Shape, class X>
    [[gnu::flatten]] static bool unshifted(const Shape shape, X x, T* y, const Temperature<T>& t,
                                           DoubleWord<T>& inverse) {
        const Exp<T, MODE> exp(t);
        const Vec<T> most = exp.most();
        if (begins_beyond<T>(x, most)) return false;
        Vec<T> size = splat<T>(0);
        bool small = true;
        const auto value = [&](auto place) { return masked_exp<T, IS_MASKED>(exp, place, x, NoOp{}).value(); };
        const auto measured = [&](auto place) {
            const auto measure = [&](Vec<T> v, auto) { size = max_absolute<T>(v, size); };
            return masked_exp<T, IS_MASKED>(exp, place, x, measure).rounded();
        };
        const auto total = exponentials(shape, y, measured, [&] { return small = small && !any<T>(size > most); });
        // A row with no valid entry has no sum.
        inverse = total.reciprocal();
        if (!small || (IS_MASKED && any<T>(inverse.high == INF<T>))) return false;
        divide(shape, y, value, inverse);
        return true;
    }

    template <Mode MODE, class Shape, class X>
    [[gnu::flatten]] static DoubleWord<T> shifted(const Shape shape, X x, T* y, const Temperature<T>& t) {
        const Exp<T, MODE> exp(shape.range(x).max, t);
        Vec<T> smallest = splat(INF<T>);  // but 0
        const auto value = [&](auto place) { return exp(place(x, x[0])); };
        const auto measured = [&](auto place) {
            const DoubleWord<T> e = exp.parts(place(x, x[0])).rounded();
            smallest = min(e.high > 0 ? e.high : smallest, smallest);
            return e;
        };
        const auto total = exponentials(shape, y, measured, [] { return true; });
        const DoubleWord<T> inverse = total.reciprocal();
        const Bits<T> subnormal = shape.anywhere(smallest * inverse.high < Constants<T>::SMALLEST);
        if (any<T>(subnormal)) {
            const SubnormalQuotient<T, MODE> quotient{exp, total.reciprocal(quotient.LIFT)};
            shape.finish(y, [&](auto place) {
                const Vec<T> v = place(x, x[0]);
                return subnormal ? quotient(v) : times(exp(v), inverse);
            });
        } else {
            divide(shape, y, value, inverse);
        }
        return inverse;
    }

    // value(place) · inverse, from the exponentials where they were kept.
    template <class Shape, class F>
    static void divide(const Shape shape, T* y, F value, const DoubleWord<T> inverse) {
        const T* const e = shape.workspace(y);
        if (shape.keeps_workspace())
            shape.template finish<4>(y, [&](auto place) { return times(place(e, 0), inverse); });
        else
            shape.finish(y, [&](auto place) { return times(value(place), inverse); });
    }

    // e = value(place) into the workspace, and the sum of the blocks that are worth adding.
    template <class Shape, class F, class Worth>
    [[gnu::always_inline]] static typename Shape::Total exponentials(const Shape shape, T* y, F value,
                                                                     Worth worth_adding) {
        typename Shape::Total total;
        shape.blocks([&](const Shape block) {
            T* const e = block.workspace(y);
            const auto written = block.write(e, value);
            if (worth_adding()) block.add(total, written, e);
        });
        return total;
    }
};

}  // namespace
