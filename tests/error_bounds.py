"""The bounds that the tests hold softgrad to, in one place; docs/accuracy.md explains them."""

import mpmath as mp
import numpy as np

SOFTMAX = 2.0
LOG_SOFTMAX = 2.0
LOGSUMEXP = 1.0
"""In ulp of max(|result|, |max x|)."""
JACOBIAN = 5.0
JACOBIAN_OF_SUBNORMAL = 4.0
"""In spacings over T, at the largest p for each of the others: 1 of the subnormal p, 2 of the other factor, which is
right to 2 ulp, and half a spacing for the quotient and for the product."""
VJP = 4.0
"""In ulp of p_i(|g_i−g_k| + Σ p_j|g_j−g_k|), k the largest entry of p."""
HALF = 0.55
"""float16 and bfloat16: computed wider, rounded once."""
SUBNORMAL = 1.0
"""In subnormal spacings, where a value is subnormal. Derivatives are made of probabilities that are themselves rounded
to a spacing there, and of products that may each underflow: they keep their bounds, counted in spacings."""
GENERIC_SOFTMAX = 3.0
"""float64 without the kernels: NumPy's own exp may take an ulp of the two. Every other bound holds there too."""

# These are held to the VJP's bound, in ulp of the sum of the absolute values of the terms
# that remain after the rewriting for saturated rows (see the functions of the same names in reference.py).
LOG_SOFTMAX_VJP = 4.0
LOG_SOFTMAX_JVP = 4.0
SOFTMAX_SECOND = 8.0
"""Twice the VJP's: a product of two centred directions."""

STATE = 2.0
"""In ulp of the result of a state; for logsumexp and mean of max(|result|, |max x|)."""

LOSS = 2.0
"""In ulp of the value, or of its largest term."""
LOSS_GRADIENT = 4.0
"""In ulp of the terms, as the docstrings write them."""
LOSS_HESSIAN = 4.0
"""In ulp of the value, or with options of its terms."""
GENERIC_LOSS_OPTIONS = 5.0
"""float64 without the kernels, with every option at once: NumPy's exp and log1p take an ulp each of the room."""

SCORES = (2.0, 4.0)
"""Scores, and the loss with its slope and variance: in ulp of the dtype of the logits, of the value, or of its terms
where they have two signs."""

SPARSE_VJP = 8.0
"""In ulp of q_i(|g_i−g_k| + Σ q_j|g_j−g_k|/Σ q), q = p^(2−α), k its largest entry."""
ALPHA_VJP = 16.0
"""In ulp of the terms of ∂p/∂α, with |g − g_k| instead of g."""
SPARSE_JACOBIAN = 8.0
"""In ulp of the entry, of the p that was computed."""
SPARSE_LOSS = 16.0
"""In ulp of the value, or of its terms for soft targets; times 1 + α where p is 0 at a target."""
SPARSE_GRADIENT = 2.0
"""In ulp of the value, for a label."""
TSALLIS = 8.0


def softmax(level, dtype):
    """The bound for softmax itself."""
    return GENERIC_SOFTMAX if level == "generic" and dtype.itemsize >= 8 else SOFTMAX


def scaled(level, dtype):
    """The factor of the bounds for float64 without the kernels: exp, log1p and expm1 of NumPy take an ulp each."""
    return 1.5 if level == "generic" and dtype.itemsize >= 8 else 1.0


def sparse_ulp(dtype):
    """The bound of an entry of entmax in ulp, beside what `sparse_map` allows: float32 is rounded from float64."""
    return 0.5 + (2.0**-28 if dtype.itemsize == 4 else 2.0**-40)


def sparse_map(dtype, alpha, p, share, entropy):
    """The bound of an entry p of entmax beside half an ulp, absolute: what the computation in the wide type leaves.

    `share` is that of p^(2−α) in its sum. For α = 2 and 1.5 the threshold is known to 2^-100 (float64; see
    `_formulas/sparse.py`); for others exp and log cost units of p, and the rounding of Σ p moves the threshold.
    """
    digits = 63 if dtype == np.longdouble else 52
    if alpha == 2:
        return mp.mpf(2) ** (-2 * digits + 4)
    if alpha == 1.5:
        return 2 * mp.sqrt(p) * mp.mpf(2) ** (-2 * digits + 4) + mp.mpf(2) ** (-4 * digits + 8)
    if p == 0:
        return mp.mpf(2) ** -digits * 2 ** (1 / (mp.mpf(alpha) - 1) - 1)
    return mp.mpf(2) ** -digits * ((2 - 2 * mp.log(p)) * p + 2 * share * (1 + entropy))
