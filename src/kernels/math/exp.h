// e^((x − m)/T) for the entries of a row whose maximum is m, without ever rounding x − m: to 0.59 ulp in float32 where
// there is a table (see below), to 0.72 elsewhere; in float64 to 0.65 and 0.69 with tables of 16 and of 4, to 0.77
// elsewhere. tests/test_exp.py measures it.
//
// x/T = k (ln 2)/N + r/T is split from x itself, with k = round(N x / (T ln 2)), r = x − k (T ln 2)/N, and T ln 2 in
// two parts. The first fused step is exact: its result has no bits below the lowest of x or of the product, and fewer
// than either above. Then
//     e^(x/T) / 2^K = 2^(k/N − K) e^(r/T)
// with an integer K near the exponent of the maximum. The usual e^(x − m) rounds x − m first, which costs up to 60 ulp
// in float32. Far from zero (|m| ≥ LIMIT·T) k would lose bits; there x − m is exact wherever it matters (Sterbenz: x
// within a factor of two of m), so the row is moved to its maximum first.
//
// Where the instruction set looks up N table entries held in registers, 2^(k/N) comes from a table with the rounding
// errors of its entries stored with it, and a short polynomial is enough; otherwise N = 1.
#pragma once

#include "math/double_word.h"

namespace {

template <class T>
struct Constants;

template <>
struct Constants<float> {
    // LN2_LOW has so few bits that its product with the exponent of any normal result is exact at T = 1: then it makes
    // no difference whether the product is rounded, and rows at T = 1 have the same bits in a batch with rows of other
    // temperatures.
    static constexpr float LOG2E = 0x1.715476p+0f, LN2_HIGH = 0x1.62e430p-1f, LN2_LOW = -0x1.05cp-29f;
    static constexpr float ROUND = 0x1.8p23f;  // adding it rounds to an integer, found in the low bits of the sum
    static constexpr int MANTISSA_BITS = 23;
    static constexpr int SCALE = 70;   // results carry 2^SCALE, so that none that matters is subnormal
    static constexpr float GAP = 110;  // e^-GAP is 0, even relative to a subnormal
    static constexpr float LIMIT = 256;
    static constexpr float SMALL = 32;            // rows within ±SMALL need no shift at all
    static constexpr float SMALLEST = 0x1p-126f;  // normal number
};

template <>
struct Constants<double> {
    static constexpr double LOG2E = 0x1.71547652b82fep+0, LN2_HIGH = 0x1.62e42fefa39efp-1, LN2_LOW = 0x1.abc9e3b39p-56;
    static constexpr double ROUND = 0x1.8p52;
    static constexpr int MANTISSA_BITS = 52;
    static constexpr int SCALE = 512;
    static constexpr double GAP = 760;
    static constexpr double LIMIT = 2048;
    static constexpr double SMALL = 256;
    static constexpr double SMALLEST = 0x1p-1022;
};

// 2^(j/N) for j < N: POWER has the bits of the nearest number, less j at the place where k's low bits will be added;
// ERROR is how much is missing, relatively. POLYNOMIAL is (e^r − 1 − r)/r², minimax for the relative error of e^r on
// |r| ≤ (ln 2)/2N and a little: below 0.06 ulp.
template <class T>
struct Table;

#if defined(__AVX512F__)
template <>
struct Table<float> {
    static constexpr int BITS = 4;
    static constexpr float POLYNOMIAL[] = {0x1.000222p-1f, 0x1.55559cp-3f};
    static constexpr int32_t POWER[] = {0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532,
                                        0x3f75fed7, 0x3f75583f, 0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c,
                                        0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
    static constexpr float ERROR[] = {0x0.0p+0f,        0x1.8d96d4p-25f,  -0x1.9c0c22p-27f, 0x1.964904p-25f,
                                      0x1.125002p-25f,  0x1.370be4p-25f,  -0x1.0a3550p-25f, -0x1.00d8acp-27f,
                                      0x1.26055cp-26f,  -0x1.05cb44p-25f, 0x1.67a1cap-28f,  0x1.a3b5e4p-28f,
                                      -0x1.f9c304p-27f, -0x1.6961b4p-28f, -0x1.a5217cp-28f, 0x1.61428ep-28f};
};
template <>
struct Table<double> {
    static constexpr int BITS = 4;
    static constexpr double POLYNOMIAL[] = {0x1.fffffffffffb7p-2, 0x1.555555548c5a3p-3, 0x1.555555590bb35p-5,
                                            0x1.11123d1108c2ap-7, 0x1.6c14c2dcdea16p-10};
    static constexpr int64_t POWER[] = {0x3ff0000000000000, 0x3fefb5586cf9890f, 0x3fef72b83c7d517b, 0x3fef387a6e756238,
                                        0x3fef06fe0a31b715, 0x3feedea64c123422, 0x3feebfdad5362a27, 0x3feeab07dd485429,
                                        0x3feea09e667f3bcd, 0x3feea11473eb0187, 0x3feeace5422aa0db, 0x3feec49182a3f090,
                                        0x3feee89f995ad3ad, 0x3fef199bdd85529c, 0x3fef5818dcfba487, 0x3fefa4afa2a490da};
    static constexpr double ERROR[] = {0x0.0p+0,
                                       0x1.79aa65d837b6dp-54,
                                       -0x1.01b15eaa59348p-55,
                                       0x1.68efde3a8a894p-54,
                                       0x1.34d754db0abb6p-55,
                                       0x1.59f48a72a4c6dp-55,
                                       0x1.690cebb7aafb0p-56,
                                       0x1.063e1e21c5409p-54,
                                       -0x1.3b3efbf5e2228p-54,
                                       -0x1.b32dcb94da51dp-56,
                                       0x1.db72fc1f0eab4p-55,
                                       0x1.1affc2b91ce27p-56,
                                       0x1.c1a7792cb3387p-55,
                                       0x1.36eae30af0cb3p-56,
                                       0x1.4a385a63d07a7p-56,
                                       -0x1.ff7128fd391f0p-55};
};
#elif defined(__AVX2__)
template <>
struct Table<float> {
    static constexpr int BITS = 3;
    static constexpr float POLYNOMIAL[] = {0x1.000000p-1f, 0x1.555c84p-3f, 0x1.554828p-5f};
    static constexpr int32_t POWER[] = {0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7,
                                        0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7};
    static constexpr float ERROR[] = {0x0.0p+0f,       -0x1.9c0c22p-27f, 0x1.125002p-25f,  -0x1.0a3550p-25f,
                                      0x1.26055cp-26f, 0x1.67a1cap-28f,  -0x1.f9c304p-27f, -0x1.a5217cp-28f};
};
template <>
struct Table<double> {
    static constexpr int BITS = 2;
    static constexpr double POLYNOMIAL[] = {0x1.0000000000006p-1, 0x1.5555555557e89p-3,  0x1.5555555541709p-5,
                                            0x1.111110a1558f4p-7, 0x1.6c16c38bacf03p-10, 0x1.a030cc326609cp-13,
                                            0x1.a00003994313ap-16};
    static constexpr int64_t POWER[] = {0x3ff0000000000000, 0x3fef06fe0a31b715, 0x3feea09e667f3bcd, 0x3feee89f995ad3ad};
    static constexpr double ERROR[] = {0x0.0p+0, 0x1.34d754db0abb6p-55, -0x1.3b3efbf5e2228p-54, 0x1.c1a7792cb3387p-55};
};
#else
template <>
struct Table<float> {
    static constexpr int BITS = 0;
    static constexpr float POLYNOMIAL[] = {0x1.fffffcp-2f, 0x1.555490p-3f, 0x1.5558fap-5f, 0x1.123b6ap-7f,
                                           0x1.6a21acp-10f};
};
template <>
struct Table<double> {
    static constexpr int BITS = 0;
    static constexpr double POLYNOMIAL[] = {0x1.000000000000ap-1,  0x1.55555555554fap-3,  0x1.555555555086ap-5,
                                            0x1.1111111127c3fp-7,  0x1.6c16c1842e784p-10, 0x1.a01a012a41e31p-13,
                                            0x1.a01999ffc1416p-16, 0x1.71df256f60668p-19, 0x1.28ad7f0f99960p-22,
                                            0x1.ad7f608768361p-26};
};
#endif

// The temperature T of a row, or of each lane, and (T ln 2)/N, the unit in which exponents are counted.
template <class T>
struct Temperature {
    Vec<T> value, inverse, inverse_low;       // T, 1/T
    Vec<T> rate, minus_unit, minus_unit_low;  // N/(T ln 2), −(T ln 2)/N and what it lacks, over T

    Temperature()
        : value(splat<T>(1)),
          inverse(splat<T>(1)),
          inverse_low(splat<T>(0)),
          rate(splat(Constants<T>::LOG2E * N)),
          minus_unit(splat(-Constants<T>::LN2_HIGH / N)),
          minus_unit_low(splat(-Constants<T>::LN2_LOW / N)) {}

    // Each lane's temperature in two parts: a float32 row may well have a temperature that only float64 holds.
    Temperature(Vec<T> high, Vec<T> low) : value(high) {
        typedef Constants<T> C;
        const Vec<T> one = splat<T>(1), minus_ln2 = splat(-C::LN2_HIGH / N);
        inverse = one / high;
        inverse_low = (fma(-inverse, high, one) - inverse * low) * inverse;
        rate = C::LOG2E * N * inverse;
        minus_unit = high * minus_ln2;
        minus_unit_low = (fma(high, minus_ln2, -minus_unit) - high * (C::LN2_LOW / N) + low * minus_ln2) * inverse;
    }

    static Temperature of(double temperature) {
        T high = (T)temperature;
        return Temperature(splat(high), splat((T)(temperature - (double)high)));
    }

    // x/T in two parts, the second 0 at T = 1.
    template <bool IS_TEMPERED>
    [[gnu::always_inline]] DoubleWord<T> quotient(Vec<T> x) const {
        if constexpr (!IS_TEMPERED) return {x, splat<T>(0)};
        const Vec<T> high = x * inverse;
        return {high, mul_add(x, inverse_low, fma(x, inverse, -high))};
    }

   private:
    static constexpr T N = 1 << Table<T>::BITS;
};

// How much of the general formula a row needs. Powers of two aside, the results have the same bits in every mode that
// applies. (Without NEAR, losses, entropies and divergences of rows around 60 take up to 9 % longer in float32, 13 % in
// float64, 3 % in the median: AVX2, rows of 10 to 1000 numbers in the cache.)
enum Mode {
    UNSHIFTED,           // T = 1 and every |x| ≤ SMALL: m and the scale are 0
    UNSHIFTED_TEMPERED,  // any T, and every |x| ≤ SMALL·T
    NEAR,                // T = 1, |m| < LIMIT, every entry above m − GAP: nothing to move, nothing that vanishes
    FAR,                 // T = 1
    TEMPERED,            // any T
};

// e^((x − m)/T) · 2^SCALE, times a number between √½ and √2 that all entries of the row share. Below m − GAP·T, −inf
// included, it is exactly 0; NaN stays NaN.
template <class T, Mode MODE>
struct Exp {
    typedef Constants<T> C;

    // power · (head + tail) is the value, with power = 2^(k/N) and head the nearest number to e^(r/T), or 1.
    struct Parts {
        Vec<T> power, head, tail;

        [[gnu::always_inline]] Vec<T> value() const {
            if constexpr (HAS_TABLE) return fma(power, tail, power);
            return (head + tail) * power;
        }
        [[gnu::always_inline]] Vec<T> high() const {
            if constexpr (HAS_TABLE) return power;
            return head * power;
        }
        [[gnu::always_inline]] Vec<T> low() const { return tail * power; }
        // The value as a number, and what its rounding lost: a sum of many that takes both does not grow an error of
        // one sign, as it would from numbers that round alike.
        [[gnu::always_inline]] DoubleWord<T> rounded() const {
            const Vec<T> all = value();
            if constexpr (HAS_TABLE) return {all, fma(power, tail, power - all)};
            const Vec<T> sum = head + tail;
            return {all, ((head - sum) + tail) * power};
        }
    };

    // Without a shift. (Constants stay constants: those of T = 1 are not read from t.)
    Exp() { static_assert(MODE == UNSHIFTED); }
    explicit Exp(const Temperature<T>& t) {
        static_assert(MODE <= UNSHIFTED_TEMPERED);
        if constexpr (IS_TEMPERED) temperature = t;
    }
    // Entries beyond this are too large to go without one.
    Vec<T> most() const { return IS_TEMPERED ? C::SMALL * temperature.value : splat(C::SMALL); }

    Exp(Vec<T> max, const Temperature<T>& t) : temperature(t) {
        const Vec<T> limit = C::LIMIT * t.value;
        const Vec<T> size = absolute<T>(max);
        origin = size < limit ? splat<T>(0) : max;
        const Vec<T> top = max - origin;
        cutoff = top - C::GAP * t.value;
        const Vec<T> round = splat(C::ROUND);
        const Vec<T> k = mul_add(top, t.rate * (T)(1.0 / N), round) - round;
        // The row's exponent offset rides on the rounding constant and costs nothing per entry.
        rounder = round + (C::SCALE - k) * N;
    }

    [[gnu::always_inline]] Parts parts(Vec<T> x) const {
        return parts(x, [](Vec<T> power) { return power; });
    }

    // As parts(x), with adjust(power) for the power: a 0 there makes everything 0.
    template <class Adjust>
    [[gnu::always_inline]] Parts parts(Vec<T> x, Adjust adjust) const {
        Vec<T> y = x;
        if constexpr (MODE >= FAR) y = max(cutoff, x - origin);
        const Vec<T> rounded = mul_add(y, temperature.rate, rounder);
        const Vec<T> k = rounded - rounder;
        const Vec<T> exact = fma(k, temperature.minus_unit, y);
        Vec<T> r = exact, correction, reduced;
        correction = k * temperature.minus_unit_low;
        if constexpr (IS_TEMPERED) correction = mul_add(exact, temperature.inverse_low, correction);
        if constexpr (HAS_TABLE) {
            reduced = IS_TEMPERED ? mul_add(exact, temperature.inverse, correction)
                                  : mul_add(k, temperature.minus_unit_low, exact);
        } else {
            if constexpr (IS_TEMPERED) {
                r = exact * temperature.inverse;
                correction += fma(exact, temperature.inverse, -r);
            }
            reduced = r + correction;
        }
        Vec<T> q = splat(Table<T>::POLYNOMIAL[TERMS - 1]);
#pragma GCC unroll 16
        for (int i = TERMS - 2; i >= 0; --i) q = mul_add(q, reduced, splat(Table<T>::POLYNOMIAL[i]));

        Parts e;
        const Unsigned<T> exponent = (Unsigned<T>)rounded << (C::MANTISSA_BITS - Table<T>::BITS);
        if constexpr (HAS_TABLE) {
            e.power = (Vec<T>)((Unsigned<T>)lookup(Table<T>::POWER, rounded) + exponent);
            // Of a short table r is large enough for its rounding to matter, and is rounded last.
            const Vec<T> error = lookup(Table<T>::ERROR, rounded);
            e.tail = Table<T>::BITS > 2 ? mul_add(reduced * reduced, q, reduced + error)
                                        : reduced + mul_add(reduced * reduced, q, error);
        } else {
            // 1 + r rounds; what it drops joins the small terms, so that the sum of both is rounded only once.
            e.power = (Vec<T>)((Unsigned<T>)splat<T>(1) + exponent);
            e.head = 1 + reduced;
            e.tail = mul_add(reduced * reduced, q, (r - (e.head - 1)) + correction);
        }
        if constexpr (MODE >= FAR) e.power = y > cutoff ? e.power : splat<T>(0);
        e.power = adjust(e.power);
        return e;
    }

    [[gnu::always_inline]] Vec<T> operator()(Vec<T> x) const { return parts(x).value(); }

   private:
    static constexpr bool IS_TEMPERED = MODE == UNSHIFTED_TEMPERED || MODE == TEMPERED;
    static constexpr bool HAS_TABLE = Table<T>::BITS > 0;
    static constexpr int TERMS = sizeof(Table<T>::POLYNOMIAL) / sizeof(T), N = 1 << Table<T>::BITS;
    Temperature<T> temperature;
    Vec<T> origin, cutoff, rounder = splat(C::ROUND);
};

}  // namespace
