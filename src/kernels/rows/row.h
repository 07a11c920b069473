// One contiguous row.
#pragma once

#include <type_traits>

#include "math/exp.h"
#include "math/sum.h"
#include "rows/context.h"
#include "simd/convert.h"

namespace {

// The largest and the smallest entry; NaN is passed over.
template <class T>
struct Range {
    Vec<T> max = splat(-INF<T>), min = splat(INF<T>);

    void add(Vec<T> x) {
        max = ::max(x, max);
        min = ::min(x, min);
    }
    void add(const Range& other) {
        max = ::max(other.max, max);
        min = ::min(other.min, min);
    }
    // Where every entry is within ±most.
    Bits<T> within(Vec<T> most) const { return (max <= most) & (min >= -most); }
    // Whether rows at T = 1 may be taken in the mode NEAR.
    bool near() const {
        const Vec<T> limit = splat(Constants<T>::LIMIT), cutoff = max - Constants<T>::GAP;
        return !any<T>(absolute<T>(max) >= limit) && !any<T>(min <= cutoff);
    }
};

// A contiguous row, or the part of it from `start` to `stop`.
template <class T>
struct Row {
    ptrdiff_t start, stop;
    RowContext<T> context;

    explicit Row(ptrdiff_t n, RowContext<T> context = {}) : start(0), stop(n), context(context) {}
    Row(ptrdiff_t start, ptrdiff_t stop, RowContext<T> context = {}) : start(start), stop(stop), context(context) {}

    Row part(ptrdiff_t from, ptrdiff_t to) const { return Row(from, to, context); }

    // WIDTH entries from i on, of any array of the row's length, be it masked.
    struct FullVector {
        ptrdiff_t i;
        template <class X>
        Vec<T> operator()(X x, T /* fill */) const {
            return load(x + i);
        }
        Entries<T> entries(const Masked<T>& x) const { return {load(x.row + i), valid<T>(x.mask + i)}; }
        Vec<T> keep(Vec<T> v) const { return v; }
        template <class Y>
        void store(Y* y, Vec<T> v) const {
            ::store(y + i, v);
        }
        void store_padded(T* y, Vec<T> v) const { store(y, v); }
        template <class Y>
        void store_nontemporal(Y* y, Vec<T> v) const {
            ::store_nontemporal(y + i, v);
        }
    };
    // The last `count` entries, fewer than WIDTH; the other lanes hold `fill`.
    struct PartialVector {
        ptrdiff_t i, count;
        template <class X>
        Vec<T> operator()(X x, T fill) const {
            return load_head(x + i, count, fill);
        }
        Entries<T> entries(const Masked<T>& x) const {
            return {load_head(x.row + i, count, (T)0), valid_head<T>(x.mask + i, count)};
        }
        Vec<T> keep(Vec<T> v) const { return keep_head<T>(v, count); }
        template <class Y>
        void store(Y* y, Vec<T> v) const {
            store_head(y + i, v, count);
        }
        // Where there is room for a whole vector: a later load need not wait for several stores.
        void store_padded(T* y, Vec<T> v) const { ::store(y + i, v); }
        template <class Y>
        void store_nontemporal(Y* y, Vec<T> v) const {
            store(y, v);
        }
    };

    // The last WIDTH entries, of which the vectors before hold all but `count`: of a row that is long enough this
    // takes one load and one store, where a part of a vector takes several.
    struct LastVector : FullVector {
        ptrdiff_t count;
        Vec<T> keep(Vec<T> v) const { return keep_tail<T>(v, count); }
    };

    // f(place) for each vector of the row.
    template <class F>
    void at_each(F f) const {
        for (ptrdiff_t i = start; i + WIDTH<T> <= stop; i += WIDTH<T>) f(FullVector{i});
        at_end(f);
    }
    // With prefetching, where there is arithmetic enough to hide it.
    template <class F>
    void at_each_prefetching(F f) const {
        if (!context.prefetch.add) return at_each(f);
        for (ptrdiff_t i = start; i + WIDTH<T> <= stop; i += WIDTH<T>) {
            prefetch(context.prefetch.add, i);
            f(FullVector{i});
        }
        at_end(f);
    }
    // f(place) of the last entries, if they do not fill a vector.
    template <class F>
    void at_end(F f) const {
        const ptrdiff_t count = (stop - start) % WIDTH<T>;
        if (count) f(PartialVector{stop - count, count});
    }
    // f(place) for each whole vector, with the prefetching of the last pass. Each cache line is asked for twice, by
    // vectors shorter than a line anyway, for a request is dropped where memory has its hands full: 2 to 5 % of the
    // time of softmax_vjp with AVX-512 on Zen 4. UNROLL vectors make a round of the loop elsewhere, for where there is
    // little arithmetic a loop takes as long.
    template <int UNROLL, class F>
    void at_each_whole(F f) const {
        ptrdiff_t i = start;
        if (context.prefetch.finish[0]) {
            const bool takes_lines = WIDTH<T> * context.prefetch.step == 64;
            for (; i + WIDTH<T> <= stop; i += WIDTH<T>) {
                for (const char* next : context.prefetch.finish) {
                    prefetch(next, i);
                    if (takes_lines) prefetch(next, i);
                }
                f(FullVector{i});
            }
            return;
        }
        if constexpr (UNROLL > 1)
            for (; i + UNROLL * WIDTH<T> <= stop; i += UNROLL * WIDTH<T>)
#pragma GCC unroll 8
                for (int k = 0; k < UNROLL; ++k) f(FullVector{i + k * WIDTH<T>});
        for (; i + WIDTH<T> <= stop; i += WIDTH<T>) f(FullVector{i});
    }
    // Entry i of what is read next, if anything is.
    void prefetch(const char* next, ptrdiff_t i) const {
        if (next) __builtin_prefetch(next + i * context.prefetch.step, 0, 2);
    }
    // some(places) for every COUNT vectors, one(place) for what is left.
    template <int COUNT, class Some, class One>
    void in_groups_prefetching(Some some, One one) const {
        ptrdiff_t i = start;
        for (; i + COUNT * WIDTH<T> <= stop; i += COUNT * WIDTH<T>) {
            if (context.prefetch.add)
                for (int k = 0; k < COUNT; ++k) prefetch(context.prefetch.add, i + k * WIDTH<T>);
            some([i](int k) { return FullVector{i + k * WIDTH<T>}; });
        }
        for (; i + WIDTH<T> <= stop; i += WIDTH<T>) one(FullVector{i});
        if (i == stop) return;
        if (stop < WIDTH<T>)
            one(PartialVector{i, stop - i});
        else
            one(LastVector{{stop - WIDTH<T>}, stop - i});
    }
    // f(x) for each vector; lanes beyond the end hold the first entry.
    template <class F>
    void each(const T* x, F f) const {
        at_each([&](auto place) { f(place(x, x[start])); });
    }
    template <class F>
    void each_prefetching(const T* x, F f) const {
        at_each_prefetching([&](auto place) { f(place(x, x[start])); });
    }
    // f of each block that is summed separately.
    template <class F>
    void blocks(F f) const {
        for (ptrdiff_t i = start; i < stop; i += BLOCK) f(Row(i, i + BLOCK < stop ? i + BLOCK : stop, context));
    }

    // f of runs of RUN vectors.
    template <class F>
    void runs(F f) const {
        constexpr ptrdiff_t LENGTH = RUN * WIDTH<T>;
        for (ptrdiff_t i = start; i < stop; i += LENGTH) f(Row(i, i + LENGTH < stop ? i + LENGTH : stop, context));
    }

    // Where the intermediate results of a row with the result y belong, so that entry i is found at i.
    T* workspace(T* y) const {
        return !context.scratch.memory     ? y
               : context.scratch.holds_row ? context.scratch.memory
                                           : context.scratch.memory - start;
    }
    // Whether they are all still there in the end.
    bool keeps_workspace() const { return context.scratch.holds_row; }

    // y = f(place), the last that is done to a row.
    template <int UNROLL = 1, class Y, class F>
    void finish(Y* y, F f) const {
        const auto write = [&](auto place) { place.store(y, f(place)); };
        if (context.nontemporal) {
            at_each_aligned(y, [&](auto place) { place.store_nontemporal(y, f(place)); });
        } else if (stop - start < WIDTH<T>) {
            at_end(write);
        } else {
            const FullVector last{stop - WIDTH<T>};
            const Vec<T> end = f(last);  // first, for f may read where y is written
            at_each_whole<UNROLL>(write);
            last.store(y, end);
        }
    }
    // f(place) for each vector, cut so that the whole ones are aligned in y.
    template <class Y, class F>
    void at_each_aligned(const Y* y, F f) const {
        const ptrdiff_t past = (uintptr_t)(y + start) % (WIDTH<T> * sizeof(Y)) / sizeof(Y);
        const ptrdiff_t first = start + (past ? WIDTH<T> - past : 0);
        const ptrdiff_t cut = first < stop ? first : stop;
        part(start, cut).at_end(f);
        part(cut, stop).template at_each_whole<1>(f);
        part(cut, stop).at_end(f);
    }

    template <class X>
    Range<T> range(X x) const {
        Range<T> chains[4];  // to hide the latency of a maximum
        ptrdiff_t i = start;
        for (; i + 4 * WIDTH<T> <= stop; i += 4 * WIDTH<T>)
            for (int k = 0; k < 4; ++k) chains[k].add(load(x + i + k * WIDTH<T>));
        for (; i + WIDTH<T> <= stop; i += WIDTH<T>) chains[0].add(load(x + i));
        if (i < stop) chains[1].add(load_head(x + i, stop - i, x[i]));
        chains[0].add(chains[1]);
        chains[2].add(chains[3]);
        chains[0].add(chains[2]);
        return across(chains[0]);
    }
    // The largest lane, in all lanes.
    Vec<T> largest(Vec<T> v) const {
        return reduce_lanes<T>(v, [](Vec<T> a, Vec<T> b) { return ::max(a, b); });
    }
    Range<T> across(const Range<T>& lanes) const { return {largest(lanes.max), -largest(-lanes.min)}; }

    // How many rows this is, and one number of each, where it belongs in a vector.
    static constexpr int lanes = 1;
    Vec<T> spread(const T* values) const { return splat(values[0]); }
    // Where a row has an entry that the condition holds for: all lanes, or none.
    Bits<T> anywhere(Bits<T> condition) const { return any<T>(condition) ? ~Bits<T>{} : Bits<T>{}; }

    static constexpr bool IS_LANE_BATCH = false;
    ptrdiff_t length() const { return stop - start; }

    struct Total {
        Wide<T> sum = 0;
        DoubleWord<T> reciprocal(T scale = 1) const { return DoubleWord<T>((Wide<T>)scale / sum); }
    };
    // What is known of the sum of numbers that were written: what their roundings lost. Only float64 is added up on the
    // way, with its errors, and only where there are registers for that and the exponential; float32 would be taken
    // apart, and is better read again.
    static constexpr bool ADDS_ON_THE_WAY = sizeof(T) == 8 && BYTES == 64;
    struct NotAdded {};
    struct Written {
        Vec<T> lost;
        typename std::conditional<ADDS_ON_THE_WAY, WideSum<T>, NotAdded>::type sum;
    };

    // e = f(place), a number and what its rounding lost. IS_PADDED: e has room for whole vectors.
    template <bool IS_PADDED = false, class F>
    [[gnu::always_inline]] Written write(T* e, F f) const {
        const auto one = [&](auto place) {
            const DoubleWord<T> value = f(place);
            IS_PADDED ? place.store_padded(e, value.high) : place.store(e, value.high);
            return DoubleWord<T>(place.keep(value.high), place.keep(value.low));
        };
        Vec<T> even_lost = splat<T>(0), odd_lost = splat<T>(0);
        if constexpr (ADDS_ON_THE_WAY) {
            WideSum<T> even, odd;
            ptrdiff_t i = start;
            for (; i + 2 * WIDTH<T> <= stop; i += 2 * WIDTH<T>) {
                prefetch(context.prefetch.add, i);
                prefetch(context.prefetch.add, i + WIDTH<T>);
                const DoubleWord<T> first = one(FullVector{i}), second = one(FullVector{i + WIDTH<T>});
                even.add(first.high);
                even_lost += first.low;
                odd.add(second.high);
                odd_lost += second.low;
            }
            Row(i, stop, context).at_each_prefetching([&](auto place) {
                const DoubleWord<T> last = one(place);
                even.add(last.high);
                even_lost += last.low;
            });
            even.add(odd);
            return {even_lost + odd_lost, even};
        } else {
            // The two take turns by changing places, for two exponentials at a time would not fit into the registers.
            // An odd vector in the end, and what follows it, go to the even one.
            const ptrdiff_t pairs = start + (stop - start) / (2 * WIDTH<T>)*(2 * WIDTH<T>);
            Row(start, pairs, context).at_each_prefetching([&](auto place) {
                const Vec<T> lost = even_lost + one(place).low;
                even_lost = odd_lost;
                odd_lost = lost;
            });
            Row(pairs, stop, context).at_each_prefetching([&](auto place) { even_lost += one(place).low; });
            return {even_lost + odd_lost, {}};
        }
    }
    // Add up what was written, if positive.
    template <bool IS_PADDED = false>
    void add(Total& total, const Written& written, const T* e) const {
        WideSum<T> even, odd;
        if constexpr (ADDS_ON_THE_WAY) {
            even = written.sum;
        } else {
            ptrdiff_t i = start;
            for (; i + 2 * WIDTH<T> <= stop; i += 2 * WIDTH<T>) {
                even.add(e + i);
                odd.add(e + i + WIDTH<T>);
            }
            for (; i + WIDTH<T> <= stop; i += WIDTH<T>) even.add(load(e + i));
            if (i < stop) even.add(IS_PADDED ? keep_head<T>(load(e + i), stop - i) : load_head(e + i, stop - i, (T)0));
            even.add(odd);
        }
        even.add_lost(written.lost);
        total.sum += even.total();
    }
};

// The sum over a row in two parts.
template <class Shape>
struct RowTotal;

template <class T>
struct RowTotal<Row<T>> {
    Wide<T> sum = 0;
    template <class Block>
    void add(const Block& block) {
        sum += block.total();
    }
    DoubleWord<T> parts() const { return DoubleWord<T>(sum); }
};

// The sum over the blocks of a row: `sum` is of one block, and `end_block` moves it to where the others are.
template <class T, class Shape>
struct LongSum {
    Sum<T> sum;
    RowTotal<Shape> total;

    void end_block() {
        total.add(sum);
        sum = Sum<T>();
    }
    DoubleWord<T> parts() const { return total.parts(); }
};

}  // namespace
