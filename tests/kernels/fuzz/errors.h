// What the errors of results are counted in.
#pragma once

#include <math.h>
#include <stdint.h>

#include "double_word.h"

using namespace reference;

namespace {

constexpr double S = 0x1p500, ONE_OVER_S = 0x1p-500;
static_assert(SCALE == 500);

// A floating-point format by its digits and the exponent of its smallest normal number.
struct Format {
    int digits, lowest;
};

struct Error {
    double normal = 0, subnormal = 0;
    int64_t normal_at = -1, subnormal_at = -1;

    // `got` instead of `exact`, counted in ulp of `size`; the last two times 2^scale.
    void add(Format format, int64_t i, double got, Number exact, Number size, int scale) {
        const Number s = absolute(size);
        int exponent = s.high == 0 ? -100000 : ilogb(s.high);
        if (s.low < 0 && s.high == ldexp(1.0, exponent)) --exponent;  // just below a power of two
        const bool is_normal = exponent - scale >= format.lowest;
        const int spacing = (is_normal ? exponent : format.lowest + scale) - (format.digits - 1);
        const double distance = absolute(Number(ldexp(got, scale)) - exact).high;
        double error = ldexp(distance, -spacing);
        if (error != error) error = INFINITY;
        double& worst = is_normal ? normal : subnormal;
        if (error <= worst) return;
        worst = error;
        (is_normal ? normal_at : subnormal_at) = i;
    }
    void add(Format format, int64_t i, double got, Number exact) { add(format, i, got, exact, exact, SCALE); }
};

// A value that may be too large for the scale, or so small that it needs it.
inline void add_unscaled(Error& error, Format format, int64_t i, double got, Number exact, Number size) {
    const bool is_large = absolute(size).high > 0x1p300;
    error.add(format, i, got, is_large ? exact : scaled(exact, S), is_large ? size : scaled(size, S),
              is_large ? 0 : SCALE);
}

// a − b for numbers of float64, without overflow: a quarter of it.
inline Number quarter_of_difference(double a, double b) {
    const double x = a * 0.25, y = -b * 0.25;  // a bit may be lost below the normal numbers
    return fabs(a) < 1 && fabs(b) < 1 ? scaled(two_sum(a, -b), 0.25) : two_sum(x, y);
}

// For each row: f(row index, error).
template <class F>
void each_row(int64_t rows, Error* errors, F f) {
    for (int64_t r = 0; r < rows; ++r) {
        errors[r] = Error();
        f(r, errors[r]);
    }
}

}  // namespace
