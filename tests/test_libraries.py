"""Arrays of every library: every function at every edge as NumPy has it, derivatives, and what is refused."""

from dataclasses import dataclass, field
from math import inf, nan
from typing import Any

import numpy as np
import pytest

import softgrad as sg
from softgrad import dispatch

from .libraries import LIBRARIES
from .maps import assert_close, directions, logits

every_library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)


@dataclass(frozen=True)
class Case:
    """A function with operands made from logits, and options beside those that an edge brings."""

    name: str
    operands: Any
    options: dict = field(default_factory=dict)
    takes: frozenset = frozenset({"axis", "where"})
    """Options of edges that it takes."""
    id: str = ""

    def __call__(self, operands, options):
        return getattr(sg, self.name)(*operands, **options)


def _x(x, axis, where):
    return (x,)


def _labels(x, axis, where):
    """Logits, and for each slice a label that takes part."""
    shape = np.sum(x.astype(float), axis=axis).shape
    return x, np.full(shape, 1 % max(1, _entries(x, axis)))


def _index(x, axis, where):
    x, labels = _labels(x, axis, where)
    return x, np.stack([labels, 0 * labels], axis=-1)


def _entries(x, axis):
    return x.size if axis is None else int(np.prod(np.take(x.shape, axis)))


def _targets(x, axis, where):
    return x, sg.softmax(directions(x), axis=axis)


def _pair(x, axis, where):
    return x, directions(x)


def _of_p(x, axis, where):
    return sg.softmax(x, axis=axis, where=where), directions(x)


def _of_y(x, axis, where):
    return sg.log_softmax(x, axis=axis, where=where), directions(x)


def _second(x, axis, where):
    return (*_of_p(x, axis, where), 1 - directions(x))


AXIS = frozenset({"axis"})
TEMPERED = frozenset({"axis", "where", "temperature", "dtype"})
PER_ROW = {"sample_weight": np.float64(0.5), "label_smoothing": 0.1, "z_loss": 0.01}
CASES = (
    Case("softmax", _x, takes=TEMPERED),
    Case("softmax", _x, {"temperature": 0.5}, id="softmax at 1/2"),
    Case("softmax", _x, {"temperature": 0.0}, id="softmax at 0"),
    Case("log_softmax", _x, takes=TEMPERED),
    Case("logsumexp", _x, takes=frozenset({"axis", "where", "dtype"})),
    Case("logsumexp", _x, {"keepdims": True}, id="logsumexp kept"),
    Case("logsumexp", _x, {"b": np.array(2.0)}, id="logsumexp b"),
    Case("softmax_vjp", _of_p, takes=AXIS),
    Case("log_softmax_vjp", _of_y, takes=AXIS),
    Case("log_softmax_jvp", _of_y, takes=AXIS),
    Case("softmax_second", _second, takes=AXIS),
    Case("cross_entropy", _labels),
    Case("cross_entropy", _labels, {**PER_ROW, "ignore_index": 7}, id="cross_entropy options"),
    Case("cross_entropy_grad", _labels, PER_ROW),
    Case("cross_entropy_grad_hess", _labels, PER_ROW),
    Case("soft_cross_entropy", _targets, PER_ROW),
    Case("soft_cross_entropy_grad", _targets),
    Case("focal_loss", _labels, {"gamma": 1.5}),
    Case("focal_loss_grad", _labels),
    Case("entropy", _x),
    Case("entropy_grad", _x),
    Case("kl_divergence", _pair),
    Case("kl_divergence_grad", _pair),
    Case("selective_log_softmax", _labels),
    Case("selective_log_softmax", _index, id="selective_log_softmax k"),
)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id or case.name)


def _with(value, *index):
    def changed(x):
        x = x.copy()
        x[index] = value
        return x

    return changed


def _mask(x):
    mask = np.random.default_rng(3).random(x.shape) < 0.7
    mask[..., 1], mask[0] = True, False
    return mask


# name: what becomes of logits of shape (3, 5), or the shape of others; options
EDGES = {
    "plain": (None, {}),
    "first axis": (None, {"axis": 0}),
    "several axes": ((2, 3, 4), {"axis": (2, 0)}),
    "all axes": (None, {"axis": None}),
    "vector": ((5,), {}),
    "0-d": ((), {"axis": None}),
    "NaN": (_with(nan, 0, 2), {}),
    "−inf": (_with(-inf, 0, 2), {}),
    "+inf": (_with(inf, 1, 3), {}),
    "all −inf": (_with(-inf, 2), {}),
    "saturated": (_with(40.0, 1, 1), {}),
    "masked": (None, {"where": _mask}),
    "masked NaN": (_with(nan, ~_mask(np.empty((3, 5)))), {"where": _mask}),
    "empty axis": ((3, 0), {}),
    "empty batch": ((0, 5), {}),
    "temperatures": (None, {"temperature": np.array([0.5, 0.0, inf])}),
}


@every_library
@every_case
@pytest.mark.parametrize("edge", EDGES)
def test_every_function_at_every_edge(library, case, edge):
    change, options = EDGES[edge]
    needed = options.keys() - {"axis", "where"}
    if not needed <= case.takes:
        pytest.skip("no such option")
    for dtype in library.dtypes:
        x = np.asarray(logits(change if isinstance(change, tuple) else (3, 5), dtype), dtype)
        x = change(x) if callable(change) else x
        where = options["where"](x) if "where" in options else None
        axis = options.get("axis", -1)
        operands = tuple(map(np.asarray, case.operands(x, axis, where)))
        if not _has_rows(case, x, axis):
            continue
        given = {**case.options, **options}
        given = {**given, "where": where} if where is not None else given
        given = {k: v for k, v in given.items() if k != "where" or "where" in case.takes}
        expected = case(operands, given)
        got = case(tuple(map(library.given, operands)), {k: library.given(v) for k, v in given.items()})
        _assert_close(library.result(got), expected, dtype)


def _has_rows(case, x, axis):
    """Labels need a class to point to."""
    return case.operands not in (_labels, _index) or _entries(x, axis) > 0 or not np.sum(x, axis=axis).size


def _assert_close(got, expected, dtype):
    if isinstance(expected, tuple):
        assert type(got) is type(expected)
        for a, b in zip(got, expected, strict=True):
            _assert_close(a, b, dtype)
        return
    assert got.shape == np.shape(expected)
    assert_close(got, expected)


@every_library
@pytest.mark.parametrize("name", [name for name in sg.__all__ if getattr(sg, name) and name in dispatch.FUNCTIONS])
def test_the_table_has_every_function(library, name):
    operators = {name for name, function in dispatch.FUNCTIONS.items() if "n,n" in function.results}
    assert name in {case.name for case in CASES} | operators


# PyTorch's derivatives

torch = pytest.importorskip("torch")
no_jit_warning = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script.*:DeprecationWarning"
)  # torch's own, by make_dual

X = torch.tensor(logits((3, 4), np.dtype(np.float64)), requires_grad=True)
G = torch.tensor(directions(X.detach().numpy()), requires_grad=True)
T = torch.softmax(G.detach() + 1, -1).requires_grad_()
LABELS = torch.tensor([0, 1, 3])
MASK = torch.tensor([[True, True, False, True], [True] * 4, [False] * 4])
LABEL_OPTIONS = {
    "weight": torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64),
    "sample_weight": torch.tensor([1.0, 0.5, 2.0]),
    "label_smoothing": 0.1,
    "z_loss": 0.01,
    "where": MASK,
}
FOCAL_OPTIONS = {k: LABEL_OPTIONS[k] for k in ("weight", "sample_weight", "where")}
T_PER_ROW = torch.tensor([0.5, 1.0, 2.0])
DIFFERENTIABLE = {
    "softmax": (sg.softmax, (X,)),
    "softmax options": (lambda x: sg.softmax(x, temperature=T_PER_ROW, where=MASK), (X,)),
    "softmax axes": (lambda x: sg.softmax(x, axis=(0, 1), temperature=0.5), (X,)),
    "log_softmax": (lambda x: sg.log_softmax(x, axis=0, temperature=2.0), (X,)),
    "logsumexp": (lambda x: sg.logsumexp(x, keepdims=True, axis=0), (X,)),
    "logsumexp where": (lambda x: sg.logsumexp(x, where=MASK)[:2], (X,)),
    "logsumexp b": (lambda x: sg.logsumexp(x, b=LABEL_OPTIONS["weight"]), (X,)),
    "softmax_vjp": (lambda x, g: sg.softmax_vjp(sg.softmax(x), g), (X, G)),
    "log_softmax_vjp": (lambda x, g: sg.log_softmax_vjp(sg.log_softmax(x), g), (X, G)),
    "log_softmax_jvp": (lambda x, g: sg.log_softmax_jvp(sg.log_softmax(x), g), (X, G)),
    "softmax_second": (lambda x, u, v: sg.softmax_second(sg.softmax(x), u, v), (X, G, T)),
    "cross_entropy": (lambda x: sg.cross_entropy(x, LABELS, ignore_index=1), (X,)),
    "cross_entropy options": (lambda x: sg.cross_entropy(x, LABELS, **LABEL_OPTIONS), (X,)),
    "cross_entropy_grad": (lambda x: tuple(sg.cross_entropy_grad(x, LABELS, **LABEL_OPTIONS)), (X,)),
    "soft_cross_entropy": (sg.soft_cross_entropy, (X, T)),
    "soft_cross_entropy options": (lambda x, t: sg.soft_cross_entropy(x, t, **LABEL_OPTIONS), (X, T)),
    "soft_cross_entropy_grad": (lambda x, t: tuple(sg.soft_cross_entropy_grad(x, t, **LABEL_OPTIONS)), (X, T)),
    "focal_loss": (lambda x: sg.focal_loss(x, LABELS), (X,)),
    "focal_loss options": (lambda x: sg.focal_loss(x, LABELS, gamma=1.5, **FOCAL_OPTIONS), (X,)),
    "focal_loss_grad": (lambda x: tuple(sg.focal_loss_grad(x, LABELS, gamma=0.5, **FOCAL_OPTIONS)), (X,)),
    "entropy": (lambda x: sg.entropy(x, where=MASK), (X,)),
    "entropy_grad": (lambda x: tuple(sg.entropy_grad(x, axis=0)), (X,)),
    "kl_divergence": (lambda p, q: sg.kl_divergence(p, q, where=MASK), (X, G)),
    "kl_divergence_grad": (lambda p, q: tuple(sg.kl_divergence_grad(p, q)), (X, G)),
    "selective_log_softmax": (lambda x: sg.selective_log_softmax(x, LABELS), (X,)),
    "selective_log_softmax k": (lambda x: sg.selective_log_softmax(x, torch.stack([LABELS, 0 * LABELS], 1)), (X,)),
}


@no_jit_warning
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_torch_derivatives_of_both_orders_and_modes(name):
    function, inputs = DIFFERENTIABLE[name]
    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_a_saturated_gradient_is_the_small_true_number():
    x = torch.tensor([30.0, 0.0, 0.0], requires_grad=True)
    sg.cross_entropy(x, torch.tensor(0)).backward()
    assert_close(x.grad.numpy(), np.array([-1.8715246e-13, 9.357623e-14, 9.357623e-14], np.float32), ulp=2)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
def test_torch_compile_falls_back_to_the_same_numbers():
    def loss(x):
        return sg.cross_entropy(2 * x, LABELS).sum() + sg.softmax(x).std()

    compiled = torch.compile(loss, backend="eager")
    (expected,) = torch.autograd.grad(loss(X), X)
    for _ in range(2):
        (got,) = torch.autograd.grad(compiled(X), X)
        assert torch.equal(got, expected)
    with torch.no_grad():
        assert torch.equal(compiled(X), loss(X))
