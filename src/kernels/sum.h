// Sums whose rounding errors are kept.
#pragma once

#include "exp.h"

namespace {

// Entries after which the lanes are added up: the error term of a longer run would itself start to round.
constexpr ptrdiff_t BLOCK = 4096;

template <class T>
inline Wide<T> sum_of_lanes(Vec<T> a, Vec<T> b) {
    Wide<T> lanes[WIDTH<T>];
    for (int lane = 0; lane < WIDTH<T>; ++lane) lanes[lane] = (Wide<T>)a[lane] + (Wide<T>)b[lane];
    for (int half = WIDTH<T> / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    return lanes[0];
}

// A sum of exponentials of which one is the maximum's. It starts above every term, so that Dekker's three-operation sum
// (which wants the larger summand first) is exact, and the start is taken off exactly in the end.
template <class T>
struct SumOfExp {
    static constexpr T START = (T)(sizeof(T) == 4 ? 0x1p72 : 0x1p514);  // 4 · 2^SCALE; terms are below 1.5 · 2^SCALE
    Vec<T> sum = splat(START), error = splat<T>(0);

    void add(Vec<T> term) {
        const Vec<T> next = sum + term;
        error += term - (next - sum);
        sum = next;
    }
    Vec<T> high() const { return sum - START; }
    Wide<T> total() const { return sum_of_lanes<T>(high(), error); }
};

// A sum of terms of any sign and size (Knuth's sum).
template <class T>
struct Sum {
    Vec<T> sum = splat<T>(0), error = splat<T>(0);

    void add(Vec<T> term) {
        const Vec<T> next = sum + term, of_term = next - sum;
        error += (sum - (next - of_term)) + (term - of_term);
        sum = next;
    }
    // Parts of an exponential, never rounded to one number.
    template <class Parts>
    auto add(const Parts& e) -> decltype(e.scale, void()) {
        add(e.high * e.scale);
        error = mul_add(e.low, e.scale, error);
    }
    Wide<T> total() const { return sum_of_lanes<T>(sum, error); }
};

// The same functions of both wide types.
inline double wide_exp(double a) { return ::exp(a); }
inline long double wide_exp(long double a) { return ::expl(a); }
inline double wide_expm1(double a) { return ::expm1(a); }
inline long double wide_expm1(long double a) { return ::expm1l(a); }
inline double wide_log1p(double a) { return ::log1p(a); }
inline long double wide_log1p(long double a) { return ::log1pl(a); }

}  // namespace
