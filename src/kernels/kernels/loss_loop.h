// Cross-entropy, its gradient and its curvature, and the entropy: one pass for the maximum, one for the exponentials,
// one that turns them into derivatives.
//
// Each loss is a class of three steps: `add_up`, the first two passes; `total`, what is computed once for a row; and
// `write`, the last pass.
//
// With k the largest entry, 1 − p_k is summed as Σ_{j≠k} p_j; everything that would subtract from 1 on a saturated row
// takes that sum. Entries that tie with the largest have p ≤ 1/2, where nothing cancels.
#pragma once

#include "rows/numbers.h"
#include "rows/row_loop.h"

namespace {

// The three steps of a loss for every row i, or batch of rows from i on:
//     add_up(loss, shape, in, e), total(loss, shape, i, in), write(loss, shape, in, e, out)
// where e is memory for the exponentials: that of the first result unless they would not stay there. LOCKSTEP: the loss
// takes a lockstep batch, and says which of its rows are done.
template <template <class, class> class Loss, class S, int INPUTS, int OUTPUTS, bool LOCKSTEP = false, class AddUp,
          class TakeTotal, class Write>
inline void each_row(const Call& call, AddUp add_up, TakeTotal total, Write write) {
    typedef Computed<S> T;
    // An entry is read until its result is written, and the exponentials must not come between.
    const auto one = [&](auto shape, ptrdiff_t i, const T* const* in, T* const* out) {
        Loss<T, decltype(shape)> loss;
        T* const e = OUTPUTS ? shape.workspace(out[0]) : nullptr;
        add_up(loss, shape, in, e);
        total(loss, shape, i, in);
        write(loss, shape, in, e, out);
        if constexpr (IS_LOCKSTEP<decltype(shape)>) return loss.done();
    };
    RowLoop<S, INPUTS, OUTPUTS>(call).run(with_traits<OUTPUTS ? WHOLE_ROW : NONE, LOCKSTEP>(
        [&](auto shape, ptrdiff_t i, const T* const* in, T* const* out) {
            if constexpr (IS_LOCKSTEP<decltype(shape)>) {
                const Bits<T> done = one(shape, i, in, out);
                shape.each([&](int lane, const Row<T> row) {
                    const T* const x = shape.in(in[0], lane);
                    T* const y = OUTPUTS ? shape.out(out[0], lane) : nullptr;
                    if (!done[lane]) one(row, i + lane, &x, &y);
                });
            } else {
                one(shape, i, in, out);
            }
        }));
}

}  // namespace
