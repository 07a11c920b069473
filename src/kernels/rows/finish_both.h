// The last pass of kernels with two results.
#pragma once

#include "rows/shapes.h"

namespace {

// y, z = f(place), the last that is done to a row, where there are two results.
template <class T, class F>
inline void finish_both(const LaneBatch<T> batch, T* y, T* z, F f) {
    batch.at_each([&](auto place) {
        const auto both = f(place);
        place.store(y, both.first);
        place.store(z, both.second);
    });
}
template <class T, class F>
inline void finish_both(const Row<T> row, T* y, T* z, F f) {
    const bool alike = (uintptr_t)y % BYTES == (uintptr_t)z % BYTES;
    if (row.context.nontemporal && alike)
        row.at_each_aligned(y, [&](auto place) {
            const auto both = f(place);
            place.store_nontemporal(y, both.first);
            place.store_nontemporal(z, both.second);
        });
    else
        row.at_each([&](auto place) {
            const auto both = f(place);
            place.store(y, both.first);
            place.store(z, both.second);
        });
}

}  // namespace
