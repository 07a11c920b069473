// Slices along another axis than the last as the columns of a matrix: neighbours are the lanes of a vector,
// and their entries are read in the order of memory, one run of neighbours after the other. Nothing is transposed.
//
// Entry j of a column is added where it would be in a row: to the sum that one lane of one of the row's sums is there,
// so that the column comes out with the same bits. Columns that a kernel has another way for are staged as rows: those
// that are not of small logits, which need their maximum first (softmax.h, logsumexp.h), and in a derivative masked
// ones.
#pragma once

#include "rows/row_loop.h"

namespace {

// So many neighbours are taken at a time: runs long enough for the hardware to read ahead, of columns few enough that
// their sums and, if they are not too long, their entries stay in the caches. Measured at 4096x4096: with AVX-512 on
// Zen 4, whose second-level cache holds 1 MiB, a kilobyte did best; with AVX2 on Zen 3, which has half of it, whole
// pages, and a last pass that prefetches some entries ahead: 1.5 to 2 times as fast.
template <class S>
constexpr ptrdiff_t NEIGHBOURS_AT_ONCE = BYTES == 64 ? 1024 / (ptrdiff_t)sizeof(S) : 1024;
constexpr ptrdiff_t ENTRIES_AHEAD = BYTES == 64 ? 0 : 8;

// Entries of a column that are added to one sum while it is in registers.
constexpr ptrdiff_t ENTRIES_AT_ONCE = 8;

// A block of neighbouring columns, of INPUTS operands. CHAINS is how many vectors of a row are summed side by side.
template <class S, int INPUTS, int CHAINS>
struct ColumnBlock {
    typedef Computed<S> T;
    static constexpr int W = WIDTH<T>, SUMS = CHAINS * W;
    static constexpr ptrdiff_t COLUMNS = NEIGHBOURS_AT_ONCE<S>, VECTORS = COLUMNS / W;

    // What is known of the columns, in vectors of them.
    struct Memory {
        WideSum<T> sums[SUMS][VECTORS];
        Vec<T> lost[SUMS][VECTORS];  // what roundings lost and a row has not yet added to its sums
        Range<T> ranges[VECTORS];
        Wide<T> totals[COLUMNS];
        DoubleWord<T> factors[VECTORS];
        bool falls_back[VECTORS];
    };

    Operand<const S> in[INPUTS];
    ptrdiff_t columns, n;
    Memory& memory;

    template <int OUTPUTS>
    ColumnBlock(const RowLoop<S, INPUTS, OUTPUTS>& loop, ptrdiff_t i, ptrdiff_t columns, Memory& memory)
        : columns(columns), n(loop.n), memory(memory) {
        for (int k = 0; k < INPUTS; ++k)
            in[k] = {loop.in[k].data + i * loop.in[k].row, loop.in[k].row, loop.in[k].step};
    }

    // f(vector, read) for each vector of the columns from `from` to `to`.
    template <class F>
    [[gnu::always_inline]] static void at_each(ptrdiff_t from, ptrdiff_t to, F f) {
        ptrdiff_t i = from;
        for (; i + W <= to; i += W) f(i / W, [](const S* p) { return read(p); });
        if (i < to) f(i / W, [&](const S* p) { return read_head(p, to - i, (T)0); });
    }

    // Whether the condition holds for most vectors of columns.
    template <class Condition>
    bool most(Condition holds) const {
        ptrdiff_t count = 0;
        at_each(0, columns, [&](ptrdiff_t v, auto) { count += holds(v) ? 2 : 0; });
        return count * W > columns;
    }

    // Entry j of vector i, of any operand: f(j, i, read) of the columns from `from` to `to` is written to y.
    template <class F>
    [[gnu::always_inline]] void write_entries(const Operand<S>& y, ptrdiff_t from, ptrdiff_t to, bool nontemporal,
                                              F f) const {
        for (ptrdiff_t j = 0; j < n; ++j) {
            S* const out = &y.at(0, j);
            ptrdiff_t i = from;
            if (ENTRIES_AHEAD && j + ENTRIES_AHEAD < n) prefetch(from, to, j + ENTRIES_AHEAD);
            for (; i + W <= to; i += W) {
                const Vec<T> value = f(j, i / W, [](const S* p) { return read(p); });
                if constexpr (!IS_NARROW<S>)
                    if (nontemporal) {
                        ::store_nontemporal(out + i, value);
                        continue;
                    }
                write(out + i, value);
            }
            if (i < to)
                write_head(out + i, f(j, i / W, [&](const S* p) { return read_head(p, to - i, (T)0); }), to - i);
        }
    }

    // Entry j of the columns from `from` to `to`, of every operand.
    void prefetch(ptrdiff_t from, ptrdiff_t to, ptrdiff_t j) const {
        for (int k = 0; k < INPUTS; ++k)
            for (ptrdiff_t i = from; i < to; i += 64 / (ptrdiff_t)sizeof(S)) __builtin_prefetch(&in[k].at(i, j), 0, 2);
    }

    // Where entry j of vector i begins.
    const S* at(int k, ptrdiff_t j, ptrdiff_t i) const { return &in[k].at(i * W, j); }

    // What a row does with the lanes of its sums.
    [[gnu::always_inline]] void add_chains(ptrdiff_t v) const {
        if constexpr (CHAINS == 2)
            for (int k = 0; k < W; ++k) {
                memory.sums[k][v].add(memory.sums[W + k][v]);
                memory.sums[k][v].add_lost(memory.lost[k][v] + memory.lost[W + k][v]);
            }
        Wide<T>* const totals = memory.totals + v * W;
        if constexpr (sizeof(T) == 4) {
            for (int half = W / 2; half > 0; half /= 2)
                for (int k = 0; k < half; ++k) memory.sums[k][v].add(memory.sums[k + half][v]);
            const WideSum<T>& sum = memory.sums[0][v];
            store(totals, load(totals) + sum.lower);
            store(totals + W / 2, load(totals + W / 2) + sum.upper);
        } else {
            for (int lane = 0; lane < W; ++lane) {
                Vec<T> sum, error;
                for (int k = 0; k < W; ++k) {
                    sum[k] = memory.sums[k][v].sum[lane];
                    error[k] = memory.sums[k][v].error[lane];
                }
                totals[lane] += sum_of_lanes(sum, error);
            }
        }
    }
};

// Takes the slices of `loop` as columns where they are stored as such; as rows, with `kernel`, those that fall back.
// Where these are most, the others do, too: either way gives the same bits.
template <class Columns, class S, int INPUTS, int OUTPUTS, class Kernel, class StoreResult>
void run_columns(const RowLoop<S, INPUTS, OUTPUTS>& loop, const Kernel& kernel, StoreResult store_result) {
    constexpr int W = WIDTH<Computed<S>>;
    // (Of float32 an index is 32 bits.)
    bool are_columns =
        loop.n > LONGEST_BATCHED && loop.n <= INT32_MAX && loop.rows >= NEIGHBOURS / (ptrdiff_t)sizeof(S);
    for (int k = 0; k < INPUTS; ++k) are_columns &= loop.in[k].neighbouring();
    for (int k = 0; k < OUTPUTS; ++k) are_columns &= loop.out[k].neighbouring();
    if (!are_columns) return loop.run(kernel);
    const Scratch<typename Columns::Memory> scratch(1);
    if (!scratch) return;
    auto& memory = *scratch.aligned();
    const bool nontemporal = loop.stores_slices_nontemporally();
    for (ptrdiff_t i = 0, count; i < loop.rows; i += count) {
        const ptrdiff_t past = loop.past_line(i), wanted = Columns::COLUMNS - past;
        count = loop.rows - i < wanted ? loop.rows - i : wanted;
        const Columns block(loop, i, count, memory);
        const bool is_of_use = block.add_up();
        if (is_of_use) Columns::at_each(0, count, [&](ptrdiff_t v, auto) { memory.falls_back[v] = block.conclude(v); });
        if (!is_of_use || block.most([&](ptrdiff_t v) { return memory.falls_back[v]; })) {
            loop.groups(kernel, i, loop.rows);
            break;
        }
        for (ptrdiff_t from = 0, to; from < count; from = to) {
            const bool falls_back = memory.falls_back[from / W];
            for (to = from; to < count && memory.falls_back[to / W] == falls_back;) to += W;
            if (to > count) to = count;
            if (falls_back)
                loop.groups(kernel, i + from, i + to);
            else
                store_result(block, i, from, to, nontemporal && past == 0);
        }
    }
    if (nontemporal) fence_nontemporal();
}

// The results of a column block that are slices themselves.
template <class S, int INPUTS>
auto finish_columns(const RowLoop<S, INPUTS, 1>& loop) {
    return [&loop](const auto& block, ptrdiff_t i, ptrdiff_t from, ptrdiff_t to, bool nontemporal) {
        const Operand<S>& y = loop.out[0];
        block.finish({y.data + i * y.row, y.row, y.step}, from, to, nontemporal);
    };
}

}  // namespace
