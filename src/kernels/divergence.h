// The Kullback-Leibler divergence of the probabilities p and q of two rows a and b, and its derivatives.
//
// With d = a − b and k the largest entry of a, Σ p (log p − log q) is
//     Σ p (d − d_k) + log Σ e^(b − b_k) − log Σ e^(a − a_k):
// three terms that are small where both rows are saturated at k. They are summed in two parts, and the weights of the first
// with what their rounding lost, so that its errors and those of the last term, which has the same exponentials, are those
// of Σ p (d − Σ p d): d_k alone may be far from the mean.
//
// The nearer q is to p, the more this cancels. With y = Σ p d − d the divergence is also log Σ p e^y, and that is
// log1p(Σ p (e^y − 1 − y)), whose terms are never negative.
//
// The exponentials are computed anew in every pass: an output may be an input, which the last pass still reads.
#pragma once

#include "derivatives.h"
#include "losses.h"

namespace {

// Up to this |y| the rows are near each other. Where q is within a factor e of p everywhere it is below 1.47: the logarithm
// of a ratio, and the divergence.
template <class T>
constexpr T NEARBY = 1.5;

// e^y − 1 − y for |y| ≤ NEARBY, times e, by its series, whose terms left out are below a tenth of an ulp.
template <class T>
inline Vec<T> curved_part_of_exp(Vec<T> y, Vec<T> e) {
    constexpr int TERMS = sizeof(T) == 4 ? 14 : 22;
    Vec<T> series = splat<T>(1);
#pragma GCC unroll 32
    for (int n = TERMS; n > 2; --n) series = mul_add(series * y, splat((T)1 / n), splat<T>(1));
    return e * y * ((T)0.5 * y) * series;  // e first: y² may be too small for a number
}

template <class T, class Shape>
class Divergence {
   public:
    void add_up(const Shape shape, const T* a, const T* b) {
        const Peak<Shape> peak(shape, a);
        const Vec<T> zero = splat<T>(0);
        b_peak = peak.of(shape, b);
        const Split<T> d_peak = depth_below<T>(peak.value, b_peak);
        origin = Split<T>(-d_peak.high, -d_peak.low);
        find_differences(shape, a, b);
        Sum<T> sum;
        p.add_up(shape, a, nullptr, [&](auto place, Vec<T> v, const Split<T>& e, Vec<T>) {
            const Split<T> term = product<T>(e, relative(v, place(b, b[0])));
            sum.add(e.high == 0 ? zero : term.high);
            sum.error += e.high == 0 ? zero : term.low;
        });
        differences = whole(sum);
        q.add_up(shape, b, nullptr, Nobody{});
    }

    Split<T> total(const Shape shape, const T* a, const T* b) {
        p.total();
        q.total();
        mean = product<T>(differences, p.inverse);
        const Split<T> log_p = p.log(), log_q = q.log(), logs = plus<T>(log_q, Split<T>(-log_p.high, -log_p.low));
        const Split<T> below = depth_below<T>(q.max, b_peak);
        Vec<T> value = plus<T>(plus<T>(Split<T>(mean.high / unit, mean.low / unit), below), logs).high;
        value = value < 0 ? splat<T>(0) : value;
        const Bits<T> near = is_near();
        if (any<T>(near)) value = near ? near_value(shape, a, b) : value;
        const Bits<T> infinite = spread.max == INF<T>;  // something of p where q has nothing
        blank = logs.high - logs.high;
        mean.high = infinite ? splat((T)NAN) : mean.high + blank;
        return {blank + (infinite ? splat(INF<T>) : value), splat<T>(0)};
    }

    // p ∘ (d − Σ p d), which is not defined where the divergence is infinite, and q − p.
    void write(const Shape shape, const T* a, const T* b, T* grad_p, T* grad_q) const {
        const Exp<T, FAR> exp_p = exp_of(p), exp_q = exp_of(q);
        finish_both(shape, grad_p, grad_q, [&](auto place) {
            const Vec<T> v = place(a, 0), w = place(b, 0), e = exp_p(v);
            // Divided last: a subnormal p has lost bits that the product would show.
            const Vec<T> slope = p.probability(e * centred(v, w)) / unit;
            const Vec<T> plain = q.probability(exp_q(w)) - p.probability(e);
            const Bits<T> from_others = p.saturated(v) & q.saturated(w) & (p.others + q.others < 1);
            return std::pair<Vec<T>, Vec<T>>(v == -INF<T> ? blank : slope, from_others ? p.others - q.others : plain);
        });
    }

   private:
    Normalized<T> p, q;
    Range<T> spread;             // of d, where p is not 0
    Vec<T> b_peak, beyond;       // b_k, and the largest b where p is 0
    Split<T> origin;             // −d_k
    Vec<T> unit, blank;          // blank: 0, or NaN in a row with NaN
    Split<T> differences, mean;  // Σ e (d − d_k) and Σ p (d − d_k), times `unit`

    void find_differences(const Shape shape, const T* a, const T* b) {
        const Vec<T> nothing = splat(-INF<T>), unknown = splat((T)NAN);  // which a range passes over
        Range<T> range;
        Vec<T> outside = nothing;
        shape.at_each([&](auto place) {
            const Vec<T> v = place(a, a[0]), w = place(b, b[0]);
            range.add(v == nothing ? unknown : v - w);
            outside = max(v == nothing ? w : nothing, outside);
        });
        spread = shape.across(range);
        beyond = shape.largest(outside);
        // Exponentials are up to 2^SCALE, and so may be the size of a difference.
        constexpr T LARGE = 0x1p20, SMALL = sizeof(T) == 4 ? (T)0x1p-102 : (T)0x1p-544;
        unit = (spread.max > LARGE) | (spread.min < -LARGE) ? splat(SMALL) : splat<T>(1);
    }

    Bits<T> is_near() const {
        const Vec<T> top = (spread.max + origin.high) - mean.high, bottom = (spread.min + origin.high) - mean.high;
        return (beyond == -INF<T>) & (top <= NEARBY<T>) & (bottom >= -NEARBY<T>);
    }

    Vec<T> near_value(const Shape shape, const T* a, const T* b) const {
        const Exp<T, FAR> exp_p = exp_of(p);
        Sum<T> sum;
        shape.at_each([&](auto place) {
            const Vec<T> v = place(a, a[0]), e = place.keep(exp_p(v));
            sum.add(e == 0 ? splat<T>(0) : curved_part_of_exp<T>(-centred(v, place(b, b[0])), e));
        });
        return log1p<T>(product<T>(whole(sum), p.inverse)).high;
    }

    // d − d_k and d − Σ p d, times `unit`.
    Split<T> relative(Vec<T> v, Vec<T> w) const {
        const Split<T> d = plus<T>(depth_below<T>(v, w), origin);
        return {d.high * unit, d.low * unit};
    }
    Vec<T> centred(Vec<T> v, Vec<T> w) const {
        const Split<T> d = relative(v, w);
        return (d.high - mean.high) + (d.low - mean.low);
    }

    // In the mode that suits every row; `add_up` may have had another, with the same bits.
    static Exp<T, FAR> exp_of(const Normalized<T>& row) { return Exp<T, FAR>(row.max, Temperature<T>()); }
    static Split<T> whole(const Sum<T>& sum) {
        Whole<Shape> whole;
        whole.add(sum);
        return whole.parts();
    }
};

}  // namespace
