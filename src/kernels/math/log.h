// log u, and log(1 + r) for r ≥ 0, in two parts, from the series of the area tangent: with u = 2^k f, √½ ≤ f < √2,
// g = f − 1 and s = g/(2 + g), log f = 2 artanh s = g − (g²/2 − s (g²/2 + R)), R = s² (2/3 + 2/5 s² + 2/7 s⁴ + …). What
// 1 + r loses when it is rounded to u is small relative to u: log(u + lost) = log u + lost/u − (lost/u)²/2 + … The two
// parts are exact to 0.28 ulp: tests/test_exp.py measures it.
#pragma once

#include "math/exp.h"

namespace {

// How many terms of R there are: the next is below a hundredth of an ulp, since s² ≤ 0.0295.
template <class T>
constexpr int SERIES = sizeof(T) == 4 ? 5 : 11;

// log(u + lost + lower) for u > 0, `lost` beyond its last bits, and `lower` beyond those of `lost`.
template <class T>
inline DoubleWord<T> log_of(Vec<T> u, Vec<T> lost, Vec<T> lower) {
    typedef Constants<T> C;
    const Vec<T> half_root = splat((T)0.70710678118654752440);
    const Bits<T> exponent = (Bits<T>)((Unsigned<T>)u - (Unsigned<T>)half_root) >> C::MANTISSA_BITS;
    const Vec<T> k = __builtin_convertvector(exponent, Vec<T>);
    const Vec<T> g = (Vec<T>)((Unsigned<T>)u - ((Unsigned<T>)exponent << C::MANTISSA_BITS)) - 1;
    const Vec<T> inverse = 1 / ((2 + g) * u);  // one division for two quotients
    const Vec<T> s = g * u * inverse, z = s * s, half = (T)0.5 * g, half_square = half * g;
    Vec<T> series = splat((T)2 / (2 * SERIES<T> + 1));
#pragma GCC unroll 16
    for (int i = SERIES<T> - 1; i > 0; --i) series = mul_add(series, z, splat((T)2 / (2 * i + 1)));
    const Vec<T> log2 = k * C::LN2_HIGH, log2_low = fma(k, splat(C::LN2_HIGH), -log2) + k * C::LN2_LOW;
    const Vec<T> of_u = (2 + g) * inverse, change = lost * of_u;
    const Vec<T> change_low = (fma(-change, u, lost) + lower - (T)0.5 * change * lost) * of_u;
    // The large terms, each no larger than what is there already, and what they lose.
    const Vec<T> with_g = log2 + g, with_change = with_g + change, sum = with_change - half_square;
    const Vec<T> error =
        (g - (with_g - log2)) + (change - (with_change - with_g)) + ((with_change - sum) - half_square);
    const Vec<T> small = log2_low + change_low - fma(half, g, -half_square) + s * mul_add(series, z, half_square);
    const Vec<T> low = error + small, high = sum + low;
    return {high, low - (high - sum)};
}

template <class T>
inline DoubleWord<T> log1p(const DoubleWord<T>& r) {
    const Vec<T> u = 1 + r.high, of_r = u - 1;
    return log_of<T>(u, (1 - (u - of_r)) + (r.high - of_r), r.low);
}

}  // namespace
