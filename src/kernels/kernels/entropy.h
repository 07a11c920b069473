// The entropy of softmax, its gradient, and logsumexp in parts.
#pragma once

#include "kernels/loss_loop.h"
#include "kernels/normalized.h"

namespace {

// The entropy log Σ e^−a + Σ p a with a = max − x, and its gradient p ∘ (a − Σ p a).
template <class T, class Shape>
class Entropy {
   public:
    void add_up(const Shape shape, const T* x, T* e) {
        LongSum<T, Shape> sum;
        const auto visit = [&](auto, Vec<T> v, const DoubleWord<T>& e, Vec<T> max) {
            const Vec<T> zero = splat<T>(0);
            const DoubleWord<T> term = product<T>(e, gap_below<T>(max, v));
            sum.sum.add(e.high == 0 ? zero : term.high);
            sum.sum.error += e.high == 0 ? zero : term.low;
        };
        row.add_up(shape, x, e, visit, [&] { sum.end_block(); });
        gaps = sum.parts();
    }

    DoubleWord<T> total() {
        row.total();
        mean = product<T>(gaps, row.inverse);
        return plus<T>(row.log(), mean);
    }

    void write(const Shape shape, const T* x, const T* e, T* grad) const {
        shape.finish(grad, [&](auto place) {
            const Vec<T> power = place(e, 0);
            const DoubleWord<T> gap = gap_below<T>(row.max, place(x, 0));
            // Divided last: a subnormal p has lost bits that the product would show.
            const Vec<T> g = row.probability(power * ((gap.high - mean.high) + (gap.low - mean.low)));
            return power == 0 ? mean.high - mean.high : g;  // 0, and NaN where the row has NaN
        });
    }

    Vec<T> max() const { return row.max; }
    // Σ e^(x − max) without one term that is 1, and Σ a e^(x − max).
    DoubleWord<T> others() const { return row.excess; }
    DoubleWord<T> gap() const { return over<T>(gaps, row.argmax); }

   private:
    Normalized<T> row;
    DoubleWord<T> gaps, mean;  // Σ e a and Σ p a
};

// log Σ e^x in three parts: the maximum, and two of log Σ e^(x − max).
template <class T, class Shape>
class LogTotal {
   public:
    void add_up(const Shape shape, const T* x) { row.add_up(shape, x, nullptr); }
    DoubleWord<T> total() {
        row.total();
        return row.log();
    }
    Vec<T> max() const { return row.max; }

   private:
    Normalized<T> row;
};

template <class S>
void log_sum(const Call& call) {
    typedef Computed<S> T;
    const auto add_up = [](auto& row, auto shape, const T* const* in, T*) { row.add_up(shape, in[0]); };
    const auto total = [&](auto& row, auto shape, ptrdiff_t i, const T* const*) {
        const DoubleWord<T> log = row.total();
        T parts[3][WIDTH<T>];
        store(parts[0], row.max());
        store(parts[1], log.high);
        store(parts[2], log.low);
        for (int k = 0; k < 3; ++k)
            for (int lane = 0; lane < shape.lanes; ++lane)
                call.numbers<S>(k + 1).at(i + lane, 0) = stored<S>(parts[k][lane]);
    };
    each_row<LogTotal, S, 1, 0>(call, add_up, total, NoOp{});
}

// entropy and, with room for the gradient, entropy_grad.
template <class S, bool GRAD>
void entropy(const Call& call) {
    typedef Computed<S> T;
    const double one = 1;
    const Operand<const double> unit{(char*)&one, 0, 0};
    const Operand<S> value = call.numbers<S>(1);
    if (call.length() == 0) {
        for (ptrdiff_t i = 0; i < call.rows(); ++i) value.at(i, 0) = stored<S>(0);
        return;
    }
    const auto add_up = [](auto& row, auto shape, const T* const* in, T* e) { row.add_up(shape, in[0], e); };
    const auto total = [&](auto& row, auto shape, ptrdiff_t i, const T* const*) {
        store_result(shape, row.total(), unit, value, i);
    };
    const auto write = [](const auto& row, auto shape, const T* const* in, const T* e, T* const* out) {
        if constexpr (GRAD) row.write(shape, in[0], e, out[0]);
    };
    each_row<Entropy, S, 1, GRAD>(call, add_up, total, write);
}

}  // namespace
