// Rows of small logits, which are nearly all: their exponentials need no shift, so no maximum beforehand, and a pass
// less. Whether a row is one shows on the way.
#pragma once

#include "rows/shapes.h"

namespace {

// Whether a row begins with finite entries beyond ±most: then there is no use in trying it as one of small entries. (x
// holds WIDTH entries in either shape, for shorter rows are in lane batches.)
template <class T, class X>
inline bool begins_beyond(X x, Vec<T> most) {
    const Vec<T> size = absolute<T>(load(x));
    return any<T>((size > most) & (size < INF<T>));
}

// No mask.
struct AllLanes {};
template <class V>
inline V max_where(AllLanes, V v, V b) {
    return max(v, b);
}

// e^(x/T) at a place of x without a shift, and, if IS_MASKED, 0 where x is masked out; `visit(v, valid)` sees every
// vector of x, with 0 where it is masked out.
template <class T, bool IS_MASKED, Mode MODE, class Place, class X, class Visit>
[[gnu::always_inline]] inline typename Exp<T, MODE>::Parts masked_exp(const Exp<T, MODE>& exp, Place place, X x,
                                                                      Visit visit) {
    if constexpr (IS_MASKED) {
        const Entries<T> entries = place.entries(x);
        visit(entries.values, entries.valid);
        return exp.parts(entries.values, [&](Vec<T> power) { return keep(entries.valid, power); });
    } else {
        const Vec<T> v = place(x, x[0]);
        visit(v, AllLanes());
        return exp.parts(v);
    }
}

// No visitor.
struct NoOp {
    template <class... Anything>
    void operator()(Anything...) const {}
};

// A sum of one block that is not added up yet.
template <class T>
struct LanesOfSum {
    WideSum<T> sum;
    void add(const WideSum<T>& block) { sum = block; }
};

// Σ e^(x/T) and the largest x of a row, or of each lane, where they are small. `keep(place, e)` sees the exponentials,
// as far as there is a use in computing them. With LanesOfSum, the total and the largest are left lane by lane.
template <class T, class Shape, bool IS_MASKED, class Total = RowTotal<Shape>>
struct SmallSum {
    Bits<T> small;
    Vec<T> largest;
    Total total;

    template <class X, Mode MODE, class Keep>
    SmallSum(const Shape shape, X x, const Exp<T, MODE>& exp, Keep keep) {
        const Vec<T> most = exp.most();
        Vec<T> size = splat<T>(0), max = splat(-INF<T>);
        shape.blocks([&](const Shape block) {
            if (any<T>(size > most)) return;
            WideSum<T> sum;
            block.runs([&](const Shape run) {
                Vec<T> lost = splat<T>(0);
                run.at_each_prefetching([&](auto place) {
                    const auto visit = [&](Vec<T> v, auto valid) {
                        size = max_absolute<T>(v, size);
                        max = max_where(valid, v, max);
                    };
                    const DoubleWord<T> e = masked_exp<T, IS_MASKED>(exp, place, x, visit).rounded();
                    const Vec<T> value = place.keep(e.high);
                    keep(place, value);
                    sum.add(value);
                    lost += place.keep(e.low);
                });
                sum.add_lost(lost);
            });
            total.add(sum);
        });
        largest = std::is_same<Total, LanesOfSum<T>>::value ? max : shape.largest(max);
        small = ~shape.anywhere(size > most);
    }
};

// The temperatures of a lockstep batch, lane by lane; [lane] has that of one row in all lanes.
template <class T, Mode MODE>
struct Temperatures {
    Temperature<T> all;
    Temperature<T> operator[](int) const { return all; }
};
template <class T>
struct Temperatures<T, UNSHIFTED_TEMPERED> {
    Temperature<T> all;

    explicit Temperatures(const Temperature<T>& all)
        : all(all),
          value_(all.value),
          inverse_(all.inverse),
          inverse_low_(all.inverse_low),
          rate_(all.rate),
          minus_unit_(all.minus_unit),
          minus_unit_low_(all.minus_unit_low) {}

    Temperature<T> operator[](int lane) const {
        Temperature<T> one;
        one.value = value_[lane];
        one.inverse = inverse_[lane];
        one.inverse_low = inverse_low_[lane];
        one.rate = rate_[lane];
        one.minus_unit = minus_unit_[lane];
        one.minus_unit_low = minus_unit_low_[lane];
        return one;
    }

   private:
    Lanes<T> value_, inverse_, inverse_low_, rate_, minus_unit_, minus_unit_low_;
};

// SmallSum of a lockstep batch, lane by lane; the exponentials are kept if asked for.
template <class T, bool IS_MASKED, Mode MODE = UNSHIFTED>
struct SmallSums {
    Bits<T> small;
    Vec<T> largest;
    DoubleWord<T> total;

    template <class X>
    [[gnu::flatten]] SmallSums(const Lockstep<T> rows, X x, bool keeps, const Temperatures<T, MODE>& t = {}) {
        typename Types<T>::Integer is_small[WIDTH<T>] = {};
        Vec<T> maxima[WIDTH<T>];
        Totals<T> totals;
        WideSum<T> none;
        none.add(splat<T>(1));
        for (int lane = 0; lane < WIDTH<T>; ++lane) {
            maxima[lane] = splat<T>(1);
            if (lane >= rows.lanes) totals.set(lane, none);
        }
        rows.each([&](int lane, const Row<T> row) {
            const Exp<T, MODE> exp(t[lane]);
            const X from = rows.in(x, lane);
            if (begins_beyond<T>(from, exp.most())) return totals.set(lane, none);
            T* const e = rows.exponentials(lane);
            const SmallSum<T, Row<T>, IS_MASKED, LanesOfSum<T>> one(row, from, exp, [&](auto place, Vec<T> value) {
                if (keeps) place.store_padded(e, value);
            });
            is_small[lane] = one.small[0];
            totals.set(lane, one.total.sum);
            maxima[lane] = one.largest;
        });
        __builtin_memcpy(&small, is_small, sizeof small);
        transpose<T>(maxima);
        largest = maxima[0];
        for (int i = 1; i < WIDTH<T>; ++i) largest = max(maxima[i], largest);
        Wide<T> wide[WIDTH<T>];
        totals.store(wide);
        total = double_words(wide);
    }
};

// How small a part of such a sum may be for its own digits to be there. Of float32, added up in float64 with what RUN
// roundings lost in float32, the sum is right to 2^-44 of its largest term; of float64, in two parts, to 2^-96.
template <class T>
constexpr T LEAST_PART = (T)(sizeof(T) == 4 ? 0x1p-18 : 0x1p-40);

// A sum of exponentials as its largest term and the sum of the other terms, found by subtraction; to be used where it
// `applies`.
template <class T>
struct ArgmaxAndOthers {
    DoubleWord<T> argmax, others;
    Bits<T> applies;

    template <Mode MODE>
    ArgmaxAndOthers(const Exp<T, MODE>& exp, Vec<T> largest, const DoubleWord<T>& total, T least) {
        argmax = exp.parts(largest).rounded();
        others = minus<T>(total, argmax);
        applies = others.high > least * total.high;
    }
};

}  // namespace
