// Numbers as they are stored, and as they are computed with: half precision is read into float32 and rounded once.
#pragma once

#include <type_traits>

#include "simd/vec.h"

namespace {

struct Half {  // IEEE 754 binary16
    uint16_t bits;
};
struct Brain {  // bfloat16: the upper half of a float32
    uint16_t bits;
};

template <class S>
constexpr bool IS_NARROW = sizeof(S) == 2;
template <class S>
using Computed = typename std::conditional<IS_NARROW<S>, float, S>::type;

// WIDTH<float> numbers of 16 bits, each in a lane of 32, and back.
#if defined(__AVX512F__)
typedef __m256i Words;
inline Bits<float> widened(Words w) { return (Bits<float>)_mm512_cvtepu16_epi32(w); }
inline Words narrowed(Bits<float> b) { return _mm512_cvtepi32_epi16((__m512i)b); }
#elif defined(__AVX2__)
typedef __m128i Words;
inline Bits<float> widened(Words w) { return (Bits<float>)_mm256_cvtepu16_epi32(w); }
inline Words narrowed(Bits<float> b) {
    const __m256i packed = _mm256_packus_epi32((__m256i)b, (__m256i)b);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
}
#else
typedef uint16_t Words __attribute__((vector_size(BYTES / 2)));
inline Bits<float> widened(Words w) { return __builtin_convertvector(w, Bits<float>); }
inline Words narrowed(Bits<float> b) { return __builtin_convertvector(b, Words); }
#endif

inline Vec<float> decoded(Words w, Brain) { return (Vec<float>)((Unsigned<float>)widened(w) << 16); }
inline Words encoded(Vec<float> v, Brain) {
    const Unsigned<float> b = (Unsigned<float>)v, even = b + 0x7fff + ((b >> 16) & 1);
    return narrowed((Bits<float>)((v != v ? b | 0x400000 : even) >> 16));
}

#if defined(__AVX512F__)
inline Vec<float> decoded(Words w, Half) { return _mm512_cvtph_ps(w); }
inline Words encoded(Vec<float> v, Half) { return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT); }
#elif defined(__F16C__)
inline Vec<float> decoded(Words w, Half) { return _mm256_cvtph_ps(w); }
inline Words encoded(Vec<float> v, Half) { return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT); }
#else
// The exponent moves by 112 from one type's bias to the other's; multiplying by 2^112 makes subnormals normal.
inline Vec<float> decoded(Words w, Half) {
    const Unsigned<float> h = (Unsigned<float>)widened(w), magnitude = (h & 0x7fff) << 13;
    const Unsigned<float> finite = (Unsigned<float>)((Vec<float>)magnitude * 0x1p112f);
    return (Vec<float>)(((h & 0x7c00) == 0x7c00 ? magnitude | 0x7f800000 : finite) | ((h & 0x8000) << 16));
}
inline Words encoded(Vec<float> v, Half) {
    const Unsigned<float> b = (Unsigned<float>)v, magnitude = b & 0x7fffffff;
    const Unsigned<float> even = ((magnitude + 0xfff + ((magnitude >> 13) & 1)) >> 13) - (112 << 10);
    // Next to 1/2 the spacing is that of the subnormal halves: adding it rounds to one of them.
    const Unsigned<float> subnormal = (Unsigned<float>)((Vec<float>)magnitude + 0.5f) - (Unsigned<float>)splat(0.5f);
    // (SSE compares signed numbers only.)
    const Bits<float> signed_magnitude = (Bits<float>)magnitude;
    Bits<float> h = (Bits<float>)(signed_magnitude < 0x38800000 ? subnormal : even);
    h = h > 0x7c00 ? Bits<float>{} + 0x7c00 : h;
    h = signed_magnitude > 0x7f800000 ? Bits<float>{} + 0x7e00 : h;
    return narrowed(h | (Bits<float>)((b >> 16) & 0x8000));
}
#endif

// WIDTH numbers from memory, or the first `count` with `fill` in the other lanes; and back.
template <class S>
inline Vec<Computed<S>> read(const S* p) {
    if constexpr (IS_NARROW<S>) {
        Words w;
        __builtin_memcpy(&w, p, sizeof w);
        return decoded(w, S());
    } else {
        return load(p);
    }
}
template <class S>
inline Vec<Computed<S>> read_head(const S* p, ptrdiff_t count, Computed<S> fill) {
    if constexpr (IS_NARROW<S>) {
        Words w{};
        copy_head<S, BYTES / 4>(&w, p, count * sizeof(S));
        const Vec<float> v = decoded(w, S());
        return load_head((const float*)&v, count, fill);
    } else {
        return load_head(p, count, fill);
    }
}
template <class S>
inline void write(S* p, Vec<Computed<S>> v) {
    if constexpr (IS_NARROW<S>) {
        const Words w = encoded(v, S());
        __builtin_memcpy(p, &w, sizeof w);
    } else {
        store(p, v);
    }
}
template <class S>
inline void write_head(S* p, Vec<Computed<S>> v, ptrdiff_t count) {
    if constexpr (IS_NARROW<S>) {
        const Words w = encoded(v, S());
        copy_head<S, BYTES / 4>(p, &w, count * sizeof(S));
    } else {
        store_head(p, v, count);
    }
}

// Numbers of 16 bits under the names of those that are computed with: a kernel may read and write them in place.
template <class S, class = std::enable_if_t<IS_NARROW<S>>>
inline Vec<float> load(const S* p) {
    return read(p);
}
template <class S, class = std::enable_if_t<IS_NARROW<S>>>
inline Vec<float> load_head(const S* p, ptrdiff_t count, float fill) {
    return read_head(p, count, fill);
}
template <class S, class = std::enable_if_t<IS_NARROW<S>>>
inline void store(S* p, Vec<float> v) {
    write(p, v);
}
template <class S, class = std::enable_if_t<IS_NARROW<S>>>
inline void store_nontemporal(S* p, Vec<float> v) {
    const Words w = encoded(v, S());
#if defined(__clang__)
    __builtin_nontemporal_store(w, (Words*)p);
#elif defined(__AVX512F__)
    _mm256_stream_si256((Words*)p, w);
#elif defined(__AVX2__)
    _mm_stream_si128((Words*)p, w);
#elif defined(__x86_64__)
    _mm_stream_si64((long long*)p, (long long)w);
#else
    write(p, v);
#endif
}
template <class S, class = std::enable_if_t<IS_NARROW<S>>>
inline void store_head(S* p, Vec<float> v, ptrdiff_t count) {
    write_head(p, v, count);
}

// A single number.
template <class S>
inline Computed<S> value_of(S s) {
    if constexpr (IS_NARROW<S>)
        return read_head(&s, 1, 0.0f)[0];
    else
        return s;
}
template <class S>
inline S stored(Computed<S> v) {
    S s;
    write_head(&s, splat(v), 1);
    return s;
}

}  // namespace
