"""Draws from the distribution of logits, and relaxed draws that have a derivative."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from softgrad._api.softmax import log_softmax, logsumexp, softmax
from softgrad._dispatch import CHOICES, SLICE, dispatched, is_lazy, rows_of
from softgrad._formulas.namespace import Array, is_known, is_one, namespace, one_hot, per_entry, widest
from softgrad._formulas.precision import as_wide, silent, value_dtype
from softgrad._formulas.sampling import NOTHING, gumbel
from softgrad._numpy import kernels, threads
from softgrad._numpy import sampling as native
from softgrad._validation.arrays import as_real, as_temperature, holds, is_foreign
from softgrad._validation.axis import Axis, Rows
from softgrad._validation.labels import as_labels
from softgrad._validation.logits import Logits
from softgrad._validation.uniforms import Uniforms, as_generator

__all__ = ["gumbel_softmax", "sample", "sample_log_prob"]


def sample(
    logits: Any,
    /,
    size: int | None = None,
    *,
    rng: Any = None,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    replace: bool = True,
    workers: int | None = None,
) -> Array:
    """Draw entries with the probabilities of `softmax`.

    .. math:: P(i) = \\mathrm{softmax}(x/T)_i

    Parameters
    ----------
    logits : array_like, real
        Logits of any shape.
    size : int, optional
        How many entries to draw from each slice. Default: one, without an axis for it.
    rng : numpy.random.Generator or seed, optional
        Where the uniform numbers come from, as in `numpy.random.default_rng`; by default from the operating system.
    axis : int, tuple of ints or None, default: -1
        The axis or axes of a slice; None means all of them together.
    temperature : float or array_like, default: 1.0
        T ≥ 0: one number, or one per slice. At T = 0 one of the largest is drawn.
    where : array_like of bool, optional
        Entries that are valid, broadcast to the shape of `logits`. The others are never read and never drawn:
        `top_k_mask`, `top_p_mask` and `min_p_mask` make such masks.
    replace : bool, default: True
        Whether an entry may be drawn again. If not, each draw is from the entries that are left, with their
        probabilities divided by their sum.
    workers : int, optional
        Threads to use, as in `softmax`.

    Returns
    -------
    ndarray of int64, or scalar
        The index of each draw in its slice: of the shape of `logits` without `axis`, with one more last axis if `size`
        is given. −1 where there is nothing to draw: in a slice with NaN or +inf, or with nothing but −inf, in one that
        is masked entirely or empty, and without replacement after the last entry of positive probability.

    Raises
    ------
    TypeError
        If `size` is no integer, if `rng` is no generator or seed; otherwise as `softmax`.
    ValueError
        If `size` is negative, or without replacement larger than the slices; otherwise as `softmax`.
    numpy.exceptions.AxisError
        If `logits` has no such axis.

    See Also
    --------
    gumbel_softmax : relaxed draws, which have a derivative.
    sample_log_prob : the log-probabilities of draws.

    Notes
    -----
    With replacement a draw is the first entry whose cumulative sum of exponentials exceeds u times their sum, with sums
    of twice the precision wherever it matters: an entry has its probability to 2⁻⁵⁰, and one of probability 0 is never
    drawn.

    The uniform numbers are taken in the order of the slices, and draws are a function of them alone. So one call on
    many slices draws what many calls with the same Generator on a few slices draw, with any number of threads, in any
    layout, in any chunks of Dask and in any blocks of a file.

    Draws without replacement are the `size` largest of x_i/T + g_i, in descending order, with Gumbel variates g_i by
    one uniform number for each entry, as in `gumbel_softmax` (Plackett–Luce; Kool, van Hoof & Welling, "Stochastic
    beams and where to find them", ICML 2019, section 2). So the first draws are the same for any `size`.

    Under ``jax.jit`` the numbers are constants of the compiled function, so that `rng` must be a seed.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> logits = np.log([[0.7, 0.2, 0.1], [0.01, 0.09, 0.9]])
    >>> sg.sample(logits, 8, rng=0)
    array([[0, 0, 0, 0, 1, 2, 0, 1],
           [2, 2, 2, 0, 2, 1, 2, 2]])
    >>> sg.sample(logits, rng=0, where=sg.top_k_mask(logits, 1))
    array([0, 2])
    >>> sg.sample(np.zeros(5), 5, rng=1, replace=False)
    array([2, 4, 0, 3, 1])
    """
    numbers = _numbers(logits, rows_of(logits, axis), CHOICES, rng, size, replace)
    return sample_from(
        logits, numbers, size, axis=axis, temperature=temperature, where=where, replace=replace, workers=workers
    )


def sample_from(
    logits: Any, uniforms: Any, /, size: int | None = None, *, axis: Axis = -1, replace: bool = True, **options: Any
) -> Array:
    """The draws that uniform numbers stand for: each for one, or without replacement each for an entry."""
    if replace:
        drawn: Array = drawn_from(logits, uniforms, axis=axis, **options)
        return drawn
    shape = (*rows_of(logits, axis).batch_shape, 1 if size is None else size)
    if is_lazy(logits):
        import dask.array as da  # noqa: PLC0415

        ranks: Any = da.broadcast_to(da.arange(shape[-1], chunks=-1), shape)
    else:
        ranks = np.broadcast_to(np.arange(shape[-1]), shape)
    ranked: Array = ranked_from(logits, uniforms, ranks[..., 0] if size is None else ranks, axis=axis, **options)
    return ranked


@dispatched("(n),(k)->(k)", whole=True, constant=True)
def drawn_from(
    logits: Any,
    uniforms: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    workers: int | None = None,
) -> Array:
    """The draws with replacement that uniform numbers stand for."""
    rows = Logits.of(logits, axis, where, name="logits")
    return _of_rows(native.draws, rows, uniforms, (), temperature, workers)


@dispatched("(n),(n),(k)->(k)", whole=True, constant=True)
def ranked_from(
    logits: Any,
    uniforms: Any,
    ranks: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    workers: int | None = None,
) -> Array:
    """The draws without replacement of these ranks, 0 for the first, that uniform numbers for all entries stand for."""
    rows = Logits.of(logits, axis, where, name="logits")
    numbers: Any
    if isinstance(uniforms, Uniforms) and kernels.has_kernel(rows.x):
        numbers = partial(uniforms.of_slices, n=rows.rows.n)
    else:
        numbers = rows.rows.to_rows(rows.xp.asarray(uniforms), rows.xp)
    return _of_rows(native.draws_without_replacement, rows, ranks, (numbers,), temperature, workers)


def _of_rows(
    draws: Any, rows: Logits, chosen: Any, others: tuple[Any, ...], temperature: Any, workers: int | None
) -> Array:
    """Draws of rows, by what belongs to each draw and what else there is."""
    xp = rows.xp
    several = chosen.ndim == len(rows.rows.batch_shape) + 1
    chosen = xp.asarray(chosen)
    chosen = chosen if several else chosen[..., None]
    operands = (rows.x, chosen, *others, rows.mask, as_temperature(temperature, rows.rows, xp))
    if xp is np:
        drawn = draws(*operands, workers=threads.count(workers, rows.x.size, rows.x.dtype))
    elif workers is not None:
        raise TypeError("workers is for NumPy arrays; got an array of another library")
    else:
        drawn = draws.formula(*operands)
    result: Array = drawn if several else drawn[..., 0]
    return result[()] if xp is np else result


@dispatched("(n),(k)->(k)", whole=True)
def sample_log_prob(
    logits: Any,
    index: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    replace: bool = True,
) -> Array:
    """Log-probability of each draw, given those before it.

    .. math:: y_j = x_{i_j}/T - \\log \\sum_l e^{x_l/T}

    for the draws i_1, i_2, …, where l runs over all entries, or, without replacement, over those not drawn before.
    Σ y_j is the log-probability of all draws in their order.

    Parameters
    ----------
    logits : array_like, real
        Logits x of any shape.
    index : array_like of int
        What was drawn from each slice, in [-1, n), as `sample` returns it: of the shape of `logits` without `axis`, or
        with one more last axis.
    axis, where : optional
        As for `sample`.
    temperature : float or array_like, default: 1.0
        T as for `sample`; without replacement it must be positive.
    replace : bool, default: True
        Whether the draws are with replacement.

    Returns
    -------
    ndarray or scalar
        Of the shape of `index` and the dtype of `logits`, float32 for float16 and bfloat16; differentiable with respect
        to `logits` under PyTorch and JAX. −inf for an entry that is impossible, outside `where` or drawn before without
        replacement; NaN at −1 and in slices whose probabilities are NaN.

    Raises
    ------
    IndexError
        If an index lies outside [-1, n).
    TypeError, ValueError, numpy.exceptions.AxisError
        As `sample`.

    See Also
    --------
    sample : the draws.
    selective_log_softmax : the same with replacement at T = 1, without an array of the size of the logits.

    Notes
    -----
    Without replacement the sums go backward, from what is never drawn to what is drawn first, so that nothing is
    subtracted: a draw of probability near 1 leaves the others exact.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> logits = np.log([0.5, 0.25, 0.25])
    >>> np.exp(sg.sample_log_prob(logits, [0, 1, 2], replace=False))
    array([0.5, 0.5, 1. ])
    >>> np.exp(sg.sample_log_prob(logits, [0, 1, 2]))
    array([0.5 , 0.25, 0.25])
    """
    rows = Logits.of(logits, axis, where, name="logits")
    xp, batch = rows.xp, rows.rows.batch_shape
    T = as_temperature(temperature, rows.rows, xp)
    if not replace and not holds(lambda T: T > 0, T, xp):
        raise ValueError("temperature must be positive without replacement: at 0 the draws have no density")
    several = np.ndim(index) == len(batch) + 1
    shape = (*batch, np.shape(index)[-1]) if several else batch
    if rows.rows.n == 0:
        return xp.full(shape, xp.nan, dtype=value_dtype(xp, rows.dtype))
    index = xp.asarray(np.asarray(index)) if xp is not np and not is_foreign(index) else index
    drawn, nothing, outside = as_labels(index, shape, rows.rows.n, NOTHING, xp, "index")
    for unknown in (nothing, outside):
        if unknown is not None:
            drawn = xp.where(unknown, xp.asarray(NOTHING, dtype=drawn.dtype), drawn)
    drawn = drawn if several else drawn[..., None]
    result = log_probabilities(rows.x, drawn, temperature=T, where=rows.mask, replace=replace)
    result = xp.astype(result, value_dtype(xp, rows.dtype), copy=False)
    result = result if several else result[..., 0]
    return result[()] if xp is np else result


@silent
def log_probabilities(
    x: Array, index: Array, *, temperature: Any = 1.0, where: Array | None = None, replace: bool = True
) -> Array:
    """The log-probabilities of the draws from rows, k for each, by functions that have derivatives."""
    xp = namespace(x)
    x, k = as_wide(x), index.shape[-1]
    known = xp.astype(xp.where(index < 0, xp.zeros_like(index), index), widest(xp, integral=True), copy=False)
    if replace:
        y = log_softmax(x, temperature=temperature, where=where)
        return xp.where(index < 0, xp.asarray(xp.nan, dtype=y.dtype), xp.take_along_axis(y, known, axis=-1))
    x = x if is_one(temperature) else x / xp.asarray(per_entry(temperature), dtype=x.dtype)
    left = xp.ones(x.shape, dtype=xp.bool) if where is None else where
    valid = xp.take_along_axis(left, known, axis=-1) & (index >= 0)
    rest = logsumexp(x, where=_without(xp, left, index))
    chosen = xp.take_along_axis(x, known, axis=-1)
    found = []
    for draw in reversed(range(k)):
        again = xp.any(index[..., :draw] == index[..., draw : draw + 1], axis=-1)
        own = xp.where(valid[..., draw] & ~again, chosen[..., draw], xp.asarray(-xp.inf, dtype=x.dtype))
        both = logsumexp(xp.stack([own, rest], axis=-1))
        possible = own != -xp.inf  # NaN goes on to the sum
        # log of own/(own + rest), which does not cancel where own is nearly all.
        zero = xp.zeros_like(own)
        pair = xp.stack([xp.where(possible, own, zero), xp.where(possible, rest, zero)], axis=-1)
        log = xp.where(possible, log_softmax(pair)[..., 0], own)
        found.append(xp.where(index[..., draw] < 0, xp.asarray(xp.nan, dtype=x.dtype), log))
        rest = xp.where(possible, both, rest)
    if not found:
        return xp.zeros(index.shape, dtype=x.dtype)
    undefined = xp.isnan(rest) | (rest == xp.inf)
    return xp.where(undefined[..., None], xp.asarray(xp.nan, dtype=x.dtype), xp.stack(found[::-1], axis=-1))


def _without(xp: Any, left: Array, index: Array) -> Array:
    """`left`, and False at the entries that were drawn."""
    if xp is np:
        padded = np.ones((*left.shape[:-1], left.shape[-1] + 1), np.bool)
        padded[..., :-1] = left
        np.put_along_axis(padded, index, False, axis=-1)  # NOTHING, −1, is the column beyond the end
        return padded[..., :-1]
    for draw in range(index.shape[-1]):
        left = left & ~one_hot(xp, index[..., draw : draw + 1], left)
    return left


def gumbel_softmax(
    logits: Any,
    /,
    *,
    rng: Any = None,
    axis: Axis = -1,
    temperature: Any = 1.0,
    hard: bool = False,
    where: Any = None,
) -> Array:
    """Relaxed draws: softmax of logits with Gumbel noise, which has a derivative.

    .. math:: y = \\mathrm{softmax}((x + g)/T), \\quad g_i = -\\log(-\\log(1 - u_i))

    Parameters
    ----------
    logits : array_like, real
        Logits x of any shape.
    rng : numpy.random.Generator or seed, optional
        Where the uniform numbers come from, one for each entry in the order of the slices, as in `sample`.
    axis : int, tuple of ints or None, default: -1
        The axis or axes of a slice; None means all of them together.
    temperature : float or array_like, default: 1.0
        T ≥ 0: the smaller, the nearer is y to a draw. The noise is not scaled by it.
    hard : bool, default: False
        Whether the largest entry becomes 1 and the others 0. Under PyTorch and JAX the derivative is that of y.
    where : array_like of bool, optional
        Entries that are valid, broadcast to the shape of `logits`; the others get 0.

    Returns
    -------
    ndarray
        y, of the shape and dtype of `logits`: x + g is computed in float64 and rounded once with the softmax. Its
        largest entry is a draw with the probabilities softmax(x).

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `sample`.

    See Also
    --------
    sample : draws as integers.

    Notes
    -----
    Jang, Gu & Poole, "Categorical reparameterization with Gumbel-softmax", ICLR 2017, section 2.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.gumbel_softmax([[1.0, 2.0, 3.0]], rng=0, hard=True).sum()
    np.float64(1.0)
    """
    numbers = _numbers(logits, rows_of(logits, axis), SLICE, rng)
    relaxed: Array = gumbel_softmax_from(logits, numbers, axis=axis, temperature=temperature, hard=hard, where=where)
    return relaxed


@dispatched("(n),(n)->(n)")
def gumbel_softmax_from(
    logits: Any,
    uniforms: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    hard: bool = False,
    where: Any = None,
) -> Array:
    """The relaxed draws that uniform numbers stand for, one for each entry."""
    x = as_real(logits, "logits")
    xp = namespace(x)
    perturbed = as_wide(x) + gumbel(xp, as_wide(xp.asarray(uniforms)))
    y = softmax(perturbed, axis=axis, temperature=temperature, where=where, dtype=x.dtype)
    return hardened(y, Rows.of(tuple(y.shape), axis)) if hard else y


@silent
def hardened(y: Array, rows: Rows) -> Array:
    """1 at the largest entry of each slice and 0 at the others; as it is where that is NaN or 0."""
    if isinstance(y, np.ma.MaskedArray):
        return np.ma.MaskedArray(hardened(y.data, rows), y.mask)
    xp = namespace(y)
    of_rows = rows.to_rows(y, xp)
    if rows.n == 0:
        return y
    largest = xp.max(of_rows, axis=-1, keepdims=True)
    hot = xp.astype(one_hot(xp, xp.argmax(of_rows, axis=-1, keepdims=True), of_rows), y.dtype)
    return rows.from_rows(xp.where(largest > 0, hot, of_rows), xp)


OF_NUMBERS: dict[Callable[..., Any], tuple[Callable[..., Any], str]] = {
    sample: (sample_from, CHOICES),
    gumbel_softmax: (gumbel_softmax_from, SLICE),
}
"""Functions with a generator: the same as functions of uniform numbers, and what of these belongs to a slice."""


def uniforms_for(rows: Rows, core: str, rng: Any, size: Any = None, replace: bool = True) -> Uniforms:
    """Uniform numbers for every slice, in the order of the slices: one, `size`, or as many as it has entries.

    Without replacement they are for the entries, however many are drawn.
    """
    shape: tuple[Any, ...] = rows.batch_shape
    if size is not None:
        if isinstance(size, bool) or not hasattr(size, "__index__"):
            raise TypeError(f"size must be an integer or None; got {size!r}")
        if not 0 <= (size := size.__index__()) <= (math.inf if replace else rows.n):
            most = "" if replace else f" and at most {rows.n}, the number of entries, without replacement"
            raise ValueError(f"size must be at least 0{most}; got {size}")
        shape = (*shape, size)
    if core == SLICE or not replace:
        return Uniforms(as_generator(rng), rows.shape, rows.order)
    return Uniforms(as_generator(rng), shape)


def _numbers(logits: Any, rows: Rows, core: str, rng: Any, size: Any = None, replace: bool = True) -> Any:
    """Uniform numbers as an array, which is lazy where the logits are.

    Of NumPy's logits without replacement they are read with the rows, so that they are not all there at once.
    """
    if (rng is None or isinstance(rng, np.random.Generator | np.random.BitGenerator)) and not is_known(logits):
        raise TypeError(
            "rng must be a seed where logits are traced: the numbers are constants of what is compiled; "
            f"got {rng if rng is None else type(rng).__name__}"
        )
    uniforms = uniforms_for(rows, core, rng, size, replace)
    if not replace and type(logits) is np.ndarray and uniforms.can_jump:
        return uniforms.lazily()
    if not is_lazy(logits):
        return uniforms.drawn()
    if any(map(math.isnan, uniforms.shape)):
        raise ValueError("logits have chunks of unknown sizes: call compute_chunk_sizes() before")
    import dask.array as da  # noqa: PLC0415

    return da.from_array(uniforms.lazily(), asarray=False)
