// The loops of the losses: rows and labels in, one loss per row and derivatives out.
#pragma once

#include "kernels/divergence.h"
#include "kernels/loops.h"
#include "kernels/losses.h"

namespace {

// How many numbers a shape wants of everything that a row has one of.
template <class Shape>
constexpr int numbers = 1;
template <class T>
constexpr int numbers<Panel<T>> = WIDTH<T>;
template <class T>
constexpr int numbers<Rows<T>> = WIDTH<T>;

// One number per row from row i on, as a vector of a shape; lanes without a row repeat the last one.
template <class Shape, class N>
inline void gather(const Shape shape, const Operand<const N>& of, ptrdiff_t i, N* values) {
    constexpr int COUNT = numbers<Shape>;
    if (shape.lanes == COUNT && of.row == (ptrdiff_t)sizeof(N)) {
        __builtin_memcpy(values, &of.at(i, 0), COUNT * sizeof(N));
        return;
    }
    for (int lane = 0; lane < COUNT; ++lane)
        values[lane] = of.at(i + (lane < shape.lanes ? lane : shape.lanes - 1), 0);
}
template <class T, class Shape>
inline Vec<T> gathered(const Shape shape, const Operand<const double>& of, ptrdiff_t i) {
    if (of.row == 0) return splat((T)of.at(0, 0));
    double wide[WIDTH<T>];
    T values[WIDTH<T>];
    gather(shape, of, i, wide);
    for (int lane = 0; lane < numbers<Shape>; ++lane) values[lane] = (T)wide[lane];
    return shape.spread(values);
}

// out = scale · value for each row, where a factor 0 leaves nothing. With more(row) ≠ 0, that joins the value.
template <class S, class Shape, class T, class More>
inline void scatter(const Shape shape, const Split<T>& value, const Operand<const double>& scale, const Operand<S>& out,
                    ptrdiff_t i, More more) {
    T high[WIDTH<T>], low[WIDTH<T>];
    store(high, value.high);
    store(low, value.low);
    for (int lane = 0; lane < shape.lanes; ++lane) {
        const Wide<T> s = scale.at(i + lane, 0), sum = (Wide<T>)high[lane] + (Wide<T>)low[lane] + more(lane);
        out.at(i + lane, 0) = stored<S>(s == 0 ? 0 : (T)(s * sum));
    }
}
template <class S, class Shape, class T>
inline void scatter(const Shape shape, const Split<T>& value, const Operand<const double>& scale, const Operand<S>& out,
                    ptrdiff_t i) {
    if (scale.row == 0 && scale.at(0, 0) == 1) {  // the parts are apart: their sum rounds to the first
        S high[WIDTH<T>];
        const bool in_place = shape.lanes == WIDTH<T> && out.row == (ptrdiff_t)sizeof(S);
        write(in_place ? &out.at(i, 0) : high, value.high);
        for (int lane = 0; !in_place && lane < shape.lanes; ++lane) out.at(i + lane, 0) = high[lane];
    } else {
        scatter(shape, value, scale, out, i, [](int) { return (Wide<T>)0; });
    }
}

// The three steps of a loss for every row i, or panel of rows from i on:
//     add_up(loss, shape, in, e), total(loss, shape, i, in), write(loss, shape, in, e, out)
// where e is memory for the exponentials: that of the first result unless they would not stay there. TOGETHER: the loss
// takes rows that keep step, and says which of them are done.
template <template <class, class> class Loss, class S, bool TOGETHER = false, int INPUTS, int OUTPUTS, class AddUp,
          class TakeTotal, class Write>
inline void each_row(const RowLoop<S, INPUTS, OUTPUTS>& loop, AddUp add_up, TakeTotal total, Write write) {
    typedef Computed<S> T;
    // An entry is read until its result is written, and the exponentials must not come between.
    const auto one = [&](auto shape, ptrdiff_t i, const T* const* in, T* const* out) {
        Loss<T, decltype(shape)> loss;
        T* const e = OUTPUTS ? shape.workspace(out[0]) : nullptr;
        add_up(loss, shape, in, e);
        total(loss, shape, i, in);
        write(loss, shape, in, e, out);
        if constexpr (KEEPS_STEP<decltype(shape)>) return loss.done();
    };
    loop.template run<true, OUTPUTS ? WHOLE_ROW : NONE, TOGETHER>(
        [&](auto shape, ptrdiff_t i, const T* const* in, T* const* out) {
            if constexpr (KEEPS_STEP<decltype(shape)>) {
                const Bits<T> done = one(shape, i, in, out);
                shape.each([&](int lane, const Row<T> row) {
                    const T* const x = shape.in(in[0], lane);
                    T* const y = OUTPUTS ? shape.out(out[0], lane) : nullptr;
                    if (!done[lane]) one(row, i + lane, &x, &y);
                });
            } else {
                one(shape, i, in, out);
            }
        });
}

// cross_entropy; with a second result cross_entropy_grad, and with a third, for which there is the factor of the
// curvature, cross_entropy_grad_hess.
template <class S, int RESULTS>
void cross_entropy(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    typedef Computed<S> T;
    constexpr bool GRAD = RESULTS > 1, HESS = RESULTS > 2;
    constexpr int FIRST = HESS ? 4 : 3;  // result
    const ptrdiff_t rows = dims[0], n = dims[1];
    const ptrdiff_t* const core = steps + FIRST + RESULTS;
    const Operand<const S> x{args[0], steps[0], core[0]};
    const Operand<const int64_t> labels{args[1], steps[1], 0};
    const Operand<const double> scale{args[2], steps[2], 0}, factor{args[3], steps[3], 0};
    const Operand<S> loss{args[FIRST], steps[FIRST], 0};
    const auto add_up = [](auto& row, auto shape, const T* const* in, T* e) { row.add_up(shape, in[0], e); };
    const auto total = [&](auto& row, auto shape, ptrdiff_t i, const T* const* in) {
        int64_t label[WIDTH<T>];
        gather(shape, labels, i, label);
        const Vec<T> s = gathered<T>(shape, scale, i), curvature = HESS ? s * gathered<T>(shape, factor, i) : s;
        scatter(shape, row.total(shape, in[0], label, s, curvature), scale, loss, i);
    };
    const auto write = [](const auto& row, auto shape, const T* const* in, const T* e, T* const* out) {
        if constexpr (HESS)
            row.write(shape, in[0], e, out[0], out[1]);
        else if constexpr (GRAD)
            row.write(shape, e, out[0]);
    };
    if constexpr (HESS)
        each_row<LabelLoss, S, false, 1, 2>(
            {rows, n, {x}, {{args[5], steps[5], core[1]}, {args[6], steps[6], core[2]}}, {}}, add_up, total, write);
    else if constexpr (GRAD)
        each_row<LabelLoss, S, true, 1, 1>({rows, n, {x}, {{args[4], steps[4], core[1]}}, {}}, add_up, total, write);
    else
        each_row<LabelLoss, S, true, 1, 0>({rows, n, {x}, {}, {}}, add_up, total, write);
}

// target_cross_entropy; with a second result target_cross_entropy_grad, and with a third, for which there is the factor of
// the curvature, target_cross_entropy_grad_hess.
template <class S, int RESULTS>
void target_cross_entropy(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    typedef Computed<S> T;
    constexpr bool GRAD = RESULTS > 1, HESS = RESULTS > 2;
    constexpr int FIRST = HESS ? 7 : 6;  // result
    const ptrdiff_t rows = dims[0], n = dims[1];
    const ptrdiff_t* const core = steps + FIRST + RESULTS;
    const Operand<const S> x{args[0], steps[0], core[0]}, base{args[1], steps[1], core[1]};
    const Operand<const int64_t> labels{args[2], steps[2], 0};
    const Operand<const double> label_weight{args[3], steps[3], 0}, scale{args[4], steps[4], 0},
        z_loss{args[5], steps[5], 0}, factor{args[6], steps[6], 0};
    const Operand<S> loss{args[FIRST], steps[FIRST], 0};
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
    if constexpr (HESS)
        each_row<TargetLoss, S, false, 2, 2>(
            {rows, n, {x, base}, {{args[8], steps[8], core[2]}, {args[9], steps[9], core[3]}}, {}}, add_up, total, write);
    else if constexpr (GRAD)
        each_row<TargetLoss, S, false, 2, 1>({rows, n, {x, base}, {{args[7], steps[7], core[2]}}, {}}, add_up, total, write);
    else
        each_row<TargetLoss, S, false, 2, 0>({rows, n, {x, base}, {}, {}}, add_up, total, write);
}

template <class S>
void log_sum(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    typedef Computed<S> T;
    const auto add_up = [](auto& row, auto shape, const T* const* in, T*) { row.add_up(shape, in[0]); };
    const auto total = [&](auto& row, auto shape, ptrdiff_t i, const T* const*) {
        const Split<T> log = row.total();
        T parts[3][WIDTH<T>];
        store(parts[0], row.max());
        store(parts[1], log.high);
        store(parts[2], log.low);
        for (int k = 0; k < 3; ++k)
            for (int lane = 0; lane < shape.lanes; ++lane) *(S*)(args[k + 1] + (i + lane) * steps[k + 1]) = stored<S>(parts[k][lane]);
    };
    each_row<LogTotal, S, false, 1, 0>({dims[0], dims[1], {{args[0], steps[0], steps[4]}}, {}, {}}, add_up, total,
                                       Nobody{});
}

// entropy and, with room for the gradient, entropy_grad.
template <class S, bool GRAD>
void entropy(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    typedef Computed<S> T;
    constexpr int OPERANDS = GRAD ? 3 : 2;
    const ptrdiff_t rows = dims[0], n = dims[1];
    const Operand<const S> x{args[0], steps[0], steps[OPERANDS]};
    const double one = 1;
    const Operand<const double> unit{(char*)&one, 0, 0};
    const Operand<S> value{args[1], steps[1], 0};
    if (n == 0) {
        for (ptrdiff_t i = 0; i < rows; ++i) value.at(i, 0) = stored<S>(0);
        return;
    }
    const auto add_up = [](auto& row, auto shape, const T* const* in, T* e) { row.add_up(shape, in[0], e); };
    const auto total = [&](auto& row, auto shape, ptrdiff_t i, const T* const*) {
        scatter(shape, row.total(), unit, value, i);
    };
    const auto write = [](const auto& row, auto shape, const T* const* in, const T* e, T* const* out) {
        if constexpr (GRAD) row.write(shape, in[0], e, out[0]);
    };
    if constexpr (GRAD)
        each_row<Entropy, S, false, 1, 1>({rows, n, {x}, {{args[2], steps[2], steps[OPERANDS + 1]}}, {}}, add_up, total,
                                          write);
    else
        each_row<Entropy, S, false, 1, 0>({rows, n, {x}, {}, {}}, add_up, total, write);
}

// kl_divergence and, with room for the gradients, kl_divergence_grad.
template <class S, bool GRAD>
void divergence(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    typedef Computed<S> T;
    constexpr int OPERANDS = GRAD ? 5 : 3;
    const ptrdiff_t rows = dims[0], n = dims[1];
    const ptrdiff_t* const core = steps + OPERANDS;
    const Operand<const S> a{args[0], steps[0], core[0]}, b{args[1], steps[1], core[1]};
    const double one = 1;
    const Operand<const double> unit{(char*)&one, 0, 0};
    const Operand<S> value{args[2], steps[2], 0};
    if (n == 0) {
        for (ptrdiff_t i = 0; i < rows; ++i) value.at(i, 0) = stored<S>(0);
        return;
    }
    const auto kernel = [&](auto shape, ptrdiff_t i, const T* const* in, T* const* out) {
        Divergence<T, decltype(shape)> row;
        row.add_up(shape, in[0], in[1]);
        scatter(shape, row.total(shape, in[0], in[1]), unit, value, i);
        const Bits<T> ordinary = row.is_ordinary();
        if constexpr (GRAD)
            if (shape.IS_PANEL || ordinary[0]) row.write(shape, in[0], in[1], out[0], out[1]);
        const ptrdiff_t step = sizeof(T) * (shape.IS_PANEL ? WIDTH<T> : 1);
        for (int lane = 0; lane < shape.lanes; ++lane) {
            if (ordinary[lane]) continue;
            const WideDivergence<T> one({(char*)(in[0] + lane), 0, step}, {(char*)(in[1] + lane), 0, step}, shape.length());
            value.at(i + lane, 0) = stored<S>((T)one.value);
            if constexpr (GRAD) one.write({(char*)(out[0] + lane), 0, step}, {(char*)(out[1] + lane), 0, step});
        }
    };
    if constexpr (GRAD) {
        const RowLoop<S, 2, 2> loop{
            rows, n, {a, b}, {{args[3], steps[3], core[2]}, {args[4], steps[4], core[3]}}, {}};
        loop.template run<true, NONE>(kernel);
    } else {
        const RowLoop<S, 2, 0> loop{rows, n, {a, b}, {}, {}};
        loop.template run<true, NONE>(kernel);
    }
}

}  // namespace
