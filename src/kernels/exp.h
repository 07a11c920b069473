// e^((x − m)/T) for the entries of a row whose maximum is m, to 0.57 ulp, without ever rounding x − m.
//
// x/T = k ln 2 + r/T is split from x itself: k = round(x / (T ln 2)) and r = x − k (T ln 2), with T ln 2 in two parts.
// The first fused step is exact: its result has fewer bits below its leading one than x or the product have. Then
//     e^(x/T) / 2^kmax = 2^(k − kmax) e^(r/T),   kmax the k of the maximum,
// where the power of two enters as an exponent field. The usual e^(x − m) rounds x − m first, which costs up to 60 ulp
// in float32. Far from zero (|m| ≥ LIMIT·T) k would lose bits; there x − m is exact wherever it matters (Sterbenz: x
// within a factor of two of m), so the row is moved to its maximum first.
#pragma once

#include "vec.h"

namespace {

template <class T>
struct Constants;

template <>
struct Constants<float> {
    static constexpr float LOG2E = 0x1.715476p+0f, LN2_HIGH = 0x1.62e430p-1f, LN2_LOW = -0x1.05c610p-29f;
    static constexpr float ROUND = 0x1.8p23f;  // adding it rounds to an integer, found in the low bits of the sum
    static constexpr int MANTISSA_BITS = 23, EXPONENT_BIAS = 127;
    static constexpr int SCALE = 70;  // results carry 2^SCALE, so that none that matters is subnormal
    static constexpr float DEPTH = 110;   // e^-DEPTH is 0, even beside a subnormal
    static constexpr float LIMIT = 256;
    static constexpr float SMALLEST = 0x1p-126f;  // normal number
    // (e^r − 1 − r)/r², minimax for the relative error of e^r on |r| ≤ 0.3475: 0.026 ulp.
    static constexpr float POLYNOMIAL[] = {0x1.fffffcp-2f, 0x1.555490p-3f, 0x1.5558fap-5f, 0x1.123b6ap-7f,
                                           0x1.6a21acp-10f};
};

template <>
struct Constants<double> {
    static constexpr double LOG2E = 0x1.71547652b82fep+0, LN2_HIGH = 0x1.62e42fefa39efp-1,
                            LN2_LOW = 0x1.abc9e3b39803fp-56;
    static constexpr double ROUND = 0x1.8p52;
    static constexpr int MANTISSA_BITS = 52, EXPONENT_BIAS = 1023;
    static constexpr int SCALE = 512;
    static constexpr double DEPTH = 760;
    static constexpr double LIMIT = 2048;
    static constexpr double SMALLEST = 0x1p-1022;
    // |r| ≤ 0.34665: 0.016 ulp.
    static constexpr double POLYNOMIAL[] = {0x1.000000000000ap-1,  0x1.55555555554fap-3,  0x1.555555555086ap-5,
                                            0x1.1111111127c3fp-7,  0x1.6c16c1842e784p-10, 0x1.a01a012a41e31p-13,
                                            0x1.a01999ffc1416p-16, 0x1.71df256f60668p-19, 0x1.28ad7f0f99960p-22,
                                            0x1.ad7f608768361p-26};
};

// The temperature T of a row, or of each lane, and T ln 2, the unit in which exponents are counted.
template <class T>
struct Temperature {
    Vec<T> value, rate;            // T, 1/(T ln 2)
    Vec<T> unit, unit_low;         // T ln 2
    Vec<T> inverse, inverse_low;   // 1/T

    Temperature()
        : value(splat<T>(1)),
          rate(splat(Constants<T>::LOG2E)),
          unit(splat(Constants<T>::LN2_HIGH)),
          unit_low(splat(Constants<T>::LN2_LOW)),
          inverse(splat<T>(1)),
          inverse_low(splat<T>(0)) {}

    // Each lane's temperature in two parts: a float32 row may well have a temperature that only float64 holds.
    Temperature(Vec<T> high, Vec<T> low) : value(high) {
        const Vec<T> one = splat<T>(1), ln2 = splat(Constants<T>::LN2_HIGH);
        inverse = one / high;
        inverse_low = (fma(-inverse, high, one) - inverse * low) * inverse;
        rate = Constants<T>::LOG2E * inverse;
        unit = high * ln2;
        unit_low = fma(high, ln2, -unit) + high * Constants<T>::LN2_LOW + low * ln2;
    }

    static Temperature of(double temperature) {
        T high = (T)temperature;
        return Temperature(splat(high), splat((T)(temperature - (double)high)));
    }
};

// e^((x − m)/T) · 2^SCALE. Below m − DEPTH·T, −inf included, it is exactly 0; NaN stays NaN.
template <class T, bool TEMPERED>
struct Exp {
    typedef Constants<T> C;

    // (high + low) · scale is the value; high + low rounds to 0.5 ulp and a little.
    struct Parts {
        Vec<T> high, low, scale;
    };

    Exp(Vec<T> max, const Temperature<T>& t) : temperature(t) {
        const Vec<T> limit = C::LIMIT * t.value;
        const Vec<T> size = max < 0 ? -max : max;
        origin = size < limit ? splat<T>(0) : max;
        const Vec<T> top = max - origin;
        floor = top - C::DEPTH * t.value;
        const Vec<T> round = splat(C::ROUND);
        const Vec<T> k = mul_add(top, t.rate, round) - round;
        // The row's exponent offset rides on the rounding constant and costs nothing per entry.
        rounder = round + ((C::EXPONENT_BIAS + C::SCALE) - k);
    }

    Parts parts(Vec<T> x) const {
        const Vec<T> y = max(floor, x - origin);
        const Vec<T> rounded = mul_add(y, temperature.rate, rounder);
        const Vec<T> k = rounded - rounder;
        Vec<T> r = fma(-k, temperature.unit, y), correction;
        if constexpr (TEMPERED) {
            const Vec<T> exact = r;
            r = exact * temperature.inverse;
            correction = fma(exact, temperature.inverse, -r);
            correction = mul_add(exact, temperature.inverse_low, correction);
            correction = mul_add(-k * temperature.unit_low, temperature.inverse, correction);
        } else {
            correction = -k * temperature.unit_low;
        }
        const Vec<T> reduced = r + correction;
        Vec<T> q = splat(C::POLYNOMIAL[TERMS - 1]);
#pragma GCC unroll 16
        for (int i = TERMS - 2; i >= 0; --i) q = mul_add(q, reduced, splat(C::POLYNOMIAL[i]));
        // 1 + r rounds; what it drops joins the small terms, so that the sum of both is rounded only once.
        Parts e;
        e.high = 1 + reduced;
        e.low = mul_add(reduced * reduced, q, (r - (e.high - 1)) + correction);
        const Vec<T> scale = (Vec<T>)((Bits<T>)rounded << C::MANTISSA_BITS);
        e.scale = y > floor ? scale : splat<T>(0);
        return e;
    }

    Vec<T> operator()(Vec<T> x) const {
        const Parts e = parts(x);
        return (e.high + e.low) * e.scale;
    }

   private:
    static constexpr int TERMS = sizeof(C::POLYNOMIAL) / sizeof(T);
    Temperature<T> temperature;
    Vec<T> origin, floor, rounder;
};

}  // namespace
