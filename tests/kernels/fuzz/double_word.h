// The arithmetic of the reference: numbers as unevaluated sums of two float64, good for about 100 bits, and the
// exponential and the logarithm of such numbers to about 70. Independent of the arithmetic of the kernels, and checked
// with mpmath by tests/test_bounds.py.
#pragma once

#include <math.h>

namespace reference {

struct Number {
    double high = 0, low = 0;
    Number() = default;
    Number(double high, double low = 0) : high(high), low(low) {}  // NOLINT: numbers are numbers
};

// a + b where |a| ≥ |b|, exactly (Dekker), and without that condition (Knuth).
inline Number fast_two_sum(double a, double b) {
    const double sum = a + b;
    return {sum, b - (sum - a)};
}
inline Number two_sum(double a, double b) {
    const double sum = a + b, of_b = sum - a;
    return {sum, (a - (sum - of_b)) + (b - of_b)};
}

// a b, exactly, unless the second part is below the normal numbers.
inline Number two_product(double a, double b) {
    const double product = a * b;
#ifdef __FMA__
    return {product, __builtin_fma(a, b, -product)};
#else
    const double SPLIT = 0x1p27 + 1;
    const double a_high = SPLIT * a - (SPLIT * a - a), a_low = a - a_high;
    const double b_high = SPLIT * b - (SPLIT * b - b), b_low = b - b_high;
    return {product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low};
#endif
}

inline Number operator-(Number a) { return {-a.high, -a.low}; }
inline Number operator+(Number a, Number b) {
    Number sum = two_sum(a.high, b.high);
    const Number low = two_sum(a.low, b.low);
    sum = fast_two_sum(sum.high, sum.low + low.high);
    return fast_two_sum(sum.high, sum.low + low.low);
}
inline Number operator-(Number a, Number b) { return a + -b; }
inline Number operator*(Number a, Number b) {
    const Number product = two_product(a.high, b.high);
    return fast_two_sum(product.high, product.low + (a.high * b.low + a.low * b.high));
}
inline Number operator/(Number a, Number b) {
    const double first = a.high / b.high;
    const Number rest = a - b * first;
    const double second = rest.high / b.high;
    const double third = (rest - b * second).high / b.high;
    const Number sum = fast_two_sum(first, second);
    return fast_two_sum(sum.high, sum.low + third);
}
inline Number& operator+=(Number& a, Number b) { return a = a + b; }
inline bool operator<(Number a, Number b) { return a.high < b.high || (a.high == b.high && a.low < b.low); }
inline Number absolute(Number a) { return a.high < 0 || (a.high == 0 && a.low < 0) ? -a : a; }
inline Number larger(Number a, Number b) { return a < b ? b : a; }
// a 2^k.
inline Number scaled(Number a, int k) { return {ldexp(a.high, k), ldexp(a.low, k)}; }
inline Number scaled(Number a, double power_of_2) { return {a.high * power_of_2, a.low * power_of_2}; }

constexpr int TABLE_BITS = 6;
constexpr int TABLE_SIZE = 1 << TABLE_BITS;
const Number LN2(0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56);
const double LN2_THIRD = 0x1.7b57a079a1933p-111;

// 2^(j/N), by repeated square roots.
struct Powers {
    Number of[TABLE_SIZE];
    Powers() {
        of[0] = 1;
        Number root = 2;
        for (int half = TABLE_SIZE / 2; half > 0; half /= 2) {
            Number next = sqrt(root.high);
            for (int i = 0; i < 3; ++i) next = scaled(next + root / next, 0.5);
            root = next;
            for (int j = half; j < TABLE_SIZE; j += 2 * half) of[j] = j == half ? root : of[j - half] * root;
        }
    }
};
inline const Powers POWERS;

// e^r − 1 for |r| ≤ (ln 2)/2N: what is computed in float64 is below 2^-17 of it.
inline Number short_expm1(Number r) {
    const double x = r.high;
    const double series = 1 / 6.0 + x * (1 / 24.0 + x * (1 / 120.0 + x * (1 / 720.0 + x * (1 / 5040.0 + x / 40320))));
    return r + (scaled(r * r, 0.5) + Number(x * x * x * series));
}

// e^x / 2^exponent, between 0.99 and 2.
inline Number exp(Number x, int& exponent) {
    const double count = nearbyint(x.high * (TABLE_SIZE / LN2.high));
    const Number product = two_product(count / TABLE_SIZE, LN2.high), low = two_product(count / TABLE_SIZE, LN2.low);
    const Number r = ((x - product) - low) - Number(count / TABLE_SIZE * LN2_THIRD);
    const long k = (long)count;
    const int j = (int)(k & (TABLE_SIZE - 1));
    exponent = (int)((k - j) / TABLE_SIZE);
    return POWERS.of[j] + POWERS.of[j] * short_expm1(r);
}

// e^x · 2^SCALE, which is a normal number in both parts for every e^x that is a number of float64, a subnormal one
// even.
constexpr int SCALE = 500;
inline Number scaled_exp(Number x) {
    if (!(x.high > -1100)) return x.high != x.high ? x : Number(0);
    int exponent;
    const Number significand = exp(x, exponent);
    const int k = exponent + SCALE;
    return scaled(scaled(significand, k / 2), k - k / 2);
}
inline Number exp(Number x) {
    int exponent;
    const Number significand = exp(x, exponent);
    return scaled(significand, exponent);
}
inline Number expm1(Number x) {
    if (fabs(x.high) <= LN2.high / (2 * TABLE_SIZE)) return short_expm1(x);
    if (x.high < -100) return -1;
    return exp(x) - 1;
}

// log(1 + r), r > −1, by a step of Newton's iteration.
inline Number log1p(Number r) {
    if (fabs(r.high) < 0x1p-300) return r;
    const Number y = ::log1p(r.high), power = expm1(y);
    return y + (r - power) / (power + 1);
}
// log x for x > 0.
inline Number log(Number x) {
    int exponent;
    const double significand = frexp(x.high, &exponent);  // at least 1/2
    if (significand < 0.7) --exponent;
    return log1p(Number(ldexp(x.high, -exponent), ldexp(x.low, -exponent)) - 1) + LN2 * (double)exponent;
}

}  // namespace reference
