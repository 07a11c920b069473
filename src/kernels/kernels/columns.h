// Slices along another axis than the last as the columns of a matrix: neighbouring ones lie in the lanes of a vector, and
// their entries are read as they lie in memory, one run of neighbours after the other. Nothing is transposed.
//
// Entry j of a column is added where it would be in a row: to the sum that one lane of one of the row's sums is there, so
// that the column comes out with the same bits. Columns that a kernel has another way for are staged as rows: those that are
// not of small logits, which need their maximum first (softmax.h, logsumexp.h), and in a derivative those with gaps.
#pragma once

#include "kernels/derivatives.h"
#include "rows/row_loop.h"

namespace {

// So many neighbours are taken at a time: runs long enough for the hardware to read ahead, of columns few enough that their
// sums and, if they are not too long, their entries stay in the caches. Measured at 4096x4096: with AVX-512 on Zen 4, whose
// second-level cache holds 1 MiB, a kilobyte did best; with AVX2 on Zen 3, which has half of it, whole pages, and a last pass
// that fetches what lies some entries ahead: 1.5 to 2 times as fast.
template <class S>
constexpr ptrdiff_t NEIGHBOURS_AT_ONCE = BYTES == 64 ? 1024 / (ptrdiff_t)sizeof(S) : 1024;
constexpr ptrdiff_t ENTRIES_AHEAD = BYTES == 64 ? 0 : 8;

// Entries of a column that are added to one sum while it is in registers.
constexpr ptrdiff_t ENTRIES_AT_ONCE = 8;

// A slab of neighbouring columns, of INPUTS operands. CHAINS is how many vectors of a row are summed side by side.
template <class S, int INPUTS, int CHAINS>
struct Slab {
    typedef Computed<S> T;
    static constexpr int W = WIDTH<T>, SUMS = CHAINS * W;
    static constexpr ptrdiff_t COLUMNS = NEIGHBOURS_AT_ONCE<S>, VECTORS = COLUMNS / W;

    // What is known of the columns, in vectors of them.
    struct Memory {
        WideSum<T> sums[SUMS][VECTORS];
        Range<T> ranges[VECTORS];
        Wide<T> totals[COLUMNS];
        Split<T> factors[VECTORS];
        bool falls_back[VECTORS];
    };

    Operand<const S> in[INPUTS];
    ptrdiff_t columns, n;
    Memory& memory;

    template <int OUTPUTS>
    Slab(const RowLoop<S, INPUTS, OUTPUTS>& loop, ptrdiff_t i, ptrdiff_t columns, Memory& memory)
        : columns(columns), n(loop.n), memory(memory) {
        for (int k = 0; k < INPUTS; ++k) in[k] = {loop.in[k].data + i * loop.in[k].row, loop.in[k].row, loop.in[k].step};
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
    [[gnu::always_inline]] void write_entries(const Operand<S>& y, ptrdiff_t from, ptrdiff_t to, bool streams, F f) const {
        for (ptrdiff_t j = 0; j < n; ++j) {
            S* const out = &y.at(0, j);
            ptrdiff_t i = from;
            if (ENTRIES_AHEAD && j + ENTRIES_AHEAD < n) fetch(from, to, j + ENTRIES_AHEAD);
            for (; i + W <= to; i += W) {
                const Vec<T> value = f(j, i / W, [](const S* p) { return read(p); });
                if constexpr (!IS_NARROW<S>)
                    if (streams) {
                        ::stream(out + i, value);
                        continue;
                    }
                write(out + i, value);
            }
            if (i < to) write_head(out + i, f(j, i / W, [&](const S* p) { return read_head(p, to - i, (T)0); }), to - i);
        }
    }

    // Entry j of the columns from `from` to `to`, of every operand.
    void fetch(ptrdiff_t from, ptrdiff_t to, ptrdiff_t j) const {
        for (int k = 0; k < INPUTS; ++k)
            for (ptrdiff_t i = from; i < to; i += 64 / (ptrdiff_t)sizeof(S)) __builtin_prefetch(&in[k].at(i, j), 0, 2);
    }

    // Where entry j of vector i begins.
    const S* at(int k, ptrdiff_t j, ptrdiff_t i) const { return &in[k].at(i * W, j); }

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

// Columns of small logits, whose sums of exponentials give Map the factors to finish with.
template <class Map, class S>
struct ExponentialColumns : Slab<S, 1, Map::CHAINS> {
    typedef Slab<S, 1, Map::CHAINS> Base;
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
                if (k == 0 && start == 0 && this->most([&](ptrdiff_t v) { return any<T>(~memory.ranges[v].within(small)); }))
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

    [[gnu::flatten]] void finish(const Operand<S>& y, ptrdiff_t from, ptrdiff_t to, bool streams) const {
        this->write_entries(y, from, to, streams, [&](ptrdiff_t j, ptrdiff_t v, auto read) {
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
            const bool fresh = IS_FIRST && done == 0;
            at_each(0, columns, [&](ptrdiff_t v, auto read) {
                WideSum<T> sum = fresh ? WideSum<T>() : sums[v];
                Range<T> range = memory.ranges[v];
                const char* q = (const char*)this->at(0, first + done * SUMS, v);
                for (ptrdiff_t entry = 0; entry < entries; ++entry, q += SUMS * in[0].step) {
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
};

// softmax_vjp of columns p and v.
template <class S>
struct VjpColumns : Slab<S, 2, 1> {
    typedef Slab<S, 2, 1> Base;
    typedef typename Base::T T;
    typedef typename Types<T>::Integer Integer;
    using Base::at_each, Base::columns, Base::in, Base::memory, Base::n, Base::W;
    using Base::Base, Base::COLUMNS;

    // The direction at the largest p of each column, and Σ p (v − it).
    [[gnu::flatten]] bool add_up() const {
        find_peaks();
        for (ptrdiff_t c = 0; c < COLUMNS; ++c) memory.totals[c] = 0;
        for (ptrdiff_t start = 0; start < n; start += BLOCK) {
            const ptrdiff_t stop = n - start < BLOCK ? n : start + BLOCK, whole = start + (stop - start) / (2 * W) * (2 * W);
            for (ptrdiff_t k = 0; k < W; ++k) add_products(k, start + k, whole, stop);
            at_each(0, columns, [&](ptrdiff_t i, auto) { this->add_chains(i); });
        }
        return true;
    }

    bool conclude(ptrdiff_t i) const {
        const Vec<T> mean = split(memory.totals + i * W).high;
        memory.factors[i].low = mean;
        return any<T>(SoftmaxVjp<T>::has_gaps(mean));
    }

    [[gnu::flatten]] void finish(const Operand<S>& y, ptrdiff_t from, ptrdiff_t to, bool streams) const {
        this->write_entries(y, from, to, streams, [&](ptrdiff_t j, ptrdiff_t i, auto read) {
            const auto [at_peak, mean] = memory.factors[i];
            return SoftmaxVjp<T>::template entry<false>(read(this->at(0, j, i)), read(this->at(1, j, i)), at_peak, mean);
        });
    }

   private:
    // Of v only the entries at the peaks are read.
    void find_peaks() const {
        at_each(0, columns, [&](ptrdiff_t i, auto) {
            memory.ranges[i] = Range<T>();
            memory.factors[i].high = splat<T>(0);
        });
        for (ptrdiff_t first = 0; first < n; first += ENTRIES_AT_ONCE) {
            const ptrdiff_t end = n - first < ENTRIES_AT_ONCE ? n : first + ENTRIES_AT_ONCE;
            at_each(0, columns, [&](ptrdiff_t i, auto read) {
                Vec<T> top = memory.ranges[i].max;
                Bits<T> peak = (Bits<T>)memory.factors[i].high;
                for (ptrdiff_t j = first; j < end; ++j) {
                    const Vec<T> p = read(this->at(0, j, i));
                    peak = p > top ? Bits<T>{} + (Integer)j : peak;
                    top = max(p, top);
                }
                memory.ranges[i].max = top;
                memory.factors[i].high = (Vec<T>)peak;
            });
        }
        at_each(0, columns, [&](ptrdiff_t i, auto) {
            Integer peaks[W];
            T at_peak[W] = {};
            store((T*)peaks, memory.factors[i].high);
            for (ptrdiff_t lane = 0; lane < W && i * W + lane < columns; ++lane)
                at_peak[lane] = value_of(in[1].at(i * W + lane, peaks[lane]));
            memory.factors[i].high = load(at_peak);
        });
    }

    // Lane k of a row's sum: products in pairs of vectors up to `whole`, then one by one up to `stop`.
    void add_products(ptrdiff_t k, ptrdiff_t first, ptrdiff_t whole, ptrdiff_t stop) const {
        WideSum<T>* const sums = memory.sums[k];
        at_each(0, columns, [&](ptrdiff_t i, auto) { sums[i] = WideSum<T>(); });
        for (ptrdiff_t begin = first; begin < stop; begin += ENTRIES_AT_ONCE * W) {
            const ptrdiff_t end = stop - begin < ENTRIES_AT_ONCE * W ? stop : begin + ENTRIES_AT_ONCE * W;
            at_each(0, columns, [&](ptrdiff_t i, auto read) {
                WideSum<T> sum = sums[i];
                const Vec<T> at_peak = memory.factors[i].high;
                const auto p = [&](ptrdiff_t j) { return read(this->at(0, j, i)); };
                const auto v = [&](ptrdiff_t j) { return read(this->at(1, j, i)) - at_peak; };
                ptrdiff_t j = begin;
                for (; j < end && j < whole; j += 2 * W) sum.add(mul_add(p(j + W), v(j + W), p(j) * v(j)));
                for (; j < end; j += W) sum.add(p(j) * v(j));
                sums[i] = sum;
            });
        }
    }
};

// Takes the slices of `loop` as columns where they lie as such; as rows, with `kernel`, those that fall back. Where these are
// most, the others do, too: either way gives the same bits.
template <class Columns, bool IN_PLACE, Workspace WORKSPACE, class S, int INPUTS, int OUTPUTS, class Kernel, class Deliver>
void run_columns(const RowLoop<S, INPUTS, OUTPUTS>& loop, const Kernel& kernel, Deliver deliver) {
    constexpr int W = WIDTH<Computed<S>>;
    // (Of float32 an index is 32 bits.)
    bool are_columns = loop.n > PANEL && loop.n <= INT32_MAX && loop.rows >= NEIGHBOURS / (ptrdiff_t)sizeof(S);
    for (int k = 0; k < INPUTS; ++k) are_columns &= loop.in[k].neighbouring();
    for (int k = 0; k < OUTPUTS; ++k) are_columns &= loop.out[k].neighbouring();
    if (!are_columns) return loop.template run<IN_PLACE, WORKSPACE, true>(kernel);
    const Scratch<typename Columns::Memory> scratch(1);
    if (!scratch) return;
    auto& memory = *scratch.aligned();
    const bool streams = loop.streams_slices();
    for (ptrdiff_t i = 0, count; i < loop.rows; i += count) {
        const ptrdiff_t past = loop.past_line(i), wanted = Columns::COLUMNS - past;
        count = loop.rows - i < wanted ? loop.rows - i : wanted;
        const Columns slab(loop, i, count, memory);
        const bool is_of_use = slab.add_up();
        if (is_of_use) Columns::at_each(0, count, [&](ptrdiff_t v, auto) { memory.falls_back[v] = slab.conclude(v); });
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

// The results of a slab that are slices themselves.
template <class S, int INPUTS>
auto finish_columns(const RowLoop<S, INPUTS, 1>& loop) {
    return [&loop](const auto& slab, ptrdiff_t i, ptrdiff_t from, ptrdiff_t to, bool streams) {
        const Operand<S>& y = loop.out[0];
        slab.finish({y.data + i * y.row, y.row, y.step}, from, to, streams);
    };
}

}  // namespace
