// Cross-entropy, its gradient and its curvature, and the entropy: one pass for the maximum, one for the exponentials,
// one that turns them into derivatives where they lie.
//
// With k the largest entry, 1 − p_k is summed as Σ_{j≠k} p_j; everything that would subtract from 1 on a saturated row
// takes that sum. Entries that tie with the largest have p ≤ 1/2, where nothing cancels.
#pragma once

#include "log.h"

namespace {

// The label of a row, or of each lane. A row looks up what stands there, and writes over it; a panel picks it out as its
// entries pass by.
template <class Shape>
struct Label;

template <class T>
struct Label<Row<T>> {
    ptrdiff_t label;
    explicit Label(const int64_t* labels) : label(labels[0]) {}

    template <class Place>
    Bits<T> at(Place) const {
        return Bits<T>{};
    }
    void take(const T* x, Vec<T>& value) const { value = splat(x[label]); }
    void put(T* y, Vec<T> value) const { y[label] = value[0]; }
};

template <class T>
struct Label<Panel<T>> {
    Bits<T> offset;
    explicit Label(const int64_t* labels) {
        typename Types<T>::Integer offsets[WIDTH<T>];
        for (int lane = 0; lane < WIDTH<T>; ++lane) offsets[lane] = labels[lane] * WIDTH<T>;
        __builtin_memcpy(&offset, offsets, sizeof offset);
    }

    template <class Place>
    Bits<T> at(Place place) const {
        return offset == (typename Types<T>::Integer)place.i;
    }
    void take(const T*, Vec<T>&) const {}
    void put(T*, Vec<T>) const {}
};

// What the last pass needs to know of a row: e^(x − max) at some scale, written by the constructor, times `inverse` is p.
template <class T>
struct Normalized {
    Vec<T> max, ties;
    Split<T> inverse, log;  // 1/Σ e^(x − max), log Σ e^(x − max)
    Split<T> rest, unit;    // Σ e^(x − max) without one 1 of it, and what that 1 is at the scale of the exponentials
    Vec<T> others;          // 1 − p at the maximum

    // `visit(place, x, e, max)` sees every vector; with e a null pointer the exponentials are not kept.
    template <class Shape, class Visit>
    Normalized(const Shape shape, const T* x, T* e, Visit visit)
        : max(splat<T>(0)), ties(max), inverse(max, max), log(max, max), rest(max, max), unit(max, max) {
        const Range<T> range = shape.range(x);
        max = range.max;
        if (range.near())
            add_up<NEAR>(shape, x, e, visit);
        else
            add_up<FAR>(shape, x, e, visit);
    }

    Vec<T> probability(Vec<T> e) const { return times(e, inverse); }
    // Where the gradient and the curvature have to be taken from the other entries.
    Bits<T> saturated(Vec<T> x) const { return (x == max) & (ties == 1); }

   private:
    template <Mode MODE, class Shape, class Visit>
    void add_up(const Shape shape, const T* x, T* e, Visit visit) {
        const Exp<T, MODE> exp(max, Temperature<T>());
        Whole<Shape> whole, equal;
        shape.blocks([&](const Shape block) {
            Sum<T> sum, count;
            block.at_each([&](auto place) {
                const Vec<T> v = place(x, x[0]), one = place.keep(splat<T>(1));
                auto parts = exp.parts(v);
                const Vec<T> value = place.keep(parts.value());
                if (e) place.store(e, value);
                parts.power = v == max ? splat<T>(0) : place.keep(parts.power);
                count.sum = v == max ? count.sum + one : count.sum;
                sum.add(parts.high());
                sum.error += parts.low();
                visit(place, v, value, max);
            });
            whole.add(sum);
            equal.add(count);
        });
        ties = equal.parts().high;
        const Split<T> below = whole.parts();
        unit = exp.parts(max).split();
        const Vec<T> peaks = ties * unit.high;
        const Split<T> total = plus<T>(Split<T>(peaks, fma(ties, unit.high, -peaks) + ties * unit.low), below);
        inverse = over<T>(Split<T>(splat<T>(1), splat<T>(0)), total);
        others = product<T>(below, inverse).high;
        rest = plus<T>(ties - 1, over<T>(below, unit));
        log = log1p<T>(rest);
    }
};

// max − x in two parts; the second is 0 where the first is infinite.
template <class T>
inline Split<T> depth_below(Vec<T> max, Vec<T> x) {
    const Vec<T> difference = max - x, of_x = max - difference;
    const Vec<T> error = (max - (difference + of_x)) + (of_x - x);
    return {difference, difference < INF<T> ? error : splat<T>(0)};
}

// No visitor.
struct Nobody {
    template <class... Anything>
    void operator()(Anything...) const {}
};

// The loss log Σ e^(x − max) + (max − x_y) at the label y; if `grad` is wanted, its gradient scale · (p − e_y), and if
// `hess` is, curvature · p(1 − p).
template <class T, class Shape>
inline Split<T> label_loss(const Shape shape, const T* x, const int64_t* labels, Vec<T> scale, Vec<T> curvature,
                           T* grad, T* hess) {
    const Label<Shape> label(labels);
    const Vec<T> zero = splat<T>(0);
    Vec<T> x_label = zero, e_label = zero;
    const Normalized<T> row(shape, x, grad, [&](auto place, Vec<T> v, Vec<T> e, Vec<T>) {
        x_label = label.at(place) ? v : x_label;
        e_label = label.at(place) ? e : e_label;
    });
    label.take(x, x_label);
    const Split<T> loss = plus<T>(depth_below<T>(row.max, x_label), row.log);
    if (!grad) return loss;

    label.take(grad, e_label);
    const Vec<T> difference = row.saturated(x_label) ? -row.others : row.probability(e_label) - 1;
    const Vec<T> slope = scale == 0 ? zero : difference * scale;
    shape.at_each([&](auto place) {
        const Vec<T> p = row.probability(place(grad, 0));
        place.store(grad, label.at(place) ? slope : scale == 0 ? zero : p * scale);
        if (hess) {
            const Vec<T> others = row.saturated(place(x, 0)) ? row.others : 1 - p;
            place.store(hess, curvature == 0 ? zero : p * others * curvature);
        }
    });
    label.put(grad, slope);
    return loss;
}

// Numbers of a row, or of each lane.
template <class T>
struct Coefficients {
    Vec<T> label, scale, z_loss;
};

// The loss of a row and log Σ e^x, which a z-loss squares.
template <class T>
struct LossAndTotal {
    Split<T> loss, lse;
};

// The loss Σ t (lse − x) with t = base + c e_y, where 0·inf is 0; and scale · ((W + 2 z lse) p − t), W = Σ t, if `grad`
// is wanted.
template <class T, class Shape>
inline LossAndTotal<T> target_loss(const Shape shape, const T* x, const T* base, const int64_t* labels,
                                   const Coefficients<T>& c, T* grad) {
    const Label<Shape> label(labels);
    const Vec<T> zero = splat<T>(0);
    const auto term = [&](Vec<T> t, const Split<T>& depth) {
        const Split<T> all = product<T>(Split<T>(t, zero), depth);
        return Split<T>(t == 0 ? zero : all.high, t == 0 ? zero : all.low);
    };
    Sum<T> depths, at_peak, elsewhere;
    Vec<T> x_label = zero, e_label = zero, base_label = zero;
    const Normalized<T> row(shape, x, grad, [&](auto place, Vec<T> v, Vec<T> e, Vec<T> max) {
        const Vec<T> t = place(base, 0);
        const Split<T> depth = term(t, depth_below<T>(max, v));
        depths.add(depth.high);
        depths.error += depth.low;
        at_peak.add(v == max ? t : zero);
        elsewhere.add(v == max ? zero : t);
        x_label = label.at(place) ? v : x_label;
        e_label = label.at(place) ? e : e_label;
        base_label = label.at(place) ? t : base_label;
    });
    label.take(x, x_label);
    label.take(base, base_label);
    Whole<Shape> depth, peak, rest;
    depth.add(depths);
    peak.add(at_peak);
    rest.add(elsewhere);
    const Split<T> weight = plus<T>(c.label, plus<T>(peak.parts(), rest.parts()));
    const Split<T> below = plus<T>(depth.parts(), term(c.label, depth_below<T>(row.max, x_label)));
    Split<T> loss = plus<T>(below, product<T>(weight, row.log));
    // An impossible entry that is wanted makes the sum inf and the errors NaN.
    const Bits<T> infinite = (loss.high != loss.high) & (weight.high == weight.high) & (row.log.high == row.log.high);
    loss = {infinite ? splat(INF<T>) : loss.high, infinite ? zero : loss.low};
    const Split<T> lse = plus<T>(row.max, row.log);
    if (!grad) return {loss, lse};

    const Vec<T> pull = 2 * c.z_loss * lse.high, all = weight.high + pull;
    const Vec<T> others = rest.parts().high + (x_label == row.max ? zero : c.label) + pull;
    const auto slope = [&](Vec<T> v, Vec<T> e, Vec<T> t) {
        const Vec<T> p = row.probability(e);
        const Vec<T> g = row.saturated(v) ? mul_add(others, p, -(t * row.others)) : mul_add(all, p, -t);
        return c.scale == 0 ? zero : g * c.scale;
    };
    label.take(grad, e_label);
    const Vec<T> label_slope = slope(x_label, e_label, base_label + c.label);
    shape.at_each([&](auto place) {
        const Vec<T> elsewhere = slope(place(x, 0), place(grad, 0), place(base, 0));
        place.store(grad, label.at(place) ? label_slope : elsewhere);
    });
    label.put(grad, label_slope);
    return {loss, lse};
}

// The entropy log Σ e^−a + Σ p a with a = max − x, and its gradient p ∘ (a − Σ p a) if `grad` is wanted.
template <class T, class Shape>
inline Split<T> entropy_row(const Shape shape, const T* x, T* grad) {
    const Vec<T> zero = splat<T>(0);
    Sum<T> depths;
    const Normalized<T> row(shape, x, grad, [&](auto, Vec<T> v, Vec<T> e, Vec<T> max) {
        const Split<T> term = product<T>(Split<T>(e, zero), depth_below<T>(max, v));
        depths.add(e == 0 ? zero : term.high);
        depths.error += e == 0 ? zero : term.low;
    });
    Whole<Shape> whole;
    whole.add(depths);
    const Split<T> mean = product<T>(whole.parts(), row.inverse);
    if (grad)
        shape.at_each([&](auto place) {
            const Vec<T> e = place(grad, 0);
            const Split<T> depth = depth_below<T>(row.max, place(x, 0));
            // Divided last: a subnormal p has lost bits that the product would show.
            const Vec<T> g = row.probability(e * ((depth.high - mean.high) + (depth.low - mean.low)));
            place.store(grad, e == 0 ? zero : g);
        });
    return plus<T>(row.log, mean);
}

}  // namespace
