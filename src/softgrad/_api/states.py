"""Softmax of what comes in blocks: one pass that keeps a few numbers per slice, merged in any order."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from softgrad._api.notebook import described, table
from softgrad._formulas import states
from softgrad._formulas.namespace import Array, namespace
from softgrad._formulas.precision import narrowed, value_dtype
from softgrad._numpy import states as native
from softgrad._validation.arrays import promoted, without_labels
from softgrad._validation.axis import Axis
from softgrad._validation.logits import Logits

__all__ = ["LogSumExpState"]


class LogSumExpState:
    """What one pass over the blocks of slices leaves behind: logsumexp, entropy and mean, and what normalizes a block.

    Parameters
    ----------
    axis : int, tuple of ints or None, default: -1
        The axis or axes of a block that belong to a slice; None means all of them. Along these, blocks may have any
        length; the other axes are the batch, whose shape is the same in every block.

    Attributes
    ----------
    axis : int, tuple of ints or None
        As given.

    See Also
    --------
    logsumexp, softmax, entropy : for slices that are in memory as a whole.

    Notes
    -----
    With the largest entry x_k = m so far, it keeps m, Σ_{j≠k} e^(x_j − m) and Σ_j e^(x_j − m) (m − x_j) of each slice,
    in float64 and its rounding errors (for longdouble in longdouble). Nothing cancels in these sums, and merging adds
    next to nothing to their errors, so that every result is as exact as that of the whole slice, in whatever blocks and
    order the entries come: `logsumexp` and `mean` are within 2 ulp of max(\\|result\\|, \\|max x\\|), `entropy` and
    `normalize` within 2 ulp of the result; float16 and bfloat16 within 0.55. The edges are those of the functions, too.
    JAX has no float64 unless ``jax_enable_x64`` is set: its states then are of float32 and its rounding errors, and the
    results in float32 within 4 ulp, those below 1e-30 within 4 ulp of 1e-30.

    Objects can be pickled, to be merged where they are sent to. On merging the normalizer see Milakov & Gimelshein,
    "Online normalizer calculation for softmax", arXiv:1805.02867.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> x = np.arange(6.0)
    >>> state = sg.LogSumExpState().update(x[:4]).update(x[4:])
    >>> print(f"{state.logsumexp():.13f} {state.entropy():.13f} {state.mean():.13f}")
    5.4561933160181 1.0232605529464 4.4329327630717
    >>> state.normalize(x[4:])
    array([0.23312201, 0.63369132])
    """

    def __init__(self, *, axis: Axis = -1) -> None:
        self.axis = axis
        self._state: states.State | None = None
        self._dtype: Any = None  # of the results
        self._batch_axes: tuple[int, ...] = ()  # of the blocks: which number the slices

    def __repr__(self) -> str:
        what = "empty" if self._state is None else f"{self._dtype}, batch shape {tuple(self._state.max.shape)}"
        return f"LogSumExpState(axis={self.axis!r}): {what}"

    def _repr_html_(self) -> str:
        rows = [("axis", repr(self.axis))]
        if self._state is not None:
            rows.append(("batch shape", str(tuple(self._state.max.shape))))
            rows += [(name, described(getattr(self, name)())) for name in ("logsumexp", "entropy", "mean")]
        return table("LogSumExpState", rows)

    def update(self, x: Any, /, *, where: Any = None) -> Self:
        """Take in a block.

        Parameters
        ----------
        x : array_like, real
            Some entries of every slice, none included; of any library, the same for every block.
        where : array_like of bool, optional
            Entries that are valid, broadcast to the shape of `x`; the others are never read.

        Returns
        -------
        LogSumExpState
            Itself.

        Raises
        ------
        TypeError
            If `x` is complex or not numeric, or an array of another library than before.
        ValueError
            If the shape of the batch is not that of the blocks before, or `where` does not broadcast.
        numpy.exceptions.AxisError
            If `x` has no such axis.

        Examples
        --------
        >>> import softgrad as sg
        >>> state = sg.LogSumExpState(axis=0)
        >>> for row in ([1.0, 2.0], [3.0, 2.0]):
        ...     state = state.update([row])
        >>> state.logsumexp()
        array([3.12692801, 2.69314718])
        """
        block = Logits.of(without_labels(x, "x"), self.axis, where)
        return self._take(native.state(block.x, block.mask), block.dtype, block.rows.batch_axes)

    def merge(self, other: LogSumExpState, /) -> Self:
        """Take in what another state has taken in; `a + b` does so in a new state.

        Parameters
        ----------
        other : LogSumExpState
            A state of other entries of the same slices. It stays as it is.

        Returns
        -------
        LogSumExpState
            Itself.

        Raises
        ------
        TypeError
            If `other` is no such state, or one of arrays of another library.
        ValueError
            If the shapes of the batches differ, or the axes of the blocks that belong to a slice.

        Examples
        --------
        >>> import softgrad as sg
        >>> a, b = (sg.LogSumExpState().update(x) for x in ([0.0], [0.0, 0.0]))
        >>> float(a.merge(b).logsumexp())
        1.0986122886681098
        """
        if not isinstance(other, LogSumExpState):
            raise TypeError(f"other must be a LogSumExpState; got {type(other).__name__}")
        if other._state is None:
            return self
        if self._state is not None:
            self._check(namespace(other._state.max), other._state.max.shape)
        if self._state is not None and self._batch_axes != other._batch_axes:
            raise ValueError(
                f"other must have the same slices: its blocks have one for each index into the axes "
                f"{other._batch_axes} (axis={other.axis!r}), and not into {self._batch_axes} (axis={self.axis!r})"
            )
        return self._take(other._state, other._dtype, other._batch_axes)

    def __add__(self, other: LogSumExpState) -> LogSumExpState:
        if not isinstance(other, LogSumExpState):
            return NotImplemented
        return LogSumExpState(axis=self.axis).merge(self).merge(other)

    def logsumexp(self) -> Array:
        """Logarithm of the sum of exponentials, one number per slice; edges as those of `softgrad.logsumexp`.

        Returns
        -------
        ndarray or scalar
            log Σ e^x, of the dtype of the blocks.

        Raises
        ------
        ValueError
            If no block was taken in yet, as for `entropy`, `mean` and `normalize`.

        Examples
        --------
        >>> import softgrad as sg
        >>> float(sg.LogSumExpState().update([1000.0]).update([1000.0]).logsumexp())
        1000.6931471805599
        """
        return self._value(states.logsumexp(self._seen()))

    def entropy(self) -> Array:
        """Entropy −Σ p log p of p = softmax(x) in nats, one number per slice; edges as those of `softgrad.entropy`.

        Returns
        -------
        ndarray or scalar
            In [0, log n], of the dtype of the blocks.

        Examples
        --------
        >>> import softgrad as sg
        >>> print(f"{sg.LogSumExpState().update([0.0]).update([40.0]).entropy():.13e}")
        1.7418252446696e-16
        """
        state = self._seen()
        return self._value(states.entropy(state), value_dtype(namespace(state.max), self._dtype))

    def mean(self) -> Array:
        """Expected value Σ p x of x under p = softmax(x), one number per slice.

        Returns
        -------
        ndarray or scalar
            Of the dtype of the blocks. It is NaN where the softmax is, and 0 for a slice without a valid entry.

        Examples
        --------
        >>> import softgrad as sg
        >>> float(sg.LogSumExpState().update([0.0, 1.0]).mean())
        0.7310585786300049
        """
        return self._value(states.mean(self._seen()))

    def normalize(self, x: Any, /, *, where: Any = None, log: bool = False) -> Array:
        """Softmax of the whole slices, at the entries of one block.

        Parameters
        ----------
        x : array_like, real
            A block that was taken in, alone or as a part of one.
        where : array_like of bool, optional
            Entries that are valid, broadcast to the shape of `x`; the others get 0, or −inf with `log`.
        log : bool, default: False
            Whether to give the logarithms of the probabilities.

        Returns
        -------
        ndarray
            p, or log p, of the shape and dtype of `x`.

        Raises
        ------
        TypeError, ValueError, numpy.exceptions.AxisError
            As `update`.

        Examples
        --------
        >>> import softgrad as sg
        >>> state = sg.LogSumExpState().update([0.0]).update([-40.0])
        >>> state.normalize([-40.0]), state.normalize([0.0], log=True)
        (array([4.24835426e-18]), array([-4.24835426e-18]))
        """
        state = self._seen()
        block = Logits.of(without_labels(x, "x"), self.axis, where)
        self._check(block.xp, block.rows.batch_shape)
        y = (native.log_softmax if log else native.softmax)(block.x, state, block.mask)
        result = block.rows.from_rows(narrowed(y, block.dtype), block.xp)
        return result if block.masked is None else np.ma.MaskedArray(result, block.masked)

    def _take(self, state: states.State, dtype: Any, batch_axes: tuple[int, ...]) -> Self:
        if self._state is None:
            self._state, self._dtype, self._batch_axes = state, dtype, batch_axes
            return self
        xp = namespace(state.max)
        self._check(xp, state.max.shape)
        wide = promoted(xp, self._state.max.dtype, state.max.dtype)
        self._state = native.merge(
            *(states.State(*(xp.astype(part, wide) for part in s)) for s in (self._state, state))
        )
        self._dtype = promoted(xp, self._dtype, dtype)
        return self

    def _check(self, xp: Any, batch: tuple[int, ...]) -> None:
        state = self._seen()
        if (own := namespace(state.max)) is not xp:
            raise TypeError(f"x must be an array of {own.__name__}, as before; got one of {xp.__name__}")
        if tuple(batch) != tuple(state.max.shape):
            raise ValueError(f"the batch must have shape {tuple(state.max.shape)}, as before; got {tuple(batch)}")

    def _seen(self) -> states.State:
        if self._state is None:
            raise ValueError("the state has taken in no block yet, so that the shape of its batch is unknown")
        return self._state

    def _value(self, value: Array, dtype: Any = None) -> Array:
        value = narrowed(value, self._dtype if dtype is None else dtype)
        return value[()] if isinstance(value, np.ndarray) else value
