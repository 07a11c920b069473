"""Maps to the simplex as layers: call forward, keep the output, go backward from it."""

from __future__ import annotations

from typing import Any, overload

from softgrad._api.derivatives import log_softmax_vjp, softmax_vjp
from softgrad._api.losses import cross_entropy_grad
from softgrad._api.operators import jacobian_at
from softgrad._api.softmax import log_softmax, softmax
from softgrad._api.sparse import entmax
from softgrad._api.sparse_derivatives import entmax_alpha_vjp, entmax_jacobian_at, entmax_vjp
from softgrad._dispatch import dispatched
from softgrad._formulas.namespace import Array, NDArray, namespace
from softgrad._formulas.precision import narrowed, silent
from softgrad._validation.arrays import as_unmasked, broadcast_to, promoted
from softgrad._validation.axis import Axis, Rows
from softgrad._validation.signatures import Foreign, Labelled, Names, Operand, Real, Value

__all__ = ["Entmax", "LogSoftmax", "Softmax", "SoftmaxCrossEntropy", "Sparsemax"]


class _Layer:
    """A map along `axis` that remembers its last output.

    `output` is the array that the call returned, which its caller may write into. What a backward pass needs is kept
    apart from it.
    """

    def __init__(self, axis: Axis = -1) -> None:
        self.axis = axis
        self.options: dict[str, Any] = {}
        self._output: Array | None = None
        self._kept: Array = None

    def __repr__(self) -> str:
        options = {"axis": self.axis, **self.options}
        given = (
            f"{name}=" + (f"<array of shape {tuple(value.shape)}>" if hasattr(value, "shape") else repr(value))
            for name, value in options.items()
        )
        return f"{type(self).__name__}({', '.join(given)})"

    @property
    def output(self) -> Array:
        """The output of the last call; RuntimeError before the first."""
        if self._output is None:
            raise RuntimeError(f"{type(self).__name__} has no output yet: call the layer before backward() or output")
        return self._output

    @property
    def kept(self) -> Array:
        """What the last call kept for the backward pass; RuntimeError before the first."""
        _ = self.output
        return self._kept


class _Normalization(_Layer):
    """softmax or log_softmax."""

    @staticmethod
    def _function(x: Any, **options: Any) -> Array:
        raise NotImplementedError

    @overload
    def __call__(self, x: Real, normalization: bool = True) -> NDArray: ...
    @overload
    def __call__(self, x: Labelled | Foreign, normalization: bool = True) -> Any: ...
    def __call__(self, x: Any, normalization: bool = True) -> Array:
        """The output for `x`; with ``normalization=False`` by the textbook formula, without the shift."""
        options = {} if normalization else {"normalization": False}  # without, the call may go straight to the kernel
        self._output = self._function(x, axis=self.axis, **options)
        self._kept = _copied(self._output)
        return self._output


class Softmax(_Normalization):
    """Softmax as a layer of a network written by hand.

    Parameters
    ----------
    axis : int, tuple of ints or None, default: -1
        The axis or axes along which the probabilities sum to 1.

    Attributes
    ----------
    output : ndarray
        The probabilities of the last call.

    See Also
    --------
    softmax, softmax_vjp : the functions behind it.
    SoftmaxCrossEntropy : a loss on logits, more exact than a loss on probabilities.

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

    A column vector, of shape (n, 1), is n slices of one entry each; along axis 0 it is one slice:

    >>> column = [[0.0], [1.0], [2.0]]
    >>> sg.Softmax()(column).tolist()
    [[1.0], [1.0], [1.0]]
    >>> layer = sg.Softmax(axis=0)
    >>> layer(column)
    array([[0.09003057],
           [0.24472847],
           [0.66524096]])
    >>> layer.backward([[1.0], [0.0], [0.0]])
    array([[ 0.08192507],
           [-0.02203304],
           [-0.05989202]])
    """

    @staticmethod
    def _function(x: Any, **options: Any) -> Array:  # torch.compile traces functions that are found by a global name
        return softmax(x, **options)

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
            return jacobian_at(self.kept, axis=self.axis).toarray()
        return softmax_vjp(self.kept, grad_output, axis=self.axis)


class Entmax(_Layer):
    """α-entmax as a layer of a network written by hand.

    Parameters
    ----------
    alpha : float or array_like, default: 1.5
        As in `entmax`. It may be set between calls, as training does.
    axis : int, tuple of ints or None, default: -1
        The axis or axes along which the probabilities sum to 1.

    Attributes
    ----------
    output : ndarray
        The probabilities of the last call.

    See Also
    --------
    entmax, entmax_vjp, entmax_alpha_vjp : the functions behind it.
    Sparsemax : α = 2.

    Examples
    --------
    >>> import softgrad as sg
    >>> layer = sg.Entmax(1.5)
    >>> layer([[0.0, 0.5, 1.0]])
    array([[0.0841358 , 0.29166667, 0.62419753]])
    >>> layer.backward([[1.0, 0.0, 0.0]])
    array([[ 0.23813198, -0.09668724, -0.14144474]])
    >>> layer.backward_alpha([[1.0, 0.0, 0.0]])
    array([-0.27163179])
    """

    def __init__(self, alpha: Any = 1.5, axis: Axis = -1) -> None:
        super().__init__(axis)
        self.alpha = alpha

    def __repr__(self) -> str:
        return f"Entmax(alpha={self.alpha!r}, axis={self.axis!r})"

    def __call__(self, x: Any) -> Array:
        """Probabilities of `x`."""
        self._output, self._alpha = entmax(x, self.alpha, axis=self.axis), self.alpha
        self._kept = _copied(self._output)
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
            The gradient with respect to the logits (see `entmax_vjp`); without `grad_output` the dense Jacobian of
            every slice, shape (..., n, n).

        Raises
        ------
        RuntimeError
            If the layer was not called yet.
        """
        if grad_output is None:
            return entmax_jacobian_at(self.kept, alpha=self._alpha, axis=self.axis).toarray()
        return entmax_vjp(self.kept, grad_output, self._alpha, axis=self.axis)

    def backward_alpha(self, grad_output: Any) -> Array:
        """Go backward from the last output to α.

        Parameters
        ----------
        grad_output : array_like
            The gradient of a loss with respect to the output.

        Returns
        -------
        ndarray or scalar
            The gradient with respect to the α of every slice (see `entmax_alpha_vjp`).

        Raises
        ------
        RuntimeError
            If the layer was not called yet.
        """
        return entmax_alpha_vjp(self.kept, grad_output, self._alpha, axis=self.axis)


class Sparsemax(Entmax):
    """Sparsemax as a layer of a network written by hand.

    Parameters
    ----------
    axis : int, tuple of ints or None, default: -1
        The axis or axes along which the probabilities sum to 1.

    Attributes
    ----------
    output : ndarray
        The probabilities of the last call.

    See Also
    --------
    sparsemax, sparsemax_vjp : the functions behind it.
    Entmax : any α.

    Examples
    --------
    >>> import softgrad as sg
    >>> layer = sg.Sparsemax()
    >>> layer([[1.0, 2.0, 2.5]])
    array([[0.  , 0.25, 0.75]])
    >>> layer.backward([[3.0, 1.0, 0.0]])
    array([[ 0. ,  0.5, -0.5]])
    """

    def __init__(self, axis: Axis = -1) -> None:
        super().__init__(2.0, axis)

    __repr__ = _Layer.__repr__


class LogSoftmax(_Normalization):
    """log_softmax as a layer of a network written by hand.

    Parameters
    ----------
    axis : int, tuple of ints or None, default: -1
        The axis or axes that are normalized.

    Attributes
    ----------
    output : ndarray
        The log-probabilities of the last call.

    See Also
    --------
    log_softmax, log_softmax_vjp : the functions behind it.

    Examples
    --------
    >>> import softgrad as sg
    >>> layer = sg.LogSoftmax()
    >>> layer([[0.0, 0.0]])
    array([[-0.69314718, -0.69314718]])
    >>> layer.backward([[-1.0, 0.0]])
    array([[-0.5,  0.5]])
    """

    @staticmethod
    def _function(x: Any, **options: Any) -> Array:
        return log_softmax(x, **options)

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
            return log_softmax_vjp(self.kept, grad_output, axis=self.axis)
        return _log_softmax_jacobian_at(self.kept, axis=self.axis)


class SoftmaxCrossEntropy(_Layer):
    """Softmax and cross-entropy as the last layer of a network written by hand: logits and labels in, losses out.

    Parameters
    ----------
    axis : int, tuple of ints or None, default: -1
        The axis of the classes.
    temperature, weight, label_smoothing, ignore_index, z_loss, dtype
        As in `cross_entropy`.

    Attributes
    ----------
    output : ndarray
        The losses of the last call, one per row.

    See Also
    --------
    cross_entropy, cross_entropy_grad : the functions behind it.

    Examples
    --------
    >>> import softgrad as sg
    >>> layer = sg.SoftmaxCrossEntropy()
    >>> layer([[0.0, 0.0], [0.0, 40.0]], [0, 1])
    array([6.93147181e-01, 4.24835426e-18])
    >>> layer.backward()
    array([[-5.00000000e-01,  5.00000000e-01],
           [ 4.24835426e-18, -4.24835426e-18]])

    The options are those of `cross_entropy`, given once:

    >>> sg.SoftmaxCrossEntropy(label_smoothing=0.1, ignore_index=-1)([[0.0, 2.0], [0.0, 0.0]], [1, -1])
    array([0.22692801, 0.        ])
    """

    def __init__(
        self,
        axis: Axis = -1,
        *,
        temperature: Any = 1.0,
        weight: Any = None,
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
        z_loss: float = 0.0,
        dtype: Any = None,
    ) -> None:
        super().__init__(axis)
        self.options = {
            "temperature": temperature,
            "weight": weight,
            "label_smoothing": label_smoothing,
            "ignore_index": ignore_index,
            "z_loss": z_loss,
            "dtype": dtype,
        }

    @overload
    def __call__(self, logits: Real, labels: Real) -> Value: ...
    @overload
    def __call__(self, logits: Operand, labels: Operand | Names) -> Any: ...
    def __call__(self, logits: Any, labels: Any) -> Array:
        """Losses of `logits`, one per row; the gradient is computed in the same pass and kept."""
        self._output, self._kept = cross_entropy_grad(logits, labels, axis=self.axis, **self.options)
        return self._output

    def backward(self, grad_output: Any = None) -> Array:
        """Go backward from the last losses.

        Parameters
        ----------
        grad_output : array_like, optional
            The gradient of what follows with respect to every loss: for their mean over m rows, 1/m. Default: 1.

        Returns
        -------
        ndarray
            The gradient with respect to the logits, of their shape.

        Raises
        ------
        RuntimeError
            If the layer was not called yet.
        """
        if grad_output is None:
            return _copied(self.kept)
        return _scaled(self.kept, grad_output, axis=self.axis)


def _copied(x: Array) -> Array:
    """A copy of an array of any library."""
    copy = getattr(x, "copy", None) or getattr(x, "clone", None)
    return namespace(x).asarray(x, copy=True) if copy is None else copy()


@dispatched("(n)->(n,n)")
def _log_softmax_jacobian_at(y: Any, /, *, axis: Axis = -1) -> Array:
    """The dense Jacobian of log_softmax from its output."""
    xp = namespace(y)
    y = Rows.of(tuple(y.shape), axis).to_rows(y, xp)
    return log_softmax_vjp(y[..., None, :], xp.eye(y.shape[-1], dtype=y.dtype))


@dispatched("(n),()->(n)")
@silent
def _scaled(grad: Any, grad_output: Any, /, *, axis: Axis = -1) -> Array:
    """The gradient of every row's loss times one factor per row."""
    rows = Rows.of(tuple(grad.shape), axis)
    xp = namespace(grad)
    factor = as_unmasked(grad_output, "grad_output")
    factor = broadcast_to("grad_output", factor, rows.batch_shape, xp)
    wide = promoted(xp, grad.dtype, xp.float32)  # the factor alone may be too large for half precision
    product = xp.astype(grad, wide) * xp.astype(xp.reshape(factor, rows.kept_shape), wide)
    return narrowed(product, grad.dtype)
