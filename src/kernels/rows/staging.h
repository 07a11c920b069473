// Strided operands of any stored type to contiguous rows or lane batches of the computed type, and back.
#pragma once

#include "rows/operand.h"
#include "simd/convert.h"
#include "simd/mask.h"
#include "simd/transpose.h"

namespace {

// Rows up to this length are taken WIDTH at a time, one per lane: the work across lanes that a row of its own needs (a
// maximum, a sum, a remainder) costs as much as the work along it.
constexpr ptrdiff_t LONGEST_BATCHED = 32;

// How many entries of such a slice are prefetched ahead: each is on another page, where no hardware looks ahead.
constexpr ptrdiff_t ROWS_AHEAD = 32;

// Row i to contiguous memory, whole vectors of it, −inf where a mask leaves entries out.
template <class S, class T = Computed<S>>
inline void copy_row(T* to, const Operand<const S>& x, const Operand<Mask>& mask, ptrdiff_t i, ptrdiff_t n) {
    constexpr int W = WIDTH<T>;
    if (!x.contiguous() || (mask.data && !mask.contiguous())) {
        for (ptrdiff_t j = 0; j < n; ++j) {
            const T value = value_of(x.at(i, j));
            to[j] = !mask.data || mask.at(i, j) ? value : -INF<T>;
        }
        return;
    }
    const S* const from = &x.at(i, 0);
    Mask* const m = mask.data ? &mask.at(i, 0) : nullptr;
    ptrdiff_t j = 0;
    for (; j + W <= n; j += W) {
        const Vec<T> v = read(from + j);
        store(to + j, m ? unmasked<T>(v, m + j) : v);
    }
    if (j == n) return;
    const Vec<T> v = read_head(from + j, n - j, (T)0);
    store(to + j, m ? unmasked_head<T>(v, m + j, n - j) : v);
}

// A contiguous row to row i of an operand.
template <class S, class T = Computed<S>>
inline void store_row(const Operand<S>& y, const T* from, ptrdiff_t i, ptrdiff_t n) {
    constexpr int W = WIDTH<T>;
    ptrdiff_t j = 0;
    if (y.contiguous()) {
        for (; j + W <= n; j += W) write(&y.at(i, j), load(from + j));
        if (j < n) write_head(&y.at(i, j), load_head(from + j, n - j, (T)0), n - j);
        return;
    }
    for (; j < n; ++j) y.at(i, j) = stored<S>(from[j]);
}

// WIDTH rows, from row i on, into the lanes of a batch.
template <class S, class T = Computed<S>>
inline void load_batch(T* batch, const Operand<const S>& x, const Operand<Mask>& mask, ptrdiff_t i, int lanes,
                       ptrdiff_t n) {
    constexpr int W = WIDTH<T>;
    const bool masks = mask.data, tiles = lanes == W && x.contiguous() && n >= TILE<T>;
    if (lanes == W && x.row == (ptrdiff_t)sizeof(S) && (!masks || mask.row == 1)) {
        for (ptrdiff_t j = 0; j < n; ++j) {
            const Vec<T> v = read(&x.at(i, j));
            store(batch + j * W, masks ? unmasked<T>(v, &mask.at(i, j)) : v);
        }
    } else if (tiles && !IS_NARROW<S> && !masks) {
        load_rows(batch, (const char*)&x.at(i, 0), x.row, n);
    } else if (tiles) {
        T copy[LONGEST_BATCHED * W];
        const bool dense = x.row == n * (ptrdiff_t)sizeof(S) && (!masks || (mask.contiguous() && mask.row == n));
        for (int lane = 0; lane < (dense ? 1 : W); ++lane)
            copy_row(copy + lane * n, x, mask, i + lane, dense ? W * n : n);
        load_rows(batch, (const char*)copy, n * sizeof(T), n);
    } else {  // lanes without a row repeat the last one
        for (ptrdiff_t j = 0; j < n; ++j)
            for (int lane = 0; lane < W; ++lane) {
                const ptrdiff_t row = i + (lane < lanes ? lane : lanes - 1);
                batch[j * W + lane] = !masks || mask.at(row, j) ? value_of(x.at(row, j)) : -INF<T>;
            }
    }
}

// The lanes of a batch to rows.
template <class S, class T = Computed<S>>
inline void store_batch(const T* batch, const Operand<S>& y, ptrdiff_t i, int lanes, ptrdiff_t n) {
    constexpr int W = WIDTH<T>;
    const bool tiles = lanes == W && y.contiguous() && n >= TILE<T>;
    if (lanes == W && y.row == (ptrdiff_t)sizeof(S)) {
        for (ptrdiff_t j = 0; j < n; ++j) write(&y.at(i, j), load(batch + j * W));
    } else if (tiles && !IS_NARROW<S>) {
        store_rows(batch, (char*)&y.at(i, 0), y.row, n);
    } else if (tiles) {
        T copy[LONGEST_BATCHED * W];
        store_rows(batch, (char*)copy, n * sizeof(T), n);
        const bool dense = y.row == n * (ptrdiff_t)sizeof(S);
        for (int lane = 0; lane < (dense ? 1 : W); ++lane) store_row(y, copy + lane * n, i + lane, dense ? W * n : n);
    } else {
        for (int lane = 0; lane < lanes; ++lane)
            for (ptrdiff_t j = 0; j < n; ++j) y.at(i + lane, j) = stored<S>(batch[j * W + lane]);
    }
}

// `count` neighbouring slices from i on as rows, `pitch` entries apart, by way of registers.
template <class S, class T = Computed<S>>
inline void to_rows(T* to, ptrdiff_t pitch, const Operand<const S>& x, const Operand<Mask>& mask, ptrdiff_t i,
                    ptrdiff_t count, ptrdiff_t n) {
    constexpr int W = WIDTH<T>;
    const bool masks = mask.data && mask.row == 1;
    for (ptrdiff_t j = 0; j < n; j += W)
        for (ptrdiff_t first = 0; first < count; first += W) {
            const int lanes = count - first < W ? (int)(count - first) : W;
            Vec<T> block[W];
#pragma GCC unroll 16
            for (int entry = 0; entry < W; ++entry) {
                const S* const p = &x.at(i + first, j + entry < n ? j + entry : n - 1);
                __builtin_prefetch((const char*)p + ROWS_AHEAD * x.step, 0, 2);
                block[entry] = lanes == W ? read(p) : read_head(p, lanes, (T)0);
            }
            for (int entry = 0; masks && entry < W; ++entry) {
                Mask* const m = &mask.at(i + first, j + entry < n ? j + entry : n - 1);
                block[entry] = lanes == W ? unmasked<T>(block[entry], m) : unmasked_head<T>(block[entry], m, lanes);
            }
            transpose<T>(block);
            for (int lane = 0; lane < lanes; ++lane) store(to + (first + lane) * pitch + j, block[lane]);
        }
}

// Rows to slices; `nontemporal` where whole cache lines are written that are not read soon.
template <class S, class T = Computed<S>>
inline void from_rows(const Operand<S>& y, const T* from, ptrdiff_t pitch, ptrdiff_t i, ptrdiff_t count, ptrdiff_t n,
                      bool nontemporal) {
    constexpr int W = WIDTH<T>;
    for (ptrdiff_t j = 0; j < n; j += W)
        for (ptrdiff_t first = 0; first < count; first += W) {
            const int lanes = count - first < W ? (int)(count - first) : W;
            Vec<T> block[W];
            for (int lane = 0; lane < W; ++lane)
                block[lane] = load(from + (first + (lane < lanes ? lane : 0)) * pitch + j);
            transpose<T>(block);
            for (int entry = 0; entry < W && j + entry < n; ++entry) {
                S* const p = &y.at(i + first, j + entry);
                if constexpr (!IS_NARROW<S>)
                    if (nontemporal && lanes == W) {
                        ::store_nontemporal(p, block[entry]);
                        continue;
                    }
                if (lanes == W)
                    write(p, block[entry]);
                else
                    write_head(p, block[entry], lanes);
            }
        }
}

}  // namespace
