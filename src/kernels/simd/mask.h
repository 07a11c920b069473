// Rows of which a mask, a byte for each entry, leaves some out: −inf stands in their place, whatever is there.
#pragma once

#include <type_traits>

#include "simd/vec.h"

namespace {

typedef const unsigned char Mask;

// WIDTH bytes, each in a lane, where the instruction set has no mask registers. (GCC 12 goes byte by byte for
// __builtin_convertvector.)
template <class T>
inline Bits<T> bytes_in_lanes(const unsigned char* p) {
    [[maybe_unused]] constexpr bool IS_SINGLE = sizeof(T) == 4;
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

// Which lanes are valid. A choice among them is no branch: a random mask would mispredict every other one.
#if defined(__AVX512F__)
template <class T>
using Valid = typename std::conditional<sizeof(T) == 4, __mmask16, __mmask8>::type;

// Where a mask, WIDTH bytes of it, is set.
template <class T>
inline Valid<T> valid(Mask* mask) {
    const __m128i set = sizeof(T) == 4 ? _mm_loadu_si128((const __m128i*)mask) : _mm_loadl_epi64((const __m128i*)mask);
    return (Valid<T>)_mm_test_epi8_mask(set, set);
}
// Where the first `count` bytes of a mask are set.
template <class T>
inline Valid<T> valid_head(Mask* mask, ptrdiff_t count) {
    const __m128i set = _mm_maskz_loadu_epi8(head_mask16(count), mask);
    return (Valid<T>)_mm_test_epi8_mask(set, set);
}
// Where v is not −inf.
inline Valid<float> valid(Vec<float> v) { return _mm512_cmp_ps_mask(v, splat(-INF<float>), _CMP_NEQ_UQ); }
inline Valid<double> valid(Vec<double> v) { return _mm512_cmp_pd_mask(v, splat(-INF<double>), _CMP_NEQ_UQ); }

// v where lanes are valid, 0 elsewhere; max(v, b) there, b elsewhere; and a choice between two.
inline Vec<float> keep(__mmask16 lanes, Vec<float> v) { return _mm512_maskz_mov_ps(lanes, v); }
inline Vec<double> keep(__mmask8 lanes, Vec<double> v) { return _mm512_maskz_mov_pd(lanes, v); }
inline Vec<float> max_where(__mmask16 lanes, Vec<float> v, Vec<float> b) { return _mm512_mask_max_ps(b, lanes, v, b); }
inline Vec<double> max_where(__mmask8 lanes, Vec<double> v, Vec<double> b) {
    return _mm512_mask_max_pd(b, lanes, v, b);
}
inline Vec<float> choose(__mmask16 lanes, Vec<float> v, Vec<float> b) { return _mm512_mask_blend_ps(lanes, b, v); }
inline Vec<double> choose(__mmask8 lanes, Vec<double> v, Vec<double> b) { return _mm512_mask_blend_pd(lanes, b, v); }
#else
template <class T>
using Valid = Bits<T>;

template <class T>
inline Valid<T> valid(Mask* mask) {
    return bytes_in_lanes<T>(mask) != 0;
}
template <class T>
inline Valid<T> valid_head(Mask* mask, ptrdiff_t count) {
    unsigned char set[WIDTH<T>] = {};
    copy_head<unsigned char, WIDTH<T> / 2>(set, mask, count);
    return valid<T>(set);
}
inline Valid<float> valid(Vec<float> v) { return v != -INF<float>; }
inline Valid<double> valid(Vec<double> v) { return v != -INF<double>; }

template <class V, class Lanes>
inline V keep(Lanes lanes, V v) {
    return (V)((Lanes)v & lanes);
}
template <class V, class Lanes>
inline V max_where(Lanes lanes, V v, V b) {
    return lanes ? max(v, b) : b;
}
template <class V, class Lanes>
inline V choose(Lanes lanes, V v, V b) {
    return lanes ? v : b;
}
#endif

// v where the mask is set, −inf elsewhere.
template <class T>
inline Vec<T> unmasked(Vec<T> v, Mask* mask) {
    return choose(valid<T>(mask), v, splat(-INF<T>));
}
template <class T>
inline Vec<T> unmasked_head(Vec<T> v, Mask* mask, ptrdiff_t count) {
    return choose(valid_head<T>(mask, count), v, splat(-INF<T>));
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

// A vector of entries, 0 where there are none.
template <class T>
struct Entries {
    Vec<T> values;
    Valid<T> valid;

    Entries(Vec<T> v, Valid<T> valid) : values(keep(valid, v)), valid(valid) {}
};

}  // namespace
