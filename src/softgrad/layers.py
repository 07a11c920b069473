"""softmax and log_softmax as layers: call forward, keep the output, go backward from it."""

from __future__ import annotations

from typing import Any

from softgrad.arrays.layout import Axis, Rows
from softgrad.arrays.namespace import namespace
from softgrad.functions import log_softmax, log_softmax_vjp, softmax, softmax_vjp
from softgrad.jacobian import SimplexJacobian

Array = Any


class _Layer:
    """A map along `axis` that remembers its last output."""

    def __init__(self, axis: Axis = -1) -> None:
        self.axis = axis
        self._output: Array | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(axis={self.axis!r})"

    @property
    def output(self) -> Array:
        """The output of the last call; RuntimeError before the first."""
        if self._output is None:
            raise RuntimeError(f"{type(self).__name__} has no output yet: call the layer before backward() or output")
        return self._output

    def _rows(self) -> Array:
        return Rows.of(tuple(self.output.shape), self.axis).gather(self.output, namespace(self.output))


class Softmax(_Layer):
    """Softmax as a layer of a network written by hand.

    Parameters
    ----------
    axis : int, tuple of ints or None, default: -1
        The axis or axes along which the probabilities sum to 1.

    Attributes
    ----------
    output : ndarray
        The probabilities of the last call.

    Examples
    --------
    >>> import softgrad as sg
    >>> layer = sg.Softmax()
    >>> layer([[0.0, 1.0, 2.0]])
    array([[0.09003057, 0.24472847, 0.66524096]])
    >>> layer.backward([[1.0, 0.0, 0.0]])
    array([[ 0.08192507, -0.02203304, -0.05989202]])
    >>> layer.backward().shape
    (1, 3, 3)
    """

    def __call__(self, x: Any, normalization: bool = True) -> Array:
        """Probabilities of `x`; with ``normalization=False`` by the textbook formula, without the shift."""
        self._output = softmax(x, axis=self.axis, normalization=normalization)
        return self._output

    def backward(self, grad_output: Any = None) -> Array:
        """Go backward from the last output.

        Parameters
        ----------
        grad_output : array_like, optional
            The gradient of a loss with respect to the output.

        Returns
        -------
        ndarray
            The gradient with respect to the logits (see `softmax_vjp`); without `grad_output` the dense Jacobian of
            every slice, shape (..., n, n).

        Raises
        ------
        RuntimeError
            If the layer was not called yet.
        """
        if grad_output is None:
            return SimplexJacobian(self._rows()).toarray()
        return softmax_vjp(self.output, grad_output, axis=self.axis)


class LogSoftmax(_Layer):
    """log_softmax as a layer of a network written by hand.

    Parameters
    ----------
    axis : int, tuple of ints or None, default: -1
        The axis or axes that are normalized.

    Attributes
    ----------
    output : ndarray
        The log-probabilities of the last call.

    Examples
    --------
    >>> import softgrad as sg
    >>> layer = sg.LogSoftmax()
    >>> layer([[0.0, 0.0]])
    array([[-0.69314718, -0.69314718]])
    >>> layer.backward([[-1.0, 0.0]])
    array([[-0.5,  0.5]])
    """

    def __call__(self, x: Any, normalization: bool = True) -> Array:
        """Log-probabilities of `x`; with ``normalization=False`` by the textbook formula, without the shift."""
        self._output = log_softmax(x, axis=self.axis, normalization=normalization)
        return self._output

    def backward(self, grad_output: Any = None) -> Array:
        """Go backward from the last output.

        Parameters
        ----------
        grad_output : array_like, optional
            The gradient of a loss with respect to the output.

        Returns
        -------
        ndarray
            The gradient with respect to the logits (see `log_softmax_vjp`); without `grad_output` the dense Jacobian
            I − 1 pᵀ of every slice, shape (..., n, n).

        Raises
        ------
        RuntimeError
            If the layer was not called yet.
        """
        if grad_output is not None:
            return log_softmax_vjp(self.output, grad_output, axis=self.axis)
        y = self._rows()
        xp = namespace(y)
        unit = xp.eye(y.shape[-1], dtype=y.dtype)
        return log_softmax_vjp(y[..., None, :], unit)
