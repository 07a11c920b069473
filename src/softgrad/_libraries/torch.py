"""PyTorch: CPU tensors go to the kernels without a copy, gradients through the table of derivatives.

A tensor without a gradient is NumPy's array over the same memory. Where a gradient, a `torch.func` transform or a
forward-mode tangent is tracked, the call becomes an `autograd.Function`, whose derivatives are the rules of the table;
these call softgrad's functions again, so there is a derivative of every order. On other devices the generic formulas
run there.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.autograd import forward_ad

from softgrad._dispatch import IN_MEMORY, OPTIONS, Function, refuse
from softgrad._formulas.namespace import namespace
from softgrad._libraries.derivatives import COMPOSED, RULES
from softgrad._libraries.derivatives.rules import Call
from softgrad._libraries.last_axis import as_rows

Tensor = Any


def call(function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`function` of tensors: tensors of the same device come back."""
    if "torch._dynamo" in sys.modules:  # imported by torch.compile, and slow to import without need
        return torch.compiler.disable(_call)(function, operands, options)
    return _call(function, operands, options)


def _call(function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    tensors = [a for a in (*operands, *options.values()) if isinstance(a, torch.Tensor)]
    for tensor in tensors:
        if tensor.layout != torch.strided:
            raise TypeError(f"{function.name} takes dense tensors; got layout {tensor.layout}")
    tracked = any(map(_is_tracked, tensors))
    if not tracked and not function.is_operator and all(tensor.device.type == "cpu" for tensor in tensors):
        return _through_numpy(function, operands, options)
    device = tensors[0].device
    operands = tuple(_as_tensor(a, device) for a in operands)
    options = {k: _as_tensor(v, device) if k in OPTIONS and _is_array(v) else v for k, v in options.items()}
    if not tracked or function.is_operator:
        return function.plain(*operands, **options)
    return _differentiable(function, operands, options)


def _is_tracked(tensor: Tensor) -> bool:
    """Whether somebody will ask for a derivative, or sees a batch where we see one example."""
    return (
        (tensor.requires_grad and torch.is_grad_enabled())
        or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        or (forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None)
    )


def _is_array(value: Any) -> bool:
    """Whether an option that may be an array is one, of whichever library, and no number."""
    return hasattr(value, "shape") or isinstance(value, list | tuple)


def _as_tensor(a: Any, device: torch.device) -> Tensor:
    """A tensor as it is; any other array copied, since a backward pass may read it after its owner has changed it."""
    if isinstance(a, torch.Tensor):
        return a
    a = np.asarray(a)
    return _from_numpy(np.array(a, dtype=a.dtype.newbyteorder("="))).to(device)


# Without derivatives: NumPy's arrays over the same memory


def _through_numpy(function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    arrays = (_as_numpy(a) for a in operands)
    result = function(*arrays, **{k: _as_numpy(v) for k, v in options.items()})
    if not isinstance(result, tuple):
        given = options.get("out")
        return given if isinstance(given, torch.Tensor) else _from_numpy(result)
    return type(result)(*map(_from_numpy, result))


def _as_numpy(value: Any) -> Any:
    """A tensor as an array over its memory, other arrays and torch's dtypes as NumPy's; anything else as it is."""
    if isinstance(value, torch.Tensor):
        value = value.detach()
        return value.view(torch.int16).numpy().view(_bfloat16()) if value.dtype == torch.bfloat16 else value.numpy()
    if isinstance(value, torch.dtype):
        return _bfloat16() if value == torch.bfloat16 else np.dtype(str(value).removeprefix("torch."))
    return np.asanyarray(value) if hasattr(value, "__array__") else value


def _from_numpy(array: Any) -> Tensor:
    array = np.asarray(array)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _bfloat16() -> np.dtype[Any]:
    """NumPy's bfloat16, which comes with ml_dtypes."""
    try:
        import ml_dtypes  # noqa: PLC0415  only bfloat16 needs it
    except ImportError:
        message = 'bfloat16 tensors need ml_dtypes: pip install "softgrad[torch]"'
        raise ImportError(message, name="ml_dtypes") from None

    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16


# With derivatives


class _Spec(NamedTuple):
    """What of a call is no tensor."""

    function: Function
    names: tuple[str, ...]  # of the options that follow the operands
    options: dict[str, Any]

    @property
    def keys(self) -> tuple[int | str, ...]:
        """What the table calls each tensor by."""
        return (*range(len(self.function.operands)), *self.names)

    def split(self, tensors: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        """Operands and all options."""
        count = len(self.function.operands)
        return tensors[:count], {**self.options, **dict(zip(self.names, tensors[count:], strict=True))}


def _differentiable(function: Function, operands: tuple[Tensor, ...], options: dict[str, Any]) -> Any:
    refuse(options, IN_MEMORY, "tensors without a gradient; got one that requires it")
    for name, value in options.items():
        if isinstance(value, torch.Tensor) and value.requires_grad:
            raise TypeError(f"{name} is a constant, with respect to which nothing is differentiated; detach() it")
    if function.name not in RULES and function.name not in COMPOSED:
        raise TypeError(f"{function.name} has no derivative; call it with tensors without a gradient, as by detach()")
    operands, given, restore = as_rows(function, operands, options, namespace(operands[0]))
    if function.name in COMPOSED:
        return restore((COMPOSED[function.name](*operands, **given),))
    names = tuple(k for k, v in given.items() if isinstance(v, torch.Tensor))
    spec = _Spec(function, names, {k: v for k, v in given.items() if k not in names})
    return restore(_Differentiable.apply(spec, *operands, *(given[k] for k in names)))


class _Differentiable(torch.autograd.Function):  # type: ignore[misc]  # torch has no types here
    """A function of rows with the derivatives of the table."""

    @staticmethod
    def forward(spec: _Spec, *tensors: Tensor) -> tuple[Tensor, ...]:
        operands, options = spec.split(tensors)
        result = _call(spec.function, operands, options)
        return tuple(result) if isinstance(result, tuple) else (result,)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.spec, *tensors = inputs
        ctx.set_materialize_grads(False)
        kept = [*tensors, *output]
        ctx.save_for_backward(*kept)
        ctx.save_for_forward(*kept)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        made, rule = _made(ctx), RULES[ctx.spec.function.name]
        grads: list[Tensor | None] = [None] * len(ctx.needs_input_grad)
        if all(g is None for g in cotangents):
            return tuple(grads)
        for i, (key, tensor) in enumerate(zip(ctx.spec.keys, ctx.saved_tensors, strict=False)):
            if ctx.needs_input_grad[1 + i]:
                grads[1 + i] = rule.by[key].vjp(made, cotangents).to(tensor.dtype)
        return tuple(grads)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        made, rule = _made(ctx), RULES[ctx.spec.function.name]
        parts = [rule.by[k].jvp(made, v) for k, v in zip(ctx.spec.keys, tangents, strict=True) if v is not None]
        return tuple(
            sum(terms[1:], terms[0]).to(result.dtype)
            for terms, result in zip(zip(*parts, strict=True), made.results, strict=True)
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], spec: _Spec, *tensors: Tensor) -> tuple[Any, Any]:
        count = len(spec.function.operands)
        batched = [
            tensor.movedim(d, 0)
            if d is not None
            else tensor.expand(info.batch_size, *tensor.shape)
            if i < count
            else tensor
            for i, (tensor, d) in enumerate(zip(tensors, in_dims[1:], strict=True))
        ]
        results = _Differentiable.apply(spec, *batched)
        return results, (0,) * len(results)


def _made(ctx: Any) -> Call:
    tensors = ctx.saved_tensors
    results = len(ctx.spec.function.results)
    operands, options = ctx.spec.split(tensors[:-results])
    return Call(operands, options, tensors[-results:])
