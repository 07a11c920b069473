// The loop that softmax and log_softmax share: a row, or a row with a mask and a temperature, to a row.
#pragma once

#include <type_traits>

#include "kernels/exponential_columns.h"
#include "kernels/unshifted.h"
#include "rows/row_loop.h"

namespace {

// Temperatures that the vector kernels take: outside, 1/T or T ln 2 would leave the range of T.
template <class T>
inline bool ordinary(double temperature) {
    constexpr double RANGE = sizeof(T) == 4 ? 0x1p60 : 0x1p400;
    return temperature >= 1 / RANGE && temperature <= RANGE;
}

// A row as its kernel reads it: with its mask, if the kernel takes masked rows.
template <bool IS_MASKED, class T>
inline auto as_masked(const T* x, const RowContext<T>& context) {
    if constexpr (IS_MASKED)
        return Masked<T>{x, context.mask};
    else
        return x;
}

// softmax or log_softmax of rows, with a mask and a temperature for each.
template <class Map, class S, bool IS_MASKED>
struct Forward {
    typedef Computed<S> T;
    static constexpr int W = WIDTH<T>;
    static constexpr Traits TRAITS{Map::WORKSPACE, true};

    Operand<Mask> mask;       // no data: nothing is masked
    Operand<const double> t;  // no data: T = 1

    void operator()(const LaneBatch<T> batch, ptrdiff_t i, const T* const* in, T* const* out) const {
        bool regular;
        if (!t.data) {
            regular = Map::template run<false, IS_MASKED>(batch, in[0], out[0], Temperature<T>());
        } else {
            bool all_ordinary;
            const Temperature<T> all = temperatures(i, batch.lanes, all_ordinary);
            regular = Map::template run<true, IS_MASKED>(batch, in[0], out[0], all) && all_ordinary;
        }
        if (regular || !(t.data || mask.data)) return;
        for (int lane = 0; lane < batch.lanes; ++lane)
            recompute(i + lane, {(char*)(in[0] + lane), 0, W * sizeof(T)}, {(char*)(out[0] + lane), 0, W * sizeof(T)},
                      batch.n);
    }

    // is_large: the row, at T = 1, is known not to be small.
    void operator()(const Row<T> row, ptrdiff_t i, const T* const* in, T* const* out, bool is_large = false) const {
        const auto x = as_masked<IS_MASKED>(in[0], row.context);
        T* const y = out[0];
        const double value = temperature(i);
        bool regular = ordinary<T>(value);  // others need the row as it is, which y may replace
        if (is_large)
            regular = Map::template large<false>(row, x, y, Temperature<T>());
        else if (value == 1)
            regular = Map::template run<false, IS_MASKED>(row, x, y, Temperature<T>());
        else if (regular)
            regular = Map::template run<true, IS_MASKED>(row, x, y, Temperature<T>::of(value));
        if (regular || !(t.data || mask.data)) return;
        if (row.context.nontemporal) fence_nontemporal();
        recompute(i, {(char*)in[0], 0, sizeof(T)}, {(char*)y, 0, sizeof(T)}, row.stop);
    }

    void operator()(const Lockstep<T> rows, ptrdiff_t i, const T* const* in, T* const* out) const {
        const auto x = as_masked<IS_MASKED>(in[0], rows.context);
        Bits<T> done{};
        if (!t.data) {
            done = Map::template run<IS_MASKED>(rows, x, out[0], Temperatures<T, UNSHIFTED>());
        } else {
            bool all_ordinary;
            const Temperatures<T, UNSHIFTED_TEMPERED> all(temperatures(i, rows.lanes, all_ordinary));
            if (all_ordinary) done = Map::template run<IS_MASKED>(rows, x, out[0], all);
        }
        rows.each([&](int lane, const Row<T> row) {
            if (done[lane]) return;
            const T* const from = rows.in(in[0], lane);
            T* const to = rows.out(out[0], lane);
            (*this)(row, i + lane, &from, &to, !IS_MASKED && !t.data);
        });
    }

   private:
    // Those of so many rows from i on, lane by lane, 1 instead of those that are not ordinary.
    Temperature<T> temperatures(ptrdiff_t i, int lanes, bool& all_ordinary) const {
        all_ordinary = true;
        T high[W], low[W];
        for (int lane = 0; lane < W; ++lane) {
            const double asked = temperature(i + (lane < lanes ? lane : 0)), value = ordinary<T>(asked) ? asked : 1;
            all_ordinary &= value == asked;
            high[lane] = (T)value;
            low[lane] = (T)(value - (double)high[lane]);
        }
        return {load(high), load(low)};
    }
    bool read(ptrdiff_t i, ptrdiff_t j) const { return !mask.data || mask.at(i, j); }
    double temperature(ptrdiff_t i) const { return t.data ? t.at(i, 0) : 1; }

    // The rows that vectors do not get right: masks in rows that became NaN, and temperatures beyond their range.
    void recompute(ptrdiff_t i, const Operand<const T>& x, const Operand<T>& y, ptrdiff_t n) const {
        if (!ordinary<T>(temperature(i)))
            extreme(i, x, y, n);
        else if (y.at(0, 0) != y.at(0, 0))
            for (ptrdiff_t j = 0; j < n; ++j)
                if (!read(i, j)) y.at(0, j) = Map::MASKED;
    }

    // T at or near 0 or inf: entry by entry, in a wider type.
    void extreme(ptrdiff_t i, const Operand<const T>& x, const Operand<T>& y, ptrdiff_t n) const {
        const double T_ = temperature(i);
        T m = -INF<T>, ties = 0;
        Wide<T> others = 0;
        const auto logit = [&](ptrdiff_t j) { return read(i, j) ? x.at(0, j) : -INF<T>; };
        for (ptrdiff_t j = 0; j < n; ++j) m = logit(j) > m ? logit(j) : m;
        for (ptrdiff_t j = 0; j < n; ++j) {
            const T a = logit(j);
            ties += a == m;
            if (a != m) others += wide_exp(shifted(a, m, T_));
        }
        others += m == INF<T> ? (Wide<T>)NAN : (Wide<T>)ties - 1;  // as with every other T, +inf makes its slice NaN
        for (ptrdiff_t j = 0; j < n; ++j)
            y.at(0, j) = read(i, j) ? (T)Map::value(shifted(logit(j), m, T_), others) : Map::MASKED;
    }

    // (a − m)/T with the limits at T = 0 and T = inf; NaN where a or the whole row is.
    static Wide<T> shifted(T a, T m, double temperature) {
        const Wide<T> d = (Wide<T>)a - (Wide<T>)m;
        if (d != d || d == 0 || a == -INF<T>) return d;
        if (temperature == 0) return -INFINITY;
        if (temperature < 2) return d / temperature;
        return ((Wide<T>)(a * (T)0.5) - (Wide<T>)(m * (T)0.5)) / temperature * 2;  // d itself may overflow
    }
};

// Slices of one entry, if those are: x − x + 1 for softmax, which is NaN where x is not finite. (The quotient of a
// rounded exponential by the exact sum may be 1 − u.) Half precision rounds that to 1.
template <class Map, class S>
bool of_one_entry(const Call& call, Operand<Mask> mask) {
    if constexpr (std::is_same<S, Computed<S>>::value) {
        if (call.length() != 1) return false;
        const Operand<const S> x = call.slices<const S>(0);
        const Operand<S> y = call.slices<S>(call.signature.inputs);
        for (ptrdiff_t i = 0; i < call.rows(); ++i)
            y.at(i, 0) = !mask.data || mask.at(i, 0) ? x.at(i, 0) - x.at(i, 0) + Map::OF_ONE : Map::MASKED;
        return true;
    }
    return false;
}

template <template <class> class Map, class S>
void forward(const Call& call) {
    if (of_one_entry<Map<Computed<S>>, S>(call, {})) return;
    const RowLoop<S, 1, 1> loop(call);
    run_columns<ExponentialColumns<Map<Computed<S>>, S>>(loop, Forward<Map<Computed<S>>, S, false>{{}, {}},
                                                         finish_columns(loop));
}

template <template <class> class Map, class S>
void forward_where(const Call& call) {
    typedef Map<Computed<S>> M;
    const Operand<Mask> mask = call.mask(1);
    if (of_one_entry<M, S>(call, mask)) return;
    const Operand<const double> t = call.numbers<const double>(2);
    const bool is_tempered = call.rows() && (t.row != 0 || t.at(0, 0) != 1);
    const Operand<const double> temperatures{is_tempered ? t.data : nullptr, t.row, 0};
    const RowLoop<S, 1, 1> loop(call, mask);
    if (mask.data)
        loop.run(Forward<M, S, true>{mask, temperatures});
    else if (is_tempered)
        loop.run(Forward<M, S, false>{mask, temperatures});
    else
        run_columns<ExponentialColumns<M, S>>(loop, Forward<M, S, false>{{}, {}}, finish_columns(loop));
}

}  // namespace
