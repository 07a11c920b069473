"""Arrays of every library: every function at every edge as NumPy has it, derivatives, and what is refused."""

import functools
from dataclasses import dataclass, field, fields
from math import inf, nan
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import softgrad as sg
from softgrad import _dispatch as dispatch
from softgrad._libraries.derivatives import COMPOSED, RULES

from ..maps import assert_close, directions, logits
from .libraries import ARRAYS, DASK_CUT, JAX, JAX_64, LIBRARIES, TORCH

every_library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
every_unlabelled = pytest.mark.parametrize("library", ARRAYS, ids=lambda library: library.name)  # see test_labels.py


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
    return x, np.stack([labels, 0 * labels] * 3, axis=-1)


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
        if not _has_rows(case, x, axis) or not library.has(x):
            continue
        given = {**case.options, **options}
        given = {**given, "where": where} if where is not None else given
        given = {k: v for k, v in given.items() if k != "where" or "where" in case.takes}
        for option in given.keys() & library.without:
            with pytest.raises(TypeError, match=option):
                case(tuple(map(library.given, operands)), given)
            return
        expected = case(operands, given)
        with library.context():
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


@every_unlabelled
def test_the_layers(library):
    x, labels = logits((3, 5), np.dtype(np.float32)), np.array([1, 0, 2])
    with library.context():
        for layer in (sg.Softmax(), sg.LogSoftmax()):
            output, vjp, dense = layer(x), layer.backward(directions(x)), layer.backward()
            assert_close(library.back(layer(library.to(x))), output)
            assert_close(library.back(layer.backward(library.to(directions(x)))), vjp)
            if library is not DASK_CUT:
                assert_close(library.back(layer.backward()), dense)
        loss = sg.SoftmaxCrossEntropy()
        output, grad = loss(x, labels), loss.backward(np.array([0.5, 1, 2], np.float32))
        assert_close(library.back(loss(library.to(x), library.to(labels))), output)
        assert_close(library.back(loss.backward(library.to(np.array([0.5, 1, 2], np.float32)))), grad)


def test_the_table_has_every_function():
    public = {name for name in sg.__all__ if getattr(sg, name) and name in dispatch.FUNCTIONS}
    operators = {name for name in public if "n,n" in dispatch.FUNCTIONS[name].results}
    assert public == {case.name for case in CASES} | operators


# Derivatives


@dataclass(frozen=True)
class Given:
    """What the functions below are differentiated at: logits, directions, distributions; and constants."""

    x: Any
    g: Any
    t: Any
    labels: Any
    mask: Any
    weight: Any
    sample_weight: Any
    temperature: Any

    def of(self, library):
        return Given(*(library.to(getattr(self, f.name)) for f in fields(self)))

    @property
    def label_options(self):
        return {**self.focal_options, "label_smoothing": 0.1, "z_loss": 0.01}

    @property
    def focal_options(self):
        return {"weight": self.weight, "sample_weight": self.sample_weight, "where": self.mask}


_X = logits((3, 4), np.dtype(np.float64))
GIVEN = Given(
    x=_X,
    g=directions(_X),
    t=sg.softmax(directions(_X) + 1),
    labels=np.array([0, 1, 3]),
    mask=np.array([[True, True, False, True], [True] * 4, [False] * 4]),
    weight=np.array([1.0, 2.0, 0.5, 1.0]),
    sample_weight=np.array([1.0, 0.5, 2.0]),
    temperature=np.array([0.5, 1.0, 2.0]),
)
# name: the arrays by which it is differentiated, and the function of them and of all that is given
DERIVATIVES = {
    "softmax": ("x", lambda o, x: sg.softmax(x)),
    "softmax axes": ("x", lambda o, x: sg.softmax(x, axis=(0, 1), temperature=0.5)),
    "softmax options": ("x", lambda o, x: sg.softmax(x, temperature=o.temperature, where=o.mask)),
    "log_softmax": ("x", lambda o, x: sg.log_softmax(x, axis=0, temperature=2.0)),
    "logsumexp": ("x", lambda o, x: sg.logsumexp(x, keepdims=True, axis=0)),
    "logsumexp where": ("x", lambda o, x: sg.logsumexp(x, where=o.mask)[:2]),
    "logsumexp b": ("x", lambda o, x: sg.logsumexp(x, b=o.weight)),
    "softmax_vjp": ("xg", lambda o, x, g: sg.softmax_vjp(sg.softmax(x), g)),
    "log_softmax_vjp": ("xg", lambda o, x, g: sg.log_softmax_vjp(sg.log_softmax(x), g)),
    "log_softmax_jvp": ("xg", lambda o, x, g: sg.log_softmax_jvp(sg.log_softmax(x), g)),
    "softmax_second": ("xgt", lambda o, x, u, v: sg.softmax_second(sg.softmax(x), u, v)),
    "cross_entropy": ("x", lambda o, x: sg.cross_entropy(x, o.labels, ignore_index=1)),
    "cross_entropy options": ("x", lambda o, x: sg.cross_entropy(x, o.labels, **o.label_options)),
    "cross_entropy_grad": ("x", lambda o, x: tuple(sg.cross_entropy_grad(x, o.labels, **o.label_options))),
    "soft_cross_entropy": ("xt", lambda o, x, t: sg.soft_cross_entropy(x, t)),
    "soft_cross_entropy options": ("xt", lambda o, x, t: sg.soft_cross_entropy(x, t, **o.label_options)),
    "soft_cross_entropy_grad": ("xt", lambda o, x, t: tuple(sg.soft_cross_entropy_grad(x, t, **o.label_options))),
    "focal_loss": ("x", lambda o, x: sg.focal_loss(x, o.labels)),
    "focal_loss options": ("x", lambda o, x: sg.focal_loss(x, o.labels, gamma=1.5, **o.focal_options)),
    "focal_loss_grad": ("x", lambda o, x: tuple(sg.focal_loss_grad(x, o.labels, gamma=0.5, **o.focal_options))),
    "entropy": ("x", lambda o, x: sg.entropy(x, where=o.mask)),
    "entropy_grad": ("x", lambda o, x: tuple(sg.entropy_grad(x, axis=0))),
    "kl_divergence": ("xg", lambda o, p, q: sg.kl_divergence(p, q, where=o.mask)),
    "kl_divergence_grad": ("xg", lambda o, p, q: tuple(sg.kl_divergence_grad(p, q))),
    "selective_log_softmax": ("x", lambda o, x: sg.selective_log_softmax(x, o.labels)),
    "selective_log_softmax k": ("x", lambda o, x: sg.selective_log_softmax(x, o.labels[:, None] - o.labels[:1])),
}
every_derivative = pytest.mark.parametrize("name", DERIVATIVES)
no_jit_warning = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script.*:DeprecationWarning"
)  # torch's own, by make_dual


def test_every_rule_is_tested():
    names = {name.partition(" ")[0] for name in DERIVATIVES}
    assert names == RULES.keys() | {name for name in COMPOSED if not name.startswith("_")}


def _torch_call(name):
    names, function = DERIVATIVES[name]
    given = GIVEN.of(TORCH)
    return functools.partial(function, given), tuple(getattr(given, n).requires_grad_() for n in names)


@every_derivative
@no_jit_warning
def test_torch_derivatives_of_both_orders_and_modes(name):
    function, inputs = _torch_call(name)
    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, inputs)


def _scalar(function, inputs):
    """All results in one number, so that its gradient tells of every derivative."""
    results = function(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    return sum((r * (1 + 0.1 * i) * (2.0 + r)).sum() for i, r in enumerate(results))


# The rules are those that PyTorch's checks went through, and compiling takes seconds: one call of each function.
@pytest.mark.parametrize("name", {name.partition(" ")[0]: name for name in DERIVATIVES}.values())
def test_jax_derivatives_of_both_orders_are_those_of_torch(name):
    function, inputs = _torch_call(name)
    gradients = torch.autograd.grad(_scalar(function, inputs), inputs, create_graph=True)
    along = sum((g * (1 + x)).sum() for g, x in zip(gradients, inputs, strict=True))
    seconds = torch.autograd.grad(along, inputs)
    names, of_given = DERIVATIVES[name]
    with JAX_64.context():
        given = GIVEN.of(JAX_64)
        arrays = tuple(getattr(given, n) for n in names)

        def gradient(*arrays):
            return jax.grad(lambda arrays: _scalar(functools.partial(of_given, given), arrays))(arrays)

        def second(*arrays):  # forward over reverse, along 1 + x
            return jax.jvp(gradient, arrays, tuple(1 + a for a in arrays))

        got = jax.jit(second)(*arrays)
        # The direction depends on x in PyTorch's second derivative, and adds the gradient there.
        for mine, theirs in zip(got[0], gradients, strict=True):
            assert_close(JAX_64.back(mine), theirs.detach().numpy(), ulp=64)
        for mine, first, theirs in zip(got[1], got[0], seconds, strict=True):
            assert_close(JAX_64.back(mine + first), theirs.numpy(), ulp=512)


def _rows_of_every_kind(case):
    """Operands and the mask."""
    x = logits((8, 5), np.dtype(np.float32))
    x[0, 2], x[1, 2], x[2, 2], x[3], x[4, 1] = nan, inf, -inf, -inf, 40
    where = np.ones(x.shape, bool)
    where[5, 2], x[5, 2], where[6] = False, nan, False
    where = where if "where" in case.takes else None
    return tuple(map(np.asarray, case.operands(x, -1, where))), {} if where is None else {"where": where}


@every_case
def test_the_formulas_on_tensors(case):
    """What runs on a GPU, here on the CPU."""
    operands, options = _rows_of_every_kind(case)
    expected = case(operands, {**case.options, **options})
    given = {k: TORCH.given(v) for k, v in {**case.options, **options}.items()}
    got = dispatch.FUNCTIONS[case.name].plain(*map(TORCH.to, operands), **given)
    _assert_close(TORCH.result(got), expected, operands[0].dtype)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every_case
def test_tensors_on_a_gpu(case):
    operands, options = _rows_of_every_kind(case)
    expected = case(operands, {**case.options, **options})
    given = {k: TORCH.to(v).cuda() if isinstance(v, np.ndarray) else v for k, v in {**case.options, **options}.items()}
    got = case(tuple(TORCH.to(a).cuda() for a in operands), given)
    on_cpu = [r.cpu() for r in (got if isinstance(got, tuple) else (got,))]
    assert all(r.is_cuda for r in (got if isinstance(got, tuple) else (got,)))
    _assert_close(
        TORCH.result(type(got)(*on_cpu) if isinstance(got, tuple) else on_cpu[0]), expected, operands[0].dtype
    )


@every_case
def test_jax_under_jit_at_every_edge(case):
    """Rows of every kind in one call."""
    operands, options = _rows_of_every_kind(case)
    expected = case(operands, {**case.options, **options})
    got = jax.jit(lambda operands, options: case(operands, {**case.options, **options}))(operands, options)
    _assert_close(JAX.result(got), expected, operands[0].dtype)


@pytest.mark.parametrize("library", [TORCH, JAX], ids=lambda library: library.name)
def test_a_saturated_gradient_is_the_small_true_number(library):
    x = np.array([30, 0, 0], np.float32)
    if library is TORCH:
        tensor = library.to(x).requires_grad_()
        sg.cross_entropy(tensor, torch.tensor(0)).backward()
        gradients = [tensor.grad]
    else:
        gradient = jax.grad(lambda x: sg.cross_entropy(x, jnp.array(0)))
        gradients = [gradient(x), jax.jit(gradient)(x)]
    for got in map(library.back, gradients):
        assert_close(got, np.array([-1.8715246e-13, 9.357623e-14, 9.357623e-14], np.float32), ulp=2)


def test_jax_vmap_and_hessian():
    x, labels = jnp.asarray(logits((4, 5), np.dtype(np.float32))), jnp.arange(4)
    loss = sg.cross_entropy_grad(np.asarray(x), np.arange(4))
    assert_close(np.asarray(jax.jit(jax.vmap(jax.grad(sg.cross_entropy)))(x, labels)), loss.grad)
    assert_close(np.asarray(jax.jit(jax.vmap(sg.softmax, in_axes=1, out_axes=1))(x)), sg.softmax(np.asarray(x), axis=0))
    dense = sg.softmax_jacobian(np.asarray(x[0])).toarray()
    assert_close(np.asarray(jax.jit(jax.hessian(sg.cross_entropy))(x[0], labels[0])), dense)
    assert_close(np.asarray(jax.jit(jax.jacrev(sg.softmax))(x[0])), dense)


@no_jit_warning
def test_torch_func():
    x, labels = torch.tensor(logits((4, 5), np.dtype(np.float32))), torch.arange(4)
    loss = sg.cross_entropy_grad(x.numpy(), np.arange(4))
    assert_close(torch.func.vmap(torch.func.grad(sg.cross_entropy))(x, labels).numpy(), loss.grad)
    assert_close(torch.func.vmap(sg.softmax, in_dims=1, out_dims=1)(x).numpy(), sg.softmax(x.numpy(), axis=0))
    dense = sg.softmax_jacobian(x[0].numpy()).toarray()
    assert_close(torch.func.hessian(sg.cross_entropy)(x[0], labels[0]).numpy(), dense)
    assert_close(torch.func.jacfwd(sg.softmax)(x[0]).numpy(), dense)
    assert_close(torch.func.jacrev(sg.softmax)(x[0]).numpy(), dense)


def test_what_jax_cannot_check_yet_is_nan():
    x = np.zeros((3, 4), np.float32)
    loss, grad = jax.jit(sg.cross_entropy_grad)(x, np.array([0, 4, -1]))
    np.testing.assert_array_equal(np.isnan(loss), [False, True, True])
    np.testing.assert_array_equal(np.isnan(grad).all(axis=-1), [False, True, True])
    ignoring = functools.partial(sg.cross_entropy, ignore_index=-1)
    np.testing.assert_array_equal(np.isnan(jax.jit(ignoring)(x, np.array([0, 4, -1]))), [False, True, False])
    np.testing.assert_array_equal(
        np.isnan(jax.jit(sg.selective_log_softmax)(x, np.array([0, 4, 3]))), [False, True, False]
    )
    tempered = jax.jit(lambda x, T: sg.softmax(x, temperature=T))(x, np.array([1.0, -1.0, nan]))
    np.testing.assert_array_equal(np.isnan(tempered).all(axis=-1), [False, True, True])
    weighted = jax.jit(lambda x, s: sg.entropy(x) + sg.cross_entropy(x, np.array([0, 0, 0]), sample_weight=s))
    np.testing.assert_array_equal(np.isnan(weighted(x, np.array([1.0, -1.0, inf]))), [False, True, True])
    with pytest.raises(IndexError, match=r"labels\[1\] is 4"):
        sg.cross_entropy(jnp.asarray(x), np.array([0, 4, -1]))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
def test_torch_compile_falls_back_to_the_same_numbers():
    given = GIVEN.of(TORCH)
    x = given.x.requires_grad_()

    def loss(x):
        return sg.cross_entropy(2 * x, given.labels).sum() + sg.softmax(x).std()

    compiled = torch.compile(loss, backend="eager")
    (expected,) = torch.autograd.grad(loss(x), x)
    for _ in range(2):
        (got,) = torch.autograd.grad(compiled(x), x)
        assert torch.equal(got, expected)
    with torch.no_grad():
        assert torch.equal(compiled(x), loss(x))


def test_torch_buffers():
    x = logits((3, 5), np.dtype(np.float32))
    for tensor in (TORCH.to(x), TORCH.to(x).to(torch.bfloat16), TORCH.to(x.T.copy()).T):
        out = torch.empty_like(tensor)
        assert sg.softmax(tensor, out=out, workers=2) is out
        assert torch.equal(out, sg.softmax(tensor))
    loss, grad = torch.empty(3), torch.empty(3, 5)
    sg.cross_entropy_grad(TORCH.to(x), torch.arange(3), out=loss, grad_out=grad)
    assert_close(grad.numpy(), sg.cross_entropy_grad(x, np.arange(3)).grad)
    assert sg.softmax(TORCH.to(x), dtype=torch.float64).dtype == torch.float64


@every_unlabelled
def test_operators(library):
    x = logits((3, 5), np.dtype(np.float64 if library is JAX_64 else np.float32))
    v = directions(x)
    with library.context():
        ours, theirs = sg.softmax_jacobian(x), sg.softmax_jacobian(library.to(x))
        for product in (lambda J, a: J.matvec(a), lambda J, a: J.sqrt().matvec(a), lambda J, a: J.quadratic(a)):
            assert_close(library.back(product(theirs, library.to(v))), product(ours, v))
        assert_close(library.back(theirs @ library.to(v.T.copy())), ours @ v.T)
        assert_close(library.back(theirs.diagonal()), ours.diagonal())
        if library is not DASK_CUT:  # see test_dask.py for the error
            assert_close(library.back(theirs.toarray()), ours.toarray())


def _requiring(x):
    return torch.tensor(x, requires_grad=True)


LABEL = np.array(0)
REFUSED = {
    "out": (lambda: sg.softmax(_requiring([1.0]), out=torch.empty(1)), "out is for tensors without a gradient"),
    "temperature": (lambda: sg.softmax(torch.ones(3), temperature=_requiring([1.0])), "temperature is a constant"),
    "hessian": (
        lambda: sg.cross_entropy_grad_hess(_requiring([1.0]), LABEL),
        "cross_entropy_grad_hess has no derivative",
    ),
    "sparse": (
        lambda: sg.softmax(torch.ones(3).to_sparse()),
        "softmax takes dense tensors; got layout torch.sparse_coo",
    ),
    "complex": (lambda: sg.softmax(torch.ones(3) * 1j), "x must hold real numbers; got dtype complex64"),
    "dtype of out": (lambda: sg.softmax(torch.ones(3), out=torch.ones(3).double()), "out must have dtype float32"),
    "linear": (lambda: sg.linear_cross_entropy(torch.ones(1, 3), np.ones((2, 3)), [0]), "hidden must be a plain NumPy"),
    "jax out": (lambda: sg.softmax(jnp.ones(3), out=np.ones(3)), "out is for NumPy arrays; got an array of JAX"),
    "jax workers": (lambda: sg.softmax(jnp.ones(3), workers=2), "workers is for NumPy arrays; got an array of JAX"),
    "jax temperature": (
        lambda: jax.grad(lambda T: sg.softmax(jnp.ones(3), temperature=T)[0])(1.0),
        "temperature is a constant",
    ),
    "jax hessian": (
        lambda: jax.grad(lambda x: sg.cross_entropy_grad_hess(x, LABEL).loss)(jnp.ones(3)),
        "cross_entropy_grad_hess has no derivative",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(what):
    call, message = REFUSED[what]
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize("f", [sg.softmax, sg.log_softmax], ids=lambda f: f.__name__)
def test_jax_under_jit_is_exact_to_3_ulp(f):
    """XLA keeps the error-free transformations as they are; float64 on the CPU judges float32."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(64, 100)) * np.geomspace(0.1, 30, 64)[:, None]).astype(np.float32)
    exact = f(x.astype(np.float64))
    normal = np.abs(exact) >= np.finfo(np.float32).tiny
    error = np.abs(np.asarray(jax.jit(f)(x)) - exact) / np.spacing(np.abs(exact).astype(np.float32))
    assert error[normal].max() <= 3
