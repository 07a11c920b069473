// Rows into lanes and back, transposed in registers.
#pragma once

#include "simd/vec.h"

namespace {

// Lanes of a where the bit STEP of the lane is clear, of b (from OFFSET lanes away) where it is set.
template <class T, int STEP, bool UPPER, int... LANE>
inline Vec<T> exchange(Vec<T> a, Vec<T> b, std::integer_sequence<int, LANE...>) {
    return shuffle<T, ((LANE & STEP) ? WIDTH<T> + LANE - (UPPER ? 0 : STEP) : LANE + (UPPER ? STEP : 0))...>(a, b);
}

// WIDTH rows × WIDTH entries.
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

// Rows that are shorter than a vector, or end within one, go by tiles: 16 bytes of each of WIDTH rows, which the ports
// for loads and stores bring together and take apart, so that only entries within a tile are left to shuffle.
template <class T>
constexpr int TILE = 16 / sizeof(T);

// 16 bytes at p, and at every `apart` bytes after it, as many as fit; and back.
template <class T>
inline Vec<T> load_tiles(const char* p, [[maybe_unused]] ptrdiff_t apart) {
#if defined(__AVX512F__)
    const __m512i one = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i*)p));
    const __m512i two = _mm512_inserti32x4(one, _mm_loadu_si128((const __m128i*)(p + apart)), 1);
    const __m512i three = _mm512_inserti32x4(two, _mm_loadu_si128((const __m128i*)(p + 2 * apart)), 2);
    return (Vec<T>)_mm512_inserti32x4(three, _mm_loadu_si128((const __m128i*)(p + 3 * apart)), 3);
#elif defined(__AVX2__)
    const __m256i one = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)p));
    return (Vec<T>)_mm256_inserti128_si256(one, _mm_loadu_si128((const __m128i*)(p + apart)), 1);
#else
    return load((const T*)p);
#endif
}
template <class T>
inline void store_tiles(char* p, [[maybe_unused]] ptrdiff_t apart, Vec<T> v) {
#if defined(__AVX512F__)
    _mm_storeu_si128((__m128i*)p, _mm512_castsi512_si128((__m512i)v));
    _mm_storeu_si128((__m128i*)(p + apart), _mm512_extracti32x4_epi32((__m512i)v, 1));
    _mm_storeu_si128((__m128i*)(p + 2 * apart), _mm512_extracti32x4_epi32((__m512i)v, 2));
    _mm_storeu_si128((__m128i*)(p + 3 * apart), _mm512_extracti32x4_epi32((__m512i)v, 3));
#elif defined(__AVX2__)
    _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128((__m256i)v));
    _mm_storeu_si128((__m128i*)(p + apart), _mm256_extracti128_si256((__m256i)v, 1));
#else
    store((T*)p, v);
#endif
}

// The lower or the upper halves of the tiles of a and b, entry by entry in turns.
template <class T, bool UPPER, int... LANE>
inline Vec<T> interleave(Vec<T> a, Vec<T> b, std::integer_sequence<int, LANE...>) {
    constexpr int HALF = TILE<T> / 2;
    return shuffle<T, (LANE - LANE % TILE<T> + LANE % TILE<T> / 2 + UPPER * HALF + (LANE & 1) * WIDTH<T>)...>(a, b);
}

// The tiles of TILE vectors, each TILE rows × TILE entries: a perfect shuffle, log2(TILE) times.
template <class T>
inline void transpose_tiles(Vec<T> (&v)[TILE<T>]) {
    constexpr std::make_integer_sequence<int, WIDTH<T>> lanes;
    constexpr int HALF = TILE<T> / 2;
#pragma GCC unroll 2
    for (int size = 1; size < TILE<T>; size *= 2) {
        Vec<T> shuffled[TILE<T>];
#pragma GCC unroll 2
        for (int i = 0; i < HALF; ++i) {
            shuffled[2 * i] = interleave<T, false>(v[i], v[i + HALF], lanes);
            shuffled[2 * i + 1] = interleave<T, true>(v[i], v[i + HALF], lanes);
        }
#pragma GCC unroll 4
        for (int i = 0; i < TILE<T>; ++i) v[i] = shuffled[i];
    }
}

// WIDTH rows of n ≥ TILE contiguous entries, `row` bytes apart, into the lanes of a batch, and back. The last tile
// overlaps the one before, so that nothing beyond a row is touched.
template <class T>
inline void load_rows(T* batch, const char* x, ptrdiff_t row, ptrdiff_t n) {
    for (ptrdiff_t j = 0; j < n; j += TILE<T>) {
        const ptrdiff_t first = j < n - TILE<T> ? j : n - TILE<T>;
        const char* const p = x + first * sizeof(T);
        Vec<T> tiles[TILE<T>];
#pragma GCC unroll 4
        for (int i = 0; i < TILE<T>; ++i) tiles[i] = load_tiles<T>(p + i * row, TILE<T> * row);
        transpose_tiles<T>(tiles);
#pragma GCC unroll 4
        for (int i = 0; i < TILE<T>; ++i) store(batch + (first + i) * WIDTH<T>, tiles[i]);
    }
}
template <class T>
inline void store_rows(const T* batch, char* y, ptrdiff_t row, ptrdiff_t n) {
    for (ptrdiff_t j = 0; j < n; j += TILE<T>) {
        const ptrdiff_t first = j < n - TILE<T> ? j : n - TILE<T>;
        char* const p = y + first * sizeof(T);
        Vec<T> tiles[TILE<T>];
#pragma GCC unroll 4
        for (int i = 0; i < TILE<T>; ++i) tiles[i] = load(batch + (first + i) * WIDTH<T>);
        transpose_tiles<T>(tiles);
#pragma GCC unroll 4
        for (int i = 0; i < TILE<T>; ++i) store_tiles<T>(p + i * row, TILE<T> * row, tiles[i]);
    }
}

}  // namespace
