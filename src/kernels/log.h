// log(1 + r) for r ≥ 0 in two parts, from the series of the area tangent: with 1 + r = 2^k f, √½ ≤ f < √2, g = f − 1
// and s = g/(2 + g), log f = 2 artanh s = g − (g²/2 − s (g²/2 + R)), R = s² (2/3 + 2/5 s² + 2/7 s⁴ + …).
#pragma once

#include "shape.h"

namespace {

// How many terms of R reach a tenth of an ulp: s² ≤ 0.0295.
template <class T>
constexpr int SERIES = sizeof(T) == 4 ? 5 : 11;

template <class T>
inline Split<T> log1p(const Split<T>& r) {
    typedef Constants<T> C;
    const Vec<T> u = 1 + r.high, of_r = u - 1;
    const Vec<T> lost = (1 - (u - of_r)) + (r.high - of_r) + r.low;
    const Vec<T> half_root = splat((T)0.70710678118654752440);
    const Bits<T> exponent = ((Bits<T>)u - (Bits<T>)half_root) >> C::MANTISSA_BITS;
    const Vec<T> k = __builtin_convertvector(exponent, Vec<T>);
    const Vec<T> g = (Vec<T>)((Bits<T>)u - (exponent << C::MANTISSA_BITS)) - 1;
    const Vec<T> inverse = 1 / ((2 + g) * u);  // one division for two quotients
    const Vec<T> s = g * u * inverse, z = s * s, half_square = (T)0.5 * g * g;
    Vec<T> series = splat((T)2 / (2 * SERIES<T> + 1));
#pragma GCC unroll 16
    for (int i = SERIES<T> - 1; i > 0; --i) series = mul_add(series, z, splat((T)2 / (2 * i + 1)));
    const Vec<T> log2 = k * C::LN2_HIGH, log2_low = fma(k, splat(C::LN2_HIGH), -log2) + k * C::LN2_LOW;
    const Vec<T> sum = log2 + g;
    const Vec<T> low = (g - (sum - log2)) + (log2_low + lost * (2 + g) * inverse) - (half_square - s * mul_add(series, z, half_square));
    const Vec<T> high = sum + low;
    return {high, low - (high - sum)};
}

}  // namespace
