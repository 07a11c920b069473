"""The table of derivatives: for every function that has one, the product of its Jacobian with a vector, both ways.

Every rule is written with softgrad's own functions, so that it is exact where they are, keeps to their edges, and has
itself a derivative wherever it is called on arrays that track one. A rule sees rows along the last axis: in formulas p
is softmax(x), y is log_softmax(x), and Σ runs over a row.
"""

from __future__ import annotations

from collections.abc import Callable

from softgrad._formulas.namespace import Array, namespace
from softgrad._libraries.derivatives import information, losses, products, sampling, softmax, sparse
from softgrad._libraries.derivatives.rules import Rule
from softgrad._validation.arrays import promoted


def _scaled(grad: Array, factor: Array) -> Array:
    """The last step of a layer's backward pass."""
    xp = namespace(grad)
    wide = promoted(xp, grad.dtype, xp.float32)
    product = xp.astype(grad, wide, copy=False) * xp.astype(factor, wide, copy=False)[..., None]
    return xp.astype(product, grad.dtype, copy=False)


RULES: dict[str, Rule] = {**softmax.RULES, **losses.RULES, **information.RULES, **sparse.RULES}

COMPOSED: dict[str, Callable[..., Array]] = {
    "selective_log_softmax": information.selected,
    "gumbel_softmax_from": sampling.relaxed,
    "sample_log_prob": sampling.log_prob,
    "_centred": products.centred_formula,
    "_scaled": _scaled,
    **sparse.COMPOSED,
}
"""Functions whose derivative follows from those of the functions that they are composed of."""
