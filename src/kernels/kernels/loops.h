// The loops of the gufuncs: their operands as rows, and the kernels that are run on them.
#pragma once

#include "kernels/columns.h"
#include "kernels/logsumexp.h"
#include "kernels/softmax.h"

namespace {

// Temperatures that the vector kernels take: outside, 1/T or T ln 2 would leave the range of T.
template <class T>
inline bool ordinary(double temperature) {
    constexpr double RANGE = sizeof(T) == 4 ? 0x1p60 : 0x1p400;
    return temperature >= 1 / RANGE && temperature <= RANGE;
}

// A row as its kernel reads it: beside its mask, if the kernel is one of masked rows.
template <bool IS_MASKED, class T>
inline auto as_masked(const T* x, const Route<T>& route) {
    if constexpr (IS_MASKED)
        return Masked<T>{x, route.mask};
    else
        return x;
}

// softmax or log_softmax of rows, with a mask and a temperature for each.
template <class Map, class S, bool IS_MASKED>
struct Forward {
    typedef Computed<S> T;
    static constexpr int W = WIDTH<T>;

    Operand<Mask> mask;       // no data: nothing is masked
    Operand<const double> t;  // no data: T = 1

    void operator()(const Panel<T> panel, ptrdiff_t i, const T* const* in, T* const* out) const {
        bool regular;
        if (!t.data) {
            regular = Map::template run<false, IS_MASKED>(panel, in[0], out[0], Temperature<T>());
        } else {
            bool all_ordinary;
            const Temperature<T> all = temperatures(i, panel.lanes, all_ordinary);
            regular = Map::template run<true, IS_MASKED>(panel, in[0], out[0], all) && all_ordinary;
        }
        if (regular || !(t.data || mask.data)) return;
        for (int lane = 0; lane < panel.lanes; ++lane)
            mend(i + lane, {(char*)(in[0] + lane), 0, W * sizeof(T)}, {(char*)(out[0] + lane), 0, W * sizeof(T)}, panel.n);
    }

    void operator()(const Row<T> row, ptrdiff_t i, const T* const* in, T* const* out) const { alone(row, i, in[0], out[0]); }

    void operator()(const Rows<T> rows, ptrdiff_t i, const T* const* in, T* const* out) const {
        const auto x = as_masked<IS_MASKED>(in[0], rows.route);
        Bits<T> done{};
        if (!t.data) {
            done = Map::template run<IS_MASKED>(rows, x, out[0], Temperatures<T, UNSHIFTED>());
        } else {
            bool all_ordinary;
            const Temperatures<T, UNSHIFTED_TEMPERED> all(temperatures(i, rows.lanes, all_ordinary));
            if (all_ordinary) done = Map::template run<IS_MASKED>(rows, x, out[0], all);
        }
        rows.each([&](int lane, const Row<T> row) {
            if (!done[lane]) alone(row, i + lane, rows.in(in[0], lane), rows.out(out[0], lane), !IS_MASKED && !t.data);
        });
    }

   private:
    // Those of so many rows from i on, lane by lane, 1 in place of those that are not ordinary.
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
    // is_large: the row, at T = 1, is known not to be small.
    void alone(const Row<T> row, ptrdiff_t i, const T* plain, T* y, bool is_large = false) const {
        const auto x = as_masked<IS_MASKED>(plain, row.route);
        const double value = temperature(i);
        bool regular = ordinary<T>(value);  // others need the row as it is, which y may replace
        if (is_large)
            regular = Map::template large<false>(row, x, y, Temperature<T>());
        else if (value == 1)
            regular = Map::template run<false, IS_MASKED>(row, x, y, Temperature<T>());
        else if (regular)
            regular = Map::template run<true, IS_MASKED>(row, x, y, Temperature<T>::of(value));
        if (regular || !(t.data || mask.data)) return;
        if (row.route.streams) end_streams();
        mend(i, {(char*)plain, 0, sizeof(T)}, {(char*)y, 0, sizeof(T)}, row.stop);
    }

    bool read(ptrdiff_t i, ptrdiff_t j) const { return !mask.data || mask.at(i, j); }
    double temperature(ptrdiff_t i) const { return t.data ? t.at(i, 0) : 1; }

    // The rows that vectors do not get right: masks in rows that became NaN, and temperatures beyond their range.
    void mend(ptrdiff_t i, const Operand<const T>& x, const Operand<T>& y, ptrdiff_t n) const {
        if (!ordinary<T>(temperature(i)))
            extreme(i, x, y, n);
        else if (y.at(0, 0) != y.at(0, 0))
            for (ptrdiff_t j = 0; j < n; ++j)
                if (!read(i, j)) y.at(0, j) = Map::MASKED;
    }

    // T at or near 0 or inf: entry by entry, in a wider type.
    void extreme(ptrdiff_t i, const Operand<const T>& x, const Operand<T>& y, ptrdiff_t n) const {
        const double T_ = temperature(i);
        Wide<T> m = -INFINITY, rest = 0, ties = 0;
        const auto logit = [&](ptrdiff_t j) -> Wide<T> { return read(i, j) ? x.at(0, j) : -INF<T>; };
        for (ptrdiff_t j = 0; j < n; ++j) m = logit(j) > m ? logit(j) : m;
        for (ptrdiff_t j = 0; j < n; ++j) {
            const Wide<T> a = logit(j);
            ties += a == m;
            if (a != m) rest += wide_exp(shifted(a, m, T_));
        }
        rest += m == INFINITY ? (Wide<T>)NAN : ties - 1;  // as with every other T, +inf makes its slice NaN
        for (ptrdiff_t j = 0; j < n; ++j)
            y.at(0, j) = read(i, j) ? (T)Map::value(shifted(logit(j), m, T_), rest) : Map::MASKED;
    }

    // (a − m)/T with the limits at T = 0 and T = inf; NaN where a or the whole row is.
    static Wide<T> shifted(Wide<T> a, Wide<T> m, double temperature) {
        const Wide<T> d = a - m;
        if (d != d || d == 0 || a == -INFINITY) return d;
        return temperature == 0 ? -(Wide<T>)INFINITY : d / temperature;
    }
};

template <class Map, class S>
void forward_plain(const RowLoop<S, 1, 1>& loop) {
    const Forward<Map, S, false> kernel{{}, {}};
    run_columns<ExponentialColumns<Map, S>, true, CACHED>(loop, kernel, finish_columns(loop));
}

template <template <class> class Map, class S>
void forward(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    const RowLoop<S, 1, 1> loop{dims[0], dims[1], {{args[0], steps[0], steps[2]}}, {{args[1], steps[1], steps[3]}}, {}};
    forward_plain<Map<Computed<S>>>(loop);
}

template <template <class> class Map, class S>
void forward_where(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    typedef Map<Computed<S>> M;
    const Operand<Mask> mask = mask_of(args[1], steps[1], steps[5], dims[0] * dims[1]);
    const Operand<const double> t{args[2], steps[2], 0};
    const bool is_tempered = dims[0] && (t.row != 0 || t.at(0, 0) != 1);
    const Operand<const double> temperatures{is_tempered ? t.data : nullptr, t.row, 0};
    const RowLoop<S, 1, 1> loop{
        dims[0], dims[1], {{args[0], steps[0], steps[4]}}, {{args[3], steps[3], steps[6]}}, mask};
    if (mask.data)
        loop.template run<true, CACHED, true>(Forward<M, S, true>{mask, temperatures});
    else if (!is_tempered)
        forward_plain<M>(loop);
    else
        loop.template run<true, CACHED, true>(Forward<M, S, false>{mask, temperatures});
}

// NaN, inf or −inf of a row whose logsumexp came out as NaN, in this order of precedence.
template <class T, class At>
inline T special_logsumexp(ptrdiff_t n, At logit) {
    T m = -INF<T>;
    for (ptrdiff_t j = 0; j < n; ++j) {
        const T a = logit(j);
        if (a != a) return a;
        m = a > m ? a : m;
    }
    return m;
}

template <class S, bool IS_MASKED>
struct Reduce {
    typedef Computed<S> T;
    static constexpr int W = WIDTH<T>;

    Operand<S> y;

    void operator()(const Panel<T> panel, ptrdiff_t i, const T* const* in, T* const*) const {
        const Vec<T> result = LogSumExp<T>::template run<IS_MASKED>(panel, in[0]);
        if (panel.lanes == W && y.row == (ptrdiff_t)sizeof(S) && !any<T>(result != result)) {
            write(&y.at(i, 0), result);
            return;
        }
        T results[W];
        store(results, result);
        for (int lane = 0; lane < panel.lanes; ++lane)
            deliver(results[lane], i + lane, panel.n, [&](ptrdiff_t j) { return in[0][j * W + lane]; });
    }
    void operator()(const Row<T> row, ptrdiff_t i, const T* const* in, T* const*) const {
        const auto x = as_masked<IS_MASKED>(in[0], row.route);
        deliver(LogSumExp<T>::template run<IS_MASKED>(row, x)[0], i, row.stop, [&](ptrdiff_t j) { return x[j]; });
    }
    void operator()(const Rows<T> rows, ptrdiff_t i, const T* const* in, T* const*) const {
        const auto all = as_masked<IS_MASKED>(in[0], rows.route);
        Bits<T> done;
        const Vec<T> result = LogSumExp<T>::template run<IS_MASKED>(rows, all, done);
        rows.each([&](int lane, const Row<T> row) {
            const auto x = rows.in(all, lane);
            const T own = done[lane] ? result[lane] : LogSumExp<T>::large(row, x)[0];
            deliver(own, i + lane, row.stop, [&](ptrdiff_t j) { return x[j]; });
        });
    }

   private:
    template <class At>
    void deliver(T result, ptrdiff_t i, ptrdiff_t n, At logit) const {
        y.at(i, 0) = stored<S>(result == result ? result : special_logsumexp<T>(n, logit));
    }
};

template <class S>
void logsumexp_plain(const RowLoop<S, 1, 0>& loop, const Operand<S>& y) {
    run_columns<ExponentialColumns<LogSumExp<Computed<S>>, S>, true, NONE>(
        loop, Reduce<S, false>{y}, [&](const auto& slab, ptrdiff_t i, ptrdiff_t from, ptrdiff_t to, bool) {
            for (ptrdiff_t c = from; c < to; ++c) y.at(i + c, 0) = stored<S>(slab.factor(c));
        });
}

template <class S>
void logsumexp(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    const RowLoop<S, 1, 0> loop{dims[0], dims[1], {{args[0], steps[0], steps[2]}}, {}, {}};
    logsumexp_plain(loop, {args[1], steps[1], 0});
}

template <class S>
void logsumexp_where(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    const Operand<Mask> mask = mask_of(args[1], steps[1], steps[4], dims[0] * dims[1]);
    const RowLoop<S, 1, 0> loop{dims[0], dims[1], {{args[0], steps[0], steps[3]}}, {}, mask};
    if (mask.data)
        loop.template run<true, NONE, true>(Reduce<S, true>{{args[2], steps[2], 0}});
    else
        logsumexp_plain(loop, {args[2], steps[2], 0});
}

// Derivatives: two rows in, one out.
template <template <class> class Map, class S>
void backward(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    typedef Computed<S> T;
    const RowLoop<S, 2, 1> loop{dims[0],
                                dims[1],
                                {{args[0], steps[0], steps[3]}, {args[1], steps[1], steps[4]}},
                                {{args[2], steps[2], steps[5]}},
                                {}};
    const auto kernel = [](auto shape, ptrdiff_t, const T* const* in, T* const* out) {
        Map<T>::run(shape, in[0], in[1], out[0]);
    };
    if constexpr (std::is_same<Map<T>, SoftmaxVjp<T>>::value)
        run_columns<VjpColumns<S>, true, NONE>(loop, kernel, finish_columns(loop));
    else
        loop.template run<true, NONE>(kernel);
}

// The dense Jacobian: a row and its temperature in, a matrix out.
template <class S>
void jacobian(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    typedef Computed<S> T;
    const ptrdiff_t rows = dims[0], n = dims[1];
    const Operand<const S> p{args[0], steps[0], steps[3]};
    const Operand<const double> t{args[1], steps[1], 0};
    const ptrdiff_t matrix = steps[2], line = steps[4];
    constexpr ptrdiff_t SHORT = 256 / (ptrdiff_t)sizeof(T);  // lines that cost more to end than to write
    const bool copy_out = IS_NARROW<S> || steps[5] != (ptrdiff_t)sizeof(S);
    const bool spills = n < SHORT && !copy_out && line == n * (ptrdiff_t)sizeof(S) && matrix == n * line;
    const bool copy_in = IS_NARROW<S> || !p.contiguous() || spills;
    const ptrdiff_t padded = in_vectors<T>(n);
    const Scratch<T> scratch(copy_in || copy_out ? 2 * padded : 0);
    if (n == 0 || ((copy_in || copy_out) && !scratch)) return;
    T* const copy = scratch.aligned();
    Route<T> route;
    route.streams = !copy_out && is_long_enough<S>(n) && rows * n * n * (ptrdiff_t)sizeof(T) >= softgrad_boundaries.nontemporal_from;
    for (ptrdiff_t i = 0; i < rows; ++i) {
        if (copy_in) copy_row(copy, p, {}, i, n);
        const SaturatedRow<T> row(copy_in ? copy : (const T*)&p.at(i, 0), n);
        for (ptrdiff_t k = 0; k < n; ++k) {
            const Operand<S> out{args[2] + i * matrix + k * line, 0, steps[5]};
            if (spills && ((rows - i) * n - k) * n >= padded) {
                row.spilling_line(k, t.at(i, 0), (T*)&out.at(0, 0));
                continue;
            }
            row.jacobian_line(route, k, t.at(i, 0), copy_out ? copy + padded : (T*)&out.at(0, 0));
            if (copy_out) deliver_row(out, copy + padded, 0, n);
        }
    }
}

}  // namespace
