// Cross-entropy with soft targets, its gradient and its curvature.
#pragma once

#include "kernels/loss_loop.h"
#include "kernels/normalized.h"
#include "rows/finish_both.h"
#include "rows/label.h"

namespace {

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
        Sum<T> gaps, argmaxes, others;
        row.add_up(shape, x, e, [&](auto place, Vec<T> v, const DoubleWord<T>&, Vec<T> max) {
            const Vec<T> t = place(base, 0), zero = splat<T>(0);
            const DoubleWord<T> gap = term(t, gap_below<T>(max, v));
            gaps.add(gap.high);
            gaps.error += gap.low;
            argmaxes.add(v == max ? t : zero);
            others.add(v == max ? zero : t);
        });
        gap = whole(gaps);
        at_argmax = whole(argmaxes);
        elsewhere = whole(others);
    }

    DoubleWord<T> total(const Shape shape, const T* x, const T* base, const int64_t* labels,
                        const Coefficients<T>& coefficients) {
        c = coefficients;
        label = Label<Shape>(shape, labels);
        row.total();
        x_label = label.take(x);
        base_label = label.take(base);
        const DoubleWord<T> log = row.log();
        weight = plus<T>(c.label, plus<T>(at_argmax, elsewhere));
        lse = plus<T>(row.max, log);
        const DoubleWord<T> below = plus<T>(gap, term(c.label, gap_below<T>(row.max, x_label)));
        const DoubleWord<T> loss = plus<T>(below, product<T>(weight, log));
        // An impossible entry that is wanted makes the sum inf and the errors NaN.
        const Bits<T> infinite = (loss.high != loss.high) & (weight.high == weight.high) & (log.high == log.high);
        return {infinite ? splat(INF<T>) : loss.high, infinite ? splat<T>(0) : loss.low};
    }
    DoubleWord<T> logsumexp() const { return lse; }

    void write(const Shape shape, const T* x, const T* base, const T* e, T* grad) const {
        const auto gradient = gradient_of_entry();
        const Vec<T> at_label = gradient(x_label, row.probability(label.take(e)), base_label + c.label);
        shape.finish(grad, [&](auto place) {
            const Vec<T> elsewhere = gradient(place(x, 0), row.probability(place(e, 0)), place(base, 0));
            return label.at(place) ? at_label : elsewhere;
        });
        label.put(shape, grad, at_label);
    }
    void write(const Shape shape, const T* x, const T* base, const T* e, T* grad, T* hess) const {
        const auto gradient = gradient_of_entry();
        const Vec<T> at_label = gradient(x_label, row.probability(label.take(e)), base_label + c.label);
        const Vec<T> twice = 2 * c.z_loss, zero = splat<T>(0), square = c.curvature * twice;
        const Vec<T> all = times(c.curvature, plus<T>(weight, product<T>(DoubleWord<T>(twice, zero), lse)));
        finish_both(shape, grad, hess, [&](auto place) {
            const Vec<T> v = place(x, 0), p = row.probability(place(e, 0)), elsewhere = gradient(v, p, place(base, 0));
            const Vec<T> complement = row.saturated(v) ? row.complement : 1 - p;
            const Vec<T> q =
                complement < (T)0.5 ? 1 - complement : p;  // p with fewer roundings: its errors count twice in p²
            const Vec<T> second = q * mul_add(all, complement, square * q);
            return std::pair<Vec<T>, Vec<T>>(label.at(place) ? at_label : elsewhere, c.curvature == 0 ? zero : second);
        });
        label.put(shape, grad, at_label);
    }

   private:
    Normalized<T> row;
    DoubleWord<T> gap, at_argmax, elsewhere, weight,
        lse;  // of t: Σ t (max − x), and Σ t at the maximum, below it, and in all
    Label<Shape> label;
    Vec<T> x_label, base_label;
    Coefficients<T> c;

    Vec<T> pull() const { return 2 * c.z_loss * lse.high; }
    // The derivative by an entry v of the row, where p and t are known.
    auto gradient_of_entry() const {
        const Vec<T> all = weight.high + pull();
        const Vec<T> others = elsewhere.high + (x_label == row.max ? splat<T>(0) : c.label) + pull();
        return [=](Vec<T> v, Vec<T> p, Vec<T> t) {
            const Vec<T> g = row.saturated(v) ? mul_add(others, p, -(t * row.complement)) : mul_add(all, p, -t);
            return c.scale == 0 ? splat<T>(0) : g * c.scale;
        };
    }
    static DoubleWord<T> term(Vec<T> t, const DoubleWord<T>& gap) {
        const Vec<T> zero = splat<T>(0);
        const DoubleWord<T> all = product<T>(DoubleWord<T>(t, zero), gap);
        return {t == 0 ? zero : all.high, t == 0 ? zero : all.low};
    }
    static DoubleWord<T> whole(const Sum<T>& sum) {
        RowTotal<Shape> whole;
        whole.add(sum);
        return whole.parts();
    }
};

// target_cross_entropy; with a second result target_cross_entropy_grad, and with a third, for which there is the factor
// of the curvature, target_cross_entropy_grad_hess.
template <class S, int RESULTS>
void target_cross_entropy(const Call& call) {
    typedef Computed<S> T;
    constexpr bool GRAD = RESULTS > 1, HESS = RESULTS > 2;
    const auto labels = call.numbers<const int64_t>(2);
    const auto label_weight = call.numbers<const double>(3), scale = call.numbers<const double>(4),
               z_loss = call.numbers<const double>(5), factor = call.numbers<const double>(6);
    const auto loss = call.numbers<S>(call.signature.inputs);
    const auto add_up = [](auto& row, auto shape, const T* const* in, T* e) { row.add_up(shape, in[0], in[1], e); };
    const auto total = [&](auto& row, auto shape, ptrdiff_t i, const T* const* in) {
        int64_t label[WIDTH<T>];
        load_each(shape, labels, i, label);
        const Vec<T> s = load_numbers<T>(shape, scale, i), curvature = HESS ? s * load_numbers<T>(shape, factor, i) : s;
        const Coefficients<T> c{load_numbers<T>(shape, label_weight, i), s, load_numbers<T>(shape, z_loss, i),
                                curvature};
        const DoubleWord<T> value = row.total(shape, in[0], in[1], label, c);
        T high[WIDTH<T>], low[WIDTH<T>];
        store(high, row.logsumexp().high);
        store(low, row.logsumexp().low);
        store_result(shape, value, scale, loss, i, [&](int lane) {
            const Wide<T> z = z_loss.at(i + lane, 0), lse = (Wide<T>)high[lane] + (Wide<T>)low[lane];
            return z == 0 ? z : z * lse * lse;
        });
    };
    const auto write = [](const auto& row, auto shape, const T* const* in, const T* e, T* const* out) {
        if constexpr (HESS)
            row.write(shape, in[0], in[1], e, out[0], out[1]);
        else if constexpr (GRAD)
            row.write(shape, in[0], in[1], e, out[0]);
    };
    each_row<TargetLoss, S, 2, RESULTS - 1>(call, add_up, total, write);
}

}  // namespace
