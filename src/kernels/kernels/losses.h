// Cross-entropy, its gradient and its curvature, and the entropy: one pass for the maximum, one for the exponentials,
// one that turns them into derivatives.
//
// Each loss is a class of three steps: `add_up`, the first two passes; `total`, what is computed once for a row; and `write`,
// the last pass.
//
// With k the largest entry, 1 − p_k is summed as Σ_{j≠k} p_j; everything that would subtract from 1 on a saturated row
// takes that sum. Entries that tie with the largest have p ≤ 1/2, where nothing cancels.
#pragma once

#include "kernels/unshifted.h"
#include "math/log.h"

namespace {

// The label of a row, or of each lane: what stands there, and a value to put there. A row looks it up and writes over it; a
// panel reads it lane by lane, which keeps the vector ports free, and picks it out as its entries pass by.
template <class Shape>
struct Label;

template <class T>
struct Label<Row<T>> {
    ptrdiff_t label;
    Label() = default;
    Label(const Row<T>, const int64_t* labels) : label(labels[0]) {}

    template <class Place>
    Bits<T> at(Place) const {
        return Bits<T>{};
    }
    Vec<T> take(const T* x) const { return splat(x[label]); }
    Vec<T> take_exponential(const T* e) const { return take(e); }
    void put(const Row<T> row, T* y, Vec<T> value) const {
        if (row.route.streams) end_streams();
        y[label] = value[0];
    }
};

template <class T>
struct Label<Panel<T>> {
    typename Types<T>::Integer offsets[WIDTH<T>];
    Label() = default;
    Label(const Panel<T>, const int64_t* labels) {
        for (int lane = 0; lane < WIDTH<T>; ++lane) offsets[lane] = labels[lane] * WIDTH<T>;
    }

    template <class Place>
    Bits<T> at(Place place) const {
        Bits<T> offset;
        __builtin_memcpy(&offset, offsets, sizeof offset);
        return offset == (typename Types<T>::Integer)place.i;
    }
    Vec<T> take(const T* x) const {
        T values[WIDTH<T>];
#pragma GCC unroll 16
        for (int lane = 0; lane < WIDTH<T>; ++lane) values[lane] = x[offsets[lane] + lane];
        return load(values);
    }
    Vec<T> take_exponential(const T* e) const { return take(e); }
    void put(const Panel<T>, T*, Vec<T>) const {}
};

template <class T>
struct Label<Rows<T>> {
    Rows<T> rows;
    int64_t labels[WIDTH<T>];
    Label() = default;
    Label(const Rows<T> rows, const int64_t* of) : rows(rows) { __builtin_memcpy(labels, of, sizeof labels); }

    Vec<T> take(const T* x) const {
        T values[WIDTH<T>] = {};
        for (int lane = 0; lane < rows.lanes; ++lane) values[lane] = rows.in(x, lane)[labels[lane]];
        return load(values);
    }
    Vec<T> take_exponential(const T*) const {
        T values[WIDTH<T>] = {};
        for (int lane = 0; lane < rows.lanes; ++lane) values[lane] = rows.exponentials(lane)[labels[lane]];
        return load(values);
    }
};

// y, z = f(place), the last that is done to a row, where there are two results.
template <class T, class F>
inline void finish_both(const Panel<T> panel, T* y, T* z, F f) {
    panel.at_each([&](auto place) {
        const auto both = f(place);
        place.store(y, both.first);
        place.store(z, both.second);
    });
}
template <class T, class F>
inline void finish_both(const Row<T> row, T* y, T* z, F f) {
    const bool alike = (uintptr_t)y % BYTES == (uintptr_t)z % BYTES;
    if (row.route.streams && alike)
        row.at_each_aligned(y, [&](auto place) {
            const auto both = f(place);
            place.stream(y, both.first);
            place.stream(z, both.second);
        });
    else
        row.at_each([&](auto place) {
            const auto both = f(place);
            place.store(y, both.first);
            place.store(z, both.second);
        });
}

// What is known of a row: e^(x − max) at some scale, written by `add_up`, times `inverse` is p.
template <class T>
struct Normalized {
    Vec<T> max, ties;
    Split<T> peak, rest;       // e^0 at the scale of the sum, and Σ e^(x − max) over all below the maximum
    Split<T> inverse, excess;  // 1/Σ e^(x − max), and Σ e^(x − max) − 1
    Vec<T> others;             // 1 − p at the maximum

    // `visit(place, x, e, max)` sees every vector, with what the rounding of its exponentials lost; with e a null pointer
    // they are not kept.
    template <class Shape, class Visit>
    void add_up(const Shape shape, const T* x, T* e, Visit visit) {
        const Range<T> range = shape.range(x);
        max = range.max;
        if (range.near())
            add_up<NEAR>(shape, x, e, visit);
        else
            add_up<FAR>(shape, x, e, visit);
    }

    // The same for rows of small logits where no term outweighs all others, which are nearly all: no maximum beforehand, so
    // one pass less, and the sum without the largest term by subtraction, which is exact enough where that is not all. Each
    // exponential is rounded before it is added. Which way a row goes depends on itself alone, in a panel, too.
    template <class Shape>
    [[gnu::flatten]] void add_up_rounded(const Shape shape, const T* x, T* e) {
        const Exp<T, UNSHIFTED> exp;
        if (!Shape::IS_PANEL && begins_beyond<T>(x, exp.most())) return add_up(shape, x, e, Nobody{});
        const SmallSum<T, Shape, false> small(shape, x, exp, [&](auto place, Vec<T> value) {
            if (e) place.store(e, value);
        });
        const PeakAndRest<T> sum(exp, small.largest, small.total.parts(), LEAST_PART<T, Shape>);
        const Bits<T> applies = small.small & sum.applies;
        if (!any<T>(~applies)) {
            take(small.largest, sum);
            return;
        }
        add_up(shape, x, e, Nobody{});
        if (!Shape::IS_PANEL) return;
        const Vec<T> scale = peak.high / sum.peak.high;  // a power of two
        ties = applies ? splat<T>(1) : ties;
        rest.high = applies ? sum.rest.high * scale : rest.high;
        rest.low = applies ? sum.rest.low * scale : rest.low;
    }

    // The same for rows that keep step; which of them were done.
    [[gnu::flatten]] Bits<T> add_up_rounded(const Rows<T> rows, const T* x, bool keeps) {
        const SmallSums<T, false> sums(rows, x, keeps);
        const PeakAndRest<T> sum(Exp<T, UNSHIFTED>(), sums.largest, sums.total, LEAST_PART<T, Row<T>>);
        take(sums.largest, sum);
        return sums.small & sum.applies;
    }

    [[gnu::always_inline]] void total() {
        const Vec<T> peaks = ties * peak.high;
        const Split<T> total = plus<T>(Split<T>(peaks, fma(ties, peak.high, -peaks) + ties * peak.low), rest);
        inverse = over<T>(Split<T>(splat<T>(1), splat<T>(0)), total);
        others = product<T>(rest, inverse).high;
        excess = plus<T>(ties - 1, over<T>(rest, peak));
    }

    [[gnu::always_inline]] Split<T> log() const { return log1p<T>(excess); }
    Vec<T> probability(Vec<T> e) const { return times(e, inverse); }
    // Where the gradient and the curvature have to be taken from the other entries.
    Bits<T> saturated(Vec<T> x) const { return (x == max) & (ties == 1); }

   private:
    void take(Vec<T> largest, const PeakAndRest<T>& sum) {
        max = largest;
        ties = splat<T>(1);  // others like it are in the rest
        peak = sum.peak;
        rest = sum.rest;
    }

    template <Mode MODE, class Shape, class Visit>
    [[gnu::flatten]] void add_up(const Shape shape, const T* x, T* e, Visit visit) {
        const Vec<T> top = max;  // not a member, which e might overwrite as far as the compiler knows
        const Exp<T, MODE> exp(top, Temperature<T>());
        Whole<Shape> whole, equal;
        shape.blocks([&](const Shape block) {
            Sum<T> sum, count;
            block.at_each_fetching([&](auto place) {
                const Vec<T> v = place(x, x[0]), one = place.keep(splat<T>(1));
                auto parts = exp.parts(v);
                const Vec<T> value = place.keep(parts.value());
                const Vec<T> lost = place.keep((parts.high() - value) + parts.low());
                if (e) place.store(e, value);
                parts.power = v == top ? splat<T>(0) : place.keep(parts.power);
                count.sum = v == top ? count.sum + one : count.sum;
                sum.add(parts.high());
                sum.error += parts.low();
                visit(place, v, Split<T>(value, lost), top);
            });
            whole.add(sum);
            equal.add(count);
        });
        ties = equal.parts().high;
        rest = whole.parts();
        peak = exp.parts(top).split();  // not exactly 1: x and the maximum are reduced apart
    }
};

// max − x in two parts; the second is 0 where the first is infinite.
template <class T>
inline Split<T> depth_below(Vec<T> max, Vec<T> x) {
    const Vec<T> difference = max - x, of_x = max - difference;
    const Vec<T> error = (max - (difference + of_x)) + (of_x - x);
    return {difference, difference < INF<T> ? error : splat<T>(0)};
}

// The loss log Σ e^(x − max) + (max − x_y) at the label y; its gradient scale · (p − e_y); and curvature · p(1 − p).
template <class T, class Shape>
class LabelLoss {
   public:
    void add_up(const Shape shape, const T* x, T* e) {
        if constexpr (KEEPS_STEP<Shape>)
            done_ = row.add_up_rounded(shape, x, e != nullptr);
        else
            row.add_up_rounded(shape, x, e);
    }
    // Of rows that keep step, those that need not be done again alone.
    Bits<T> done() const { return done_; }

    Split<T> total(const Shape shape, const T* x, const int64_t* labels, Vec<T> scale_, Vec<T> curvature_) {
        scale = scale_;
        curvature = curvature_;
        label = Label<Shape>(shape, labels);
        row.total();
        x_label = label.take(x);
        return plus<T>(depth_below<T>(row.max, x_label), row.log());
    }

    void write(const Shape shape, const T* e, T* grad) const {
        const Vec<T> at_label = slope_at_label(e);
        if constexpr (KEEPS_STEP<Shape>)
            write_each(shape, grad, at_label);
        else
            finish(shape, e, grad, at_label);
    }
    void write(const Shape shape, const T* x, const T* e, T* grad, T* hess) const {
        const Vec<T> at_label = slope_at_label(e);
        finish_both(shape, grad, hess, [&](auto place) {
            const Vec<T> p = row.probability(place(e, 0)), others = row.saturated(place(x, 0)) ? row.others : 1 - p;
            const Vec<T> second = curvature == 0 ? splat<T>(0) : p * others * curvature;
            return std::pair<Vec<T>, Vec<T>>(slope(place, p, at_label), second);
        });
        label.put(shape, grad, at_label);
    }

   private:
    Normalized<T> row;
    Label<Shape> label;
    Vec<T> x_label, scale, curvature;
    Bits<T> done_;

    [[gnu::flatten]] void finish(const Shape shape, const T* e, T* grad, Vec<T> at_label) const {
        // Members would be read again after every store.
        const Split<T> inverse = row.inverse;
        const Vec<T> factor = scale, zero = splat<T>(0);
        const Label<Shape> own = label;
        shape.finish(grad, [&](auto place) {
            const Vec<T> p = times(place(e, 0), inverse);
            return own.at(place) ? at_label : factor == 0 ? zero : p * factor;
        });
        own.put(shape, grad, at_label);
    }
    [[gnu::flatten]] void write_each(const Rows<T> rows, T* grad, Vec<T> at_labels) const {
        const SplitLanes<T> inverses(row.inverse);
        const Lanes<T> at_label(at_labels), scales(scale);
        rows.each([&](int lane, const Row<T> one) {
            if (!done_[lane]) return;
            const T* const e = rows.exponentials(lane);
            T* const y = rows.out(grad, lane);
            const Split<T> inverse = inverses[lane];
            const Vec<T> factor = scales[lane], zero = splat<T>(0);
            one.finish(y, [&](auto place) { return factor == 0 ? zero : times(place(e, 0), inverse) * factor; });
            y[label.labels[lane]] = at_label[lane][0];
        });
    }

    Vec<T> slope_at_label(const T* e) const {
        const Vec<T> difference = row.saturated(x_label) ? -row.others : row.probability(label.take_exponential(e)) - 1;
        return scale == 0 ? splat<T>(0) : difference * scale;
    }
    template <class Place>
    Vec<T> slope(Place place, Vec<T> p, Vec<T> at_label) const {
        return label.at(place) ? at_label : scale == 0 ? splat<T>(0) : p * scale;
    }
};

// Numbers of a row, or of each lane.
template <class T>
struct Coefficients {
    Vec<T> label, scale, z_loss, curvature;
};

// The loss Σ t (lse − x) with t = base + c e_y, where 0·inf is 0; scale · ((W + 2 z lse) p − t), W = Σ t; and
// curvature · ((W + 2 z lse) p(1 − p) + 2 z p²).
template <class T, class Shape>
class TargetLoss {
   public:
    void add_up(const Shape shape, const T* x, const T* base, T* e) {
        Sum<T> depths, peaks, others;
        row.add_up(shape, x, e, [&](auto place, Vec<T> v, const Split<T>&, Vec<T> max) {
            const Vec<T> t = place(base, 0), zero = splat<T>(0);
            const Split<T> depth = term(t, depth_below<T>(max, v));
            depths.add(depth.high);
            depths.error += depth.low;
            peaks.add(v == max ? t : zero);
            others.add(v == max ? zero : t);
        });
        depth = whole(depths);
        at_peak = whole(peaks);
        elsewhere = whole(others);
    }

    Split<T> total(const Shape shape, const T* x, const T* base, const int64_t* labels,
                   const Coefficients<T>& coefficients) {
        c = coefficients;
        label = Label<Shape>(shape, labels);
        row.total();
        x_label = label.take(x);
        base_label = label.take(base);
        const Split<T> log = row.log();
        weight = plus<T>(c.label, plus<T>(at_peak, elsewhere));
        lse = plus<T>(row.max, log);
        const Split<T> below = plus<T>(depth, term(c.label, depth_below<T>(row.max, x_label)));
        const Split<T> loss = plus<T>(below, product<T>(weight, log));
        // An impossible entry that is wanted makes the sum inf and the errors NaN.
        const Bits<T> infinite = (loss.high != loss.high) & (weight.high == weight.high) & (log.high == log.high);
        return {infinite ? splat(INF<T>) : loss.high, infinite ? splat<T>(0) : loss.low};
    }
    Split<T> logsumexp() const { return lse; }

    void write(const Shape shape, const T* x, const T* base, const T* e, T* grad) const {
        const auto slope = slopes();
        const Vec<T> at_label = slope(x_label, row.probability(label.take(e)), base_label + c.label);
        shape.finish(grad, [&](auto place) {
            const Vec<T> elsewhere = slope(place(x, 0), row.probability(place(e, 0)), place(base, 0));
            return label.at(place) ? at_label : elsewhere;
        });
        label.put(shape, grad, at_label);
    }
    void write(const Shape shape, const T* x, const T* base, const T* e, T* grad, T* hess) const {
        const auto slope = slopes();
        const Vec<T> at_label = slope(x_label, row.probability(label.take(e)), base_label + c.label);
        const Vec<T> twice = 2 * c.z_loss, zero = splat<T>(0), square = c.curvature * twice;
        const Vec<T> all = times(c.curvature, plus<T>(weight, product<T>(Split<T>(twice, zero), lse)));
        finish_both(shape, grad, hess, [&](auto place) {
            const Vec<T> v = place(x, 0), p = row.probability(place(e, 0)), elsewhere = slope(v, p, place(base, 0));
            const Vec<T> others = row.saturated(v) ? row.others : 1 - p;
            const Vec<T> q = others < (T)0.5 ? 1 - others : p;  // p with fewer roundings: its errors count twice in p²
            const Vec<T> second = q * mul_add(all, others, square * q);
            return std::pair<Vec<T>, Vec<T>>(label.at(place) ? at_label : elsewhere, c.curvature == 0 ? zero : second);
        });
        label.put(shape, grad, at_label);
    }

   private:
    Normalized<T> row;
    Split<T> depth, at_peak, elsewhere, weight, lse;  // of t: Σ t (max − x), and Σ t at the maximum, below it, and in all
    Label<Shape> label;
    Vec<T> x_label, base_label;
    Coefficients<T> c;

    Vec<T> pull() const { return 2 * c.z_loss * lse.high; }
    // The derivative by an entry v of the row, where p and t are known.
    auto slopes() const {
        const Vec<T> all = weight.high + pull();
        const Vec<T> others = elsewhere.high + (x_label == row.max ? splat<T>(0) : c.label) + pull();
        return [=](Vec<T> v, Vec<T> p, Vec<T> t) {
            const Vec<T> g = row.saturated(v) ? mul_add(others, p, -(t * row.others)) : mul_add(all, p, -t);
            return c.scale == 0 ? splat<T>(0) : g * c.scale;
        };
    }
    static Split<T> term(Vec<T> t, const Split<T>& depth) {
        const Vec<T> zero = splat<T>(0);
        const Split<T> all = product<T>(Split<T>(t, zero), depth);
        return {t == 0 ? zero : all.high, t == 0 ? zero : all.low};
    }
    static Split<T> whole(const Sum<T>& sum) {
        Whole<Shape> whole;
        whole.add(sum);
        return whole.parts();
    }
};

// The entropy log Σ e^−a + Σ p a with a = max − x, and its gradient p ∘ (a − Σ p a).
template <class T, class Shape>
class Entropy {
   public:
    void add_up(const Shape shape, const T* x, T* e) {
        Sum<T> sum;
        row.add_up(shape, x, e, [&](auto, Vec<T> v, const Split<T>& e, Vec<T> max) {
            const Vec<T> zero = splat<T>(0);
            const Split<T> term = product<T>(Split<T>(e.high, zero), depth_below<T>(max, v));
            sum.add(e.high == 0 ? zero : term.high);
            sum.error += e.high == 0 ? zero : term.low;
        });
        Whole<Shape> whole;
        whole.add(sum);
        depths = whole.parts();
    }

    Split<T> total() {
        row.total();
        mean = product<T>(depths, row.inverse);
        return plus<T>(row.log(), mean);
    }

    void write(const Shape shape, const T* x, const T* e, T* grad) const {
        shape.finish(grad, [&](auto place) {
            const Vec<T> power = place(e, 0);
            const Split<T> depth = depth_below<T>(row.max, place(x, 0));
            // Divided last: a subnormal p has lost bits that the product would show.
            const Vec<T> g = row.probability(power * ((depth.high - mean.high) + (depth.low - mean.low)));
            return power == 0 ? mean.high - mean.high : g;  // 0, and NaN beside NaN
        });
    }

    Vec<T> max() const { return row.max; }
    // Σ e^(x − max) without one term that is 1, and Σ a e^(x − max).
    Split<T> rest() const { return row.excess; }
    Split<T> depth() const { return over<T>(depths, row.peak); }

   private:
    Normalized<T> row;
    Split<T> depths, mean;  // Σ e a and Σ p a
};

// log Σ e^x in three parts: the maximum, and two of log Σ e^(x − max).
template <class T, class Shape>
class LogTotal {
   public:
    void add_up(const Shape shape, const T* x) { row.add_up(shape, x, nullptr, Nobody{}); }
    Split<T> total() {
        row.total();
        return row.log();
    }
    Vec<T> max() const { return row.max; }

   private:
    Normalized<T> row;
};

}  // namespace
