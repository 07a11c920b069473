// Slices along another axis than the last as the columns of a matrix: neighbouring ones lie in the lanes of a vector, and
// their entries are read as they lie in memory, one run of neighbours after the other. Nothing is transposed.
//
// Entry j of a column is added where it would be in a row: to the sum that one lane of one of the row's sums is there, so
// that the column comes out with the same bits. Only columns of small logits are taken, as rows of them are without their
// maximum (softmax.h, logsumexp.h); the others are staged as rows.
#pragma once

#include "rows.h"

namespace {

// So many bytes of neighbours are taken at a time: runs long enough for the hardware to read ahead, of columns few enough
// that their sums and, if they are not too long, their entries stay in the caches.
constexpr ptrdiff_t SLAB = 1024;

// Entries of a column that are added to one sum while it is in registers.
constexpr ptrdiff_t ENTRIES_AT_ONCE = 8;

// A slab of neighbouring columns. CHAINS is how many vectors of a row are summed side by side.
template <class S, int CHAINS>
struct Slab {
    typedef Computed<S> T;
    static constexpr int W = WIDTH<T>, SUMS = CHAINS * W;
    static constexpr ptrdiff_t COLUMNS = SLAB / sizeof(S), VECTORS = COLUMNS / W;

    // What is known of the columns, in vectors of them.
    struct Memory {
        WideSum<T> sums[SUMS][VECTORS];
        Range<T> ranges[VECTORS];
        Wide<T> totals[COLUMNS];
        Split<T> factors[VECTORS];
        bool falls_back[VECTORS];
    };

    Operand<const S> x;
    ptrdiff_t columns, n;
    Memory& memory;

    // f(vector, read) for each vector of the columns from `from` to `to`.
    template <class F>
    [[gnu::always_inline]] static void at_each(ptrdiff_t from, ptrdiff_t to, F f) {
        ptrdiff_t i = from;
        for (; i + W <= to; i += W) f(i / W, [](const S* p) { return read(p); });
        if (i < to) f(i / W, [&](const S* p) { return read_head(p, to - i, (T)0); });
    }

    // Σ e^x of every column; false as soon as it shows that it would be of use to few.
    [[gnu::flatten]] bool add_up() const {
        const Vec<T> small = Exp<T, UNSHIFTED>().most();
        for (ptrdiff_t v = 0; v < VECTORS; ++v) memory.ranges[v] = Range<T>();
        for (ptrdiff_t c = 0; c < COLUMNS; ++c) memory.totals[c] = 0;
        for (ptrdiff_t start = 0; start < n; start += BLOCK) {
            const ptrdiff_t stop = n - start < BLOCK ? n : start + BLOCK, whole = start + (stop - start) / SUMS * SUMS;
            for (ptrdiff_t k = 0; k < SUMS; ++k) {
                // The vectors that are left over in the end all go to the first chain.
                const ptrdiff_t end = k < W ? stop : whole;
                add<true>(k, start + k, start + k < end ? (end - start - k + SUMS - 1) / SUMS : 0);
                if (k < W && whole + W + k < stop) add<false>(k, whole + W + k, 1);
                if (k == 0 && start == 0 && most([&](ptrdiff_t v) { return any<T>(~memory.ranges[v].within(small)); }))
                    return false;
            }
            at_each(0, columns, [&](ptrdiff_t v, auto) { add_chains(v); });
        }
        return true;
    }

    // Whether the condition holds for most vectors of columns.
    template <class Condition>
    bool most(Condition holds) const {
        ptrdiff_t count = 0;
        at_each(0, columns, [&](ptrdiff_t v, auto) { count += holds(v) ? 2 : 0; });
        return count * W > columns;
    }

    // y = f(entry, factor) of the columns from `from` to `to`.
    template <class F>
    [[gnu::flatten]] void finish(const Operand<S>& y, ptrdiff_t from, ptrdiff_t to, bool streams, F f) const {
        for (ptrdiff_t j = 0; j < n; ++j) {
            const S* const in = &x.at(0, j);
            S* const out = &y.at(0, j);
            ptrdiff_t i = from;
            for (; i + W <= to; i += W) {
                const Vec<T> value = f(read(in + i), memory.factors[i / W]);
                if constexpr (!IS_NARROW<S>)
                    if (streams) {
                        ::stream(out + i, value);
                        continue;
                    }
                write(out + i, value);
            }
            if (i < to) write_head(out + i, f(read_head(in + i, to - i, (T)0), memory.factors[i / W]), to - i);
        }
    }

    T factor(ptrdiff_t column) const { return memory.factors[column / W].high[column % W]; }

   private:
    // e^x of `count` entries from `first` on, each SUMS after the one before, to the sum k of every column.
    template <bool IS_FIRST>
    [[gnu::always_inline]] void add(ptrdiff_t k, ptrdiff_t first, ptrdiff_t count) const {
        const Exp<T, UNSHIFTED> exp;
        WideSum<T>* const sums = memory.sums[k];
        ptrdiff_t done = 0;
        do {
            const ptrdiff_t entries = count - done < ENTRIES_AT_ONCE ? count - done : ENTRIES_AT_ONCE;
            const S* const p = &x.at(0, first + done * SUMS);
            const bool fresh = IS_FIRST && done == 0;
            at_each(0, columns, [&](ptrdiff_t v, auto read) {
                WideSum<T> sum = fresh ? WideSum<T>() : sums[v];
                Range<T> range = memory.ranges[v];
                const char* q = (const char*)(p + v * W);
                for (ptrdiff_t entry = 0; entry < entries; ++entry, q += SUMS * x.step) {
                    const Vec<T> value = read((const S*)q);
                    range.add(value);
                    sum.add(exp(value));
                }
                sums[v] = sum;
                memory.ranges[v] = range;
            });
            done += entries;
        } while (done < count);
    }

    // What a row does with the lanes of its sums.
    [[gnu::always_inline]] void add_chains(ptrdiff_t v) const {
        if constexpr (CHAINS == 2)
            for (int k = 0; k < W; ++k) memory.sums[k][v].add(memory.sums[W + k][v]);
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

// Takes the slices of `loop` as columns where they lie as such; as rows, with `kernel`, those that Map does not. Where these
// are most, the others are, too: either way gives the same bits.
template <class Map, bool IN_PLACE, Workspace WORKSPACE, class S, int OUTPUTS, class Kernel, class Deliver>
void run_columns(const RowLoop<S, 1, OUTPUTS>& loop, const Kernel& kernel, Deliver deliver) {
    typedef Slab<S, Map::CHAINS> Columns;
    typedef Computed<S> T;
    constexpr int W = WIDTH<T>;
    const Operand<const S>& x = loop.in[0];
    const bool are_columns = x.neighbouring() && (!OUTPUTS || loop.out[0].neighbouring());
    if (loop.n <= PANEL || loop.rows < NEIGHBOURS / (ptrdiff_t)sizeof(S) || !are_columns)
        return loop.template run<IN_PLACE, WORKSPACE, true>(kernel);
    const Scratch<typename Columns::Memory> scratch(1);
    if (!scratch) return;
    auto& memory = *scratch.aligned();
    const bool streams = loop.streams_slices();
    for (ptrdiff_t i = 0, count; i < loop.rows; i += count) {
        const ptrdiff_t past = loop.past_line(i), wanted = Columns::COLUMNS - past;
        count = loop.rows - i < wanted ? loop.rows - i : wanted;
        const Columns slab{{x.data + i * x.row, x.row, x.step}, count, loop.n, memory};
        const bool is_of_use = slab.add_up();
        if (is_of_use)
            Columns::at_each(0, count, [&](ptrdiff_t v, auto) {
                memory.falls_back[v] = any<T>(Map::factor(memory.ranges[v], memory.totals + v * W, memory.factors[v]));
            });
        if (!is_of_use || slab.most([&](ptrdiff_t v) { return memory.falls_back[v]; })) {
            loop.template groups<IN_PLACE, WORKSPACE, true>(kernel, i, loop.rows);
            break;
        }
        for (ptrdiff_t from = 0, to; from < count; from = to) {
            const bool falls_back = memory.falls_back[from / W];
            for (to = from; to < count && memory.falls_back[to / W] == falls_back;) to += W;
            if (to > count) to = count;
            if (falls_back)
                loop.template groups<IN_PLACE, WORKSPACE, true>(kernel, i + from, i + to);
            else
                deliver(slab, i, from, to, streams && past == 0);
        }
    }
    if (streams) end_streams();
}

}  // namespace
