// The errors of sparsemax and entmax and of their losses, as errors.cpp measures those of softmax.
//
// With s = α − 1 and u = s (max x − x)/T the reference is p = (σ − u)_+^(1/s) with the root σ of Σ p = 1. For s ≤ 1 the
// sum is convex in σ: Newton's steps from σ = 1 fall monotonically, first in float64, then, from any side, with pairs.
#include <math.h>
#include <stdint.h>

#include <vector>

#include "errors.h"

namespace {

const Number HALF = 0.5;

Number square_root(Number a) {
    if (!(a.high > 0)) return 0;
    const Number root = sqrt(a.high);
    return (root + a / root) * HALF;
}

struct SparseRow {
    double alpha, s, largest = -INFINITY;
    std::vector<Number> gap, w, p;  // (max x − x)/T, (σ − u)_+, S p
    Number sigma = 1, excess;
    double slopes = 0, entropy = 0;  // Σ p^(2−α), −Σ p log p

    SparseRow(const double* x, const uint8_t* mask, int64_t n, double alpha, double temperature)
        : alpha(alpha), s(alpha - 1), gap(n, INFINITY), w(n), p(n) {
        for (int64_t i = 0; i < n; ++i)
            if (!mask || mask[i]) largest = fmax(largest, x[i]);
        if (!is_measured()) return;
        std::vector<Number> u;
        std::vector<int64_t> place;
        for (int64_t i = 0; i < n; ++i) {
            if ((mask && !mask[i]) || !(x[i] > -INFINITY)) continue;
            gap[i] = quarter_of_difference(largest, x[i]) / Number(temperature * 0.25);
            if (gap[i].high * s > 1) continue;
            u.push_back(gap[i] * (Number(alpha) - 1));
            place.push_back(i);
        }
        for (int step = 0; step < 200; ++step) {
            double sum = -1, slope = 0, root = sigma.high;
            for (const Number& v : u) {
                const double above = root - v.high;
                if (!(above > 0)) continue;
                const double power = pow(above, 1 / s);
                sum += power, slope += power / above / s;
            }
            sigma = root - sum / slope;
            if (!(sum > 0x1p-40)) break;
        }
        for (int step = 0; step < 4; ++step) {
            Number sum = -1;
            double slope = 0;
            for (const Number& v : u) {
                const Number above = sigma - v, power = raised(above);
                if (!(above.high > 0)) continue;
                sum += scaled(power, ONE_OVER_S);
                slope += power.high * ONE_OVER_S / above.high / s;
            }
            sigma = sigma - sum / slope;
        }
        for (size_t j = 0; j < u.size(); ++j) {
            const Number above = sigma - u[j];
            if (!(above.high > 0)) continue;
            w[place[j]] = above;
            p[place[j]] = raised(above);
            const double rounded = p[place[j]].high * ONE_OVER_S;
            slopes += share_of(rounded);
            if (rounded > 0) entropy -= rounded * ::log(rounded);
        }
    }
    bool is_measured() const { return largest < INFINITY && largest > -INFINITY; }

    // S w^(1/s).
    Number raised(Number above) const {
        if (!(above.high > 0)) return 0;
        if (alpha == 2) return scaled(above, S);
        if (alpha == 1.5) return scaled(above, S) * above;
        return scaled_exp(log(above) / (Number(alpha) - 1));
    }
    double share_of(double p) const { return p > 0 ? pow(p, 2 - alpha) : 0; }

    // What the computation in the wide type may add to half an ulp: as docs/accuracy.md has it, and of this reference.
    double room(int64_t i) const {
        const double own = p[i].high * ONE_OVER_S;
        if (alpha == 2) return 0x1p-99;
        if (alpha == 1.5) return 0x1p-98 * sqrt(own) + 0x1p-190;
        // What a threshold that is moved by 2^-51 s (1 + H)/Σ p^(2−α) changes.
        const double shift = 0x1p-51 * s * (1 + entropy) / slopes, above = w[i].high;
        if (!(above > 0)) return pow(shift, 1 / s);
        const double moved = pow(above, 1 / s) * ::expm1(::log1p(shift / above) / s);
        return own > 0 ? 0x1p-52 * (2 - 2 * ::log(own)) * own + moved : moved;
    }
};

// The error beyond `room`, which is absolute, in ulp of `size`; both times S.
void add_beyond(Error& error, Format format, int64_t i, double got, Number exact, Number size, double room) {
    const Number off = scaled(Number(got), S) - exact;
    const double most = room * S;
    if (absolute(off).high <= most)
        exact = scaled(Number(got), S);
    else
        exact = exact + Number(off.high > 0 ? most : -most);
    error.add(format, i, got, exact, size, SCALE);
}

// The Bregman divergence (y^α + s p^α − α p^s y)/(α s) for α = 2 and 1.5, of w = p^s and r = y^s.
Number divergence(double alpha, Number w, Number r) {
    const Number square = (r - w) * (r - w);
    return alpha == 2 ? square * HALF : square * (r + r + w) / Number(1.5);
}

}  // namespace

extern "C" {

void errors_of_sparse(double alpha, int digits, int lowest, int64_t rows, int64_t n, const double* x,
                      const uint8_t* mask, const double* temperature, const double* got, Error* errors) {
    const Format format{digits, lowest};
    each_row(rows, errors, [&](int64_t r, Error& error) {
        const SparseRow row(x + r * n, mask ? mask + r * n : nullptr, n, alpha, temperature[r]);
        if (!row.is_measured()) return;
        for (int64_t i = 0; i < n; ++i) add_beyond(error, format, i, got[r * n + i], row.p[i], row.p[i], row.room(i));
    });
}

// For α = 2 and 1.5. A loss of labels counts in ulp of itself, in 1 + α of them where p is 0 at the label; one of
// targets in 1 + α ulp of its terms. A gradient counts in ulp of itself, or of its terms.
void errors_of_sparse_loss(double alpha, int digits, int lowest, int64_t rows, int64_t n, const double* x,
                           const int64_t* labels, const double* targets, const double* loss, const double* grad,
                           Error* loss_errors, Error* grad_errors) {
    const Format format{digits, lowest};
    const Number s = alpha - 1;
    each_row(rows, loss_errors, [&](int64_t r, Error& error) {
        grad_errors[r] = Error();
        const SparseRow row(x + r * n, nullptr, n, alpha, 1);
        if (!row.is_measured()) return;
        const bool is_square = alpha == 2;
        Number value, size, all, others, slopes;
        for (int64_t i = 0; i < n; ++i) {
            const Number y = targets ? Number(targets[r * n + i]) : Number(i == labels[r] ? 1.0 : 0.0);
            const Number p = scaled(row.p[i], ONE_OVER_S), w = row.w[i], root = is_square ? y : square_root(y);
            all += y;
            if (p.high > 0) slopes += is_square ? Number(1) : w;
            if (labels && i != labels[r]) others += row.p[i];
            if (p.high > 0 && !(labels && i == labels[r])) {
                value += divergence(alpha, w, root);
                size += w * absolute(p - y);
            } else if (y.high > 0 && !(p.high > 0)) {
                value += y * (row.gap[i] - row.sigma / s) + divergence(alpha, 0, root);
                size += y * (row.gap[i] + row.sigma / s);
            }
        }
        if (labels && row.p[labels[r]].high > 0) {  // 1 − p^s, without cancellation
            const Number w = row.w[labels[r]], rest = scaled(others, ONE_OVER_S);
            const Number left = is_square ? rest : rest / (Number(1) + w), square = left * left;
            value += is_square ? square * HALF : square * (w + 2) / Number(1.5);
        }
        const bool is_missed = labels && !(row.p[labels[r]].high > 0);
        const Number unit = scaled(targets ? value + size : value, S);
        add_beyond(error, format, 0, loss[r], scaled(value, S), unit, targets ? n * 0x1p-196 : 0);  // of the reference
        if (targets || is_missed) error.normal /= 1 + alpha, error.subnormal /= 1 + alpha;
        for (int64_t i = 0; i < n; ++i) {
            const double got = grad[r * n + i];
            if (labels) {
                const Number exact = i == labels[r] ? -others : row.p[i];
                add_beyond(grad_errors[r], format, i, got, exact, exact, i == labels[r] ? n * 0x1p-99 : row.room(i));
                continue;
            }
            const Number y = scaled(Number(targets[r * n + i]), S);
            const Number q = !(row.p[i].high > 0) ? Number(0) : is_square ? Number(1) : row.w[i];
            const Number third = scaled((all - 1) * q / slopes, S);
            add_beyond(grad_errors[r], format, i, got, row.p[i] - y + third, row.p[i] + y + absolute(third),
                       row.room(i));
        }
    });
}

}  // extern "C"
