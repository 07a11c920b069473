// Scalars of about 106 bits as the sum of two of float64: for what is computed once for a row, or entry by entry in
// rows that are rare. (long double has 64 bits on x86 alone; on Apple silicon and Windows it is float64 itself.) The
// sums and products are those of Dekker (1971) and Knuth (TAOCP 2, 4.2.2); the error of an operation is a few units of
// 2^-104 of its result, and a difference may cancel. Where the first part is not finite the second is 0.
#pragma once

#include <math.h>

#include <initializer_list>

namespace {

struct DoubleDouble {
    double high = 0, low = 0;

    DoubleDouble() = default;
    DoubleDouble(double a) : high(a) {}  // numbers of float64 are some of these
    // high + low where |low| is at most |high|.
    DoubleDouble(double a, double b) : high(a + b) { low = high - high == 0 ? b - (high - a) : 0; }
    explicit operator double() const { return high; }
    explicit operator float() const { return (float)high; }

    DoubleDouble operator-() const {
        DoubleDouble negative;
        negative.high = -high;
        negative.low = -low;
        return negative;
    }
    DoubleDouble& operator+=(const DoubleDouble& b);
};

inline DoubleDouble exact_sum(double a, double b) {
    const double sum = a + b, of_b = sum - a;
    DoubleDouble exact;
    exact.high = sum;
    exact.low = sum - sum == 0 ? (a - (sum - of_b)) + (b - of_b) : 0;
    return exact;
}
inline DoubleDouble exact_product(double a, double b) {
    DoubleDouble exact;
    exact.high = a * b;
#if defined(__FMA__) || defined(__aarch64__)
    const double low = __builtin_fma(a, b, -exact.high);
#else
    const double SPLIT = 0x1p27 + 1;
    const double a_high = SPLIT * a - (SPLIT * a - a), a_low = a - a_high;
    const double b_high = SPLIT * b - (SPLIT * b - b), b_low = b - b_high;
    const double low = ((a_high * b_high - exact.high) + a_high * b_low + a_low * b_high) + a_low * b_low;
#endif
    exact.low = low - low == 0 ? low : 0;
    return exact;
}

inline DoubleDouble operator+(const DoubleDouble& a, const DoubleDouble& b) {
    const DoubleDouble high = exact_sum(a.high, b.high), low = exact_sum(a.low, b.low);
    const DoubleDouble sum(high.high, high.low + low.high);
    return {sum.high, sum.low + low.low};
}
inline DoubleDouble operator-(const DoubleDouble& a, const DoubleDouble& b) { return a + -b; }
inline DoubleDouble operator*(const DoubleDouble& a, const DoubleDouble& b) {
    const DoubleDouble product = exact_product(a.high, b.high);
    const double low = a.high * b.low + a.low * b.high;
    return {product.high, product.low + (low - low == 0 ? low : 0)};
}
inline DoubleDouble operator/(const DoubleDouble& a, const DoubleDouble& b) {
    const double quotient = a.high / b.high;
    if (!(quotient - quotient == 0) || b.high - b.high != 0) return quotient;
    const DoubleDouble rest = a - b * quotient;
    return {quotient, rest.high / b.high};
}
inline DoubleDouble& DoubleDouble::operator+=(const DoubleDouble& b) { return *this = *this + b; }

// (The second parts decide only where the first are equal, which they are for equal numbers.)
inline bool operator==(const DoubleDouble& a, const DoubleDouble& b) { return a.high == b.high && a.low == b.low; }
inline bool operator!=(const DoubleDouble& a, const DoubleDouble& b) { return !(a == b); }
inline bool operator<(const DoubleDouble& a, const DoubleDouble& b) {
    return a.high < b.high || (a.high == b.high && a.low < b.low);
}
inline bool operator>(const DoubleDouble& a, const DoubleDouble& b) { return b < a; }

// e^r − 1 for |r| ≤ (ln 2)/2: the Taylor series of r/32 to its tenth term, the first three of which need two parts;
// then e^2s − 1 = (e^s − 1)(2 + (e^s − 1)), five times. The errors come to 2^-80.
inline DoubleDouble short_expm1(const DoubleDouble& r) {
    const DoubleDouble s = r * DoubleDouble(0x1p-5), square = s * s;
    double series = 1.0 / 3628800;
    for (const double factor : {1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24})
        series = series * s.high + factor;
    const DoubleDouble sixth(0x1.5555555555555p-3, 0x1.5555555555555p-57);
    const double beyond = square.high * square.high * series;
    DoubleDouble e = s + (square * DoubleDouble(0.5) + (square * s * sixth + DoubleDouble(beyond)));
    for (int i = 0; i < 5; ++i) e = e * (e + DoubleDouble(2));
    return e;
}

// e^a · 2^scale; the scale is for results that would be subnormal, and have fewer bits.
inline DoubleDouble wide_exp(const DoubleDouble& a, int scale = 0) {
    if (!(a.high > -1100)) return a.high != a.high ? a : DoubleDouble(0);
    if (a.high > 1100) return INFINITY;
    const double k = nearbyint(a.high * 0x1.71547652b82fep+0);
    const DoubleDouble r = (a - exact_product(k, 0x1.62e42fefa39efp-1)) - exact_product(k, 0x1.abc9e3b39803fp-56);
    const DoubleDouble e = short_expm1(r) + DoubleDouble(1);
    return {ldexp(e.high, (int)k + scale), ldexp(e.low, (int)k + scale)};
}
// log(1 + r) for r > −1/2, and log a: a step of Newton's iteration from the float64 value.
inline DoubleDouble wide_log1p(const DoubleDouble& r) {
    const double y = ::log1p(r.high);
    if (!(fabs(y) > 0x1p-200) || !(r.high < INFINITY)) return DoubleDouble(y, r.high - r.high == 0 ? r.low : 0);
    const bool is_short = fabs(y) < 0.34;
    const DoubleDouble e = is_short ? short_expm1(y) : wide_exp(y) - DoubleDouble(1);
    return DoubleDouble(y) + (r - e) / (e + DoubleDouble(1));
}
inline DoubleDouble wide_log(const DoubleDouble& a) {
    if (!(a.high > 0) || !(a.high < INFINITY)) return ::log(a.high);
    int exponent;
    if (frexp(a.high, &exponent) < 0.7) --exponent;
    const DoubleDouble f(ldexp(a.high, -exponent), ldexp(a.low, -exponent)), k((double)exponent);
    return wide_log1p(f - DoubleDouble(1)) + k * DoubleDouble(0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56);
}

// The same of float64 itself, in which float32 is wide.
inline double wide_exp(double a, int scale = 0) { return ldexp(::exp(a), scale); }
inline double wide_log(double a) { return ::log(a); }
inline double wide_log1p(double a) { return ::log1p(a); }

// The scalar type wider than T, for the few numbers of a row that are computed once.
template <class T>
struct WideOf {
    typedef double Type;
};
template <>
struct WideOf<double> {
    typedef DoubleDouble Type;
};
template <class T>
using Wide = typename WideOf<T>::Type;

}  // namespace
