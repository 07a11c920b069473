// The label of a row.
#pragma once

#include "rows/shapes.h"

namespace {

// The label of a row, or of each lane: the entry there, and a value to put there. A row looks it up and writes over
// it; a lane batch reads it lane by lane, which keeps the vector ports free, and picks it out as its entries pass by.
template <class Shape>
struct Label;

template <class T>
struct Label<Row<T>> {
    ptrdiff_t label;
    Label() = default;
    Label(const Row<T>, const int64_t* labels) : label(labels[0]) {}

    template <class Place>
    Bits<T> at(Place) const {
        return Bits<T>{};
    }
    Vec<T> take(const T* x) const { return splat(x[label]); }
    Vec<T> take_exponential(const T* e) const { return take(e); }
    void put(const Row<T> row, T* y, Vec<T> value) const {
        if (row.context.nontemporal) fence_nontemporal();
        y[label] = value[0];
    }
};

template <class T>
struct Label<LaneBatch<T>> {
    typename Types<T>::Integer offsets[WIDTH<T>];
    Label() = default;
    Label(const LaneBatch<T>, const int64_t* labels) {
        for (int lane = 0; lane < WIDTH<T>; ++lane) offsets[lane] = labels[lane] * WIDTH<T>;
    }

    template <class Place>
    Bits<T> at(Place place) const {
        Bits<T> offset;
        __builtin_memcpy(&offset, offsets, sizeof offset);
        return offset == (typename Types<T>::Integer)place.i;
    }
    Vec<T> take(const T* x) const {
        T values[WIDTH<T>];
#pragma GCC unroll 16
        for (int lane = 0; lane < WIDTH<T>; ++lane) values[lane] = x[offsets[lane] + lane];
        return load(values);
    }
    Vec<T> take_exponential(const T* e) const { return take(e); }
    void put(const LaneBatch<T>, T*, Vec<T>) const {}
};

template <class T>
struct Label<Lockstep<T>> {
    Lockstep<T> rows;
    int64_t labels[WIDTH<T>];
    Label() = default;
    Label(const Lockstep<T> rows, const int64_t* of) : rows(rows) { __builtin_memcpy(labels, of, sizeof labels); }

    Vec<T> take(const T* x) const {
        T values[WIDTH<T>] = {};
        for (int lane = 0; lane < rows.lanes; ++lane) values[lane] = rows.in(x, lane)[labels[lane]];
        return load(values);
    }
    Vec<T> take_exponential(const T*) const {
        T values[WIDTH<T>] = {};
        for (int lane = 0; lane < rows.lanes; ++lane) values[lane] = rows.exponentials(lane)[labels[lane]];
        return load(values);
    }
};

}  // namespace
