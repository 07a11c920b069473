// Sums whose rounding errors are kept.
#pragma once

#include "math/double_word.h"
#include "simd/transpose.h"

namespace {

// Entries after which the lanes are added up: the error term of a longer run would itself start to round.
constexpr ptrdiff_t BLOCK = 4096;

// Vectors of which what their rounding lost is added up in one number, before that joins the sum: in a longer run it
// would round by what is not small next to the smallest terms that count (LEAST_PART, unshifted.h).
constexpr ptrdiff_t RUN = 32;

// The two halves of a vector of float32, as vectors of float64.
struct Halves {
    Vec<double> lower, upper;

    explicit Halves(const float* p) : lower(widen(p)), upper(widen(p + WIDTH<double>)) {}
    explicit Halves(Vec<float> v) : Halves((const float*)&v) {}
    Halves(Vec<double> lower, Vec<double> upper) : lower(lower), upper(upper) {}

    Vec<float> rounded() const { return narrow(lower, upper); }
};

inline double sum_of_lanes(Vec<double> v) {
    return reduce_lanes<double>(v, [](Vec<double> a, Vec<double> b) { return a + b; })[0];
}

inline double sum_of_lanes(Vec<float> a, Vec<float> b) {
    const Halves x(a), y(b);
    return sum_of_lanes((x.lower + y.lower) + (x.upper + y.upper));
}

// Halves of the lanes are laid on each other, and their errors with them.
template <int STEP = WIDTH<double> / 2>
inline DoubleDouble sum_of_lanes(Vec<double> a, Vec<double> b) {
    if constexpr (STEP == 0) {
        return {a[0], b[0]};
    } else {
        constexpr std::make_integer_sequence<int, WIDTH<double>> lanes;
        const DoubleWord<double> sum =
            plus<double>({a, b}, {swap_lanes<double, STEP>(a, lanes), swap_lanes<double, STEP>(b, lanes)});
        return sum_of_lanes<STEP / 2>(sum.high, sum.low);
    }
}

// A sum of terms of any sign and size (Knuth's sum).
template <class T>
struct Sum {
    Vec<T> sum = splat<T>(0), error = splat<T>(0);

    [[gnu::always_inline]] void add(Vec<T> term) {
        const Vec<T> next = sum + term, of_term = next - sum;
        error += (sum - (next - of_term)) + (term - of_term);
        sum = next;
    }
    Wide<T> total() const { return sum_of_lanes(sum, error); }
};

// A sum in about twice the precision: float32 in float64, float64 with its rounding errors.
template <class T>
struct WideSum;

template <>
struct WideSum<float> {
    Vec<double> lower = splat<double>(0), upper = splat<double>(0);

    void add(const Halves& v) {
        lower += v.lower;
        upper += v.upper;
    }
    void add(const float* p) { add(Halves(p)); }
    void add(Vec<float> v) { add(Halves(v)); }
    void add(const WideSum& other) {
        lower += other.lower;
        upper += other.upper;
    }
    // What the roundings of the terms lost.
    void add_lost(Vec<float> lost) { add(lost); }

    double total() const { return sum_of_lanes(lower + upper); }
    // Lane by lane, in two parts.
    DoubleWord<float> parts() const {
        const Vec<float> high = Halves(lower, upper).rounded();
        const Halves exact(high);
        return {high, Halves(lower - exact.lower, upper - exact.upper).rounded()};
    }

    // scale/sum, lane by lane.
    DoubleWord<float> reciprocal(float scale) const {
        WideSum inverse;
        inverse.lower = scale / lower;
        inverse.upper = scale / upper;
        return inverse.parts();
    }
};

template <>
struct WideSum<double> : Sum<double> {
    using Sum<double>::add;
    void add(const double* p) { add(load(p)); }
    void add(const WideSum& other) {
        add(other.sum);
        error += other.error;
    }
    void add_lost(Vec<double> lost) { error += lost; }

    DoubleWord<double> parts() const {
        const Vec<double> high = sum + error;
        return {high, (sum - high) + error};
    }
    DoubleWord<double> reciprocal(double scale) const {
        const auto [high, low] = parts();
        const Vec<double> inverse = 1 / high;
        const Vec<double> residual = fma(-inverse, high, splat(1.0)) - inverse * low;
        return {inverse * scale, inverse * residual * scale};
    }
};

// The totals of WIDTH sums, each as its own total() would be, but lane by lane, so that one chain of additions serves
// all.
template <class T>
struct Totals;

template <>
struct Totals<float> {
    void set(int lane, const WideSum<float>& sum) { sums_[lane] = sum.lower + sum.upper; }
    void store(double* totals) {
        constexpr int W = WIDTH<double>;
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
            Vec<double> lanes[W];
#pragma GCC unroll 8
            for (int i = 0; i < W; ++i) lanes[i] = sums_[half * W + i];
            transpose<double>(lanes);
#pragma GCC unroll 4
            for (int step = W / 2; step > 0; step /= 2)
#pragma GCC unroll 4
                for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
            ::store(totals + half * W, lanes[0]);
        }
    }

   private:
    Vec<double> sums_[WIDTH<float>];
};
template <>
struct Totals<double> {
    void set(int lane, const WideSum<double>& sum) {
        sums_[lane] = sum.sum;
        errors_[lane] = sum.error;
    }
    void store(DoubleDouble* totals) {
        constexpr int W = WIDTH<double>;
        transpose<double>(sums_);
        transpose<double>(errors_);
#pragma GCC unroll 4
        for (int step = W / 2; step > 0; step /= 2)
#pragma GCC unroll 4
            for (int i = 0; i < step; ++i) {
                const DoubleWord<double> sum =
                    plus<double>({sums_[i], errors_[i]}, {sums_[i + step], errors_[i + step]});
                sums_[i] = sum.high;
                errors_[i] = sum.low;
            }
#pragma GCC unroll 8
        for (int i = 0; i < W; ++i) {
            totals[i].high = sums_[0][i];
            totals[i].low = errors_[0][i];
        }
    }

   private:
    Vec<double> sums_[WIDTH<double>], errors_[WIDTH<double>];
};

// Wide numbers, one for each lane, in two parts.
inline DoubleWord<float> double_words(const double* wide) {
    WideSum<float> sum;
    sum.add(Halves(load(wide), load(wide + WIDTH<double>)));
    return sum.parts();
}
inline DoubleWord<double> double_words(const DoubleDouble* wide) {
    double high[WIDTH<double>], low[WIDTH<double>];
    for (int lane = 0; lane < WIDTH<double>; ++lane) {
        high[lane] = wide[lane].high;
        low[lane] = wide[lane].low;
    }
    return {load(high), load(low)};
}

}  // namespace
