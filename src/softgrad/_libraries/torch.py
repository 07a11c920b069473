"""PyTorch: CPU tensors go to the kernels without a copy, gradients through the table of derivatives.

A tensor that nothing is recorded for is NumPy's array over the same memory. Where a gradient, a `torch.func` transform
or a forward-mode tangent is tracked, the call becomes an `autograd.Function`, whose derivatives are the rules of the
table; these call softgrad's functions again, so there is a derivative of every order. Tensors without values or without
memory of their own (those that `torch.compile` and `torch.export` trace with, and those of `vmap` inside
`torch.autograd`) go through the operator `softgrad::rows`, which PyTorch knows how to trace and to batch. On other
devices the generic formulas run there.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.autograd import forward_ad

from softgrad._dispatch import BUFFERS, CHOICES, CLASSES, FUNCTIONS, IN_MEMORY, OPTIONS, SLICE, VALUE, Function, refuse
from softgrad._formulas.namespace import namespace
from softgrad._libraries.derivatives import COMPOSED, RULES
from softgrad._libraries.derivatives.rules import Call
from softgrad._libraries.last_axis import as_rows, plain

Tensor = Any


def call(function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`function` of tensors: tensors of the same device come back."""
    if torch.compiler.is_compiling():
        # An operator is made by calls of functions, each of which goes into the graph.
        return function.plain(*operands, **options) if function.is_operator else _in_graph(function, operands, options)
    return _call(function, operands, options)


def _call(function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if function.constant:
        operands = tuple(map(_detached, operands))
        options = {name: _detached(value) for name, value in options.items()}
    tensors = [a for a in (*operands, *options.values()) if isinstance(a, torch.Tensor)]
    for tensor in tensors:
        if tensor.layout != torch.strided:
            raise TypeError(f"{function.name} takes dense tensors; got layout {tensor.layout}")
    tracked, traced = any(map(_is_tracked, tensors)), any(map(_is_traced, tensors))
    is_operator, on_cpu = function.is_operator, all(tensor.device.type == "cpu" for tensor in tensors)
    if on_cpu and not (tracked or traced or is_operator):
        return _through_numpy(function, operands, options)
    device = tensors[0].device
    operands = tuple(_as_tensor(a, device) for a in operands)
    options = {k: _as_tensor(v, device) if k in OPTIONS and _is_array(v) else v for k, v in options.items()}
    if is_operator or not (tracked or traced) or (function.constant and tracked):
        return function.plain(*operands, **options)
    return _of_rows(function, operands, options, tracked)


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


def _is_tracked(tensor: Tensor) -> bool:
    """Whether somebody will ask for a derivative, or sees a batch where we see one example."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor) or _has_derivative(tensor)


def _has_derivative(tensor: Tensor) -> bool:
    """Whether somebody will ask for a derivative, as far as can be seen: a batch hides its tangent."""
    return (tensor.requires_grad and torch.is_grad_enabled()) or (
        forward_ad._current_level >= 0
        and not torch._C._functorch.is_legacy_batchedtensor(tensor)
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        and forward_ad.unpack_dual(tensor).tangent is not None
    )


def _no_derivative(function: Function) -> TypeError:
    return TypeError(f"{function.name} has no derivative; call it with tensors without a gradient, as by detach()")


def _is_traced(tensor: Tensor) -> bool:
    """Whether only PyTorch's operators can be called on a tensor: it has no memory of its own, or is being recorded."""
    return (
        type(tensor).__torch_dispatch__ is not torch._C._disabled_torch_dispatch_impl
        or torch._C._functorch.is_legacy_batchedtensor(tensor)
        or torch._C._len_torch_dispatch_stack() > 0
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
    for name in BUFFERS:
        if isinstance(buffer := options.get(name), torch.Tensor):
            _check_buffer(buffer, name)
    arrays = (_as_numpy(a) for a in operands)
    result = function(*arrays, **{k: _as_numpy(v) for k, v in options.items()})
    if not isinstance(result, tuple):
        given = options.get("out")
        return given if isinstance(given, torch.Tensor) else _from_numpy(result)
    return type(result)(*map(_from_numpy, result))


def _check_buffer(buffer: Tensor, name: str) -> None:
    """ValueError unless every entry of a buffer is a number of its own in memory."""
    if buffer.is_neg() or buffer._is_zerotensor():
        raise ValueError(f"{name} must store its entries as they are; got a lazily negated tensor: call resolve_neg()")
    if _overlaps_itself(buffer):
        shape = tuple(buffer.shape)
        raise ValueError(
            f"{name} must not overlap itself; got a tensor of shape {shape} with strides {buffer.stride()}"
        )


def _overlaps_itself(tensor: Tensor) -> bool:
    """Whether two entries of a tensor are one number in memory."""
    extent = 0
    for stride, n in sorted((stride, n) for stride, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1):
        if stride <= extent:  # not in nested blocks: only the offsets themselves can say
            offsets = sum(np.ix_(*(np.arange(n) * s for s, n in zip(tensor.stride(), tensor.shape, strict=True))))
            return bool(np.unique(offsets).size < tensor.numel())
        extent += (n - 1) * stride
    return False


def _as_numpy(value: Any) -> Any:
    """A tensor as an array over its memory, other arrays and torch's dtypes as NumPy's, anything else as it is."""
    if isinstance(value, torch.Tensor):
        value = value.detach().resolve_conj().resolve_neg()
        value = value.clone() if value._is_zerotensor() else value
        return value.view(torch.int16).numpy().view(_bfloat16()) if value.dtype == torch.bfloat16 else value.numpy()
    if isinstance(value, torch.dtype):
        return _bfloat16() if value == torch.bfloat16 else np.dtype(str(value).removeprefix("torch."))
    return plain(value)


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
    """What of a call on rows is no tensor."""

    function: Function
    names: tuple[str, ...]  # of the options that follow the operands
    options: dict[str, Any]

    @property
    def keys(self) -> tuple[int | str, ...]:
        """What the table calls each tensor by."""
        return (*range(len(self.function.operands)), *self.names)

    @property
    def cores(self) -> tuple[str, ...]:
        """What of each tensor belongs to a slice."""
        return (*self.function.operands, *(OPTIONS[name] for name in self.names))

    def split(self, tensors: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        """Operands and all options."""
        count = len(self.function.operands)
        return tensors[:count], {**self.options, **dict(zip(self.names, tensors[count:], strict=True))}


def _of_rows(function: Function, operands: tuple[Tensor, ...], options: dict[str, Any], tracked: bool) -> Any:
    refuse(options, IN_MEMORY, "tensors without a gradient; got one that requires it")
    by = RULES[function.name].by if function.name in RULES else {}
    for name, value in options.items():
        is_constant = name not in by and function.name not in COMPOSED
        if is_constant and isinstance(value, torch.Tensor) and value.requires_grad:
            raise TypeError(f"{name} is a constant, with respect to which nothing is differentiated; detach() it")
    if any(map(_has_derivative, operands)) and function.name not in RULES and function.name not in COMPOSED:
        raise _no_derivative(function)
    operands, given, restore = as_rows(function, operands, options, namespace(operands[0]))
    if tracked and function.name in COMPOSED:
        return restore((COMPOSED[function.name](*operands, **given),))
    names = tuple(k for k, v in given.items() if isinstance(v, torch.Tensor))
    spec = _Spec(function, names, {k: v for k, v in given.items() if k not in names})
    tensors = (*operands, *(given[k] for k in names))
    return restore(_Differentiable.apply(spec, *tensors) if tracked else _rows_of(spec, tensors))


def _rule_of(function: Function) -> Any:
    if function.name not in RULES:
        raise _no_derivative(function)
    return RULES[function.name]


class _Differentiable(torch.autograd.Function):  # type: ignore[misc]  # torch has no types here
    """A function of rows with the derivatives of the table."""

    @staticmethod
    def forward(spec: _Spec, *tensors: Tensor) -> tuple[Tensor, ...]:
        if any(map(_is_traced, tensors)):
            return _rows_of(spec, tensors)
        operands, options = spec.split(tensors)
        return _as_tuple(_call(spec.function, operands, options))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.spec, *tensors = inputs
        ctx.set_materialize_grads(False)
        kept = [*tensors, *output]
        ctx.save_for_backward(*kept)
        ctx.save_for_forward(*kept)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        grads: list[Tensor | None] = [None] * len(ctx.needs_input_grad)
        if all(g is None for g in cotangents):
            return tuple(grads)
        tensors, made = _made(ctx)
        rule = _rule_of(ctx.spec.function)
        for i, (key, tensor) in enumerate(zip(ctx.spec.keys, tensors, strict=True)):
            if ctx.needs_input_grad[1 + i]:
                grads[1 + i] = rule.by[key].vjp(made, cotangents).to(tensor.dtype)
        return tuple(grads)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        made = _made(ctx)[1]
        rule = _rule_of(ctx.spec.function)
        parts = [rule.by[k].jvp(made, v) for k, v in zip(ctx.spec.keys, tangents, strict=True) if v is not None]
        return tuple(
            sum(terms[1:], terms[0]).to(dtype)
            for terms, dtype in zip(zip(*parts, strict=True), made.dtypes, strict=True)
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], spec: _Spec, *tensors: Tensor) -> tuple[Any, Any]:
        ndim = tensors[0].ndim - (in_dims[1] is not None)
        ndims = {SLICE: ndim, VALUE: ndim - 1}
        batched = [
            (core, tensor if d is None else _batch_first(tensor, d, ndims.get(core, tensor.ndim - 1)), d is not None)
            for core, tensor, d in zip(spec.cores, tensors, in_dims[1:], strict=True)
        ]
        if any(core == CLASSES and moved for core, _, moved in batched):  # a call has one weight for each class
            results = tuple(
                torch.stack(parts)
                for parts in zip(
                    *(
                        _Differentiable.apply(spec, *(t[i] if moved else t for _, t, moved in batched))
                        for i in range(info.batch_size)
                    ),
                    strict=True,
                )
            )
        else:
            count = len(spec.function.operands)
            everywhere = [
                t if moved or i >= count else t.expand(info.batch_size, *t.shape)
                for i, (_, t, moved) in enumerate(batched)
            ]
            results = _Differentiable.apply(spec, *everywhere)
        return results, (0,) * len(results)


def _batch_first(tensor: Tensor, d: int, ndim: int) -> Tensor:
    """`tensor` with the axis `d` of a batch first, and then axes of 1 where it has fewer than `ndim` others."""
    moved = tensor.movedim(d, 0)
    return moved.reshape(moved.shape[0], *(1,) * (ndim - moved.ndim + 1), *moved.shape[1:])


def _made(ctx: Any) -> tuple[tuple[Tensor, ...], Call]:
    """The tensors and the call, by one look at what was saved: a second one would be an error under `checkpoint`."""
    saved = ctx.saved_tensors
    count = len(ctx.spec.cores)
    operands, options = ctx.spec.split(saved[:count])
    return saved[:count], Call(ctx.spec.function, operands, options, saved[count:])


# As operators of PyTorch


@functools.cache
def _optional(function: Function) -> tuple[str, ...]:
    """The options of a function that may be arrays."""
    names = tuple(inspect.signature(function.plain).parameters)[len(function.operands) :]
    return tuple(name for name in OPTIONS if name in names)


@functools.cache
def _operator(function: Function) -> Any:
    """A function of rows as an operator, opaque to whatever traces it.

    Every tensor is an argument of its own, for PyTorch batches no lists of tensors.
    """
    optional = _optional(function)
    arguments = [f"Tensor {name}" for name in function.names] + [f"Tensor? {name}" for name in optional]
    results = ", ".join(["Tensor"] * len(function.results))

    def spec_of(arrays: tuple[Any, ...]) -> tuple[_Spec, tuple[Tensor, ...]]:
        *tensors, constants = arrays
        given = tensors[len(function.names) :]
        names = tuple(name for name, option in zip(optional, given, strict=True) if option is not None)
        return _Spec(function, names, _read(constants)), tuple(t for t in tensors if t is not None)

    def compute(*arrays: Any) -> Any:
        spec, tensors = spec_of(arrays)
        operands, options = spec.split(tensors)
        results = _as_tuple(_call(function, operands, options))
        own = tuple(r.clone() if any(r is t for t in tensors) else r.contiguous() for r in results)
        return own if len(own) > 1 else own[0]

    def fake(*arrays: Any) -> Any:
        spec, tensors = spec_of(arrays)
        shapes = {SLICE: tensors[0].shape, VALUE: tensors[0].shape[:-1]}
        if CHOICES in function.operands:
            shapes[CHOICES] = tensors[function.operands.index(CHOICES)].shape
        made = tuple(
            tensors[0].new_empty(shapes[core], dtype=dtype)
            for core, dtype in zip(function.results, _result_dtypes(spec, tensors), strict=True)
        )
        return made if len(made) > 1 else made[0]

    operator = torch.library.custom_op(
        f"softgrad::{function.name}_of_rows",
        compute,
        mutates_args=(),
        schema=f"({', '.join(arguments)}, str constants) -> ({results})",
    )
    operator.register_fake(fake)
    return operator


def _result_dtypes(spec: _Spec, tensors: tuple[Tensor, ...]) -> list[torch.dtype]:
    """The dtypes of the results, from a call without rows."""
    shapes = {SLICE: (0, 1), VALUE: (0,), CLASSES: (1,), CHOICES: (0,)}
    arrays = (np.ones(shapes[core], _as_numpy(t.dtype)) for core, t in zip(spec.cores, tensors, strict=True))
    operands, options = spec.split(tuple(arrays))
    results = _as_tuple(spec.function(*operands, **{k: _as_numpy(v) for k, v in options.items()}))
    return [getattr(torch, r.dtype.name) for r in results]


def _as_tuple(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, tuple) else (result,)


def _rows_of(spec: _Spec, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    operands, options = spec.split(tensors)
    operator = _operator(spec.function)
    optional = [options[name] if name in spec.names else None for name in _optional(spec.function)]
    return _as_tuple(operator(*operands, *optional, _written(spec.options)))


_library = torch.library.Library("softgrad", "FRAGMENT")
_library.define("function(str name, Tensor[] tensors, str[] names, str constants) -> Tensor[]")


def _function(name: str, tensors: list[Tensor], names: list[str], constants: str) -> list[Tensor]:
    """Any function of softgrad, as a composition of operators that can be traced and differentiated."""
    spec = _Spec(FUNCTIONS[name], tuple(names), _read(constants))
    operands, options = spec.split(tuple(tensors))
    return list(_as_tuple(_call(spec.function, operands, options)))


_library.impl("function", _function, "CompositeImplicitAutograd")


def _in_graph(function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The call as one operator, which `torch.compile` takes into its graph."""
    refuse(options, IN_MEMORY, "calls that are not compiled")
    device = next(a.device for a in itertools.chain(operands, options.values()) if isinstance(a, torch.Tensor))
    tensors = [a if isinstance(a, torch.Tensor) else torch.as_tensor(a, device=device) for a in operands]
    names, constants = [], {}
    for key, value in options.items():
        if key in OPTIONS and _is_array(value):
            names.append(key)
            tensors.append(value if isinstance(value, torch.Tensor) else torch.as_tensor(value, device=device))
        elif value is not None:
            constants[key] = value
    results = torch.ops.softgrad.function(function.name, tensors, names, _written(constants))
    return function.packed(tuple(results))


def _written(constants: dict[str, Any]) -> str:
    """Options that are no tensors, as the one string by which an operator takes them."""
    return repr({k: str(v) if isinstance(v, torch.dtype) else v for k, v in constants.items()})


def _read(constants: str) -> dict[str, Any]:
    options: dict[str, Any] = ast.literal_eval(constants)
    if "dtype" in options:
        options["dtype"] = getattr(torch, options["dtype"].removeprefix("torch."))
    return options
