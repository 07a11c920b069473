// Columns of small logits.
#pragma once

#include "rows/column_block.h"

namespace {

// Columns of small logits, whose sums of exponentials give Map the factors to finish with.
template <class Map, class S>
struct ExponentialColumns : ColumnBlock<S, 1, Map::CHAINS> {
    typedef ColumnBlock<S, 1, Map::CHAINS> Base;
    typedef typename Base::T T;
    using Base::at_each, Base::columns, Base::in, Base::memory, Base::n, Base::SUMS, Base::VECTORS, Base::W;
    using Base::Base, Base::COLUMNS;

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
                if (k == 0 && start == 0 &&
                    this->most([&](ptrdiff_t v) { return any<T>(~memory.ranges[v].within(small)); }))
                    return false;
            }
            at_each(0, columns, [&](ptrdiff_t v, auto) { this->add_chains(v); });
        }
        return true;
    }

    // What comes of the sums of a vector of columns; whether it has to fall back.
    bool conclude(ptrdiff_t v) const {
        return any<T>(Map::factor(memory.ranges[v], memory.totals + v * W, memory.factors[v]));
    }

    [[gnu::flatten]] void finish(const Operand<S>& y, ptrdiff_t from, ptrdiff_t to, bool nontemporal) const {
        this->write_entries(y, from, to, nontemporal, [&](ptrdiff_t j, ptrdiff_t v, auto read) {
            return Map::result(read(this->at(0, j, v)), memory.factors[v]);
        });
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
            const bool is_new = IS_FIRST && done == 0;
            // A row of CHAINS 1 has runs (SmallSum), one of 2 has not (Row::write).
            const bool ends_run = Map::CHAINS == 1 && ((done + entries) % RUN == 0 || done + entries == count);
            at_each(0, columns, [&](ptrdiff_t v, auto read) {
                WideSum<T> sum = is_new ? WideSum<T>() : sums[v];
                Vec<T> lost = is_new ? splat<T>(0) : memory.lost[k][v];
                Range<T> range = memory.ranges[v];
                const char* q = (const char*)this->at(0, first + done * SUMS, v);
                for (ptrdiff_t entry = 0; entry < entries; ++entry, q += SUMS * in[0].step) {
                    const Vec<T> value = read((const S*)q);
                    const DoubleWord<T> e = exp.parts(value).rounded();
                    range.add(value);
                    sum.add(e.high);
                    lost += e.low;
                }
                if (ends_run) sum.add_lost(lost);
                memory.lost[k][v] = ends_run ? splat<T>(0) : lost;
                sums[v] = sum;
                memory.ranges[v] = range;
            });
            done += entries;
        } while (done < count);
    }
};

}  // namespace
