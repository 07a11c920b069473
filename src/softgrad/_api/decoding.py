"""Masks of the entries that decoding keeps. A filter is a mask: it goes to `where` of any function of logits."""

from __future__ import annotations

from typing import Any

from softgrad._dispatch import dispatched
from softgrad._formulas.namespace import Array
from softgrad._numpy import decoding as native
from softgrad._validation.arrays import as_temperature
from softgrad._validation.axis import Axis
from softgrad._validation.limits import as_count, as_share
from softgrad._validation.logits import Logits

__all__ = ["min_p_mask", "top_k_mask", "top_p_mask"]


@dispatched("(n)->(n)", whole=True, constant=True)
def top_k_mask(
    x: Any,
    /,
    k: Any,
    *,
    axis: Axis = -1,
    where: Any = None,
    workers: int | None = None,
) -> Array:
    """Which entries are among the k largest of their slice: a mask for `where`.

    .. math:: x_i \\ge x_{(k)}

    with :math:`x_{(k)}` the k-th largest valid entry.

    Parameters
    ----------
    x : array_like, real
        Logits of any shape.
    k : int or array_like of int
        How many entries to keep, at least 1: one number, or one per slice. All are kept where a slice has fewer.
    axis : int, tuple of ints or None, default: -1
        The axis or axes of a slice; None means all of them together.
    where : array_like of bool, optional
        Entries that are valid, broadcast to the shape of `x`. The others are never read and never kept, so that masks
        are composed: ``top_p_mask(x, 0.9, where=top_k_mask(x, 50))``.
    workers : int, optional
        Threads to use, as in `softmax`.

    Returns
    -------
    ndarray of bool
        Whether an entry is kept, of the shape of `x`. Entries equal to the k-th largest are all kept. A slice with
        NaN or +inf keeps every valid entry, so that its probabilities are NaN as without the mask.

    Raises
    ------
    TypeError
        If `k` is no integer; otherwise as `softmax`.
    ValueError
        If `k` is less than 1, if `k` or `where` does not broadcast.
    numpy.exceptions.AxisError
        If `x` has no such axis.

    See Also
    --------
    top_p_mask : as many as reach a probability.
    min_p_mask : those not much less probable than the largest.
    sample : draws from what is kept.

    Notes
    -----
    The entries are selected, not sorted. ``TopKLogitsWarper`` of transformers keeps the same entries, ties included,
    and so does vLLM. llama.cpp's ``top-k`` keeps exactly k of them, by the order of its sort where they are tied.

    Fan, Lewis & Dauphin, "Hierarchical neural story generation", ACL 2018, section 5.4.

    Examples
    --------
    >>> import softgrad as sg
    >>> x = [1.0, 4.0, 3.0, 3.0]
    >>> sg.top_k_mask(x, 2)
    array([False,  True,  True,  True])
    >>> sg.softmax(x, where=sg.top_k_mask(x, 1))
    array([0., 1., 0., 0.])
    """
    rows = Logits.of(x, axis, where)
    return rows.solve(native.top_k_mask, None, rows.mask, as_count(k, rows.rows, rows.xp), workers=workers)


@dispatched("(n)->(n)", whole=True, constant=True)
def top_p_mask(
    x: Any,
    /,
    p: Any,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    workers: int | None = None,
) -> Array:
    """Which entries are in the smallest set of the most probable whose probability reaches p: a mask for `where`.

    .. math:: \\sum_{x_j > x_i} \\mathrm{softmax}(x/T)_j < p

    Parameters
    ----------
    x : array_like, real
        Logits of any shape.
    p : float or array_like
        The probability to reach, in [0, 1]: one number, or one per slice.
    axis : int, tuple of ints or None, default: -1
        The axis or axes of a slice; None means all of them together.
    temperature : float or array_like, default: 1.0
        T ≥ 0 of the distribution, as in `softmax`.
    where : array_like of bool, optional
        Entries that are valid, broadcast to the shape of `x`. The others are never read and never kept, and the
        probabilities of the valid ones sum to 1.
    workers : int, optional
        Threads to use, as in `softmax`.

    Returns
    -------
    ndarray of bool
        Whether an entry is kept, of the shape of `x`: that with which the sum reaches p is, and so are all that are as
        large. At least the largest stays, also at p = 0; at p = 1 every entry of positive probability does. A slice
        whose probabilities are NaN keeps every valid entry.

    Raises
    ------
    TypeError
        If `p` is not numeric; otherwise as `softmax`.
    ValueError
        If `p` is not in [0, 1], if `temperature` is negative or NaN, if one of the options does not broadcast.
    numpy.exceptions.AxisError
        If `x` has no such axis.

    See Also
    --------
    top_k_mask, min_p_mask : other filters.

    Notes
    -----
    The mask is that of exact arithmetic wherever the sum does not come nearer to p than 2⁻⁵⁰ of itself. For p near 1 it
    is the sum of what is left out, beginning with the smallest, that is compared with 1 − p.

    ``TopPLogitsWarper`` of transformers leaves out the ascending cumulative sum up to and including 1 − p, and vLLM
    does the same: the same set, but with sums in the precision of the logits, and of tied entries those stay that
    their sort puts last. llama.cpp's ``top-p`` keeps entries in descending order until their sum is at least p: the
    same set, one of several tied entries at its end. The order of filters and temperature is a matter of the caller in
    all three; here `temperature` says of which distribution p is a part.

    Holtzman et al., "The curious case of neural text degeneration", ICLR 2020, section 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> x = np.log([0.5, 0.3, 0.15, 0.05])
    >>> sg.top_p_mask(x, 0.7)
    array([ True,  True, False, False])
    >>> sg.softmax(x, where=sg.top_p_mask(x, 0.7))
    array([0.625, 0.375, 0.   , 0.   ])
    """
    rows = Logits.of(x, axis, where)
    T, p = as_temperature(temperature, rows.rows, rows.xp), as_share(p, rows.rows, rows.xp)
    return rows.solve(native.top_p_mask, None, rows.mask, p, T, workers=workers)


@dispatched("(n)->(n)", constant=True)
def min_p_mask(
    x: Any,
    /,
    p: Any,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    workers: int | None = None,
) -> Array:
    """Which entries have at least p times the probability of the largest: a mask for `where`.

    .. math:: e^{(x_i - \\max_j x_j)/T} \\ge p

    Parameters
    ----------
    x : array_like, real
        Logits of any shape.
    p : float or array_like
        The part of the largest probability, in [0, 1]: one number, or one per slice.
    axis : int, tuple of ints or None, default: -1
        The axis or axes of a slice; None means all of them together.
    temperature : float or array_like, default: 1.0
        T ≥ 0 of the distribution, as in `softmax`.
    where : array_like of bool, optional
        Entries that are valid, broadcast to the shape of `x`. The others are never read and never kept.
    workers : int, optional
        Threads to use, as in `softmax`.

    Returns
    -------
    ndarray of bool
        Whether an entry is kept, of the shape of `x`. The largest always stays; at p = 0 every valid entry does. A
        slice whose probabilities are NaN keeps every valid entry.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `top_p_mask`.

    See Also
    --------
    top_k_mask, top_p_mask : other filters.

    Notes
    -----
    ``MinPLogitsWarper`` of transformers and vLLM compare probabilities in the precision of the logits. llama.cpp's
    ``min-p`` compares logits with max x + log p in float32. All three keep the same entries but where one is within
    their rounding of the limit.

    Nguyen et al., "Turning up the heat: min-p sampling for creative and coherent LLM outputs", ICLR 2025, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> sg.min_p_mask(np.log([0.5, 0.3, 0.15, 0.05]), 0.25)
    array([ True,  True,  True, False])
    """
    rows = Logits.of(x, axis, where)
    T, p = as_temperature(temperature, rows.rows, rows.xp), as_share(p, rows.rows, rows.xp)
    return rows.solve(native.min_p_mask, None, rows.mask, p, T, workers=workers)
