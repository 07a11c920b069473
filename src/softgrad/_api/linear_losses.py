"""Cross-entropy of a linear layer, with gradients, from its inputs: the logits never exist all at once.

A block of rows of logits = hidden @ weightᵀ + bias is computed, turned into its losses and its gradient, multiplied
back onto the gradients of the inputs, and forgotten.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from softgrad._api.results import LinearLossGrad
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import silent, value_dtype
from softgrad._formulas.target import Target
from softgrad._numpy import losses as native
from softgrad._numpy import threads
from softgrad._numpy.implementation import Implementation
from softgrad._validation.arrays import (
    as_floating_dtype,
    as_real,
    as_temperature,
    broadcast_to,
    is_foreign,
    promoted,
    without_labels,
)
from softgrad._validation.labels import as_weight
from softgrad._validation.logits import Logits
from softgrad._validation.targets import LossOptions, label_target

__all__ = ["linear_cross_entropy", "linear_cross_entropy_grad"]

BLOCK_BYTES = 56 * 2**20
"""The default of `max_bytes`. Every block passes over the whole weight: with 4 times as much it is 10 % faster."""

STEP_ENTRIES = 2**20
"""Entries that turn from logits into their gradient at a time: worth two threads, and as room for a product to BLAS."""


@silent
def linear_cross_entropy(
    hidden: Any,
    weight: Any,
    labels: Any,
    /,
    bias: Any = None,
    *,
    temperature: Any = 1.0,
    class_weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    z_loss: float = 0.0,
    dtype: Any = None,
    max_bytes: int | None = None,
) -> Any:
    """Cross-entropy of the logits ``hidden @ weight.T + bias``, one loss per row, without ever holding the logits.

    The same, with all logits in memory::

        cross_entropy(hidden @ weight.T + bias, labels, weight=class_weight, sample_weight=sample_weight, ...)

    Parameters
    ----------
    hidden : array_like, real, shape (..., d)
        The input of the linear layer, one row per label.
    weight : array_like, real, shape (K, d)
        One row per class, as in PyTorch's ``Linear``. A layer that is written ``hidden @ W`` passes ``W.T``, a view.
    labels : array_like of int, shape (...)
        The class of each row, in [0, K).
    bias : array_like, real, shape (K,), optional
        What is added to every row of logits.
    class_weight : array_like, shape (K,), optional
        Factors of the classes, at least 0: the `weight` of `cross_entropy`.
    temperature, sample_weight, label_smoothing, ignore_index, z_loss
        As in `cross_entropy`. Rows that are ignored or have the factor 0 are not read and cost nothing.
    dtype : dtype, optional
        Floating dtype of the results; the logits are computed in the wider of it and that of the arguments. Default:
        the common dtype of `hidden`, `weight` and `bias`, and float32 for losses of half precision.
    max_bytes : int, optional
        What may be held besides arguments and results, at least the logits of one row and a little more. Default:
        56 MiB, or what one row needs.

    Returns
    -------
    ndarray or scalar, shape (...)
        One loss per row, never a mean, of `dtype`.

    Raises
    ------
    TypeError
        If `hidden`, `weight` or `bias` is not real or is no NumPy array, or `labels` are not integers.
    IndexError
        If a label lies outside [0, K).
    ValueError
        If an argument has the wrong shape, a factor lies outside its range or `max_bytes` is less than one row needs.

    See Also
    --------
    linear_cross_entropy_grad : the gradients in the same pass.

    Notes
    -----
    See `linear_cross_entropy_grad`.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.linear_cross_entropy([[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [1, 0])
    array([0.40760596, 1.32656264])

    With a bias, in blocks of rows whose logits take at most a kilobyte:

    >>> sg.linear_cross_entropy([[1.0]] * 4, [[1.0], [2.0]], [0, 1, 0, 1], bias=[1.0, 0.0], max_bytes=1024)
    array([0.69314718, 0.69314718, 0.69314718, 0.69314718])
    """
    options = LossOptions(class_weight, sample_weight, label_smoothing, ignore_index, z_loss)
    layer = _Layer.of(hidden, weight, labels, bias, options, temperature, dtype)
    space = layer.workspace(max_bytes, with_gradient=False)
    losses = np.zeros(len(layer.hidden), layer.compute)
    for rows in layer.blocks(space):
        logits = layer.logits(layer.some_hidden(rows), space)
        losses[rows] = _solve(native.cross_entropy, logits, *layer.compared(rows))
    return layer.as_losses(losses)


@silent
def linear_cross_entropy_grad(
    hidden: Any,
    weight: Any,
    labels: Any,
    /,
    bias: Any = None,
    *,
    temperature: Any = 1.0,
    class_weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    z_loss: float = 0.0,
    dtype: Any = None,
    grad_output: Any = None,
    max_bytes: int | None = None,
) -> LinearLossGrad:
    """Cross-entropy of the logits ``hidden @ weight.T + bias`` and its gradients, without ever holding the logits.

    With all logits in memory, and g standing for `grad_output`, it would be::

        loss, grad = cross_entropy_grad(hidden @ weight.T + bias, labels, ...)  # rows of K
        grad_hidden = g[:, None] * (grad @ weight)
        grad_weight = grad.T @ (g[:, None] * hidden)
        grad_bias = grad.T @ g

    Parameters
    ----------
    hidden, weight, labels, bias, temperature, class_weight, sample_weight, label_smoothing, ignore_index, z_loss, dtype
        As in `linear_cross_entropy`.
    grad_output : array_like, optional
        g, the gradient of what is minimized with respect to each loss, broadcast to their shape: ``1 / labels.size``
        for their mean. Default: 1, for their sum. The losses that are returned do not depend on it.
    max_bytes : int, optional
        What may be held besides arguments and results, at least twice the logits of one row and a little more. Default:
        56 MiB, or what one row needs.

    Returns
    -------
    LinearLossGrad
        ``(loss, grad_hidden, grad_weight, grad_bias)``: one loss per row, and gradients of the shapes of their
        arguments, of `dtype` or the common dtype of `hidden`, `weight` and `bias`. `grad_bias` is None without a bias.

    Raises
    ------
    TypeError, IndexError, ValueError
        As `linear_cross_entropy`.

    See Also
    --------
    linear_cross_entropy : the loss alone.
    cross_entropy_grad : for logits that are in memory.

    Notes
    -----
    The idea is that of Wijmans et al., "Cut your losses in large-vocabulary language models", ICLR 2025
    (arXiv:2411.09009). Here no small gradient is left out and nothing is computed twice: with the logits of a block at
    hand, its losses and gradient come from the one pass of `cross_entropy_grad`, which writes the gradient over them.

    Beside arguments and results there are never more than `max_bytes`, and a few numbers per row. Not counted are what
    the BLAS library keeps for itself, some 20 MB per thread; copies of arguments that are not contiguous or of half
    precision; and what the formulas hold that serve a temperature other than 1, longdouble, and every dtype where the
    native kernels are absent.

    Gradients differ from those with all logits in memory by the rounding of sums over rows, which depends on
    `max_bytes` as it does on the BLAS library.

    Examples
    --------
    Gradients of the mean loss:

    >>> import softgrad as sg
    >>> hidden, weight, labels = [[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]], [1, 0]
    >>> result = sg.linear_cross_entropy_grad(hidden, weight, labels, grad_output=1 / 2)
    >>> result.loss
    array([0.69314718, 0.69314718])
    >>> result.grad_weight
    array([[-0.5, -0.5],
           [ 0.5,  0.5]])
    """
    options = LossOptions(class_weight, sample_weight, label_smoothing, ignore_index, z_loss)
    layer = _Layer.of(hidden, weight, labels, bias, options, temperature, dtype)
    g = _as_grad_output(grad_output, layer)
    space = layer.workspace(max_bytes, with_gradient=True)
    losses = np.zeros(len(layer.hidden), layer.compute)
    grad_hidden = np.zeros(layer.hidden.shape, layer.dtype)
    grad_weight = np.zeros(layer.weight.shape, layer.compute)
    grad_bias = np.zeros(layer.n, layer.compute)
    for rows in layer.blocks(space):
        some_hidden = layer.some_hidden(rows)
        logits = layer.logits(some_hidden, space)
        losses[rows], grad = _slide(logits, *layer.compared(rows), space)
        some_g = np.ones(len(rows), layer.compute) if g is None else g[rows]
        grad_hidden[rows] = some_g[:, np.newaxis] * (grad @ layer.weight)
        _add_product(grad_weight, grad.T, some_g[:, np.newaxis] * some_hidden, space.free(grad))
        if layer.bias is not None:
            grad_bias += some_g @ grad
    return LinearLossGrad(
        layer.as_losses(losses),
        grad_hidden.reshape(layer.hidden_shape),
        grad_weight.astype(layer.dtype, copy=False),
        None if layer.bias is None else grad_bias.astype(layer.dtype, copy=False),
    )


@dataclass(frozen=True, slots=True)
class _Workspace:
    """What one block of rows after another passes through: their logits after `spare` entries, then their gradient."""

    entries: Array
    spare: int
    rows: int  # of a block

    def logits(self, m: int, n: int) -> Array:
        """Where the logits of m rows go."""
        return self.entries[self.spare : self.spare + m * n].reshape(m, n)

    def gradient(self, m: int, n: int) -> Array:
        """Where their gradient goes: over the logits, but `spare` entries earlier."""
        return self.entries[: m * n].reshape(m, n)

    def free(self, gradient: Array) -> Array:
        """What the gradient leaves."""
        return self.entries[gradient.size :]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A linear layer and what its logits are compared with, checked; weight and bias in the dtype of computation."""

    hidden: Array  # shape (m, d)
    weight: Array  # shape (K, d), as BLAS can read it
    bias: Array | None
    target: Target
    temperature: Array | float
    read: Array  # the rows that count
    hidden_shape: tuple[int, ...]
    dtype: np.dtype[Any]  # of the gradients
    loss_dtype: np.dtype[Any]

    @classmethod
    def of(
        cls, hidden: Any, weight: Any, labels: Any, bias: Any, options: LossOptions, temperature: Any, dtype: Any
    ) -> _Layer:
        """Check everything that the loss depends on."""
        hidden, weight = _as_array(hidden, "hidden"), _as_array(weight, "weight")
        if weight.ndim != 2:
            raise ValueError(f"weight must have shape (K, d), one row per class; got {weight.shape}")
        n, d = weight.shape
        if hidden.ndim == 0 or hidden.shape[-1] != d:
            raise ValueError(f"hidden must have shape (..., {d}), to go with weight {weight.shape}; got {hidden.shape}")
        common: np.dtype[Any] = np.dtype(promoted(np, hidden, weight))
        if bias is not None:
            bias = _as_array(bias, "bias")
            if bias.shape != (n,):
                raise ValueError(f"bias must have shape ({n},), one entry per row of weight; got {bias.shape}")
            common = np.dtype(promoted(np, common, bias))
        result = common if dtype is None else as_floating_dtype(dtype)
        compute = value_dtype(np, np.dtype(promoted(np, common, result)))
        # Checked at once against logits that take no memory, since every row has the same stride 0.
        rows = Logits.of(np.broadcast_to(np.zeros((), compute), (*hidden.shape[:-1], n)), -1)
        given = {"temperature": temperature, "class_weight": options.weight, "sample_weight": options.sample_weight}
        for name, values in {"labels": labels, **given}.items():
            if is_foreign(values):
                kind = f"{type(values).__module__}.{type(values).__name__}"
                raise TypeError(f"{name} must be a plain NumPy array; got {kind}")
        if options.weight is not None:
            options = replace(options, weight=as_weight(options.weight, (n,), rows.wide, np, "class_weight"))
        target = label_target(rows, labels, options)
        m = math.prod(hidden.shape[:-1])
        return cls(
            hidden.reshape(m, d),
            _for_blas(weight.astype(compute, copy=False)),
            None if bias is None else bias.astype(compute, copy=False),
            target,
            as_temperature(temperature, rows.rows),
            np.flatnonzero(np.broadcast_to(target.row_weight != 0, hidden.shape[:-1])),
            hidden.shape,
            result,
            value_dtype(np, result) if dtype is None else result,
        )

    @property
    def n(self) -> int:
        """The number of classes."""
        return len(self.weight)

    @property
    def compute(self) -> np.dtype[Any]:
        """The dtype of computation."""
        dtype: np.dtype[Any] = self.weight.dtype
        return dtype

    def workspace(self, max_bytes: Any, *, with_gradient: bool) -> _Workspace:
        """Room for as many rows at a time as `max_bytes` allows."""
        d, size = self.hidden.shape[1], self.compute.itemsize
        per_row = (4 if with_gradient else 1) * d  # a row of hidden and of its gradient, both scaled
        spare = max(self.n, d) if with_gradient else 0
        needed = (self.n + per_row + spare) * size
        allowed = max(BLOCK_BYTES, needed) if max_bytes is None else _as_bytes(max_bytes, needed, self.n)
        if with_gradient:
            wanted = min(STEP_ENTRIES, len(self.read) * self.n, allowed // size // 8)
            spare = max(spare, wanted)
        most = max(1, (allowed // size - spare) // max(1, self.n + per_row))
        rows = -(-len(self.read) // max(1, -(-len(self.read) // most)))  # blocks of equal size: a rest would be slow
        return _Workspace(np.empty(rows * self.n + spare, self.compute), spare, rows)

    def blocks(self, space: _Workspace) -> Iterator[Array]:
        """The rows that count, as many at a time as the workspace has room for."""
        for start in range(0, len(self.read), max(1, space.rows)):
            yield self.read[start : start + space.rows]

    def some_hidden(self, rows: Array) -> Array:
        """Some rows of hidden, in the dtype of computation."""
        return self.hidden[rows].astype(self.compute, copy=False)

    def logits(self, some_hidden: Array, space: _Workspace) -> Array:
        """hidden @ weightᵀ + bias of some rows, in the workspace."""
        logits = np.matmul(some_hidden, self.weight.T, out=space.logits(len(some_hidden), self.n))
        if self.bias is not None:
            logits += self.bias
        return logits

    def compared(self, rows: Array) -> tuple[Target, Array | float]:
        """The targets and temperatures of some rows."""
        return _taken(self.target, rows), _some(self.temperature, rows)

    def as_losses(self, losses: Array) -> Any:
        """Losses in the shape of the labels."""
        return losses.astype(self.loss_dtype, copy=False).reshape(self.hidden_shape[:-1])[()]


def _slide(logits: Array, target: Target, temperature: Array | float, space: _Workspace) -> tuple[Array, Array]:
    """Losses, and the gradient with respect to the logits, written over them.

    As many rows at a time as fit into the workspace's spare entries: so no logit is overwritten before it was read, and
    no call sees an output that overlaps its input, which NumPy would answer with a copy.
    """
    losses, grad = np.empty(len(logits), logits.dtype), space.gradient(*logits.shape)
    step = space.spare // logits.shape[1]
    for start in range(0, len(logits), step):
        rows = slice(start, start + step)
        losses[rows] = _solve(
            native.cross_entropy_grad, logits[rows], _taken(target, rows), _some(temperature, rows), (grad[rows],)
        )
    return losses, grad


def _solve(
    function: Implementation[Target, Array | float],
    logits: Array,
    target: Target,
    temperature: Array | float,
    slices: tuple[Array, ...] = (),
) -> Array:
    """The losses of rows; what else `function` computes goes to `slices`."""
    losses = np.empty(len(logits), logits.dtype)
    function.into((losses, *slices), threads.count(None, logits.size, logits.dtype), logits, target, temperature)
    return losses


def _add_product(total: Array, a: Array, b: Array, free: Array) -> None:
    """Total += a @ b in blocks that fit into `free`: NumPy's product cannot add to what is there."""
    columns = max(1, total.shape[1])
    step = free.size // columns
    for start in range(0, len(total), step):
        some = total[start : start + step]
        some += np.matmul(a[start : start + step], b, out=free[: some.size].reshape(some.shape))


def _taken(target: Target, rows: Any) -> Target:
    """The targets of some rows."""
    assert target.labels is not None
    label_weight, scale = _some(target.label_weight, rows), _some(target.row_weight, rows)
    return Target(target.soft, target.labels.reshape(-1)[rows], label_weight, scale, target.z_loss)


def _some(values: Array | float, rows: Any) -> Array | float:
    """Those of some rows, of one number for all or one for each."""
    return values if np.ndim(values) == 0 else np.reshape(values, -1)[rows]


def _as_array(x: Any, name: str) -> Array:
    if is_foreign(without_labels(x, name)) or isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain NumPy array; got {type(x).__module__}.{type(x).__name__}")
    found: Array = as_real(x, name)
    return found


def _as_grad_output(grad_output: Any, layer: _Layer) -> Array | None:
    if grad_output is None:
        return None
    values = _as_array(grad_output, "grad_output").astype(layer.compute, copy=False)
    return np.ravel(broadcast_to("grad_output", values, layer.hidden_shape[:-1], np))


def _as_bytes(max_bytes: Any, needed: int, n: int) -> int:
    """`max_bytes` as an integer that is enough for one row."""
    try:
        found = operator.index(max_bytes)
    except TypeError:
        raise TypeError(f"max_bytes must be an integer or None; got {max_bytes!r}") from None
    if found < needed:
        raise ValueError(f"max_bytes must be at least {needed}, for one row of {n} classes; got {found}")
    return found


def _for_blas(matrix: Array) -> Array:
    """The matrix, copied unless it is contiguous by rows or by columns: NumPy might copy it for every product."""
    return matrix if matrix.flags.forc else np.ascontiguousarray(matrix)
