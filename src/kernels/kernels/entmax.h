// Entmax for any α > 1, with s = α − 1 for each row.
//
// p = q/Q with Q = Σ q. For s ≤ 1 q = (1 − u/σ)_+^(1/s), whose limit for s → 0 is e^(−d), and σ is where the norm
// h(σ) = σ Q^s is 1, which is convex: Newton's steps fall monotonically from σ = 1. For s > 1, where the slope of h is
// infinite at every u, the unknown is the smallest positive entry π, at the margin r: q = (r − u + π^s)^(1/s). That is
// a norm of ((r − u)^(1/s), π) and so convex in π, and the steps fall from the tangent at π = 0.
//
// log q is a pair, exact to 0.28 ulp of itself (math/log.h), which is up to 0.56 |log q| ulp of q, and the exponential
// as two numbers adds the σ of kernels/softmax.h, 0.36 ulp. So Q errs by Σ p (0.36 + 0.56 |log p|) ulp, and h by s
// times that, which is what moves the threshold. The result is rounded once.
#pragma once

#include "kernels/sparse.h"
#include "math/log.h"

namespace {

// s = α − 1, which is exact for α up to 2^53.
struct OwnShare {
    Vec<double> s;
    explicit OwnShare(Vec<double> s) : s(s) {}
    // The parts are apart, so that margins compare as pairs.
    DoubleWord<double> of(const DoubleWord<double>& d) const {
        const DoubleWord<double> u = product<double>(d, {s, splat(0.0)});
        const Vec<double> high = u.high + u.low;
        return {high, u.low - (high - u.high)};
    }
};

// p by exponentials and logarithms.
template <bool LANES>
struct Powers : Margins<OwnShare, LANES> {
    typedef Margins<OwnShare, LANES> Base;
    typedef Vec<double> V;
    typedef Bits<double> B;
    typedef DoubleWord<double> Pair;
    using Base::above, Base::at, Base::count, Base::difference, Base::exact_sum, Base::high, Base::share, Base::W;

    // One copy for all dtypes.
    [[gnu::noinline]] void solve() {
        Root root;
        const B is_norm = share.s <= 1, is_other = share.s > 1;
        if (any<double>(is_norm)) find_threshold(root, is_norm);
        if (any<double>(is_other)) find_least(root, is_other);
        const Powers given = *this;  // copies, which a store of p cannot change
        const Root found = root;
        at_each([&](ptrdiff_t i) {
            Term term;
            if (any<double>(is_norm)) term = given.of_norm(found.threshold, i);
            if (any<double>(is_other)) {
                const Term other = given.of_least(found, i);
                term.inside = is_norm ? term.inside : other.inside;
                term.log = choose(is_norm, term.log, other.log);
            }
            const Pair p = over<double>(term.power(), found.sum);
            store(high + i, p.high + p.low);
        });
    }

   private:
    struct Root {
        Pair threshold{splat(1.0), splat(0.0)};  // σ; r for s > 1
        Pair log_least{splat(0.0), splat(0.0)};  // log π
        Pair sum{splat(1.0), splat(0.0)};        // S Q
    };

    typedef Exp<double, FAR> Exponential;
    static constexpr double S = 0x1p512, ONE_OVER_S = 0x1p-512;  // of exponentials

    static constexpr int STEPS = 64;  // a handful for most
    // Rounding makes smaller steps of σ, relative to s σ, and of π.
    static constexpr double TOLERANCE = 0x1p-44;
    static constexpr double NOISE = 0x1p-51;    // of Q − 1
    static constexpr double SLACK = 0x1p-40;    // of σ, from where its steps fall
    static constexpr double FINEST = 0x1p-106;  // of differences of pairs near 1

    // An entry: whether it is positive, and log q there.
    struct Term {
        B inside;
        Pair log{splat(0.0), splat(0.0)};

        // S q.
        Pair power() const {
            const Pair e = Exponential(splat(0.0), Temperature<double>()).parts(log.high).rounded();
            const V low = mul_add(e.high, log.low, e.low);
            return {inside ? e.high : splat(0.0), inside ? low : splat(0.0)};
        }
    };

    // A sum over entries, and what its roundings lose.
    struct Total {
        V sum = splat(0.0), lost = splat(0.0);
        void add(const Pair& v) {
            const Pair both = exact_sum(sum, v.high);
            sum = both.high;
            lost += both.low + v.low;
        }
        Pair of_row() const {
            const Pair v = apart({sum, lost});
            if constexpr (LANES) return v;
            return of_lanes<W / 2>(v);
        }
        template <int STEP>
        static Pair of_lanes(const Pair& v) {
            if constexpr (STEP == 0) {
                return v;
            } else {
                constexpr auto LANE = std::make_integer_sequence<int, W>();
                const Pair swapped(swap_lanes<double, STEP>(v.high, LANE), swap_lanes<double, STEP>(v.low, LANE));
                return of_lanes<STEP / 2>(plus<double>(v, swapped));
            }
        }
    };

    static Pair apart(const Pair& v) {
        const V high = v.high + v.low;
        return {high, v.low - (high - v.high)};
    }
    static Pair choose(B condition, const Pair& a, const Pair& b) {
        return {condition ? a.high : b.high, condition ? a.low : b.low};
    }
    static B is_less(const Pair& a, const Pair& b) {
        return (a.high < b.high) | ((a.high == b.high) & (a.low < b.low));
    }
    template <class F>
    void at_each(F f) const {
        for (ptrdiff_t i = 0; i < count; i += W) f(i);
    }

    // s ≤ 1

    // log q = log(1 − u/σ)/s, and 1 − u/σ in `base`.
    Term of_norm(const Pair& sigma, ptrdiff_t i, V* base = nullptr) const {
        const V zero = splat(0.0), one = splat(1.0);
        const Pair r = over<double>(at(i), sigma);
        const V part = one - r.high;
        const Pair rest = apart({part, ((one - part) - r.high) - r.low});
        Term term;
        term.inside = above(sigma, i).high > 0;
        const V known = max(rest.high, splat(FINEST)), whole = term.inside ? known : one;
        const Pair log = log_of<double>(whole, term.inside ? rest.low : zero, zero);
        term.log = over<double>(log, {share.s, zero});
        if (base) *base = whole;
        return term;
    }

    // σ and Q of the rows that `moves` holds for.
    void find_threshold(Root& root, B moves) {
        V polish = splat(1.0);
        for (int i = 0;; ++i) {
            Total total;
            V slopes = splat(0.0);  // S Σ q^(1−s)
            at_each([&](ptrdiff_t k) {
                V base;
                const Pair q = of_norm(root.threshold, k, &base).power();
                total.add(q);
                slopes += q.high / base;
            });
            root.sum = total.of_row();
            if (!any<double>(moves) || i == STEPS) return;
            // With L = log h a step is σ (1 − 1/h) Q/Σ q^(1−s): 1 − e^(−L) from e^L ≥ 1 + L + L²/2 + L³/6.
            const V ratio = root.sum.high / Base::total(slopes);
            const Pair log_sum = log_of<double>(root.sum.high * ONE_OVER_S, root.sum.low * ONE_OVER_S, splat(0.0));
            const Pair log_sigma = log_of<double>(root.threshold.high, root.threshold.low, splat(0.0));
            const V L = plus<double>(product<double>(log_sum, {share.s, splat(0.0)}), log_sigma).high;
            const V grown = L * (1 + L * (0.5 + L * (1 / 6.0)));
            const V step = root.threshold.high * ratio * (grown / (1 + grown));
            const Pair next = difference(root.threshold.high, step);
            root.threshold = choose(moves, apart({next.high, next.low + root.threshold.low}), root.threshold);
            const B is_last = moves & (absolute<double>(step) <= TOLERANCE * share.s * root.threshold.high);
            moves &= ~is_last | (polish > 0);
            polish -= is_last ? splat(1.0) : splat(0.0);
            if (!LANES) this->keep_up_to(root.threshold.high[0] * (1 + SLACK));
        }
    }

    // s > 1

    // log q = log(r − u + π^s)/s; log π at r itself.
    Term of_least(const Root& root, ptrdiff_t i) const {
        const V zero = splat(0.0);
        const Pair u = at(i), c = difference(root.threshold.high, u.high);
        const Pair gap = apart({c.high, c.low + (root.threshold.low - u.low)});
        const V lifted = power_of(share.s * root.log_least.high);
        const Pair w = exact_sum(gap.high, lifted);
        const B is_least = gap.high == 0, is_above = gap.high > 0;
        Term term;
        term.inside = is_above | is_least;
        term.log = log_of_margin(choose(is_above, apart({w.high, w.low + gap.low}), {splat(1.0), zero}));
        term.log = choose(is_least, root.log_least, term.log);
        return term;
    }
    // log w/s of w that may be subnormal.
    Pair log_of_margin(const Pair& w) const {
        constexpr double LIFT = 0x1p200;
        const B is_tiny = w.high < 0x1p-800;
        const V lift = is_tiny ? splat(LIFT) : splat(1.0), moved = is_tiny ? splat(-200.0) : splat(0.0);
        typedef Constants<double> C;
        const Pair log = log_of<double>(w.high * lift, w.low * lift, splat(0.0));
        const Pair all = plus<double>(log, {moved * C::LN2_HIGH, moved * C::LN2_LOW});
        return over<double>(all, {share.s, splat(0.0)});
    }
    // e^a for a ≤ 0.
    static V power_of(V a) { return Exponential(splat(0.0), Temperature<double>()).parts(a).value() * ONE_OVER_S; }

    // r, π and Q of the rows that `moves` holds for.
    void find_least(Root& root, B moves) {
        const V one = splat(1.0), zero = splat(0.0);
        root.threshold = choose(moves, largest_inside(), root.threshold);
        if (!LANES) this->keep_up_to(root.threshold.high[0]);
        V ties = zero;
        at_each([&](ptrdiff_t i) {
            const Pair u = at(i);
            const B is_tie = (u.high == root.threshold.high) & (u.low == root.threshold.low);
            ties += is_tie ? one : zero;
        });
        V least = max((1 - sum_at(root.threshold)) / Base::total(ties), splat(Constants<double>::SMALLEST));
        for (int i = 0;; ++i) {
            root.log_least = choose(share.s > 1, log_of<double>(least, zero, zero), root.log_least);
            Total total;
            V slopes = zero;
            at_each([&](ptrdiff_t k) {
                const Term term = of_least(root, k);
                total.add(term.power());
                const V change = power_of((share.s - 1) * (root.log_least.high - term.log.high));
                const B is_least = term.log.high == root.log_least.high;
                slopes += term.inside ? is_least ? one : change : zero;
            });
            root.sum = choose(share.s > 1, total.of_row(), root.sum);
            if (!any<double>(moves) || i == STEPS) return;
            const V excess = (root.sum.high * ONE_OVER_S - 1) + root.sum.low * ONE_OVER_S;
            const V step = excess / Base::total(slopes), next = least - step;
            moves &= (next > 0) & (excess > NOISE);
            least = moves ? next : least;
            moves &= step > TOLERANCE * least;
        }
    }

    // r, the largest u of an entry that is positive: Σ (r − u)_+^(1/s) < 1. Found by halving what is between a positive
    // one and another.
    Pair largest_inside() const {
        const V zero = splat(0.0);
        Pair inside(zero, zero), outside(splat(2.0), zero);
        for (;;) {
            // The last u up to the middle, or the first beyond it.
            const V middle = 0.5 * (inside.high + outside.high);
            Pair last(inside), first(outside);
            at_each([&](ptrdiff_t i) {
                const Pair u = at(i);
                const B is_beyond = u.high > middle;
                last = choose(~is_beyond & is_less(last, u) & is_less(u, outside), u, last);
                first = choose(is_beyond & is_less(u, first) & is_less(inside, u), u, first);
            });
            last = of_greatest(last);
            first = of_greatest({-first.high, -first.low});
            first = {-first.high, -first.low};
            const B has_last = is_less(inside, last), has_first = is_less(first, outside);
            if (!any<double>(has_last | has_first)) return inside;
            const Pair pivot = choose(has_last, last, first);
            const B is_inside = sum_at(pivot) < 1;
            inside = choose((has_last | has_first) & is_inside, pivot, inside);
            outside = choose((has_last | has_first) & ~is_inside, pivot, outside);
        }
    }
    // In every lane that of the greatest lane.
    static Pair of_greatest(const Pair& v) {
        if constexpr (LANES) return v;
        const auto greater = [](V a, V b) { return max(a, b); };
        const V high = reduce_lanes<double>(v.high, greater);
        return {high, reduce_lanes<double>(v.high == high ? v.low : splat(-1.0), greater)};
    }
    // Σ (r − u)_+^(1/s).
    V sum_at(const Pair& r) const {
        Total total;
        at_each([&](ptrdiff_t i) {
            const Pair w = above(r, i);
            Term term;
            term.inside = w.high > 0;
            term.log = log_of_margin(choose(term.inside, w, {splat(1.0), splat(0.0)}));
            total.add(term.power());
        });
        return total.of_row().high * ONE_OVER_S;
    }
};

template <class S>
void entmax(const Call& call) {
    sparse_rows<Powers>(RowLoop<S, 1, 1>(call, call.mask(1)), call.numbers<const double>(2),
                        call.numbers<const double>(3), 1);
}

}  // namespace
