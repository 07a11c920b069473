// What is known of the memory of a row.
#pragma once

#include "simd/mask.h"

namespace {

// Where a row's results go, and what else is known of its memory.
template <class T>
struct Route {
    // Memory for what is computed on the way: nothing (the result's own memory serves), a row, or, for rows beyond the
    // cache, a block, which holds one block after the other.
    T* scratch = nullptr;
    bool holds_row = true;
    // Whether they are stored past the caches.
    bool streams = false;
    // Which entries take part, where a mask tells.
    Mask* mask = nullptr;
    // What is read next, to be fetched while this row is computed: in a pass that searches, in one that adds up, and in the
    // last one. It lies as the row does, with entries of `step` bytes.
    const char* to_search = nullptr;
    const char* to_add = nullptr;
    const char* to_finish[2] = {};
    int step = sizeof(T);
};

}  // namespace
