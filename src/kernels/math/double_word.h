// Double-word numbers: sums, products and quotients that are rounded only once, in the end.
#pragma once

#include "math/double_double.h"
#include "simd/vec.h"

namespace {

// `a` in two parts of type T, for products that are rounded only once.
template <class T>
struct DoubleWord {
    Vec<T> high, low;

    DoubleWord() = default;
    DoubleWord(Vec<T> high, Vec<T> low) : high(high), low(low) {}
    explicit DoubleWord(double a) : high(splat((T)a)), low(splat((T)(a - (double)(T)a))) {}
    explicit DoubleWord(const DoubleDouble& a) : high(splat((T)a.high)), low(splat((T)a.low)) {}
};

template <class T>
[[gnu::always_inline]] inline Vec<T> times(Vec<T> a, const DoubleWord<T>& b) {
    return fma(a, b.high, a * b.low);
}

// a + b, exactly but for the last bits of the low part, which is 0 where the sum is not finite.
template <class T>
inline DoubleWord<T> plus(const DoubleWord<T>& a, const DoubleWord<T>& b) {
    const Vec<T> sum = a.high + b.high, of_b = sum - a.high;
    const Vec<T> exact = ((a.high - (sum - of_b)) + (b.high - of_b)) + (a.low + b.low);
    const Vec<T> low = sum - sum == 0 ? exact : splat<T>(0), high = sum + low;
    return {high, sum - sum == 0 ? low - (high - sum) : low};
}
template <class T>
inline DoubleWord<T> plus(Vec<T> a, const DoubleWord<T>& b) {
    return plus<T>(DoubleWord<T>(a, splat<T>(0)), b);
}

template <class T>
inline DoubleWord<T> minus(const DoubleWord<T>& a, const DoubleWord<T>& b) {
    return plus<T>(a, DoubleWord<T>(-b.high, -b.low));
}

template <class T>
inline DoubleWord<T> over(const DoubleWord<T>& a, const DoubleWord<T>& b) {
    const Vec<T> inverse = 1 / b.high, quotient = a.high * inverse;
    const Vec<T> residual = fma(-quotient, b.high, a.high) + (a.low - quotient * b.low);
    return {quotient, residual * inverse};
}

template <class T>
inline DoubleWord<T> product(const DoubleWord<T>& a, const DoubleWord<T>& b) {
    const Vec<T> high = a.high * b.high;
    return {high, fma(a.high, b.high, -high) + (a.high * b.low + a.low * b.high)};
}

}  // namespace
