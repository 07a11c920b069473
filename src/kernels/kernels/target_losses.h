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
    DoubleWord<T> label, scale, z_loss, curvature;
};

// The loss Σ t (lse − x) with t = base + c e_y, where 0·inf is 0; scale · ((W + 2 z lse) p − t), W = Σ t; and
// curvature · ((W + 2 z lse) p(1 − p) + 2 z p²).
template <class T, class Shape>
class TargetLoss {
   public:
    void add_up(const Shape shape, const T* x, const T* base, T* e) {
        LongSum<T, Shape> gaps, argmaxes, others;
        const auto visit = [&](auto place, Vec<T> v, const DoubleWord<T>&, Vec<T> max) {
            const Vec<T> t = place(base, 0), zero = splat<T>(0);
            const DoubleWord<T> gap = term(DoubleWord<T>(t, zero), gap_below<T>(max, v));
            gaps.sum.add(gap.high);
            gaps.sum.error += gap.low;
            argmaxes.sum.add(v == max ? t : zero);
            others.sum.add(v == max ? zero : t);
        };
        row.add_up(shape, x, e, visit, [&] {
            gaps.end_block();
            argmaxes.end_block();
            others.end_block();
        });
        gap = gaps.parts();
        at_argmax = argmaxes.parts();
        elsewhere = others.parts();
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
        const Gradient gradient(*this);
        const Vec<T> zero = splat<T>(0), at_label = gradient_at_label(gradient, e);
        with_constant(gradient.is_direct(), [&](auto is_direct) {
            shape.finish(grad, [&](auto place) {
                const DoubleWord<T> t(place(base, 0), zero);
                const Vec<T> elsewhere = gradient.template of<is_direct>(place(x, 0), place(e, 0), t);
                return label.at(place) ? at_label : elsewhere;
            });
        });
        label.put(shape, grad, at_label);
    }
    void write(const Shape shape, const T* x, const T* base, const T* e, T* grad, T* hess) const {
        const Gradient gradient(*this);
        const Vec<T> zero = splat<T>(0), at_label = gradient_at_label(gradient, e);
        const DoubleWord<T> twice = twice_z_loss();
        const Multiple<T> all(row, product<T>(c.curvature, plus<T>(weight, product<T>(twice, lse))));
        const Vec<T> square = product<T>(c.curvature, twice).high;
        finish_both(shape, grad, hess, [&](auto place) {
            const Vec<T> v = place(x, 0), power = place(e, 0);
            const Vec<T> elsewhere = gradient.template of<false>(v, power, DoubleWord<T>(place(base, 0), zero));
            const Vec<T> complement = row.saturated(v) ? row.complement : row.complement_of(power);
            // p with fewer roundings: its errors count twice in p²
            const Vec<T> p = complement < (T)0.5 ? 1 - complement : row.probability(power);
            const Vec<T> second = fma(all.template of<false>(power), complement, square * p * p);
            return std::pair<Vec<T>, Vec<T>>(label.at(place) ? at_label : elsewhere,
                                             c.curvature.high == 0 ? zero : second);
        });
        label.put(shape, grad, at_label);
    }

   private:
    Normalized<T> row;
    // Of t: Σ t (max − x), and Σ t at the maximum, below it, and in all.
    DoubleWord<T> gap, at_argmax, elsewhere, weight, lse;
    Label<Shape> label;
    Vec<T> x_label, base_label;
    Coefficients<T> c;

    DoubleWord<T> twice_z_loss() const { return {2 * c.z_loss.high, 2 * c.z_loss.low}; }

    // scale · (C p − t) by an entry v of the row with C = W + 2 z lse; at a saturated maximum, scale · (D p − t (1 −
    // p)) with D = Σ_{j≠k} t_j + 2 z lse. scale · C/Σ is in two parts, so that e times it is rounded but once, together
    // with the difference: an error of (ρ + σ) C p + t/2 ulp, and half an ulp.
    class Gradient {
       public:
        explicit Gradient(const TargetLoss& loss) : row(loss.row), scale(loss.c.scale) {
            const Vec<T> zero = splat<T>(0);
            const Bits<T> is_top = loss.x_label == row.max;
            const DoubleWord<T> at_label(is_top ? zero : loss.c.label.high, is_top ? zero : loss.c.label.low);
            const DoubleWord<T> pull = product<T>(loss.twice_z_loss(), loss.lse);
            all = plus<T>(loss.weight, pull);
            others = plus<T>(plus<T>(loss.elsewhere, at_label), pull);
            const DoubleWord<T> one = product<T>(row.inverse, scale);
            all_direct = product<T>(one, all);
            others_direct = product<T>(one, others);
            direct = has_digits(one.high) & has_digits(one.high, loss.weight) & has_digits(one.high, all) &
                     has_digits(one.high, others);
        }
        bool is_direct() const { return !any<T>(~direct); }

        // IS_DIRECT: as every lane is.
        template <bool IS_DIRECT>
        [[gnu::always_inline]] Vec<T> of(Vec<T> v, Vec<T> e, const DoubleWord<T>& t) const {
            const Bits<T> saturated = row.saturated(v);
            const Vec<T> wanted = fma(t.high, scale.high, fma(t.high, scale.low, t.low * scale.high));
            const Vec<T> push = saturated ? wanted * row.complement : wanted;
            const Vec<T> high = saturated ? others_direct.high : all_direct.high,
                         low = saturated ? others_direct.low : all_direct.low, once = fma(e, high, fma(e, low, -push));
            if constexpr (IS_DIRECT) return once;
            const Vec<T> coefficient = saturated ? others.high : all.high,
                         plain = saturated ? t.high * row.complement : t.high,
                         twice = fma(row.probability(e), coefficient, -plain) * scale.high;
            return scale.high == 0 ? splat<T>(0) : direct ? once : twice;
        }

       private:
        const Normalized<T> row;
        const DoubleWord<T> scale;
        DoubleWord<T> all, others, all_direct, others_direct;
        Bits<T> direct;

        static Bits<T> has_digits(Vec<T> factor) { return Multiple<T>::has_digits(factor); }
        static Bits<T> has_digits(Vec<T> factor, const DoubleWord<T>& coefficient) {
            return (coefficient.high == 0) | has_digits(factor * coefficient.high);
        }
    };
    Vec<T> gradient_at_label(const Gradient& gradient, const T* e) const {
        return gradient.template of<false>(x_label, label.take(e), plus<T>(base_label, c.label));
    }

    static DoubleWord<T> term(const DoubleWord<T>& t, const DoubleWord<T>& gap) {
        const Vec<T> zero = splat<T>(0);
        const DoubleWord<T> all = product<T>(t, gap);
        return {t.high == 0 ? zero : all.high, t.high == 0 ? zero : all.low};
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
        const DoubleWord<T> s = load_numbers<T>(shape, scale, i),
                            curvature = HESS ? product<T>(s, load_numbers<T>(shape, factor, i)) : s;
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
