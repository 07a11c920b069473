// The errors of results, in ulp, against arithmetic of about 70 bits (double_word.h): a shared library for
// tests/reference.py, which hands over rows as float64, whatever format the results were rounded to.
//
// Every function takes `rows` rows of `n` entries one after the other and gives two errors for each row: the largest
// where the size that the error is counted in is a normal number of the format, and the largest in subnormal spacings
// elsewhere; each with the entry where it was found. Infinite or NaN results count as errors of infinite size. Rows
// whose largest entry is not finite are for the tests of edges.
#include <float.h>
#include <math.h>
#include <stdint.h>

#include <vector>

#include "errors.h"

namespace {

// What softmax is of a row of logits; entries where a mask is not set, or −inf, have the weight 0.
struct Row {
    int64_t n, k = -1;
    std::vector<Number> d, w;  // (x − x_k)/T and S e^d
    std::vector<bool> valid;   // read, and not −inf
    Number rest, total, log;   // S Σ_{j≠k} e^d, S Σ e^d, log Σ e^d
    double largest = -INFINITY, temperature;

    Row(const double* x, const uint8_t* mask, int64_t n, double temperature)
        : n(n), d(n), w(n), valid(n), temperature(temperature) {
        for (int64_t i = 0; i < n; ++i) {
            valid[i] = (!mask || mask[i]) && x[i] > -INFINITY;
            if (valid[i] && (k < 0 || x[i] > largest)) {
                k = i;
                largest = x[i];
            }
        }
        for (int64_t i = 0; i < n; ++i) {
            d[i] = -INFINITY;
            if (!valid[i]) continue;
            d[i] = scaled(quarter_of_difference(x[i], largest) / Number(temperature * 0.25), 1.0);
            w[i] = scaled_exp(d[i]);
            if (i != k) rest += w[i];
        }
        total = rest + Number(S);
        log = scaled_log1p(rest);
    }
    bool is_measured() const { return k >= 0 && largest < INFINITY; }

    // log(1 + r/S).
    static Number scaled_log1p(Number r) { return log1p(scaled(r, ONE_OVER_S)); }

    Number probability(int64_t i) const { return w[i] / scaled(total, ONE_OVER_S); }                  // times S
    Number others(int64_t i) const { return i == k ? scaled_others() : Number(S) - probability(i); }  // 1 − p, times S
    Number scaled_others() const { return rest / scaled(total, ONE_OVER_S); }
    // −log p, times S where it is small.
    Number loss(int64_t i) const { return log - d[i]; }
};

// −log p_i, with all digits where p_i is nearly 1: times S.
Number scaled_loss(const Row& row, int64_t i) {
    if (i != row.k || row.rest.high > 0x1p300) return scaled(row.loss(i), S);
    return row.rest;  // log1p(r) is r to 10^-60
}
void add_log(Error& error, Format format, int64_t i, double got, const Row& row, bool negative) {
    const bool is_large = fabs(row.d[i].high) > 0x1p300;
    Number exact = is_large ? row.loss(i) : scaled_loss(row, i);
    if (negative) exact = -exact;
    error.add(format, i, got, exact, exact, is_large ? 0 : SCALE);
}

}  // namespace

extern "C" {

// The exponential, expm1, log and log1p of the reference themselves, for a test of it.
void reference_functions(int which, int64_t count, const double* high, const double* low, double* result) {
    for (int64_t i = 0; i < count; ++i) {
        const Number x(high[i], low[i]);
        const Number y = which == 0 ? scaled_exp(x) : which == 1 ? expm1(x) : which == 2 ? log(x) : log1p(x);
        result[2 * i] = y.high;
        result[2 * i + 1] = y.low;
    }
}

void errors_of_softmax(int digits, int lowest, int64_t rows, int64_t n, const double* x, const uint8_t* mask,
                       const double* temperature, const double* got, Error* errors) {
    const Format format{digits, lowest};
    each_row(rows, errors, [&](int64_t r, Error& error) {
        const Row row(x + r * n, mask ? mask + r * n : nullptr, n, temperature[r]);
        if (!row.is_measured()) return;
        for (int64_t i = 0; i < n; ++i) error.add(format, i, got[r * n + i], row.probability(i));
    });
}

void errors_of_log_softmax(int digits, int lowest, int64_t rows, int64_t n, const double* x, const uint8_t* mask,
                           const double* temperature, const double* got, Error* errors) {
    const Format format{digits, lowest};
    const double most = digits == 53 ? DBL_MAX : INFINITY;
    each_row(rows, errors, [&](int64_t r, Error& error) {
        const Row row(x + r * n, mask ? mask + r * n : nullptr, n, temperature[r]);
        if (!row.is_measured()) return;
        for (int64_t i = 0; i < n; ++i) {
            const double y = got[r * n + i];
            if (!row.valid[i] || fabs(row.d[i].high) > most || row.d[i].high != row.d[i].high) {
                if (y != -INFINITY && !(row.valid[i] && y < -most / 2)) error.add(format, i, NAN, 1);
            } else if (y != -INFINITY || digits == 53) {
                add_log(error, format, i, y, row, true);
            } else if (-row.d[i].high < 0x1.ffffffp127) {  // float32: no overflow before its largest number
                error.add(format, i, NAN, 1);
            }
        }
    });
}

// In ulp of max(|result|, |max x|).
void errors_of_logsumexp(int digits, int lowest, int64_t rows, int64_t n, const double* x, const uint8_t* mask,
                         const double* temperature, const double* got, Error* errors) {
    const Format format{digits, lowest};
    each_row(rows, errors, [&](int64_t r, Error& error) {
        const Row row(x + r * n, mask ? mask + r * n : nullptr, n, temperature[r]);
        if (!row.is_measured()) return;
        const Number top = Number(row.largest) / Number(temperature[r]), value = top + row.log;
        if (top.high == 0)
            error.add(format, 0, got[r], scaled_loss(row, row.k), scaled_loss(row, row.k), SCALE);
        else
            add_unscaled(error, format, 0, got[r], value, larger(absolute(value), absolute(top)));
    });
}

// log Σ b e^x for a positive sum, in ulp of max(|result|, |max x|, Σ|b e^x|/Σ b e^x).
void errors_of_weighted_logsumexp(int digits, int lowest, int64_t rows, int64_t n, const double* x, const double* b,
                                  const double* got, Error* errors) {
    const Format format{digits, lowest};
    std::vector<uint8_t> read(n);
    each_row(rows, errors, [&](int64_t r, Error& error) {
        const double* const factor = b + r * n;
        for (int64_t i = 0; i < n; ++i) read[i] = factor[i] != 0;
        const Row row(x + r * n, read.data(), n, 1);
        if (!row.is_measured()) return;
        Number sum, size;
        for (int64_t i = 0; i < n; ++i) {
            if (!row.valid[i]) continue;
            const Number term = Number(factor[i]) * row.w[i];
            sum += term;
            size += absolute(term);
        }
        if (!(sum.high > size.high * 0x1p-10)) return;
        const Number value = Number(row.largest) + log(scaled(sum, ONE_OVER_S));
        const Number scale = larger(larger(absolute(value), absolute(Number(row.largest))), size / sum);
        add_unscaled(error, format, 0, got[r], value, scale);
    });
}

// (diag(p) − p pᵀ)/T. A subnormal p is itself right to a spacing only: such entries count in spacings over T, which T <
// 1 enlarges, and the diagonal entry at the maximum in as many for each of the others, which it sums.
void errors_of_jacobian(int digits, int lowest, int64_t rows, int64_t n, const double* x, const uint8_t* mask,
                        const double* temperature, const double* got, Error* errors) {
    const Format format{digits, lowest};
    each_row(rows, errors, [&](int64_t r, Error& error) {
        const Row row(x + r * n, mask ? mask + r * n : nullptr, n, temperature[r]);
        if (!row.is_measured()) return;
        const Number over_t = Number(1) / Number(temperature[r]);
        for (int64_t i = 0; i < n; ++i) {
            const Number p = row.probability(i) * over_t;
            for (int64_t j = 0; j < n; ++j) {
                const Number factor = scaled(i == j ? row.others(i) : -row.probability(j), ONE_OVER_S),
                             exact = p * factor;
                const double entry = got[(r * n + i) * n + j], tiny = ldexp(1.0, lowest);
                // On the diagonal at the maximum all others add up.
                const bool is_top = i == j && i == row.k;
                const double other = is_top ? row.others(i).high : row.probability(j).high;
                const double least = fmin(row.probability(i).high, other) * ONE_OVER_S / (is_top ? n : 1);
                if (least < tiny) {
                    const double spacings = fmax((is_top ? (double)n : 1.0) / temperature[r], 1.0);
                    const double unit = ldexp(spacings, lowest - digits + 1 + SCALE);
                    const double error_in_units = absolute(Number(entry * S) - exact).high / unit;
                    if (!(error_in_units <= error.subnormal)) {
                        error.subnormal = error_in_units == error_in_units ? error_in_units : INFINITY;
                        error.subnormal_at = i * n + j;
                    }
                } else {
                    error.add(format, i * n + j, entry, exact);
                }
            }
        }
    });
}

// The derivatives from an output: which = 0: p ∘ (v − Σ p v) of p; 1: v − Σ e^y v of y; 2: v − e^y Σ v of y; 3: the
// second derivative p ∘ ((u−ū)(v−v̄) − Cov(u, v)) of p. In ulp of the sum of the absolute values of the terms, relative
// to the first largest p.
void errors_of_product(int which, int digits, int lowest, int64_t rows, int64_t n, const double* output,
                       const double* u, const double* v, const double* got, Error* errors) {
    const Format format{digits, lowest};
    std::vector<Number> p(n), a(n), b(n), size_a(n), size_b(n);
    const auto centre = [&](const double* from, const double* g, int64_t k, std::vector<Number>& centred,
                            std::vector<Number>& size) {
        Number mean, spread;  // times S
        for (int64_t i = 0; i < n; ++i) {
            const bool is_read = which == 1 ? from[i] > -INFINITY : p[i].high != 0;
            centred[i] = is_read ? two_sum(g[i], -g[k]) : Number(0);
            mean += p[i] * centred[i];
            spread += p[i] * absolute(centred[i]);
        }
        for (int64_t i = 0; i < n; ++i) {
            // Where an entry has the direction of the k-th, nothing but the mean is left: small means stay times S.
            size[i] = scaled(absolute(centred[i]), S) + spread;
            centred[i] = scaled(centred[i], S) - mean;
            if (which == 3) {
                size[i] = scaled(size[i], ONE_OVER_S);
                centred[i] = scaled(centred[i], ONE_OVER_S);
            }
        }
    };
    each_row(rows, errors, [&](int64_t r, Error& error) {
        const double* const from = output + r * n;
        int64_t k = 0;
        for (int64_t i = 0; i < n; ++i) {
            p[i] = which == 0 || which == 3 ? Number(from[i] * S) : scaled_exp(from[i]);
            if (from[i] > from[k]) k = i;
        }
        if (which == 2) {
            Number total, size;
            for (int64_t i = 0; i < n; ++i) {
                const double g = p[i].high == 0 && from[i] == -INFINITY ? 0 : v[r * n + i];
                if (i != k) total += g;
                if (i != k) size += fabs(g);
            }
            const double top = v[r * n + k];
            for (int64_t i = 0; i < n; ++i) {
                const Number own = scaled(p[i], ONE_OVER_S);
                const double g = from[i] == -INFINITY ? 0 : v[r * n + i];
                if (from[i] == -INFINITY) continue;
                if (i == k) {
                    const Number others = -expm1(from[i]);
                    const Number value = others * Number(g) - own * total;
                    add_unscaled(error, format, i, got[r * n + i], value, absolute(others * Number(g)) + own * size);
                } else {
                    const Number value = Number(g) - own * (total + Number(top));
                    add_unscaled(error, format, i, got[r * n + i], value,
                                 Number(fabs(g)) + own * (size + Number(fabs(top))));
                }
            }
            return;
        }
        centre(from, v + r * n, k, a, size_a);
        if (which == 3) {
            centre(from, u + r * n, k, b, size_b);
            Number covariance, spread;
            for (int64_t i = 0; i < n; ++i) {
                covariance += scaled(p[i] * (a[i] * b[i]), ONE_OVER_S);
                spread += scaled(p[i] * (size_a[i] * size_b[i]), ONE_OVER_S);
            }
            for (int64_t i = 0; i < n; ++i)
                error.add(format, i, got[r * n + i], p[i] * (a[i] * b[i] - covariance),
                          p[i] * (size_a[i] * size_b[i] + spread), SCALE);
            return;
        }
        for (int64_t i = 0; i < n; ++i) {
            const Number own = scaled(p[i], ONE_OVER_S);
            if (which == 0)
                error.add(format, i, got[r * n + i], own * a[i], own * size_a[i], SCALE);
            else if (from[i] > -INFINITY)
                error.add(format, i, got[r * n + i], a[i], size_a[i], SCALE);
        }
    });
}

// Cross-entropy of the targets t_i = s (ε/n w_i + (1 − ε) w_i [i = y]) + t0_i with the loss Σ t (lse − x) + s z lse²,
// its gradient and `factor` times its curvature; label −1: none, weight or targets null: 1 or none; results null: not
// measured. Losses count in ulp of themselves, gradients and curvatures of the sum of their terms. curvature_of_value:
// of itself.
void errors_of_cross_entropy(int digits, int lowest, int64_t rows, int64_t n, const double* x, const int64_t* labels,
                             const double* targets, const double* weight, double smoothing, const double* sample_weight,
                             double z_loss, double factor, const double* loss, const double* grad, const double* hess,
                             Error* loss_errors, Error* grad_errors, Error* hess_errors) {
    const Format format{digits, lowest};
    std::vector<Number> t(n);
    each_row(rows, loss_errors, [&](int64_t r, Error& error) {
        grad_errors[r] = hess_errors[r] = Error();
        const Row row(x + r * n, nullptr, n, 1);
        if (!row.is_measured()) return;
        const Number s = sample_weight ? sample_weight[r] : 1.0, keep = Number(1) - Number(smoothing);
        const Number share = Number(smoothing) / Number((double)n), z = s * Number(z_loss), twice_z = scaled(z, 2.0);
        Number all, at_top;
        for (int64_t i = 0; i < n; ++i) {
            const Number w = weight ? weight[i] : 1.0;
            t[i] = targets ? Number(targets[r * n + i]) * w * s : Number(0);
            if (labels) t[i] += (share + (i == labels[r] ? keep : Number(0))) * w * s;
            all += t[i];
        }
        const Number lse = Number(row.largest) + row.log;
        Number value;  // times S
        for (int64_t i = 0; i < n; ++i)
            if (t[i].high != 0) value += t[i] * scaled_loss(row, i);
        value += scaled(z * lse * lse, S);
        if (loss && value.high < INFINITY) error.add(format, 0, loss[r], value);
        const Number joint = twice_z * lse;
        for (int64_t i = 0; i < n; ++i) {
            const Number p = row.probability(i), others = row.others(i), rest = all - t[i];
            if (grad) {
                const Number pull = p * rest, push = t[i] * others, third = joint * p;
                const Number size = i == row.k ? pull + push : p * all + scaled(t[i], S);
                grad_errors[r].add(format, i, grad[r * n + i], pull - push + third, size + absolute(third), SCALE);
            }
            if (hess) {
                const Number variance = p * scaled(others, ONE_OVER_S);
                const Number square = twice_z * p * scaled(p, ONE_OVER_S), third = joint * variance;
                const Number f = factor;
                hess_errors[r].add(format, i, hess[r * n + i], f * (all * variance + third + square),
                                   f * (all * variance + absolute(third) + square), SCALE);
            }
        }
    });
}

// (1 − p)^γ ℓ at the label and its gradient.
void errors_of_focal(int digits, int lowest, int64_t rows, int64_t n, const double* x, const int64_t* labels,
                     double gamma, const double* loss, const double* grad, Error* loss_errors, Error* grad_errors) {
    const Format format{digits, lowest};
    each_row(rows, loss_errors, [&](int64_t r, Error& error) {
        grad_errors[r] = Error();
        const Row row(x + r * n, nullptr, n, 1);
        if (!row.is_measured()) return;
        const int64_t y = labels[r];
        const Number others = scaled(row.others(y), ONE_OVER_S), ell = scaled(scaled_loss(row, y), ONE_OVER_S);
        if (!(others.high > 0) || !row.valid[y]) return;
        const Number log_others = y == row.k ? log(others) : log1p(-scaled(row.probability(y), ONE_OVER_S));
        const Number power = scaled_exp(log_others * Number(gamma));
        error.add(format, 0, loss[r], power * ell);
        if (!grad) return;
        const Number p = scaled(row.probability(y), ONE_OVER_S);
        const Number slope = power * (Number(1) + Number(gamma) * p * ell / others);
        for (int64_t i = 0; i < n; ++i)
            grad_errors[r].add(format, i, grad[r * n + i],
                               slope * (i == y ? -others : scaled(row.probability(i), ONE_OVER_S)));
    });
}

// log Σ e^−a + Σ p a with a = max − x, in ulp of itself or of least_size, and p (a − Σ p a) in ulp of its terms.
void errors_of_entropy(int digits, int lowest, int64_t rows, int64_t n, const double* x, double least_size,
                       const double* value, const double* grad, Error* value_errors, Error* grad_errors) {
    const Format format{digits, lowest};
    each_row(rows, value_errors, [&](int64_t r, Error& error) {
        grad_errors[r] = Error();
        const Row row(x + r * n, nullptr, n, 1);
        if (!row.is_measured()) return;
        Number sum;  // times S
        for (int64_t i = 0; i < n; ++i)
            if (row.w[i].high != 0) sum += row.w[i] * -row.d[i];
        const Number mean = sum / row.total;
        const Number scaled_mean = sum / scaled(row.total, ONE_OVER_S);
        const Number entropy = scaled_loss(row, row.k) + scaled_mean;
        if (value) error.add(format, 0, value[r], entropy, larger(entropy, Number(least_size * S)), SCALE);
        for (int64_t i = 0; grad && i < n; ++i) {
            const Number p = row.probability(i), a = row.w[i].high != 0 ? -row.d[i] : Number(0);
            grad_errors[r].add(format, i, grad[r * n + i], p * (a - mean), p * (a + mean), SCALE);
        }
    });
}

// Σ p x in ulp of max(|result|, |max x|, least_size).
void errors_of_mean(int digits, int lowest, int64_t rows, int64_t n, const double* x, double least_size,
                    const double* got, Error* errors) {
    const Format format{digits, lowest};
    each_row(rows, errors, [&](int64_t r, Error& error) {
        const Row row(x + r * n, nullptr, n, 1);
        if (!row.is_measured()) return;
        Number sum;
        for (int64_t i = 0; i < n; ++i)
            if (row.w[i].high != 0) sum += row.w[i] * row.d[i];
        const Number value = Number(row.largest) + sum / row.total;
        const Number size = larger(absolute(value), absolute(Number(row.largest)));
        add_unscaled(error, format, 0, got[r], value, larger(size, Number(least_size)));
    });
}

// Σ p (log p − log q) with the gradients by the logits of p, p ∘ (d − Σ p d), and of q, q − p, d = a − b.
void errors_of_divergence(int digits, int lowest, int64_t rows, int64_t n, const double* a, const double* b,
                          const double* value, const double* grad_p, const double* grad_q, Error* value_errors,
                          Error* p_errors, Error* q_errors) {
    const Format format{digits, lowest};
    std::vector<Number> d(n);
    each_row(rows, value_errors, [&](int64_t r, Error& error) {
        p_errors[r] = q_errors[r] = Error();
        const Row p(a + r * n, nullptr, n, 1), q(b + r * n, nullptr, n, 1);
        if (!p.is_measured() || !q.is_measured()) return;
        const int64_t k = p.k;
        const double *const x = a + r * n, *const y = b + r * n;
        if (!q.valid[k]) return;
        bool alike = true;
        Number mean, spread, largest;
        for (int64_t i = 0; i < n; ++i) {
            if (p.valid[i] && !q.valid[i]) return;  // infinite
            d[i] = p.valid[i] ? two_sum(x[i], -y[i]) - two_sum(x[k], -y[k]) : Number(0);
            if (p.w[i].high == 0) continue;
            mean += p.w[i] * d[i];
            spread += p.w[i] * absolute(d[i]);
            largest = larger(largest, absolute(d[i]));
        }
        mean = mean / p.total;
        spread = spread / p.total;
        // log Σ e^(b − b_k) − log Σ e^(a − a_k) is log Σ p e^−d.
        Number offset;
        if (largest.high < 1) {
            for (int64_t i = 0; i < n; ++i)
                if (q.valid[i] && p.valid[i])
                    offset += p.w[i] * expm1(-d[i]);
                else if (q.valid[i])
                    largest = 100;
            offset = log1p(offset / p.total);
        }
        if (largest.high >= 1) offset = (q.log - q.d[k]) - p.log;
        Number loss, size;
        for (int64_t i = 0; i < n; ++i) {
            if (p.w[i].high == 0) {
                alike &= q.w[i].high == 0;
                continue;
            }
            const Number ratio = d[i] + offset;
            loss += p.w[i] * ratio;
            alike &= absolute(ratio).high <= 1 && q.w[i].high != 0;
        }
        for (int64_t i = 0; i < n; ++i) {
            if (p.w[i].high == 0) continue;
            size += alike ? p.w[i] * absolute(d[i] + offset)
                          : scaled(p.w[i] * (scaled_loss(p, i) + scaled_loss(q, i)), ONE_OVER_S);
        }
        const Number over = scaled(p.total, ONE_OVER_S);
        if (value) error.add(format, 0, value[r], loss / over, size / over, SCALE);
        // q − p of rows that nearly agree, without the cancellation.
        const bool is_close = alike && largest.high <= 0.125;
        for (int64_t i = 0; i < n; ++i) {
            const Number own = p.probability(i), other = q.probability(i);
            if (grad_p && p.valid[i])
                p_errors[r].add(format, i, grad_p[r * n + i], own * (d[i] - mean), own * (absolute(d[i]) + spread),
                                SCALE);
            if (!grad_q) continue;
            if (is_close) {
                q_errors[r].add(format, i, grad_q[r * n + i], own * expm1(-(d[i] + offset)),
                                own * (absolute(d[i]) + spread), SCALE);
                continue;
            }
            const bool from_others = i == p.k && i == q.k && p.others(i).high + q.others(i).high < S;
            const Number left = from_others ? p.others(i) : other, right = from_others ? q.others(i) : own;
            q_errors[r].add(format, i, grad_q[r * n + i], left - right, left + right, SCALE);
        }
    });
}

}  // extern "C"
