// What the exponentials and logarithms of the kernels are compared with.
//
// The reference of float32 is float64 by the C library: with |z| < 2^9 rounded to 53 bits, e^z is off by less than 2^-44 of
// itself, which is 2^-20 ulp. That of float64 has 113 bits, likewise to 2^-50 ulp, by libquadmath or where long double
// has as many; elsewhere in the 64 bits of x86's long double, to 2^-9 ulp. So every error that is printed is right to
// its last digit but one at worst.
#pragma once

#include <float.h>
#include <math.h>
#include <string.h>

#include <type_traits>

#ifdef HAS_QUADMATH
#include <quadmath.h>
__extension__ typedef __float128 Quad;
#else
typedef long double Quad;
#endif

#include "math/log.h"

namespace {

template <class T>
using Exact = std::conditional_t<sizeof(T) == 4, double, Quad>;

inline double scaled(double a, int k) { return ldexp(a, k); }
inline double exact_exp(double z) { return ::exp(z); }
inline double exact_log1p(double r) { return ::log1p(r); }
inline long double scaled(long double a, int k) { return ldexpl(a, k); }
inline long double exact_exp(long double z) { return expl(z); }
inline long double exact_log1p(long double r) { return log1pl(r); }
#ifdef HAS_QUADMATH
inline Quad scaled(Quad a, int k) { return ldexpq(a, k); }
inline Quad exact_exp(Quad z) { return expq(z); }
inline Quad exact_log1p(Quad r) { return log1pq(r); }
#endif

// e^(distance/T).
template <class Real>
Real exact_exp(Real distance, double temperature) {
    const Real z = distance / temperature;
    if constexpr (std::is_same_v<Real, long double>)  // z to 64 bits is not enough: what it lacks, to first order
        return exact_exp(z) * (1 + fmal(-z, temperature, distance) / temperature);
    else
        return exact_exp(z);
}

// A pattern of bits as a number, and the other way round.
template <class T>
T number(uint64_t pattern) {
    const typename Types<T>::Integer bits = (typename Types<T>::Integer)pattern;
    T x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
template <class T>
uint64_t pattern(T x) {
    std::make_unsigned_t<typename Types<T>::Integer> bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

// The spacing of numbers of type T at `exact` > 0.
template <class T>
T ulp(Exact<T> exact) {
    typedef Constants<T> C;
    T power = number<T>(pattern((T)exact) >> C::MANTISSA_BITS << C::MANTISSA_BITS);
    if (power > exact) power /= 2;  // `exact` was rounded up to a power of two
    const T spacing = power * splat((T)1 / ((int64_t)1 << C::MANTISSA_BITS))[0];
    return spacing > 0 ? spacing : number<T>(1);
}

}  // namespace
