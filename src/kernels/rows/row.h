// One contiguous row.
#pragma once

#include <type_traits>

#include "math/exp.h"
#include "math/sum.h"
#include "rows/context.h"

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
    // Where every entry lies within ±most.
    Bits<T> within(Vec<T> most) const { return (max <= most) & (min >= -most); }
    // Whether rows at T = 1 may be taken in the mode NEAR.
    bool near() const {
        const Vec<T> limit = splat(Constants<T>::LIMIT), floor = max - Constants<T>::DEPTH;
        return !any<T>(absolute<T>(max) >= limit) && !any<T>(min <= floor);
    }
};

// A contiguous row, or the part of it from `start` to `stop`.
template <class T>
struct Row {
    ptrdiff_t start, stop;
    Route<T> route;

    explicit Row(ptrdiff_t n, Route<T> route = {}) : start(0), stop(n), route(route) {}
    Row(ptrdiff_t start, ptrdiff_t stop, Route<T> route = {}) : start(start), stop(stop), route(route) {}

    Row part(ptrdiff_t from, ptrdiff_t to) const { return Row(from, to, route); }

    // WIDTH entries from i on, of any array of the row's length, be it masked.
    struct Whole {
        ptrdiff_t i;
        template <class X>
        Vec<T> operator()(X x, T /* fill */) const {
            return load(x + i);
        }
        Entries<T> entries(const Masked<T>& x) const { return {load(x.row + i), present<T>(x.mask + i)}; }
        Vec<T> keep(Vec<T> v) const { return v; }
        void store(T* y, Vec<T> v) const { ::store(y + i, v); }
        void store_padded(T* y, Vec<T> v) const { store(y, v); }
        void stream(T* y, Vec<T> v) const { ::stream(y + i, v); }
    };
    // The last `count` entries, fewer than WIDTH; the other lanes hold `fill`.
    struct Head {
        ptrdiff_t i, count;
        template <class X>
        Vec<T> operator()(X x, T fill) const {
            return load_head(x + i, count, fill);
        }
        Entries<T> entries(const Masked<T>& x) const {
            return {load_head(x.row + i, count, (T)0), present_head<T>(x.mask + i, count)};
        }
        Vec<T> keep(Vec<T> v) const { return keep_head<T>(v, count); }
        void store(T* y, Vec<T> v) const { store_head(y + i, v, count); }
        // Where there is room for a whole vector: a load that follows need not wait for lanes that came from elsewhere.
        void store_padded(T* y, Vec<T> v) const { ::store(y + i, v); }
        void stream(T* y, Vec<T> v) const { store(y, v); }
    };

    // f(place) for each vector of the row.
    template <class F>
    void at_each(F f) const {
        ptrdiff_t i = start;
        for (; i + WIDTH<T> <= stop; i += WIDTH<T>) f(Whole{i});
        if (i < stop) f(Head{i, stop - i});
    }
    // The same, where there is arithmetic enough to hide the fetching of what comes next.
    template <class F>
    void at_each_fetching(F f) const {
        if (!route.to_add) return at_each(f);
        ptrdiff_t i = start;
        for (; i + WIDTH<T> <= stop; i += WIDTH<T>) {
            fetch(route.to_add, i);
            f(Whole{i});
        }
        if (i < stop) f(Head{i, stop - i});
    }
    // The same in the last pass. Each line is asked for twice, by vectors shorter than a line anyway, for a request is dropped
    // where memory has its hands full: 2 to 5 % of the time of softmax_vjp with AVX-512 on Zen 4.
    template <class F>
    void at_each_fetching_last(F f) const {
        if (!route.to_finish[0]) return at_each(f);
        const bool takes_lines = WIDTH<T> * route.step == 64;
        ptrdiff_t i = start;
        for (; i + WIDTH<T> <= stop; i += WIDTH<T>) {
            for (const char* next : route.to_finish) {
                fetch(next, i);
                if (takes_lines) fetch(next, i);
            }
            f(Whole{i});
        }
        if (i < stop) f(Head{i, stop - i});
    }
    // Entry i of what is read next, if anything is.
    void fetch(const char* next, ptrdiff_t i) const {
        if (next) __builtin_prefetch(next + i * route.step, 0, 2);
    }
    // two(place, neighbour) for every two vectors, one(place) for what is left.
    template <class Two, class One>
    void in_pairs_fetching(Two two, One one) const {
        ptrdiff_t i = start;
        for (; i + 2 * WIDTH<T> <= stop; i += 2 * WIDTH<T>) {
            fetch(route.to_add, i);
            fetch(route.to_add, i + WIDTH<T>);
            two(Whole{i}, Whole{i + WIDTH<T>});
        }
        part(i, stop).at_each(one);
    }
    // f(x) for each vector; lanes beyond the end hold the first entry.
    template <class F>
    void each(const T* x, F f) const {
        at_each([&](auto place) { f(place(x, x[start])); });
    }
    template <class F>
    void each_fetching(const T* x, F f) const {
        at_each_fetching([&](auto place) { f(place(x, x[start])); });
    }
    // f of each block that is summed on its own.
    template <class F>
    void blocks(F f) const {
        for (ptrdiff_t i = start; i < stop; i += BLOCK) f(Row(i, i + BLOCK < stop ? i + BLOCK : stop, route));
    }

    // Where the intermediate results of a row with the result y belong, so that entry i is found at i.
    T* workspace(T* y) const { return !route.scratch ? y : route.holds_row ? route.scratch : route.scratch - start; }
    // Whether they are all still there in the end.
    bool keeps_workspace() const { return route.holds_row; }

    // y = f(place), the last that is done to a row.
    template <class F>
    void finish(T* y, F f) const {
        if (route.streams)
            at_each_aligned(y, [&](auto place) { place.stream(y, f(place)); });
        else
            at_each_fetching_last([&](auto place) { place.store(y, f(place)); });
    }
    // f(place) for each vector, cut so that the whole ones are aligned in y.
    template <class F>
    void at_each_aligned(const T* y, F f) const {
        const ptrdiff_t past = (uintptr_t)(y + start) % BYTES / sizeof(T), first = start + (past ? WIDTH<T> - past : 0);
        const ptrdiff_t cut = first < stop ? first : stop;
        part(start, cut).at_each(f);
        part(cut, stop).at_each_fetching_last(f);
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
    // What the lanes say together, in all of them.
    Vec<T> largest(Vec<T> v) const {
        return reduce_lanes<T>(v, [](Vec<T> a, Vec<T> b) { return ::max(a, b); });
    }
    Range<T> across(const Range<T>& lanes) const { return {largest(lanes.max), -largest(-lanes.min)}; }

    // How many rows this is, and one number of each, where it belongs in a vector.
    static constexpr int lanes = 1;
    Vec<T> spread(const T* values) const { return splat(values[0]); }
    // Where a row has an entry that the condition holds for: all lanes, or none.
    Bits<T> anywhere(Bits<T> condition) const { return any<T>(condition) ? ~Bits<T>{} : Bits<T>{}; }

    static constexpr bool IS_PANEL = false;
    ptrdiff_t length() const { return stop - start; }

    struct Total {
        Wide<T> sum = 0;
        Split<T> reciprocal(T scale = 1) const { return Split<T>((Wide<T>)scale / sum); }
    };
    // What is known of the sum of numbers that were written. Only float64 is added up on the way, with its errors, and only
    // where there are registers for that and the exponential; float32 would be taken apart, and is better read again.
    struct Unknown {};
    typedef typename std::conditional<sizeof(T) == 8 && BYTES == 64, WideSum<T>, Unknown>::type Written;

    // e = f(place). IS_PADDED: e has room for whole vectors.
    template <bool IS_PADDED = false, class F>
    [[gnu::always_inline]] Written write(T* e, F f) const {
        const auto one = [&](auto place) {
            const Vec<T> value = f(place);
            IS_PADDED ? place.store_padded(e, value) : place.store(e, value);
            return place.keep(value);
        };
        if constexpr (std::is_same<Written, Unknown>::value) {
            at_each_fetching(one);
            return {};
        } else {
            WideSum<T> even, odd;
            ptrdiff_t i = start;
            for (; i + 2 * WIDTH<T> <= stop; i += 2 * WIDTH<T>) {
                fetch(route.to_add, i);
                fetch(route.to_add, i + WIDTH<T>);
                even.add(one(Whole{i}));
                odd.add(one(Whole{i + WIDTH<T>}));
            }
            Row(i, stop, route).at_each_fetching([&](auto place) { even.add(one(place)); });
            even.add(odd);
            return even;
        }
    }
    // Add up what was written, if positive.
    template <bool IS_PADDED = false>
    void add(Total& total, Unknown, const T* e) const {
        WideSum<T> even, odd;
        ptrdiff_t i = start;
        for (; i + 2 * WIDTH<T> <= stop; i += 2 * WIDTH<T>) {
            even.add(e + i);
            odd.add(e + i + WIDTH<T>);
        }
        for (; i + WIDTH<T> <= stop; i += WIDTH<T>) even.add(load(e + i));
        if (i < stop) even.add(IS_PADDED ? keep_head<T>(load(e + i), stop - i) : load_head(e + i, stop - i, (T)0));
        even.add(odd);
        total.sum += even.total();
    }
    template <bool IS_PADDED = false>
    void add(Total& total, const WideSum<T>& sum, const T*) const {
        total.sum += sum.total();
    }
};

// The sum over a row in two parts.
template <class Shape>
struct Whole;

template <class T>
struct Whole<Row<T>> {
    Wide<T> sum = 0;
    template <class Block>
    void add(const Block& block) {
        sum += block.total();
    }
    Split<T> parts() const { return Split<T>(sum); }
};

}  // namespace
