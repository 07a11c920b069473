// Sums over a row, and its largest entry.
#pragma once

#include "rows/shapes.h"

namespace {

// Σ of the terms that `term(place)` gives for the vectors of a row.
template <class T, class Shape, class Term>
inline DoubleWord<T> sum_of(const Shape shape, Term term) {
    RowTotal<Shape> total;
    shape.blocks([&](const Shape block) {
        WideSum<T> sum;
        block.at_each_prefetching([&](auto place) { sum.add(term(place)); });
        total.add(sum);
    });
    return total.parts();
}

// a b + c d + …, of COUNT products, in pairs of which the sums are added.
template <class T, int COUNT, class Factors>
[[gnu::always_inline]] inline Vec<T> sum_of_few(Factors factors, int first = 0) {
    if constexpr (COUNT == 2) {
        const auto [a, b] = factors(first);
        const auto [c, d] = factors(first + 1);
        return mul_add(c, d, a * b);
    } else {
        return sum_of_few<T, COUNT / 2>(factors, first) + sum_of_few<T, COUNT / 2>(factors, first + COUNT / 2);
    }
}

// Σ a b of the factors that `factors(place)` gives. COUNT neighbouring products are added before the sum takes them:
// that costs an ulp for every doubling, half of one for the first, and saves what widening costs.
template <class T, int COUNT, class Shape, class Factors>
inline DoubleWord<T> sum_of_products(const Shape shape, Factors factors) {
    RowTotal<Shape> total;
    shape.blocks([&](const Shape block) {
        WideSum<T> sum;
        block.template in_groups_prefetching<COUNT>(
            [&](auto places) { sum.add(sum_of_few<T, COUNT>([&](int k) { return factors(places(k)); })); },
            [&](auto place) {
                const auto [a, b] = factors(place);
                sum.add(place.keep(a * b));
            });
        total.add(sum);
    });
    return total.parts();
}

// A mean Σ p d so small that the underflow of its terms may show is replaced by mean_of(), where the weights p are
// larger by a power of 2 and the sum is divided by that; unless that overflows.
template <class T>
constexpr T LEAST_MEAN = (T)(sizeof(T) == 4 ? 0x1p-100 : 0x1p-980);
template <class T, class MeanOf>
inline Vec<T> without_underflow(Vec<T> mean, MeanOf mean_of) {
    const Bits<T> is_small = absolute<T>(mean) < LEAST_MEAN<T>;
    if (!any<T>(is_small)) return mean;
    const Vec<T> scaled = mean_of();
    return (is_small & (scaled - scaled == 0)) ? scaled : mean;
}

// The largest entry of a row, or of each lane; the first, where several are. NaN is passed over.
template <class Shape>
struct Argmax;

template <class T>
struct Argmax<Row<T>> {
    Vec<T> value;
    ptrdiff_t index;

    template <class X>
    Argmax(const Row<T> row, const X* x) {
        if (row.stop < LONG * WIDTH<T>)
            find<1>(row, x);
        else
            find<8>(row, x);
    }
    // What an array of the row's length holds there.
    template <class X>
    Vec<T> of(const Row<T>, const X* v) const {
        return splat(value_of(v[index]));
    }
    // Σ of what `term(place)` gives for all other entries.
    template <class Term>
    DoubleWord<T> sum_of_others(const Row<T> row, Term term) const {
        return plus<T>(sum_of<T>(row.part(row.start, index), term), sum_of<T>(row.part(index + 1, row.stop), term));
    }
    // y, and `value` at the argmax entry: a row writes that over the value that f gave.
    template <class F>
    void finish(const Row<T> row, T* y, Vec<T> value, F f) const {
        row.finish(y, f);
        if (row.context.nontemporal) fence_nontemporal();
        y[index] = value[0];
    }

    // Vectors in a row from which on it is worth a search to look at groups of them only.
    static constexpr ptrdiff_t LONG = 32;

   private:
    // Lane by lane first: the largest entry, and the group of so many vectors where it is found first.
    template <int GROUP, class X>
    void find(const Row<T> row, const X* x) {
        constexpr int W = WIDTH<T>;
        const ptrdiff_t n = row.stop;
        Vec<T> top = splat(-INF<T>);
        Bits<T> group{}, here{};
        const auto take = [&](Vec<T> largest) {
            group = largest > top ? here : group;
            top = largest;
            here += 1;
        };
        ptrdiff_t i = 0;
        if constexpr (GROUP == 1)
            for (; i + 4 * W <= n; i += 4 * W)
#pragma GCC unroll 4
                for (int k = 0; k < 4; ++k) take(max(load(x + i + k * W), top));
        for (; i + GROUP * W <= n; i += GROUP * W) {
            for (int k = 0; k < GROUP; ++k) row.prefetch(row.context.prefetch.search, i + k * W);
            Vec<T> even = top, odd = top;
#pragma GCC unroll 8
            for (int k = 0; k < GROUP; ++k) {
                Vec<T>& chain = k % 2 ? odd : even;
                chain = max(load(x + i + k * W), chain);
            }
            take(max(even, odd));
        }
        Vec<T> last = top;
        for (; i + W <= n; i += W) last = max(load(x + i), last);
        take(last);
        const ptrdiff_t start = n < W ? 0 : n - W;  // of the last vector, which overlaps the one before
        last = n < W ? load_head(x, n, -INF<T>) : load(x + start);

        value = row.largest(max(last, top));
        typename Types<T>::Integer groups[W];
        store((T*)groups, (Vec<T>)group);
        index = n;
        for (unsigned lanes = lanes_where<T>(top == value); lanes; lanes &= lanes - 1) {
            const int lane = __builtin_ctz(lanes);
            ptrdiff_t found = (ptrdiff_t)groups[lane] * GROUP * W + lane;
            if (GROUP > 1)
                while (found + W < n && value_of(x[found]) != value[0]) found += W;
            index = found < index ? found : index;
        }
        if (index >= n) index = start + __builtin_ctz(lanes_where<T>(last == value));
    }
};

// What v holds at the largest entry of each row x of a full lockstep batch. Each lane takes the entry of v along with
// its largest of x, and the rows are transposed: no row waits for its own chain from the largest entry to its index.
template <class T, class X>
[[gnu::always_inline]] inline Vec<T> at_argmax(const Lockstep<T> rows, const X* x, const X* v) {
    constexpr int W = WIDTH<T>;
    const ptrdiff_t n = rows.n;
    const auto search = [&](int lane) {
        return value_of(rows.in(v, lane, 1)[Argmax<Row<T>>(Row<T>(n), rows.in(x, lane)).index]);
    };
    T found[W];
    if (n >= Argmax<Row<T>>::LONG * W) {
        for (int lane = 0; lane < W; ++lane) found[lane] = search(lane);
        return load(found);
    }
    Vec<T> tops[W], candidates[W];
    for (int lane = 0; lane < W; ++lane) {
        const X *const from = rows.in(x, lane), *const along = rows.in(v, lane, 1);
        Vec<T> top = splat(-INF<T>), there = splat<T>(0);
        const auto take = [&](Vec<T> a, Vec<T> b) {
            there = a > top ? b : there;
            top = max(a, top);
        };
        ptrdiff_t i = 0;
        for (; i + 4 * W <= n; i += 4 * W)
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) take(load(from + i + k * W), load(along + i + k * W));
        for (; i + W <= n; i += W) take(load(from + i), load(along + i));
        // The last vector overlaps the one before, and what both hold does not count again.
        if (i < n) take(tail_lanes<T>(n - i) ? load(from + n - W) : splat(-INF<T>), load(along + n - W));
        tops[lane] = top;
        candidates[lane] = there;
    }
    transpose<T>(tops);
    transpose<T>(candidates);
    Vec<T> top = tops[0], there = candidates[0];
    for (int i = 1; i < W; ++i) top = max(tops[i], top);
    Bits<T> count{};  // of lanes that have it, negative
    for (int i = 0; i < W; ++i) {
        const Bits<T> is_top = tops[i] == top;
        count += is_top;
        there = is_top ? candidates[i] : there;
    }
    const unsigned ties = lanes_where<T>(count != -1);
    if (!ties) return there;
    store(found, there);
    for (int lane = 0; lane < W; ++lane)
        if (ties >> lane & 1) found[lane] = search(lane);  // the first of them
    return load(found);
}

template <class T>
struct Argmax<LaneBatch<T>> {
    Vec<T> value = splat(-INF<T>);
    Bits<T> offset{};

    Argmax(const LaneBatch<T> batch, const T* x) {
        batch.at_each([&](auto place) {
            const Vec<T> v = place(x, 0);
            offset = v > value ? Bits<T>{} + (typename Types<T>::Integer)place.i : offset;
            value = max(v, value);
        });
    }
    Vec<T> of(const LaneBatch<T> batch, const T* v) const {
        Vec<T> found = load(v);
        batch.at_each([&](auto place) { found = at(place) ? place(v, 0) : found; });
        return found;
    }
    template <class Term>
    DoubleWord<T> sum_of_others(const LaneBatch<T> batch, Term term) const {
        return sum_of<T>(batch, [&](auto place) { return at(place) ? splat<T>(0) : term(place); });
    }
    template <class F>
    void finish(const LaneBatch<T> batch, T* y, Vec<T> value, F f) const {
        batch.finish(y, [&](auto place) { return at(place) ? value : f(place); });
    }

   private:
    template <class Place>
    Bits<T> at(Place place) const {
        return offset == (typename Types<T>::Integer)place.i;
    }
};

}  // namespace
