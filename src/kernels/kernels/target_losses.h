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

// target_cross_entropy; with a second result target_cross_entropy_grad, and with a third, for which there is the factor of
// the curvature, target_cross_entropy_grad_hess.
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
        gather(shape, labels, i, label);
        const Vec<T> s = gathered<T>(shape, scale, i), curvature = HESS ? s * gathered<T>(shape, factor, i) : s;
        const Coefficients<T> c{gathered<T>(shape, label_weight, i), s, gathered<T>(shape, z_loss, i), curvature};
        const Split<T> value = row.total(shape, in[0], in[1], label, c);
        T high[WIDTH<T>], low[WIDTH<T>];
        store(high, row.logsumexp().high);
        store(low, row.logsumexp().low);
        scatter(shape, value, scale, loss, i, [&](int lane) {
            const Wide<T> z = z_loss.at(i + lane, 0), lse = (Wide<T>)high[lane] + (Wide<T>)low[lane];
            return z == 0 ? 0 : z * lse * lse;
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
