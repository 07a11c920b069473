// The Kullback-Leibler divergence of the probabilities p and q of two rows a and b, and its derivatives.
//
// With d = a − b and k the largest entry of a, Σ p (log p − log q) is
//     Σ p (d − d_k) + log Σ e^(b − b_k) − log Σ e^(a − a_k):
// three terms that are small where both rows are saturated at k. They are summed in two parts, and the weights of the
// first with what their rounding lost, so that its errors and those of the last term, which has the same exponentials,
// are those of Σ p (d − Σ p d): d_k alone may be far from the mean.
//
// The nearer q is to p, the more this cancels. With y = Σ p d − d the divergence is also log Σ p e^y, and that is
// log1p(Σ p (e^y − 1 − y)), whose terms are never negative. And q − p is p (e^−r − 1) with r = log p − log q, which is
// d − Σ p d and the divergence. With r in two parts that is off by ρ + σ of p, σ of the mean, u of e^−r − 1 and half an
// ulp in the end, below 4 ulp of p (|d − d_k| + Σ p |d − d_k|), however near q is to p.
//
// Every pass computes the exponentials again: an output may be an input, which the last pass still reads.
#pragma once

#include "kernels/normalized.h"
#include "rows/finish_both.h"
#include "rows/numbers.h"
#include "rows/reductions.h"
#include "rows/row_loop.h"

namespace {

// Up to this |y| the rows are near each other. Where q is within a factor e of p everywhere it is below 1.47: the
// logarithm of a ratio, and the divergence.
template <class T>
constexpr T NEARBY = 1.5;

// Up to this |log p − log q| the difference of p and q cancels; beyond, it is at least 0.63 of the larger one.
template <class T>
constexpr T CANCELLING = 1;

// e^y − 1 − y over y²/2 by its series up to y^TERMS, Σ 2 y^(n−2)/n!; with the numbers of terms below, those left out
// are below a tenth of an ulp.
template <class T, int TERMS>
struct SeriesOfExp {
    T coefficients[TERMS + 1] = {};

    constexpr SeriesOfExp() {
        double coefficient = 2;
        for (int n = 2; n <= TERMS; ++n) coefficients[n] = (T)(coefficient /= n);
    }
    [[gnu::always_inline]] static Vec<T> of(Vec<T> y) {
        constexpr SeriesOfExp<T, TERMS> SERIES;
        Vec<T> sum = splat(SERIES.coefficients[TERMS]);
#pragma GCC unroll 32
        for (int n = TERMS - 1; n > 1; --n) sum = mul_add(sum, y, splat(SERIES.coefficients[n]));
        return sum;
    }
};

// e^y − 1 − y for |y| ≤ NEARBY, times e.
template <class T>
inline Vec<T> curved_part_of_exp(Vec<T> y, Vec<T> e) {
    constexpr int TERMS = sizeof(T) == 4 ? 14 : 22;
    return e * y * ((T)0.5 * y) * SeriesOfExp<T, TERMS>::of(y);  // e first: y² may be too small for a number
}

// e^(y + low) − 1 for |y| ≤ CANCELLING.
template <class T>
inline Vec<T> expm1(Vec<T> y, Vec<T> low) {
    constexpr int TERMS = sizeof(T) == 4 ? 12 : 19;
    return y + mul_add(y * ((T)0.5 * y), SeriesOfExp<T, TERMS>::of(y), low);
}

template <class T, class Shape>
class Divergence {
   public:
    void add_up(const Shape shape, const T* a, const T* b) {
        const Argmax<Shape> argmax(shape, a);
        const Vec<T> zero = splat<T>(0);
        b_argmax = argmax.of(shape, b);
        const DoubleWord<T> d_argmax = gap_below<T>(argmax.value, b_argmax);
        origin = DoubleWord<T>(-d_argmax.high, -d_argmax.low);
        q.add_up(shape, b, nullptr);
        find_differences(shape, a, b, argmax.value);
        LongSum<T, Shape> sum;
        const auto visit = [&](auto place, Vec<T> v, const DoubleWord<T>& e, Vec<T>) {
            const DoubleWord<T> term = product<T>(e, relative(v, place(b, b[0])));
            sum.sum.add(e.high == 0 ? zero : term.high);
            sum.sum.error += e.high == 0 ? zero : term.low;
        };
        p.add_up(shape, a, nullptr, visit, [&] { sum.end_block(); });
        differences = sum.parts();
    }

    DoubleWord<T> total(const Shape shape, const T* a, const T* b) {
        p.total();
        q.total();
        mean = product<T>(differences, p.inverse);
        const DoubleWord<T> logs = minus<T>(q.log(), p.log());
        const DoubleWord<T> below = gap_below<T>(q.max, b_argmax);
        value = plus<T>(plus<T>(mean, below), logs).high;
        value = value < 0 ? splat<T>(0) : value;
        near = is_near();
        if (any<T>(near)) value = near ? near_value(shape, a, b) : value;
        balance = plus<T>(-value, mean);
        const Bits<T> infinite = is_infinite();
        blank = logs.high - logs.high;
        mean.high = infinite ? splat((T)NAN) : mean.high + blank;
        return {blank + (infinite ? splat(INF<T>) : value), splat<T>(0)};
    }

    // Whether the sums are within the range of T, if they are wanted: exponentials are up to 2^SCALE, rows to 2^24
    // entries.
    Bits<T> is_ordinary() const { return (extent <= (T)0x1p31) | is_infinite() | (blank != blank); }

    // p ∘ (d − Σ p d), which is not defined where the divergence is infinite, and q − p.
    void write(const Shape shape, const T* a, const T* b, T* grad_p, T* grad_q) const {
        with_constant(any<T>(near), [&](auto has_near) { finish<has_near>(shape, a, b, grad_p, grad_q); });
    }

   private:
    Normalized<T> p, q;
    Range<T> spread;                  // of d, but for what neither has
    Vec<T> lowest, b_argmax;          // the smallest b where p is not 0, and b_k
    Vec<T> extent;                    // the largest |d| in the sums
    DoubleWord<T> origin;             // −d_k
    DoubleWord<T> differences, mean;  // Σ e (d − d_k) and Σ p (d − d_k)
    Vec<T> value;                     // the divergence
    Bits<T> near;                     // whether the rows are near each other
    DoubleWord<T> balance;            // where d is that, p and q are equal
    Vec<T> blank;                     // 0, or NaN in a row with NaN

    void find_differences(const Shape shape, const T* a, const T* b, Vec<T> a_argmax) {
        // Below a cutoff an exponential is 0 in any format, also relative to the smallest number.
        const Vec<T> a_cutoff = a_argmax - 2 * Constants<T>::GAP, b_cutoff = q.max - 2 * Constants<T>::GAP;
        const Vec<T> nothing = splat(-INF<T>), unknown = splat((T)NAN), zero = splat<T>(0);  // a range passes over NaN
        Range<T> range;
        Vec<T> highest = nothing, size = zero;  // the largest −b
        shape.at_each([&](auto place) {
            const Vec<T> v = place(a, a[0]), w = place(b, b[0]), d = v - w;
            range.add(((v < a_cutoff) & (w < b_cutoff)) ? unknown : d);
            highest = max(v == nothing ? nothing : -w, highest);
            size = max_absolute<T>(((v >= a_cutoff) & (w > nothing)) ? d : zero, size);
        });
        spread = shape.across(range);
        lowest = -shape.largest(highest);
        extent = shape.largest(size);
    }

    Bits<T> is_infinite() const { return lowest == -INF<T>; }
    Bits<T> is_near() const {
        const Vec<T> top = (spread.max + origin.high) - mean.high, bottom = (spread.min + origin.high) - mean.high;
        return (top <= NEARBY<T>)&(bottom >= -NEARBY<T>);
    }

    template <bool HAS_NEAR>
    void finish(const Shape shape, const T* a, const T* b, T* grad_p, T* grad_q) const {
        const Exp<T, FAR> exp_p = exp_of(p), exp_q = exp_of(q);
        const Vec<T> vanished = mean.high - mean.high;
        finish_both(shape, grad_p, grad_q, [&](auto place) {
            const Vec<T> v = place(a, 0), w = place(b, 0), e = exp_p(v);
            const DoubleWord<T> d = relative(v, w);
            // Divided last: a subnormal p has lost bits that the product would show.
            const Vec<T> gradient = v == -INF<T> ? blank : e == 0 ? vanished : p.probability(e * centred(d));
            const auto difference = [&] {
                const Vec<T> plain = q.probability(exp_q(w)) - p.probability(e);
                const Bits<T> from_others = p.saturated(v) & q.saturated(w) & (p.complement + q.complement < 1);
                return from_others ? p.complement - q.complement : plain;
            };
            if constexpr (!HAS_NEAR) return std::pair<Vec<T>, Vec<T>>(gradient, difference());
            const DoubleWord<T> log_ratio = gap_below<T>(balance.high, d.high);
            const Bits<T> cancels = near & (absolute<T>(log_ratio.high) <= CANCELLING<T>);
            const Vec<T> change = expm1<T>(log_ratio.high, log_ratio.low + (balance.low - d.low));
            const Vec<T> close = product_with_p(e, change);
            return std::pair<Vec<T>, Vec<T>>(gradient, any<T>(~cancels) ? (cancels ? close : difference()) : close);
        });
    }

    Vec<T> near_value(const Shape shape, const T* a, const T* b) const {
        const Exp<T, FAR> exp_p = exp_of(p);
        LongSum<T, Shape> sum;
        shape.blocks([&](const Shape block) {
            block.at_each([&](auto place) {
                const Vec<T> v = place(a, a[0]), e = place.keep(exp_p(v));
                sum.sum.add(e == 0 ? splat<T>(0) : curved_part_of_exp<T>(-centred(relative(v, place(b, b[0]))), e));
            });
            sum.end_block();
        });
        return log1p<T>(product<T>(sum.parts(), p.inverse)).high;
    }

    // d − d_k and d − Σ p d.
    DoubleWord<T> relative(Vec<T> v, Vec<T> w) const { return plus<T>(gap_below<T>(v, w), origin); }
    Vec<T> centred(const DoubleWord<T>& d) const { return (d.high - mean.high) + (d.low - mean.low); }

    // p c, of the exponential e.
    Vec<T> product_with_p(Vec<T> e, Vec<T> c) const {
        const Vec<T> high = e * c, low = fma(e, c, -high);
        return fma(high, p.inverse.high, mul_add(high, p.inverse.low, low * p.inverse.high));
    }

    // In the mode that suits every row; `add_up` may have had another, with the same bits.
    static Exp<T, FAR> exp_of(const Normalized<T>& row) { return Exp<T, FAR>(row.max, Temperature<T>()); }
};

// The divergence of a row with larger differences, entry by entry in a wider type.
template <class T>
class WideDivergence {
   public:
    WideDivergence(const Operand<const T>& a, const Operand<const T>& b, ptrdiff_t n) : a(a), b(b), n(n) {
        for (ptrdiff_t j = 1; j < n; ++j) {
            if (a.at(0, j) > a.at(0, a_argmax)) a_argmax = j;
            if (b.at(0, j) > b.at(0, b_argmax)) b_argmax = j;
        }
        Running differences, of_p, of_q;
        for (ptrdiff_t j = 0; j < n; ++j) {
            const Wide<T> e = power(a, a_argmax, j);
            if (e != 0) differences.add(e * (relative(j) * UNSCALE));  // the terms themselves may overflow
            if (j != a_argmax) of_p.add(e);
            if (j != b_argmax) of_q.add(power(b, b_argmax, j));
        }
        p_others = of_p.sum * UNSCALE;
        q_others = of_q.sum * UNSCALE;
        mean = differences.sum / (p_others + 1);
        const Wide<T> below = quarter(b.at(0, b_argmax), b.at(0, a_argmax));
        value = ((mean + below) + (wide_log1p(q_others) - wide_log1p(p_others)) * 0.25) * 4;
        value = value < 0 ? 0 : value;
    }

    void write(const Operand<T>& grad_p, const Operand<T>& grad_q) const {
        const Wide<T> p_total = p_others + 1, q_total = q_others + 1, p_complement = p_others / p_total,
                      q_complement = q_others / q_total;
        for (ptrdiff_t j = 0; j < n; ++j) {
            const Wide<T> p = power(a, a_argmax, j) / p_total, q = power(b, b_argmax, j) / q_total;
            const bool from_others = j == a_argmax && j == b_argmax && p_complement + q_complement < 1;
            grad_p.at(0, j) = (T)(p == 0 ? 0 : p * ((relative(j) - mean) * UNSCALE) * 4);
            grad_q.at(0, j) = (T)(from_others ? p_complement - q_complement : (q - p) * UNSCALE);
        }
    }

    Wide<T> value;

   private:
    struct Running {  // Kahan's sum
        Wide<T> sum = 0, error = 0;
        void add(Wide<T> term) {
            error += term;
            const Wide<T> next = sum + error;
            error += sum - next;
            sum = next;
        }
    };

    const Operand<const T> a, b;
    const ptrdiff_t n;
    ptrdiff_t a_argmax = 0, b_argmax = 0;
    Wide<T> p_others, q_others, mean;  // Σ e of all but one, and a quarter of Σ p (d − d_k)

    // Exponentials are 2^SCALED times as large, so that none that matters is subnormal.
    static constexpr int SCALED = 200;
    static constexpr double UNSCALE = 0x1p-200;
    static Wide<T> power(const Operand<const T>& x, ptrdiff_t argmax, ptrdiff_t j) {
        return wide_exp(quarter(x.at(0, j), x.at(0, argmax)) * 4, SCALED);
    }
    // A quarter of x − y, and of d_j − d_k: the whole may be too large for a number.
    static Wide<T> quarter(T x, T y) { return (Wide<T>)(x * (T)0.25) - (Wide<T>)(y * (T)0.25); }
    Wide<T> relative(ptrdiff_t j) const {
        return quarter(a.at(0, j), a.at(0, a_argmax)) - quarter(b.at(0, j), b.at(0, a_argmax));
    }
};

// kl_divergence and, with room for the gradients, kl_divergence_grad.
template <class S, bool GRAD>
void divergence(const Call& call) {
    typedef Computed<S> T;
    const double one = 1;
    const Operand<const double> unit{(char*)&one, 0, 0};
    const Operand<S> value = call.numbers<S>(2);
    if (call.length() == 0) {
        for (ptrdiff_t i = 0; i < call.rows(); ++i) value.at(i, 0) = stored<S>(0);
        return;
    }
    RowLoop<S, 2, GRAD ? 2 : 0>(call).run([&](auto shape, ptrdiff_t i, const T* const* in, T* const* out) {
        Divergence<T, decltype(shape)> row;
        row.add_up(shape, in[0], in[1]);
        store_result(shape, row.total(shape, in[0], in[1]), unit, value, i);
        const Bits<T> ordinary = row.is_ordinary();
        if constexpr (GRAD)
            if (shape.IS_LANE_BATCH || ordinary[0]) row.write(shape, in[0], in[1], out[0], out[1]);
        const ptrdiff_t step = sizeof(T) * (shape.IS_LANE_BATCH ? WIDTH<T> : 1);
        for (int lane = 0; lane < shape.lanes; ++lane) {
            if (ordinary[lane]) continue;
            const WideDivergence<T> one({(char*)(in[0] + lane), 0, step}, {(char*)(in[1] + lane), 0, step},
                                        shape.length());
            value.at(i + lane, 0) = stored<S>((T)one.value);
            if constexpr (GRAD) one.write({(char*)(out[0] + lane), 0, step}, {(char*)(out[1] + lane), 0, step});
        }
    });
}

}  // namespace
