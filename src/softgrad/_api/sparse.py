"""sparsemax and entmax: maps to the simplex whose small entries are exactly 0.

Throughout, s = α − 1, and Σ runs over one slice: the entries along `axis`.
"""

from __future__ import annotations

from typing import Any

from softgrad._api.softmax import softmax
from softgrad._dispatch import dispatched
from softgrad._formulas.namespace import Array
from softgrad._numpy import sparse as native
from softgrad._validation.arrays import as_alpha, as_temperature
from softgrad._validation.axis import Axis
from softgrad._validation.logits import Logits

__all__ = ["entmax", "sparsemax"]


@dispatched("(n)->(n)", kernel=True, whole=True)
def sparsemax(
    x: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    dtype: Any = None,
    out: Array | None = None,
    workers: int | None = None,
) -> Array:
    """Sparsemax: the probabilities nearest to the logits, many of them exactly 0.

    .. math:: p = \\operatorname{argmin}_{p ≥ 0, Σ p = 1} ‖p - x/T‖^2, \\quad p_i = [x_i/T - τ]_+

    Parameters
    ----------
    x : array_like, real
        Logits of any shape; computed in and returned as `softmax` does with its `x`.
    axis, temperature, where, dtype, out, workers
        As in `softmax`.

    Returns
    -------
    ndarray
        p, of the shape of `x`; its support is that of exact arithmetic. A slice with NaN or +inf, or with nothing but
        −inf, is NaN; a slice that is masked entirely is 0.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    See Also
    --------
    entmax : the family between softmax and sparsemax, and beyond.
    softmax : the map without zeros.

    Notes
    -----
    Martins & Astudillo, "From softmax to sparsemax", ICML 2016. τ is found by Newton's method and known to twice the
    digits of the result, so that an entry is off by half a unit in its last place and at most 2⁻¹⁰⁰ (float64; 2⁻⁵² for
    narrower types).

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.sparsemax([1.0, 2.0, 2.5])
    array([0.  , 0.25, 0.75])
    >>> sg.sparsemax([0.0, 1.0, 3.0])
    array([0., 0., 1.])

    A higher temperature keeps more entries; what is masked is exactly 0:

    >>> sg.sparsemax([1.0, 2.0, 2.5], temperature=4.0)
    array([0.125, 0.375, 0.5  ])
    >>> sg.sparsemax([1.0, 2.0, 2.5], where=[True, True, False])
    array([0., 1., 0.])
    """
    rows = Logits.of(x, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    return rows.solve(native.sparsemax, out, rows.mask, temperature, workers=workers)


@dispatched("(n)->(n)", whole=True)
def entmax(
    x: Any,
    /,
    alpha: Any = 1.5,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    dtype: Any = None,
    out: Array | None = None,
    workers: int | None = None,
) -> Array:
    """α-entmax: probabilities between softmax (α = 1), sparsemax (α = 2) and the argmax (α = ∞).

    .. math:: p_i = [(α-1) x_i/T - τ]_+^{1/(α-1)}, \\quad Σ p = 1

    It maximizes ⟨p, x/T⟩ + H(p), where H is `tsallis_entropy`.

    Parameters
    ----------
    x : array_like, real
        Logits of any shape; computed in and returned as `softmax` does with its `x`.
    alpha : float or array_like, default: 1.5
        α ≥ 1: one number, or one per slice as a `temperature`. At 1 the bits are those of `softmax`, at 2 those of
        `sparsemax`; at infinity the entries that attain the maximum share the probability.
    axis, temperature, where, dtype, out, workers
        As in `softmax`.

    Returns
    -------
    ndarray
        p, of the shape of `x`. A slice with NaN or +inf, or with nothing but −inf, is NaN; a slice that is masked
        entirely is 0.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`; ValueError also if `alpha` is below 1 or NaN, or does not broadcast.

    See Also
    --------
    entmax_vjp, entmax_alpha_vjp : the derivatives, also with respect to α.
    entmax_loss : the loss that goes with it.

    Notes
    -----
    Peters, Niculae & Martins, "Sparse sequence-to-sequence models", ACL 2019. The errors at α = 1.5 are those of
    `sparsemax`, with 2⁻⁹⁹ √p instead of 2⁻¹⁰⁰. At other α an entry of float64 is off by 2 + 2 \\|log p\\| units in its
    last place and by what the rounding of Σ p costs: 2⁻⁵¹ (1 − Σ p log p) p^(2−α)/Σ p^(2−α). Narrower types are
    computed in float64.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.entmax([1.0, 2.0, 2.5])
    array([0.00479501, 0.324041  , 0.67116399])
    >>> sg.entmax([[1.0, 2.0, 2.5]] * 3, [1.0, 2.0, float("inf")])
    array([[0.12195165, 0.33149896, 0.54654939],
           [0.        , 0.25      , 0.75      ],
           [0.        , 0.        , 1.        ]])
    >>> sg.entmax([[1.0, 9.0], [2.0, 0.0]], axis=0, temperature=2.0)
    array([[0.32600736, 1.        ],
           [0.67399264, 0.        ]])
    """
    rows = Logits.of(x, axis, where, dtype)
    alpha = as_alpha(alpha, rows.rows, rows.xp)
    if isinstance(alpha, float) and alpha in (1, 2):
        options = {"axis": axis, "temperature": temperature, "where": where, "dtype": dtype}
        special = softmax if alpha == 1 else sparsemax
        return special(x, out=out, workers=workers, **options)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    return rows.solve(native.entmax, out, alpha, rows.mask, temperature, workers=workers)
