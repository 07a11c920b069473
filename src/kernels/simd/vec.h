// Vectors of the widest registers that the instruction set of this translation unit has.
//
// Arithmetic and comparisons are the compiler's own vector extensions; this file adds the few operations that they
// lack. Everything is in an anonymous namespace: the same templates are compiled once per instruction set, and a linker
// that merged them by name would hand AVX-512 code to everybody (numpy/numpy#25274).
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX2__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif

template <class T>
struct Types;

template <>
struct Types<float> {
    typedef float Vec __attribute__((vector_size(BYTES)));
    typedef int32_t Integer, Bits __attribute__((vector_size(BYTES)));
    typedef uint32_t Unsigned __attribute__((vector_size(BYTES)));
};

template <>
struct Types<double> {
    typedef double Vec __attribute__((vector_size(BYTES)));
    typedef int64_t Integer, Bits __attribute__((vector_size(BYTES)));
    typedef uint64_t Unsigned __attribute__((vector_size(BYTES)));
};

template <class T>
using Vec = typename Types<T>::Vec;
template <class T>
using Bits = typename Types<T>::Bits;
// Bits that are added and shifted: unsigned, so that wrapping around is defined.
template <class T>
using Unsigned = typename Types<T>::Unsigned;
template <class T>
constexpr int WIDTH = BYTES / sizeof(T);
template <class T>
constexpr T INF = (T)INFINITY;

// n entries, filled up to whole vectors.
template <class T>
constexpr ptrdiff_t in_vectors(ptrdiff_t n) {
    return (n + WIDTH<T> - 1) / WIDTH<T> * WIDTH<T>;
}

template <class T>
inline Vec<T> splat(T a) {
    return a - Vec<T>{};  // not +, which would lose the sign of a zero
}

template <class T>
inline Vec<T> load(const T* p) {
    Vec<T> v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

template <class T>
inline void store(T* p, Vec<T> v) {
    __builtin_memcpy(p, &v, sizeof v);
}

// Non-temporal store at a multiple of BYTES: a cache line that is written whole need not be read first.
template <class T>
inline void store_nontemporal(T* p, Vec<T> v) {
#if defined(__clang__)
    __builtin_nontemporal_store(v, (Vec<T>*)p);
#elif defined(__AVX512F__)
    _mm512_stream_si512((__m512i*)p, (__m512i)v);
#elif defined(__AVX2__)
    _mm256_stream_si256((__m256i*)p, (__m256i)v);
#elif defined(__x86_64__)
    _mm_stream_si128((__m128i*)p, (__m128i)v);
#else
    store(p, v);
#endif
}

// Orders non-temporal stores before later ones.
inline void fence_nontemporal() {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

// Less than a vector's `bytes`, in copies of powers of two: a copy of unknown length would be a call.
template <class T, int PART = BYTES / 2>
inline void copy_head(void* to, const void* from, ptrdiff_t bytes) {
    const ptrdiff_t part = bytes & PART;
    if (part) __builtin_memcpy(to, from, PART);
    if constexpr (PART > sizeof(T)) copy_head<T, PART / 2>((char*)to + part, (const char*)from + part, bytes);
}

// All bits of the first `count` lanes.
template <class T>
inline Bits<T> head_lanes(ptrdiff_t count) {
    static const Bits<T> set_and_clear[2] = {~Bits<T>{}, Bits<T>{}};
    return (Bits<T>)load((const T*)set_and_clear + WIDTH<T> - count);
}

// All bits of the last `count` lanes.
template <class T>
inline Bits<T> tail_lanes(ptrdiff_t count) {
    return ~head_lanes<T>(WIDTH<T> - count);
}

// The first `count` < WIDTH entries; the other lanes hold `fill`.
template <class T>
inline Vec<T> load_head(const T* p, ptrdiff_t count, T fill) {
    Vec<T> v = splat(fill);
    copy_head<T>(&v, p, count * sizeof(T));
    return v;
}

// (AVX2's masked store takes AMD's CPUs as long as a dozen others.)
template <class T>
inline void store_head(T* p, Vec<T> v, ptrdiff_t count) {
    copy_head<T>(p, &v, count * sizeof(T));
}

// The first `count` lanes of v, and 0 beyond them.
template <class T>
inline Vec<T> keep_head(Vec<T> v, ptrdiff_t count) {
    return (Vec<T>)((Bits<T>)v & head_lanes<T>(count));
}

// The last `count` lanes of v, and 0 before them.
template <class T>
inline Vec<T> keep_tail(Vec<T> v, ptrdiff_t count) {
    return (Vec<T>)((Bits<T>)v & tail_lanes<T>(count));
}

#if defined(__AVX512F__)
inline __mmask16 head_mask16(ptrdiff_t count) { return (__mmask16)((1u << count) - 1); }
inline __mmask8 head_mask8(ptrdiff_t count) { return (__mmask8)((1u << count) - 1); }
template <>
inline Vec<float> load_head(const float* p, ptrdiff_t count, float fill) {
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), head_mask16(count), p);
}
template <>
inline Vec<double> load_head(const double* p, ptrdiff_t count, double fill) {
    return _mm512_mask_loadu_pd(_mm512_set1_pd(fill), head_mask8(count), p);
}
template <>
inline Vec<float> keep_head<float>(Vec<float> v, ptrdiff_t count) {
    return _mm512_maskz_mov_ps(head_mask16(count), v);
}
template <>
inline Vec<double> keep_head<double>(Vec<double> v, ptrdiff_t count) {
    return _mm512_maskz_mov_pd(head_mask8(count), v);
}
template <>
inline void store_head(float* p, Vec<float> v, ptrdiff_t count) {
    _mm512_mask_storeu_ps(p, head_mask16(count), v);
}
template <>
inline void store_head(double* p, Vec<double> v, ptrdiff_t count) {
    _mm512_mask_storeu_pd(p, head_mask8(count), v);
}
#elif defined(__AVX2__)
template <>
inline Vec<float> load_head(const float* p, ptrdiff_t count, float fill) {
    const Bits<float> head = head_lanes<float>(count);
    const Vec<float> read = _mm256_maskload_ps(p, (__m256i)head);
    return head ? read : splat(fill);
}
template <>
inline Vec<double> load_head(const double* p, ptrdiff_t count, double fill) {
    const Bits<double> head = head_lanes<double>(count);
    const Vec<double> read = _mm256_maskload_pd(p, (__m256i)head);
    return head ? read : splat(fill);
}
#endif

// max(a, b) and min(a, b), and b where either is NaN: the order of the operands decides whether NaN is dropped or kept.
#if defined(__AVX512F__)
inline Vec<float> max(Vec<float> a, Vec<float> b) { return _mm512_max_ps(a, b); }
inline Vec<float> min(Vec<float> a, Vec<float> b) { return _mm512_min_ps(a, b); }
inline Vec<double> max(Vec<double> a, Vec<double> b) { return _mm512_max_pd(a, b); }
inline Vec<double> min(Vec<double> a, Vec<double> b) { return _mm512_min_pd(a, b); }
#elif defined(__AVX2__)
inline Vec<float> max(Vec<float> a, Vec<float> b) { return _mm256_max_ps(a, b); }
inline Vec<float> min(Vec<float> a, Vec<float> b) { return _mm256_min_ps(a, b); }
inline Vec<double> max(Vec<double> a, Vec<double> b) { return _mm256_max_pd(a, b); }
inline Vec<double> min(Vec<double> a, Vec<double> b) { return _mm256_min_pd(a, b); }
#elif defined(__x86_64__)
inline Vec<float> max(Vec<float> a, Vec<float> b) { return _mm_max_ps(a, b); }
inline Vec<float> min(Vec<float> a, Vec<float> b) { return _mm_min_ps(a, b); }
inline Vec<double> max(Vec<double> a, Vec<double> b) { return _mm_max_pd(a, b); }
inline Vec<double> min(Vec<double> a, Vec<double> b) { return _mm_min_pd(a, b); }
#else
template <class V>
inline V max(V a, V b) {
    return a > b ? a : b;
}
template <class V>
inline V min(V a, V b) {
    return a < b ? a : b;
}
#endif

// a b + c with one rounding.
#if defined(__AVX512F__)
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm512_fmadd_pd(a, b, c); }
#elif defined(__FMA__)
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm256_fmadd_pd(a, b, c); }
#elif defined(__aarch64__)
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return vfmaq_f32(c, a, b); }
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return vfmaq_f64(c, a, b); }
#else
// Without the instruction: float by way of double, whose 53 bits hold the product exactly; double by Dekker's product
// and Knuth's sum, which is right to half an ulp and a little.
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
    typedef double Double __attribute__((vector_size(2 * BYTES)));
    return __builtin_convertvector(
        __builtin_convertvector(a, Double) * __builtin_convertvector(b, Double) + __builtin_convertvector(c, Double),
        Vec<float>);
}
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
    const double SPLIT = 0x1p27 + 1;
    Vec<double> a_high = SPLIT * a - (SPLIT * a - a), a_low = a - a_high;
    Vec<double> b_high = SPLIT * b - (SPLIT * b - b), b_low = b - b_high;
    Vec<double> product = a * b;
    Vec<double> product_low = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    Vec<double> sum = product + c, of_c = sum - product;
    return sum + (((product - (sum - of_c)) + (c - of_c)) + product_low);
}
#endif

// a b + c, with one rounding or two: where an ulp of the product does not matter.
template <class V>
inline V mul_add(V a, V b, V c) {
#if defined(__AVX512F__) || defined(__FMA__) || defined(__aarch64__)
    return fma(a, b, c);
#else
    return a * b + c;
#endif
}

template <class T>
inline Vec<T> absolute(Vec<T> a) {
    const Bits<T> sign = (Bits<T>)splat((T)-0.0);
    return (Vec<T>)((Bits<T>)a & ~sign);
}

// max(|a|, |b|), and b where either is NaN.
template <class T>
inline Vec<T> max_absolute(Vec<T> a, Vec<T> b) {
    return max(absolute<T>(a), b);
}

// Two inputs, the lanes of both numbered on: b begins at lane WIDTH.
template <class T, int... LANE>
inline Vec<T> shuffle(Vec<T> a, Vec<T> b) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, LANE...);
#else
    return __builtin_shuffle(a, b, Bits<T>{LANE...});
#endif
}

template <class T, int STEP, int... LANE>
inline Vec<T> swap_lanes(Vec<T> v, std::integer_sequence<int, LANE...>) {
    return shuffle<T, (LANE ^ STEP)...>(v, v);
}

// combine(…) of all lanes, in every lane.
template <class T, class Combine, int STEP = WIDTH<T> / 2>
inline Vec<T> reduce_lanes(Vec<T> v, Combine combine) {
    if constexpr (STEP == 0) {
        return v;
    } else {
        v = combine(v, swap_lanes<T, STEP>(v, std::make_integer_sequence<int, WIDTH<T>>()));
        return reduce_lanes<T, Combine, STEP / 2>(v, combine);
    }
}

// table[i] for each lane, i the low bits of the lane: the tables of exp.h, which registers hold.
#if defined(__AVX512F__)
template <class Entry>
inline Vec<float> lookup(const Entry (&table)[16], Vec<float> index) {
    return _mm512_permutexvar_ps((__m512i)index, _mm512_loadu_ps(table));
}
template <class Entry>
inline Vec<double> lookup(const Entry (&table)[16], Vec<double> index) {
    return _mm512_permutex2var_pd(_mm512_loadu_pd(table), (__m512i)index, _mm512_loadu_pd(table + 8));
}
#elif defined(__AVX2__)
template <class Entry>
inline Vec<float> lookup(const Entry (&table)[8], Vec<float> index) {
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps((const float*)table), (__m256i)index);
}
// The instruction takes entries of 32 bits: those of entry i are 2i and 2i + 1.
template <class Entry>
inline Vec<double> lookup(const Entry (&table)[4], Vec<double> index) {
    const __m256i twice =
        _mm256_shuffle_epi32(_mm256_add_epi32((__m256i)index, (__m256i)index), _MM_SHUFFLE(2, 2, 0, 0));
    const __m256i halves = _mm256_add_epi32(twice, _mm256_set1_epi64x(1LL << 32));
    return (Vec<double>)_mm256_permutevar8x32_ps(_mm256_loadu_ps((const float*)table), halves);
}
#endif

// Half a vector of float32 as float64, and two halves back with rounding. (GCC 12 takes a detour for
// __builtin_convertvector here, and by way of memory a load would wait for two stores.)
#if defined(__AVX512F__)
inline Vec<double> widen(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
inline Vec<float> narrow(Vec<double> lower, Vec<double> upper) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(lower)), _mm512_cvtpd_ps(upper), 1);
}
#elif defined(__AVX2__)
inline Vec<double> widen(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
inline Vec<float> narrow(Vec<double> lower, Vec<double> upper) {
    return _mm256_set_m128(_mm256_cvtpd_ps(upper), _mm256_cvtpd_ps(lower));
}
#elif defined(__x86_64__)
inline Vec<double> widen(const float* p) { return Vec<double>{p[0], p[1]}; }
inline Vec<float> narrow(Vec<double> lower, Vec<double> upper) {
    return _mm_movelh_ps(_mm_cvtpd_ps(lower), _mm_cvtpd_ps(upper));
}
#else
inline Vec<double> widen(const float* p) { return Vec<double>{p[0], p[1]}; }
inline Vec<float> narrow(Vec<double> lower, Vec<double> upper) {
    return Vec<float>{(float)lower[0], (float)lower[1], (float)upper[0], (float)upper[1]};
}
#endif

// A bit for each lane where the condition, a comparison of vectors, holds.
template <class T>
inline unsigned lanes_where(Bits<T> condition) {
    [[maybe_unused]] constexpr bool IS_SINGLE = sizeof(T) == 4;
#if defined(__AVX512F__)
    const __m512i set = (__m512i)condition;
    return IS_SINGLE ? _mm512_test_epi32_mask(set, set) : _mm512_test_epi64_mask(set, set);
#elif defined(__AVX2__)
    return IS_SINGLE ? _mm256_movemask_ps((__m256)condition) : _mm256_movemask_pd((__m256d)condition);
#elif defined(__x86_64__)
    return IS_SINGLE ? _mm_movemask_ps((__m128)condition) : _mm_movemask_pd((__m128d)condition);
#else
    unsigned lanes = 0;
    for (int lane = 0; lane < WIDTH<T>; ++lane) lanes |= (condition[lane] != 0) << lane;
    return lanes;
#endif
}

// Whether it holds in any lane.
template <class T>
inline bool any(Bits<T> condition) {
#if defined(__x86_64__)
    return lanes_where<T>(condition);
#else
    const int64x2_t words = (int64x2_t)condition;
    return words[0] | words[1];
#endif
}

}  // namespace
