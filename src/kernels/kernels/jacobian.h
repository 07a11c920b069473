// The dense Jacobian of softmax.
#pragma once

#include "rows/reductions.h"
#include "rows/row_loop.h"

namespace {

// One row of probabilities, ready to write any line of its Jacobian (diag(p) − p pᵀ)/T.
template <class T>
struct SaturatedRow {
    const T* p;
    ptrdiff_t n, argmax;
    T complement;  // 1 − p at the argmax entry

    SaturatedRow(const T* p, ptrdiff_t n) : p(p), n(n) {
        const Argmax<Row<T>> largest(Row<T>(n), p);
        argmax = largest.index;
        const auto entry = [&](auto place) { return place(this->p, 0); };
        complement = largest.sum_of_others(Row<T>(n), entry).high[0];
    }

    void jacobian_line(const RowContext<T>& context, ptrdiff_t i, double temperature, T* out) const {
        const T scaled = scaled_by(temperature, i);
        const auto entry = [&](auto place) { return entries(scaled, place(p, 0)); };
        if (context.nontemporal)
            Row<T>(n, context).finish(out, entry);
        else  // only writing takes time here, and a cache line that is not written whole is written twice
            Row<T>(n, context).at_each_aligned(out, [&](auto place) { place.store(out, entry(place)); });
        if (context.nontemporal) fence_nontemporal();
        out[i] = at_diagonal(scaled, i);
    }
    // The line in whole vectors, of which the last may reach beyond the line, for what comes there is written later. p
    // holds whole vectors, too.
    void spilling_line(ptrdiff_t i, double temperature, T* out) const {
        const T scaled = scaled_by(temperature, i);
        for (ptrdiff_t j = 0; j < n; j += WIDTH<T>) store(out + j, entries(scaled, load(p + j)));
        out[i] = at_diagonal(scaled, i);
    }

   private:
    T scaled_by(double temperature, ptrdiff_t i) const {
        return temperature == 1 ? p[i] : (T)((double)p[i] / temperature);
    }
    static Vec<T> entries(T scaled, Vec<T> p) { return mul_add(splat(-scaled), p, splat<T>(0)); }  // −0 + 0 is 0
    T at_diagonal(T scaled, ptrdiff_t i) const { return scaled * (i == argmax ? complement : 1 - p[i]); }
};

// The dense Jacobian: a row and its temperature in, a matrix out.
template <class S>
void jacobian(const Call& call) {
    typedef Computed<S> T;
    const ptrdiff_t rows = call.rows(), n = call.length();
    const Operand<const S> p = call.slices<const S>(0);
    const Operand<const double> t = call.numbers<const double>(1);
    const Operand<S> lines = call.slices<S>(2);
    const ptrdiff_t matrix = lines.row, line = lines.step, entry = call.steps[call.signature.first_step[2] + 1];
    constexpr ptrdiff_t SHORT = 256 / (ptrdiff_t)sizeof(T);  // lines that cost more to end than to write
    const bool copy_out = IS_NARROW<S> || entry != (ptrdiff_t)sizeof(S);
    const bool spills = n < SHORT && !copy_out && line == n * (ptrdiff_t)sizeof(S) && matrix == n * line;
    const bool copy_in = IS_NARROW<S> || !p.contiguous() || spills;
    const ptrdiff_t padded = in_vectors<T>(n);
    const Scratch<T> scratch(copy_in || copy_out ? 2 * padded : 0);
    if (n == 0 || ((copy_in || copy_out) && !scratch)) return;
    T* const copy = scratch.aligned();
    RowContext<T> context;
    context.nontemporal = !copy_out && is_long_enough<S>(n) &&
                          rows * n * n * (ptrdiff_t)sizeof(T) >= softgrad_boundaries.nontemporal_from;
    for (ptrdiff_t i = 0; i < rows; ++i) {
        if (copy_in) copy_row(copy, p, {}, i, n);
        const SaturatedRow<T> row(copy_in ? copy : (const T*)&p.at(i, 0), n);
        for (ptrdiff_t k = 0; k < n; ++k) {
            const Operand<S> out{lines.data + i * matrix + k * line, 0, entry};
            if (spills && ((rows - i) * n - k) * n >= padded) {
                row.spilling_line(k, t.at(i, 0), (T*)&out.at(0, 0));
                continue;
            }
            row.jacobian_line(context, k, t.at(i, 0), copy_out ? copy + padded : (T*)&out.at(0, 0));
            if (copy_out) store_row(out, copy + padded, 0, n);
        }
    }
}

}  // namespace
