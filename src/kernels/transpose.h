// Rows into lanes and back: WIDTH rows × WIDTH entries, transposed in registers.
#pragma once

#include "vec.h"

namespace {

// Lanes of a where the bit STEP of the lane is clear, of b (from OFFSET lanes away) where it is set.
template <class T, int STEP, bool UPPER, int... LANE>
inline Vec<T> exchange(Vec<T> a, Vec<T> b, std::integer_sequence<int, LANE...>) {
    return shuffle<T, ((LANE & STEP) ? WIDTH<T> + LANE - (UPPER ? 0 : STEP) : LANE + (UPPER ? STEP : 0))...>(a, b);
}

template <class T, int STEP = 1>
inline void transpose(Vec<T> (&rows)[WIDTH<T>]) {
    if constexpr (STEP < WIDTH<T>) {
        constexpr std::make_integer_sequence<int, WIDTH<T>> lanes;
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH<T>; ++i) {
            if (i & STEP) continue;
            const Vec<T> a = rows[i], b = rows[i + STEP];
            rows[i] = exchange<T, STEP, false>(a, b, lanes);
            rows[i + STEP] = exchange<T, STEP, true>(a, b, lanes);
        }
        transpose<T, 2 * STEP>(rows);
    }
}

}  // namespace
