// softmax. Rows with NaN or +inf, or with nothing but −inf, come out as NaN by the arithmetic: inf − inf and 0 · inf.
#pragma once

#include "shape.h"

namespace {

// Probabilities below the normal numbers have fewer bits, and a product of rounded factors misses them by more than one
// spacing. Here everything is 2^LIFT larger until the last step, which alone rounds.
template <class T, bool TEMPERED>
struct SubnormalQuotient {
    static constexpr T LIFT = (T)(sizeof(T) == 4 ? 0x1p48 : 0x1p106), LOWER = 1 / LIFT;
    Exp<T, TEMPERED> exp;
    Split<T> inverse;  // LIFT/total

    Vec<T> operator()(Vec<T> x) const {
        const auto e = exp.parts(x);
        const Vec<T> high = e.high * e.scale, low = e.low * e.scale;
        return fma(high, inverse.high, fma(high, inverse.low, low * inverse.high)) * LOWER;
    }
};

template <class T>
struct Softmax {
    static constexpr T MASKED = 0;

    template <bool TEMPERED, class Shape>
    static void run(const Shape shape, const T* x, T* y, const Temperature<T>& t) {
        const Range<T> range = shape.range(x);
        const Exp<T, TEMPERED> exp(range.max, t);
        typename Shape::Total total;
        shape.blocks([&](const Shape block) {
            SumOfExp<T> sum;
            block.map(x, y, -INF<T>, [&](Vec<T> v) {
                const Vec<T> e = exp(v);
                sum.add(e);
                return e;
            });
            total.add(sum);
        });
        const Split<T> inverse = total.reciprocal();
        if (any<T>(exp(range.min) * inverse.high < Constants<T>::SMALLEST) && has_subnormal(shape, y, inverse)) {
            const SubnormalQuotient<T, TEMPERED> quotient{exp, total.reciprocal(quotient.LIFT)};
            shape.map(x, y, 0, quotient);
        } else {
            shape.map(y, y, 0, [&](Vec<T> e) { return times(e, inverse); });
        }
    }

    // The value at an entry (x − m)/T = shifted, where `rest` sums e^shifted over all others.
    static Wide<T> value(Wide<T> shifted, Wide<T> rest) { return wide_exp(shifted) / (1 + rest); }

   private:
    template <class Shape>
    static bool has_subnormal(const Shape shape, const T* e, const Split<T>& inverse) {
        Bits<T> found{};
        shape.each(e, 0, [&](Vec<T> v) { found |= (v > 0) & (v * inverse.high < Constants<T>::SMALLEST); });
        return any<T>(found);
    }
};

}  // namespace
