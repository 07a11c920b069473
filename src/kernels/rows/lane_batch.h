// Short rows, one per lane.
#pragma once

#include "rows/row.h"

namespace {

template <class T>
struct LaneBatch {
    ptrdiff_t n;
    int lanes;            // those that hold a row
    ptrdiff_t start = 0;  // the entries from here to n

    LaneBatch(ptrdiff_t n, int lanes) : n(n), lanes(lanes) {}

    // Entry j of every row.
    struct Place {
        ptrdiff_t i;
        Vec<T> operator()(const T* x, T /* fill */) const { return load(x + i); }
        Entries<T> entries(const T* x) const { return {load(x + i), valid(load(x + i))}; }
        Vec<T> keep(Vec<T> v) const { return v; }
        void store(T* y, Vec<T> v) const { ::store(y + i, v); }
    };

    template <class F>
    void at_each(F f) const {
        for (ptrdiff_t j = start; j < n; ++j) f(Place{j * WIDTH<T>});
    }
    template <class F>
    void at_each_prefetching(F f) const {
        at_each(f);
    }
    template <class F>
    void runs(F f) const {
        LaneBatch run = *this;
        for (ptrdiff_t j = 0; j < n; j = run.n) {
            run.start = j;
            run.n = j + RUN < n ? j + RUN : n;
            f(run);
        }
    }
    template <int COUNT, class Some, class One>
    void in_groups_prefetching(Some some, One one) const {
        ptrdiff_t j = 0;
        for (; j + COUNT <= n; j += COUNT) some([j](int k) { return Place{(j + k) * WIDTH<T>}; });
        for (; j < n; ++j) one(Place{j * WIDTH<T>});
    }
    template <class F>
    void each(const T* x, F f) const {
        at_each([&](auto place) { f(place(x, 0)); });
    }
    template <class F>
    void each_prefetching(const T* x, F f) const {
        each(x, f);
    }
    template <class F>
    void blocks(F f) const {
        f(*this);
    }

    T* workspace(T* y) const { return y; }
    bool keeps_workspace() const { return true; }
    template <int UNROLL = 1, class F>
    void finish(T* y, F f) const {
        at_each([&](auto place) { place.store(y, f(place)); });
    }

    Range<T> range(const T* x) const {
        Range<T> range;
        each(x, [&](Vec<T> v) { range.add(v); });
        return range;
    }
    Vec<T> largest(Vec<T> v) const { return v; }
    Range<T> across(const Range<T>& lanes) const { return lanes; }

    Vec<T> spread(const T* values) const { return load(values); }
    Bits<T> anywhere(Bits<T> condition) const { return condition; }

    static constexpr bool IS_LANE_BATCH = true;
    ptrdiff_t length() const { return n; }

    struct Total {
        WideSum<T> sum;
        DoubleWord<T> reciprocal(T scale = 1) const { return sum.reciprocal(scale); }
    };
    template <class F>
    Vec<T> write(T* e, F f) const {
        Vec<T> lost = splat<T>(0);
        at_each([&](auto place) {
            const DoubleWord<T> value = f(place);
            place.store(e, value.high);
            lost += value.low;
        });
        return lost;
    }
    void add(Total& total, Vec<T> lost, const T* e) const {
        for (ptrdiff_t j = 0; j < n; ++j) total.sum.add(e + j * WIDTH<T>);
        total.sum.add_lost(lost);
    }
};

template <class T>
struct RowTotal<LaneBatch<T>> {
    Vec<T> high, low;
    void add(const Sum<T>& sum) {
        high = sum.sum + sum.error;
        low = (sum.sum - high) + sum.error;
    }
    void add(const WideSum<float>& sum) {
        const DoubleWord<float> both = sum.parts();
        high = both.high;
        low = both.low;
    }
    DoubleWord<T> parts() const { return {high, low}; }
};

}  // namespace
