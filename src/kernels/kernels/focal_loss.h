// The focal loss (1 − p)^γ ℓ at the label, ℓ = −log p, and its derivative by ℓ, (1 − p)^γ (1 + γ p ℓ/(1 − p)).
//
// The power multiplies the relative error of 1 − p by γ, so that is in two parts: at the maximum the sum of the others
// over all, elsewhere 1 − e^−ℓ, where p is at most 1/2. Both are off by σ u or less, u = 2^-24 or 2^-53; the power of
// the C library, ℓ and the roundings between them add less than 2 u, so that the loss is right to 2 + γ ulp.
#pragma once

#include <math.h>

#include "kernels/log_softmax_vjp.h"
#include "kernels/normalized.h"
#include "rows/label.h"
#include "rows/numbers.h"

namespace {

template <class S>
void focal_loss(const Call& call) {
    typedef Computed<S> T;
    const auto labels = call.numbers<const int64_t>(1);
    const auto gammas = call.numbers<const double>(2);
    const auto values = call.numbers<double>(3), slopes = call.numbers<double>(4);
    RowLoop<S, 1, 0>(call).run([&](auto shape, ptrdiff_t i, const T* const* in, T* const*) {
        int64_t label[WIDTH<T>];
        load_each(shape, labels, i, label);
        const Vec<T> x_label = Label<decltype(shape)>(shape, label).take(in[0]), zero = splat<T>(0), one = splat<T>(1);
        Normalized<T> row;
        row.add_up_rounded(shape, in[0], nullptr);
        row.total();
        const DoubleWord<T> loss = plus<T>(gap_below<T>(row.max, x_label), row.log());
        const Probability<T> probability;
        const DoubleWord<T> p = probability.in_two_parts(-loss.high), others = product<T>(row.others, row.inverse);
        const DoubleWord<T> elsewhere = minus<T>({one, zero}, {p.high, p.low - p.high * loss.low});
        const Bits<T> saturated = row.saturated(x_label);
        T parts[6][WIDTH<T>];
        store(parts[0], loss.high);
        store(parts[1], loss.low);
        store(parts[2], saturated ? others.high : elsewhere.high);
        store(parts[3], saturated ? others.low : elsewhere.low);
        store(parts[4], p.high);
        store(parts[5], p.low - p.high * loss.low);
        for (int lane = 0; lane < shape.lanes; ++lane) {
            const double gamma = gammas.at(i + lane, 0), ell = parts[0][lane], low = parts[1][lane];
            const double complement = parts[2][lane], lost = parts[3][lane];
            const double likelihood = (double)parts[4][lane] + parts[5][lane];
            double &value = values.at(i + lane, 0), &slope = slopes.at(i + lane, 0);
            if (gamma == 0 || ell != ell) {
                value = ell + low;
                slope = ell == ell ? 1 : ell;
                continue;
            }
            const bool is_certain = complement == 0;
            const double power = pow(complement, gamma),
                         factor = power + (is_certain ? 0 : power * (gamma * (lost / complement)));
            value = factor * ell + factor * low;
            // ℓ/(1 − p) tends to 1 where both vanish, and p ℓ to 0 where ℓ does not end.
            const double rate = is_certain ? 1 : ell < INFINITY ? likelihood * ((ell + low) / (complement + lost)) : 0;
            slope = factor * (1 + gamma * rate);
        }
    });
}

}  // namespace
