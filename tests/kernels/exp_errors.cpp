// How exact the exponential (exp.h) and the logarithm (log.h) of the kernels are, on one instruction set.
//
//     exp_errors_v3 float32 sample    millions of numbers, a second or two
//     exp_errors_v3 float32 all       all 2^32 numbers of float32, minutes
//     exp_errors_v3 float64 sample
//     exp_errors_v3 float64 many      a hundred times as many
//
// Prints one line for each kind of row: the mode, maximum and temperature, how many of its entries were tried, the
// largest error in ulp, where it was, and the mean; then the largest error of the value in two parts, and where; then
// both errors relative to the value, in units of half the spacing at 1. What
// is wrong at any size of error (a 0 instead of a number, a NaN that got lost) is reported on the error output, and the
// exit status is 1. What is too large is for test_exp.py to say.
#include <stdio.h>

#include <random>

#include "exact.h"

namespace {

// How many numbers are tried.
struct Effort {
    uint64_t stride;  // between patterns of bits; odd, so that all bits change
    int neighbours;   // on either side of each point where the reduction changes
    int random;
};

constexpr const char* NAMES[] = {"unshifted", "unshifted, tempered", "near", "far", "tempered"};

int failures = 0;

template <class... Values>
void fail(const char* format, Values... values) {
    if (++failures > 20) return;
    fprintf(stderr, format, values...);
    fputc('\n', stderr);
}

struct Errors {
    double worst = 0, at = NAN, sum = 0, worst_relative = 0;
    long long count = 0;

    void add(double error, double x, double relative = 0) {
        if (error != error) error = INFINITY;
        if (relative > worst_relative) worst_relative = relative;
        ++count;
        sum += error;
        if (error <= worst) return;
        worst = error;
        at = x;
    }
};

void print(const char* what, double max, double temperature, const Errors& value, const Errors& split) {
    printf("%s\t%.17g\t%.17g\t%lld\t%.4f\t%.17g\t%.4f\t%.4f\t%.17g\t%.4f\t%.4f\n", what, max, temperature, value.count,
           value.worst, value.at, value.sum / value.count, split.worst, split.at, value.worst_relative,
           split.worst_relative);
    fflush(stdout);
}

// f(x) for x and `count` numbers on either side of it.
template <class T, class F>
void at_neighbours(T x, int count, F f) {
    T below = x, above = x;
    f(x);
    for (int i = 0; i < count; ++i) {
        f(below = nextafter(below, -INF<T>));
        f(above = nextafter(above, INF<T>));
    }
}

// f(v) for all that is put in, WIDTH at a time; the last vector is filled up with copies.
template <class T, class F>
class Vectors {
   public:
    explicit Vectors(F f) : f(f) {}
    ~Vectors() {
        while (count) (*this)(waiting[0]);
    }
    void operator()(T x) {
        waiting[count++] = x;
        if (count < WIDTH<T>) return;
        f(load(waiting));
        count = 0;
    }

   private:
    F f;
    T waiting[WIDTH<T>];
    int count = 0;
};

// f(v) for every stride-th pattern of bits, from 0 on and a little beyond the last.
template <class T, class F>
void at_patterns(uint64_t stride, F f) {
    typedef std::make_unsigned_t<typename Types<T>::Integer> Pattern;
    typedef Pattern Patterns __attribute__((vector_size(BYTES)));
    Patterns bits{};
    for (int lane = 0; lane < WIDTH<T>; ++lane) bits[lane] = (Pattern)(lane * stride);
    for (uint64_t i = 0; i <= (Pattern)-1 / stride / WIDTH<T>; ++i) {
        f((Vec<T>)bits);
        bits += (Pattern)(stride * WIDTH<T>);
    }
}

template <class T, Mode MODE>
Exp<T, MODE> exp_of_row(T max, double temperature) {
    const bool is_tempered = MODE == TEMPERED || MODE == UNSHIFTED_TEMPERED;
    const Temperature<T> t = is_tempered ? Temperature<T>::of(temperature) : Temperature<T>();
    if constexpr (MODE <= UNSHIFTED_TEMPERED)
        return Exp<T, MODE>(t);
    else
        return Exp<T, MODE>(splat(max), t);
}

// e^((x − m)/T) for all x that a row with this maximum may have.
template <class T, Mode MODE>
class ExpOfRow {
    typedef Constants<T> C;
    typedef Exact<T> Real;

   public:
    explicit ExpOfRow(T max = C::SMALL, double temperature = 1)
        : max(max), temperature(temperature), exp(exp_of_row<T, MODE>(max, temperature)) {
        if (MODE <= UNSHIFTED_TEMPERED) {
            lowest = -max;
            return;
        }
        cutoff = (T)(max - C::GAP * temperature);
        if (MODE == NEAR) lowest = nextafter(max - C::GAP, INF<T>);
        if (fabs(max) >= C::LIMIT * (T)temperature) origin = max;
        // The row's power of two is 2^SCALE but for the exponent of the maximum.
        const long double top = (max - origin) / (long double)temperature * 1.4426950408889634074L;
        const int exponent = (int)lrintl(log2l(exp(splat(max))[0]) - top);
        if (!(fabsl(exponent + top - C::SCALE) < 0.5001L)) fail("%s: scaled by 2^%d", name(), exponent);
        scale = scaled((Real)1, exponent);
    }

    void measure(const Effort& effort) {
        const auto check_vector = [this](Vec<T> x) { check(x); };
        at_patterns<T>(effort.stride, check_vector);
        if (effort.stride > 1) {  // else that was all
            Vectors<T, decltype(check_vector)> vectors(check_vector);
            const auto take = [&](T x) { vectors(x); };
            for (T x : {max, origin, cutoff, lowest, (T)0}) at_neighbours(x, 200, take);
            // Around k and k + 1/2 of the reduction a result passes a power of two, or k changes.
            const double step = temperature * M_LN2 / 2 / (1 << Table<T>::BITS);
            const double depth = (MODE <= UNSHIFTED_TEMPERED ? 2 * C::SMALL : C::GAP) * temperature;
            const double last = ::floor(((double)max - origin) / step);
            for (double j = 0; j * step < depth; ++j)
                at_neighbours((T)(origin + step * (last - j)), effort.neighbours, take);
            std::mt19937_64 random(0);
            std::uniform_real_distribution<double> uniform(-1.01 * depth, 0);
            for (int i = 0; i < effort.random; ++i) take((T)(max + uniform(random)));
        }
        if (!(highest_zero < lowest_number))
            fail("%s: 0 at %a, but not at %a", name(), (double)highest_zero, (double)lowest_number);
        print(NAMES[MODE], max, temperature, value_errors, split_errors);
    }

    // The values, without the row's power of two.
    Vec<T> operator()(Vec<T> x) const { return exp(x) / (T)scale; }

   private:
    void check(Vec<T> x) {
        const Bits<T> is_nan = x != x;
        if (!any<T>(((x <= max) & (x >= lowest)) | is_nan)) return;
        const auto parts = exp.parts(x);
        const Vec<T> value = parts.value();
        const DoubleWord<T> split = parts.rounded();
        const Vec<T> excluded = exp.parts(x, [](Vec<T>) { return splat<T>(0); }).value();
        const Bits<T> is_zero = (value == 0) & (split.high == 0) & (split.low == 0) & (excluded == 0);
        if (!any<T>((x >= cutoff) | is_nan | ~is_zero)) return;
        for (int lane = 0; lane < WIDTH<T>; ++lane)
            check(x[lane], value[lane], split.high[lane], split.low[lane], excluded[lane]);
    }

    [[gnu::always_inline]] void check(T x, T value, T high, T low, T excluded) {
        if (x != x && (value == value || high == high || excluded == excluded)) fail("%s: NaN is lost", name());
        if (!(x <= max && x >= lowest)) return;
        if (excluded != 0) fail("%s: %a at %a, where the power is 0", name(), (double)excluded, (double)x);
        // Within the margin of the bound m − GAP·T, which is itself rounded, both 0 and the value are right.
        const double depth = (double)(((Real)max - x) / temperature) - C::GAP;
        constexpr double MARGIN = 2 * (double)C::LIMIT / ((int64_t)1 << C::MANTISSA_BITS);
        if (value == 0 && high == 0 && low == 0 && depth >= -MARGIN) {
            if (x > highest_zero) highest_zero = x;
            return;
        }
        if (x < lowest_number) lowest_number = x;
        if (!(value >= C::SMALLEST && value < INF<T> && (depth <= MARGIN || MODE <= UNSHIFTED_TEMPERED)))
            fail("%s: %a at %a", name(), (double)value, (double)x);
        const Real exact = exact_exp((Real)x - origin, temperature) * scale, spacing = ulp<T>(exact);
        const Real unit = exact / ((uint64_t)2 << C::MANTISSA_BITS);
        value_errors.add(fabs((double)((value - exact) / spacing)), x, fabs((double)((value - exact) / unit)));
        split_errors.add(fabs((double)((high - exact + low) / spacing)), x,
                         fabs((double)((high - exact + low) / unit)));
    }

    const char* name() {
        snprintf(text, sizeof text, "%s, m = %a, T = %a", NAMES[MODE], (double)max, temperature);
        return text;
    }

    T max, origin = 0;
    double temperature;
    Exp<T, MODE> exp;
    T lowest = -INF<T>, cutoff = -INF<T>;  // no entry is below the first, none below the second counts
    Real scale = 1;
    T highest_zero = -INF<T>, lowest_number = INF<T>;
    Errors value_errors, split_errors;
    char text[100];
};

// A row that has no finite maximum is NaN throughout.
template <class T, Mode MODE>
void check_no_maximum(uint64_t stride, double temperature) {
    for (T max : {INF<T>, -INF<T>}) {
        const Exp<T, MODE> exp = exp_of_row<T, MODE>(max, temperature);
        at_patterns<T>(stride, [&](Vec<T> x) {
            const Vec<T> value = exp(x);
            if (any<T>((value == value) & ((x <= max) | (x != x)))) fail("%s: not NaN beside %g", NAMES[MODE], max);
        });
    }
}

// Powers of two aside, every mode gives the same bits.
template <class T>
void check_modes_agree(uint64_t stride) {
    const ExpOfRow<T, UNSHIFTED> unshifted;
    const ExpOfRow<T, UNSHIFTED_TEMPERED> unshifted_tempered;
    const ExpOfRow<T, NEAR> near;
    const ExpOfRow<T, FAR> far;
    const ExpOfRow<T, TEMPERED> tempered;
    at_patterns<T>(stride, [&](Vec<T> x) {
        if (any<T>(!(absolute<T>(x) <= Constants<T>::SMALL))) return;
        const Vec<T> expected = unshifted(x), others[] = {unshifted_tempered(x), near(x), far(x), tempered(x)};
        for (int i = 0; i < 4; ++i)
            for (int lane = 0; any<T>(others[i] != expected) && lane < WIDTH<T>; ++lane)
                if (others[i][lane] != expected[lane])
                    fail("%s and unshifted differ at %a", NAMES[i + 1], (double)x[lane]);
    });
}

template <class T>
void measure_exp(const Effort& effort) {
    typedef Constants<T> C;
    const T limit = C::LIMIT, below_limit = nextafter(limit, (T)0), largest = sizeof(T) == 4 ? (T)FLT_MAX : (T)DBL_MAX;
    ExpOfRow<T, UNSHIFTED>().measure(effort);
    for (T max : {(T)0, (T)-0.1, (T)88.7, below_limit, -below_limit}) ExpOfRow<T, NEAR>(max).measure(effort);
    for (T max : {(T)0, number<T>(1), (T)88.7, below_limit, -below_limit, limit, -limit, (T)1e6, largest, -largest})
        ExpOfRow<T, FAR>(max).measure(effort);
    const double range = sizeof(T) == 4 ? 0x1p60 : 0x1p400;  // of the temperatures that get here
    for (double temperature : {1.0, 0.1, 1 / 3.0, 0.7, 3.0, 1000.0, range, 1 / range}) {
        ExpOfRow<T, UNSHIFTED_TEMPERED>((T)(C::SMALL * (T)temperature), temperature).measure(effort);
        for (T max : {(T)0, below_limit, limit, -limit, (T)1e6})
            ExpOfRow<T, TEMPERED>((T)(max * temperature), temperature).measure(effort);
    }
    ExpOfRow<T, TEMPERED>(largest, 3).measure(effort);
    check_no_maximum<T, FAR>(effort.stride, 1);
    check_no_maximum<T, TEMPERED>(effort.stride, 0.1);
    check_modes_agree<T>(effort.stride);
}

// log(1 + r) for r up to 2^63, more than any row has entries; the low part of r is drawn at random.
template <class T>
void measure_log1p(const Effort& effort) {
    Errors value, split;
    std::mt19937_64 random(0);
    std::uniform_real_distribution<double> uniform(-0.5, 0.5);
    const auto check = [&](Vec<T> r) {
        if (!any<T>((r > 0) & (r <= (T)0x1p63))) return;
        Vec<T> low = splat<T>(0);
        for (int lane = 0; lane < WIDTH<T>; ++lane)
            if (r[lane] > 0 && r[lane] <= (T)0x1p63) low[lane] = ulp<T>(r[lane]) * (T)uniform(random);
        const DoubleWord<T> log = log1p<T>(DoubleWord<T>(r, low));
        for (int lane = 0; lane < WIDTH<T>; ++lane) {
            if (!(r[lane] > 0 && r[lane] <= (T)0x1p63)) continue;
            const Exact<T> exact = exact_log1p((Exact<T>)r[lane] + low[lane]), spacing = ulp<T>(exact);
            value.add(fabs((double)((log.high[lane] - exact) / spacing)), r[lane]);
            split.add(fabs((double)((log.high[lane] - exact + log.low[lane]) / spacing)), r[lane]);
        }
    };
    at_patterns<T>(effort.stride, check);
    Vectors<T, decltype(check)> vectors(check);
    for (int k = 0; k < 128; ++k)  // where the exponent or the interval of the series changes
        at_neighbours((T)(ldexp(1, k / 2) * (k % 2 ? M_SQRT2 : 1) - 1), 1000, [&](T r) { vectors(r); });
    const Vec<T> zero = splat<T>(0), nan = splat((T)NAN);
    const DoubleWord<T> of_zero = log1p<T>(DoubleWord<T>(zero, zero)), of_nan = log1p<T>(DoubleWord<T>(nan, zero));
    if (any<T>((of_zero.high != 0) | (of_zero.low != 0))) fail("%s: not 0 at 0", "log1p");
    if (any<T>(of_nan.high == of_nan.high)) fail("%s: NaN is lost", "log1p");
    print("log1p", NAN, NAN, value, split);
}

}  // namespace

int main(int count, char** words) {
    const auto is = [&](int i, const char* word) { return i < count && strcmp(words[i], word) == 0; };
    puts("what\tmax\ttemperature\tcount\tworst\tat\tmean\tworst_parts\tat_parts\trelative\tparts_relative");
    if (is(1, "float32") && (is(2, "sample") || is(2, "all"))) {
        const Effort effort = is(2, "all") ? Effort{1, 0, 0} : Effort{1031, 4, 100'000};
        measure_exp<float>(effort);
        measure_log1p<float>(effort);
    } else if (is(1, "float64") && (is(2, "sample") || is(2, "many"))) {
        const Effort effort =
            is(2, "many") ? Effort{0x1000'0000'0f0f, 8, 1'000'000} : Effort{0x4'0000'0000'0f0f, 0, 10'000};
        measure_exp<double>(effort);
        measure_log1p<double>(effort);
    } else {
        fprintf(stderr, "usage: %s float32 (sample | all), or float64 (sample | many)\n", words[0]);
        return 2;
    }
    return failures > 0;
}
