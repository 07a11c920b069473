// logsumexp.
#pragma once

#include "kernels/forward.h"
#include "kernels/log_sum.h"

namespace {

template <class T>
struct LogSumExp : LogOfColumns<T> {
    template <bool IS_MASKED, class Shape, class X>
    static Vec<T> run(const Shape shape, X x) {
        if constexpr (!Shape::IS_LANE_BATCH) {
            const auto plain = PlainLog<T, UNSHIFTED>::template of<IS_MASKED>(shape, x, Temperature<T>());
            if (any<T>(plain.applies)) return plain.log.high;
        }
        return large(shape, x);
    }
    // Rows where PlainLog does not apply.
    template <class Shape, class X>
    static Vec<T> large(const Shape shape, X x) {
        const LogSum<T, false> sum(shape, x, Temperature<T>());
        return plus<T>(sum.max, sum.log).high;
    }

    // A lockstep batch; rows that are not `done` are left.
    template <bool IS_MASKED, class X>
    [[gnu::flatten]] static Vec<T> run(const Lockstep<T> rows, X x, Bits<T>& done) {
        const auto plain = PlainLog<T, UNSHIFTED>::template of<IS_MASKED>(rows, x, {});
        done = plain.applies;
        return plain.log.high;
    }
};

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
    static constexpr Traits TRAITS{NONE, true};

    Operand<S> y;

    void operator()(const LaneBatch<T> batch, ptrdiff_t i, const T* const* in, T* const*) const {
        const Vec<T> result = LogSumExp<T>::template run<IS_MASKED>(batch, in[0]);
        if (batch.lanes == W && y.row == (ptrdiff_t)sizeof(S) && !any<T>(result != result)) {
            write(&y.at(i, 0), result);
            return;
        }
        T results[W];
        store(results, result);
        for (int lane = 0; lane < batch.lanes; ++lane)
            store_result(results[lane], i + lane, batch.n, [&](ptrdiff_t j) { return in[0][j * W + lane]; });
    }
    void operator()(const Row<T> row, ptrdiff_t i, const T* const* in, T* const*) const {
        const auto x = as_masked<IS_MASKED>(in[0], row.context);
        store_result(LogSumExp<T>::template run<IS_MASKED>(row, x)[0], i, row.stop, [&](ptrdiff_t j) { return x[j]; });
    }
    void operator()(const Lockstep<T> rows, ptrdiff_t i, const T* const* in, T* const*) const {
        const auto all = as_masked<IS_MASKED>(in[0], rows.context);
        Bits<T> done;
        const Vec<T> result = LogSumExp<T>::template run<IS_MASKED>(rows, all, done);
        rows.each([&](int lane, const Row<T> row) {
            const auto x = rows.in(all, lane);
            const T own = done[lane] ? result[lane] : LogSumExp<T>::large(row, x)[0];
            store_result(own, i + lane, row.stop, [&](ptrdiff_t j) { return x[j]; });
        });
    }

   private:
    template <class At>
    void store_result(T result, ptrdiff_t i, ptrdiff_t n, At logit) const {
        y.at(i, 0) = stored<S>(result == result ? result : special_logsumexp<T>(n, logit));
    }
};

template <class S>
void logsumexp_plain(const RowLoop<S, 1, 0>& loop, const Operand<S>& y) {
    run_columns<ExponentialColumns<LogSumExp<Computed<S>>, S>>(
        loop, Reduce<S, false>{y}, [&](const auto& block, ptrdiff_t i, ptrdiff_t from, ptrdiff_t to, bool) {
            for (ptrdiff_t c = from; c < to; ++c) y.at(i + c, 0) = stored<S>(block.factor(c));
        });
}

template <class S>
void logsumexp(const Call& call) {
    logsumexp_plain(RowLoop<S, 1, 0>(call), call.numbers<S>(1));
}

template <class S>
void logsumexp_where(const Call& call) {
    const Operand<Mask> mask = call.mask(1);
    const Operand<S> y = call.numbers<S>(2);
    const RowLoop<S, 1, 0> loop(call, mask);
    if (mask.data)
        loop.run(Reduce<S, true>{y});
    else
        logsumexp_plain(loop, y);
}

}  // namespace
