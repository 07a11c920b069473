// What is known of the memory of a row.
#pragma once

#include "simd/mask.h"

namespace {

// What each pass over a row prefetches while it computes: the pass that searches, the one that sums, and the last. The
// data has the layout of the row, with entries of `step` bytes.
struct Prefetch {
    const char *search = nullptr, *add = nullptr, *finish[2] = {};
    int step = 0;
};

// Memory for intermediate results: none (the memory of the result serves), a row, or, for rows beyond the cache, a
// block, which holds one block after the other.
template <class T>
struct RowScratch {
    T* memory = nullptr;
    bool holds_row = true;
};

template <class T>
struct RowContext {
    RowScratch<T> scratch;
    Prefetch prefetch;
    Mask* mask = nullptr;      // none: every entry is valid
    bool nontemporal = false;  // whether the result is stored non-temporally
};

}  // namespace
