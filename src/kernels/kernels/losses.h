// Cross-entropy at a label, its gradient and its curvature.
#pragma once

#include "kernels/loss_loop.h"
#include "kernels/normalized.h"
#include "rows/finish_both.h"
#include "rows/label.h"

namespace {

// The loss log Σ e^(x − max) + (max − x_y) at the label y; its gradient scale · (p − e_y); and curvature · p(1 − p).
template <class T, class Shape>
class LabelLoss {
   public:
    void add_up(const Shape shape, const T* x, T* e) {
        if constexpr (IS_LOCKSTEP<Shape>)
            done_ = row.add_up_rounded(shape, x, e != nullptr);
        else
            row.add_up_rounded(shape, x, e);
    }
    // The rows of a lockstep batch that need not be computed again alone.
    Bits<T> done() const { return done_; }

    DoubleWord<T> total(const Shape shape, const T* x, const int64_t* labels, const DoubleWord<T>& scale_,
                        const DoubleWord<T>& curvature_) {
        scale = scale_;
        label = Label<Shape>(shape, labels);
        row.total();
        gradient = Multiple<T>(row, scale_);
        curvature = Multiple<T>(row, curvature_);
        x_label = label.take(x);
        return plus<T>(gap_below<T>(row.max, x_label), row.log());
    }

    void write(const Shape shape, const T* e, T* grad) const {
        const Vec<T> at_label = gradient_at_label(e);
        if constexpr (IS_LOCKSTEP<Shape>)
            write_each(shape, grad, at_label);
        else
            with_constant(gradient.is_direct(), [&](auto is_direct) { finish<is_direct>(shape, e, grad, at_label); });
    }
    void write(const Shape shape, const T* x, const T* e, T* grad, T* hess) const {
        const Vec<T> at_label = gradient_at_label(e);
        finish_both(shape, grad, hess, [&](auto place) {
            const Vec<T> power = place(e, 0), first = gradient.template of<false>(power);
            const Vec<T> complement = row.saturated(place(x, 0)) ? row.complement : row.complement_of(power);
            const Vec<T> second = curvature.then == 0 ? splat<T>(0) : curvature.template of<false>(power) * complement;
            return std::pair<Vec<T>, Vec<T>>(label.at(place) ? at_label : first, second);
        });
        label.put(shape, grad, at_label);
    }

   private:
    Normalized<T> row;
    Label<Shape> label;
    Vec<T> x_label;
    DoubleWord<T> scale;
    Multiple<T> gradient, curvature;
    Bits<T> done_;

    template <bool IS_DIRECT>
    [[gnu::flatten]] void finish(const Shape shape, const T* e, T* grad, Vec<T> at_label) const {
        // Members would be read again after every store.
        const Multiple<T> multiple = gradient;
        const Label<Shape> own = label;
        shape.finish(grad, [&](auto place) {
            const Vec<T> value = multiple.template of<IS_DIRECT>(place(e, 0));
            return own.at(place) ? at_label : value;
        });
        own.put(shape, grad, at_label);
    }
    [[gnu::flatten]] void write_each(const Lockstep<T> rows, T* grad, Vec<T> at_labels) const {
        const DoubleWordLanes<T> factor(gradient.factor);
        const Lanes<T> at_label(at_labels), then(gradient.then);
        rows.each([&](int lane, const Row<T> one) {
            if (!done_[lane]) return;
            const T* const e = rows.exponentials(lane);
            T* const y = rows.out(grad, lane);
            const Multiple<T> multiple(factor[lane], then[lane]);
            with_constant(multiple.is_direct(), [&](auto is_direct) {
                one.finish(y, [&](auto place) { return multiple.template of<is_direct>(place(e, 0)); });
            });
            y[label.labels[lane]] = at_label[lane][0];
        });
    }

    Vec<T> gradient_at_label(const T* e) const {
        const Vec<T> complement =
            row.saturated(x_label) ? row.complement : row.complement_of(label.take_exponential(e));
        return scale.high == 0 ? splat<T>(0) : -times(complement, scale);
    }
};

// cross_entropy; with a second result cross_entropy_grad, and with a third, for which there is the factor of the
// curvature, cross_entropy_grad_hess.
template <class S, int RESULTS>
void cross_entropy(const Call& call) {
    typedef Computed<S> T;
    constexpr bool GRAD = RESULTS > 1, HESS = RESULTS > 2;
    const auto labels = call.numbers<const int64_t>(1);
    const auto scale = call.numbers<const double>(2), factor = call.numbers<const double>(3);
    const auto loss = call.numbers<S>(call.signature.inputs);
    const auto add_up = [](auto& row, auto shape, const T* const* in, T* e) { row.add_up(shape, in[0], e); };
    const auto total = [&](auto& row, auto shape, ptrdiff_t i, const T* const* in) {
        int64_t label[WIDTH<T>];
        load_each(shape, labels, i, label);
        const DoubleWord<T> s = load_numbers<T>(shape, scale, i),
                            curvature = HESS ? product<T>(s, load_numbers<T>(shape, factor, i)) : s;
        store_result(shape, row.total(shape, in[0], label, s, curvature), scale, loss, i);
    };
    const auto write = [](const auto& row, auto shape, const T* const* in, const T* e, T* const* out) {
        if constexpr (HESS)
            row.write(shape, in[0], e, out[0], out[1]);
        else if constexpr (GRAD)
            row.write(shape, e, out[0]);
    };
    each_row<LabelLoss, S, 1, RESULTS - 1, !HESS>(call, add_up, total, write);
}

}  // namespace
