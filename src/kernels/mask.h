// Rows of which a mask, a byte for each entry, leaves some out: −inf stands in their place, whatever is there.
#pragma once

#include <cstring>

#include "vec.h"

namespace {

typedef const unsigned char Mask;

// WIDTH bytes, each in a lane, where masks are no registers of their own. (GCC 12 goes byte by byte for
// __builtin_convertvector.)
template <class T>
inline Bits<T> bytes_in_lanes(const unsigned char* p) {
    constexpr bool IS_SINGLE = sizeof(T) == 4;
#if defined(__AVX2__)
    int64_t bytes = 0;
    __builtin_memcpy(&bytes, p, WIDTH<T>);
    const __m128i low = _mm_cvtsi64_si128(bytes);
    return (Bits<T>)(IS_SINGLE ? _mm256_cvtepu8_epi32(low) : _mm256_cvtepu8_epi64(low));
#elif defined(__x86_64__)
    int32_t bytes = 0;
    __builtin_memcpy(&bytes, p, WIDTH<T>);
    const __m128i low = _mm_cvtsi32_si128(bytes);
    return (Bits<T>)(IS_SINGLE ? _mm_cvtepu8_epi32(low) : _mm_cvtepu8_epi64(low));
#else
    typedef unsigned char Set __attribute__((vector_size(WIDTH<T>)));
    Set set;
    __builtin_memcpy(&set, p, sizeof set);
    return __builtin_convertvector(set, Bits<T>);
#endif
}

// v where the mask, WIDTH bytes of it, is set, −inf elsewhere. A choice and no branch: a random mask would mispredict every
// other one.
template <class T>
inline Vec<T> unmasked(Vec<T> v, Mask* mask) {
    const Vec<T> nothing = splat(-INF<T>);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        const __m128i m = _mm_loadu_si128((const __m128i*)mask);
        return _mm512_mask_blend_ps(_mm_test_epi8_mask(m, m), nothing, v);
    } else {
        const __m128i m = _mm_loadl_epi64((const __m128i*)mask);
        return _mm512_mask_blend_pd((__mmask8)_mm_test_epi8_mask(m, m), nothing, v);
    }
#else
    return bytes_in_lanes<T>(mask) != 0 ? v : nothing;
#endif
}
// The same of the first `count` entries; the other lanes stay as they are.
template <class T>
inline Vec<T> unmasked_head(Vec<T> v, Mask* mask, ptrdiff_t count) {
#if defined(__AVX512F__)
    const __m128i set = _mm_mask_loadu_epi8(_mm_set1_epi8(1), head_mask16(count), mask);
#else
    unsigned char set[WIDTH<T>];
    std::memset(set, 1, sizeof set);
    copy_head<unsigned char, WIDTH<T> / 2>(set, mask, count);
#endif
    return unmasked<T>(v, (Mask*)&set);
}

// A row and its mask, read as the row alone would be.
template <class T>
struct Masked {
    const T* row;
    Mask* mask;

    Masked operator+(ptrdiff_t i) const { return {row + i, mask + i}; }
    T operator[](ptrdiff_t i) const { return mask[i] ? row[i] : -INF<T>; }
};

template <class T>
inline Vec<T> load(const Masked<T>& p) {
    return unmasked<T>(load(p.row), p.mask);
}
template <class T>
inline Vec<T> load_head(const Masked<T>& p, ptrdiff_t count, T fill) {
    return unmasked_head<T>(load_head(p.row, count, fill), p.mask, count);
}

}  // namespace
