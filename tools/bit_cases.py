"""The calls whose results `compare_bits.py` compares: every public function, on inputs that are always the same.

python tools/bit_cases.py [--only FILE --save FOLDER]

Prints one line for each call: its name, a tab, and a digest of the results, of the installed softgrad and the level of
SOFTGRAD_ISA. With --only, computes the calls whose names FILE lists, a line each, and saves the results in FOLDER.
"""

from __future__ import annotations

import argparse
import inspect
import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bit_inputs import DTYPES, HUGE, KERNEL_DTYPES, LARGE, SMALL, Array, Inputs
from digests import digest, evaluate

import softgrad as sg
from softgrad import boosting
from softgrad.compat import scipy as compat

Case = tuple[str, Callable[[], Any]]
"""A name, which starts with that of the function, and the call."""

OPTIONS: dict[str, Callable[[Inputs], dict[str, Any]]] = {
    "where": lambda a: {"where": a.mask},
    "temperature": lambda a: {"temperature": 0.7},
    "temperatures": lambda a: {"temperature": a.per_slice},
    "argmax": lambda a: {"temperature": 0},
    "dtype": lambda a: {"dtype": "float32" if a.dtype == "float64" else "float64"},
    "workers": lambda a: {"workers": 2},
    "textbook": lambda a: {"normalization": False},
    "keepdims": lambda a: {"keepdims": True},
    "b": lambda a: {"b": a.b},
    "weight": lambda a: {"weight": a.class_weight},
    "sample_weight": lambda a: {"sample_weight": a.sample_weight},
    "smoothing": lambda a: {"label_smoothing": 0.1},
    "ignore": lambda a: {"ignore_index": 1},
    "z_loss": lambda a: {"z_loss": 1e-3},
    "gamma": lambda a: {"gamma": 0.5},
    "alpha": lambda a: {"alpha": 1.25},
    "alphas": lambda a: {"alpha": 1 + a.per_slice},
    **{name: lambda a, name=name: {"curvature": name} for name in ("upper", "friedman", "residual")},
}
MAP = ("where", "temperature", "temperatures", "argmax", "where temperature", "dtype", "workers", "textbook")
LOSS = ("where", "weight", "sample_weight", "smoothing", "z_loss", "where weight sample_weight smoothing z_loss")
LABELS = (*LOSS, "ignore", "ignore weight smoothing")
FOCAL = ("where", "weight", "sample_weight", "ignore", "gamma", "gamma weight ignore where")
FUNCTIONS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "softmax": ("x", MAP, "out"),
    "log_softmax": ("x", MAP, "out"),
    "logsumexp": ("x", ("where", "b", "b where", "dtype", "workers", "keepdims"), "out"),
    "softmax_vjp": ("p g", (), "out"),
    "log_softmax_vjp": ("y g", (), "out"),
    "log_softmax_jvp": ("y g", (), "out"),
    "softmax_second": ("p g v", (), "out"),
    "sparsemax": ("x", ("where", "temperature", "temperatures", "argmax", "where temperature", "dtype"), "out"),
    "entmax": ("x", ("alpha", "alphas", "where", "temperature", "alphas temperatures", "argmax", "dtype"), "out"),
    "sparsemax_vjp": ("p g", (), "out"),
    "entmax_vjp": ("p g", ("alpha", "alphas"), "out"),
    "entmax_alpha_vjp": ("p g", ("alpha", "alphas"), ""),
    "entmax_loss": ("x labels", ("alpha", "alphas", "where", "weight", "sample_weight", "ignore", "temperatures"), ""),
    "entmax_loss_grad": ("x labels", ("alpha", "where weight sample_weight"), "out grad_out"),
    "soft_entmax_loss": ("x targets", ("alpha", "alphas", "where", "sample_weight"), ""),
    "soft_entmax_loss_grad": ("x targets", ("alpha", "where sample_weight"), "out grad_out"),
    "sparsemax_loss": ("x labels", ("where", "weight"), ""),
    "sparsemax_loss_grad": ("x labels", ("where", "weight"), "out grad_out"),
    "soft_sparsemax_loss": ("x targets", ("where",), ""),
    "soft_sparsemax_loss_grad": ("x targets", ("where", "temperature"), "out grad_out"),
    "tsallis_entropy": ("p", ("alpha", "alphas"), ""),
    "cross_entropy": ("x labels", LABELS, ""),
    "cross_entropy_grad": ("x labels", LABELS, "out grad_out"),
    "cross_entropy_grad_hess": ("x labels", (*LABELS, "upper", "friedman where", "residual"), "out grad_out hess_out"),
    "soft_cross_entropy": ("x targets", LOSS, ""),
    "soft_cross_entropy_grad": ("x targets", LOSS, "out grad_out"),
    "focal_loss": ("x labels", FOCAL, ""),
    "focal_loss_grad": ("x labels", FOCAL, "out grad_out"),
    "entropy": ("x", ("where",), ""),
    "entropy_grad": ("x", ("where",), "out grad_out"),
    "kl_divergence": ("x x2", ("where",), ""),
    "kl_divergence_grad": ("x x2", ("where",), "out grad_p_out grad_q_out"),
    "selective_log_softmax": ("x labels", ("where",), ""),
    "top_k_mask": ("x k", ("where",), ""),
    "top_p_mask": ("x share", ("where", "temperature"), ""),
    "min_p_mask": ("x share", ("where", "temperature"), ""),
}
"""For each function that takes an axis: operands, sets of options, and buffers for its results."""

LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, -1)[..., ::2],
    "reversed": lambda x: x[..., ::-1],
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
    "swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "masked": lambda x: np.ma.masked_array(x, np.arange(x.size).reshape(x.shape) % 5 == 0),
    "list": lambda x: x.tolist(),
}
OPERATOR = ("matvec", "rmatvec", "quadratic", "solve")


def function_cases(dtypes: Any, shapes: Any, few: bool) -> Iterator[Case]:
    """Every function of FUNCTIONS with every set of options; with `few` one option at most, and no buffers."""
    for dtype in dtypes:
        for shape, axis in shapes:
            a = Inputs(dtype, shape, axis)
            for name, (operands, sets, buffers) in FUNCTIONS.items():
                chosen = [s for s in sets if s in ("where", "temperature", "b")] if few else sets
                for options in ("", *chosen):
                    yield f"{name} {dtype} {shape} axis={axis} {options}", partial(_call, a, name, operands, options)
                if buffers and not few:
                    write = partial(_into_buffers, a, name, operands, buffers)
                    yield f"{name} {dtype} {shape} axis={axis} {buffers}", write


def _call(a: Inputs, name: str, operands: str, options: str, layout: Callable[[Array], Array] = lambda x: x) -> Any:
    given = [getattr(a, operand) for operand in operands.split()]
    given = [layout(x) if x.shape == a.shape and x.ndim else x for x in given]
    keywords = {k: v for option in options.split() for k, v in OPTIONS[option](a).items()}
    return getattr(sg, name)(*given, axis=a.axis, **keywords)


def _into_buffers(a: Inputs, name: str, operands: str, buffers: str) -> Any:
    given, plain = [getattr(a, operand) for operand in operands.split()], _call(a, name, operands, "")
    outs = [np.full_like(result, 7) for result in (plain if isinstance(plain, tuple) else (plain,))]
    return getattr(sg, name)(*given, axis=a.axis, **dict(zip(buffers.split(), outs, strict=True))), outs


def layout_cases() -> Iterator[Case]:
    for dtype in DTYPES:
        a = Inputs(dtype, (15, 11), -1)
        for name, (operands, _, _) in FUNCTIONS.items():
            for layout, change in LAYOUTS.items():
                yield f"{name} {dtype} (15, 11) {layout}", partial(_call, a, name, operands, "", change)


def operator_cases() -> Iterator[Case]:
    for dtype in DTYPES:
        for shape, axis in (((10,), -1), ((15, 7), -1), ((3, 4, 5), -1), ((15, 1), -1), ((7, 15), 0)):
            a = Inputs(dtype, shape, axis)
            x, g = (np.moveaxis(z, axis, -1) for z in (a.x, a.g))
            where = f"{dtype} {shape} axis={axis}"
            for options in ("", "where", "temperature", "where temperature"):
                keywords = {k: v for option in options.split() for k, v in OPTIONS[option](a).items()}
                make = partial(sg.softmax_jacobian, a.x, axis=axis, **keywords)
                for kind, operator in {
                    "": make,
                    ".sqrt": lambda m=make: m().sqrt(),
                    ".pinv": lambda m=make: m().pinv(),
                }.items():
                    label = f"SimplexJacobian{kind} {where} {options}"
                    yield f"{label} toarray", lambda o=operator: o().toarray()
                    yield f"{label} T", lambda o=operator: o().T.toarray()
                    yield (
                        f"{label} matmat",
                        lambda o=operator, V=x[..., None] * g[..., None, :3]: (o() @ V, o().rmatmat(V)),
                    )
                for method in OPERATOR:
                    yield (
                        f"SimplexJacobian {where} {options} {method}",
                        lambda m=make, f=method, v=g: getattr(m(), f)(v),
                    )
                for method in ("diagonal", "trace", "eigvalsh", "logpdet"):
                    yield f"SimplexJacobian {where} {options} {method}", lambda m=make, f=method: getattr(m(), f)()
                yield f"SimplexJacobian {where} {options} damped", lambda m=make, b=g: m().solve(b, damping=0.1)
            for options in ({}, {"where": a.mask}, {"sample_weight": a.sample_weight + 0.5}):
                hessian = partial(sg.cross_entropy_hessian, a.x, axis=axis, **options)
                yield f"cross_entropy_hessian {where} {' '.join(options)}", lambda h=hessian: h().toarray()
                for name, more in (("sparsemax", {}), ("entmax", {}), ("entmax", {"alpha": 1.25})):
                    hessian = partial(getattr(sg, f"{name}_loss_hessian"), a.x, axis=axis, **options, **more)
                    label = f"{where} {' '.join((*options, *more))}"
                    yield f"{name}_loss_hessian {label}", lambda h=hessian: h().toarray()
                    if "sample_weight" not in options:
                        jacobian = partial(getattr(sg, f"{name}_jacobian"), a.x, axis=axis, **options, **more)
                        yield f"{name}_jacobian {label}", lambda j=jacobian: j().toarray()


def _through(layer: Any, a: Inputs, *more: Any) -> Any:
    result = layer(a.x, *more)
    g = a.g if result.shape == a.shape else np.linspace(-1, 1, result.size).reshape(result.shape)
    return result, layer.output, layer.backward(g), layer.backward()


def _stream(a: Inputs, where: Array | None) -> Any:
    first, second = sg.LogSumExpState(axis=a.axis), sg.LogSumExpState(axis=a.axis)
    first.update(a.x, where=where).update(a.x2)
    second = pickle.loads(pickle.dumps(second.update(a.g)))
    both = [state.merge(second) if i else state for i, state in enumerate((first, first))]
    return [(s.logsumexp(), s.entropy(), s.mean(), s.normalize(a.x), s.normalize(a.x, log=True)) for s in both]


def _file(a: Inputs, function: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", a.x)
        sg.apply_blocks(function, f"{folder}/x.npy", f"{folder}/y.npy", axis=a.axis)
        return np.load(f"{folder}/y.npy")


def _blocks(a: Inputs) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", a.x)
        return [block.values for block in sg.read_blocks(f"{folder}/x.npy", axis=a.axis)]


def other_cases() -> Iterator[Case]:
    """Layers, streams, the seeds' function, files, products with features, SciPy's signatures, boosting."""
    for dtype in DTYPES:
        for shape, axis in (((10,), -1), ((15, 7), -1), ((7, 15), 0), ((3, 4, 5), -1), ((20, 300), -1)):
            a = Inputs(dtype, shape, axis)
            at = f"{dtype} {shape} axis={axis}"
            yield f"calculate_gradient {at}", lambda a=a: [sg.calculate_gradient(a.x, n) for n in (True, False)]
            yield f"Softmax {at}", lambda a=a: _through(sg.Softmax(a.axis), a)
            yield f"Softmax {at} textbook", lambda a=a: _through(sg.Softmax(a.axis), a, False)
            yield f"Sparsemax {at}", lambda a=a: _through(sg.Sparsemax(a.axis), a)
            yield f"Entmax {at}", lambda a=a: _through(sg.Entmax(axis=a.axis), a)
            yield f"LogSoftmax {at}", lambda a=a: _through(sg.LogSoftmax(a.axis), a)
            yield f"SoftmaxCrossEntropy {at}", lambda a=a: _through(sg.SoftmaxCrossEntropy(a.axis), a, a.labels)
            options = {"label_smoothing": 0.1, "ignore_index": 1, "z_loss": 1e-3}
            layer = partial(sg.SoftmaxCrossEntropy, axis, weight=a.class_weight, **options)
            yield f"SoftmaxCrossEntropy {at} options", lambda a=a, make=layer: _through(make(), a, a.labels)
            yield f"LogSumExpState {at}", lambda a=a: _stream(a, None)
            yield f"LogSumExpState {at} where", lambda a=a: _stream(a, a.mask)
            for name in ("softmax", "log_softmax"):
                function = getattr(compat, name)
                yield f"compat.scipy.{name} {at}", lambda a=a, f=function: (f(a.x), f(a.x, axis=a.axis))
                if dtype not in ("longdouble", "bfloat16"):
                    yield f"apply_blocks {name} {at}", lambda a=a, name=name: _file(a, getattr(sg, name))
                    yield f"read_blocks {name} {at}", lambda a=a: _blocks(a)
            if dtype == "float64":
                z = a.x + 1j * a.g
                yield f"compat.scipy.softmax complex {at}", lambda z=z, axis=axis: compat.softmax(z, axis=axis)
                yield f"compat.scipy.logsumexp complex {at}", lambda z=z, axis=axis: compat.logsumexp(z, axis=axis)
            for signs in (False, True):
                f = partial(compat.logsumexp, axis=axis, return_sign=signs)
                yield f"compat.scipy.logsumexp {at} return_sign={signs}", lambda a=a, f=f: (f(a.x), f(a.x, b=a.b))
    for dtype in DTYPES:
        a, square = Inputs(dtype, (40, 6), -1), Inputs(dtype, (6, 6), -1)
        for name in ("linear_cross_entropy", "linear_cross_entropy_grad"):
            operands = (a.v, square.x, a.labels)
            bounds = {"max_bytes": 4096, "label_smoothing": 0.1, "ignore_index": 1, "z_loss": 1e-3}
            weights = {"class_weight": a.class_weight, "sample_weight": a.sample_weight}
            for options in ({}, bounds, weights, bounds | weights | {"bias": square.g[0]}):
                call = partial(getattr(sg, name), *operands, **options)
                yield f"{name} {dtype} (40, 6) {' '.join(options)}", call
        features = a.v
        for weight in (None, a.sample_weight):
            label, tail = f"{dtype} (40, 6)", " sample_weight" if weight is not None else ""
            hessian = partial(sg.softmax_regression_hessian, features, a.x, sample_weight=weight)
            yield f"softmax_regression_hessian {label}{tail}", hessian
            product = partial(sg.softmax_regression_hvp, features, a.x, square.g, sample_weight=weight)
            yield f"softmax_regression_hvp {label}{tail}", product
        for objective in (boosting.xgboost_objective, boosting.lightgbm_objective):
            for curvature in ("diagonal", "upper", "friedman", "residual"):
                call = partial(objective(6, curvature=curvature), a.labels.astype(np.float32), a.x, a.sample_weight)
                yield f"boosting.{objective.__name__} {dtype} (40, 6) {curvature}", call
        cat = boosting.catboost_objective().calc_ders_multi
        yield f"boosting.catboost_objective {dtype}", lambda a=a, f=cat: [f(list(row), 2, 0.5) for row in a.x]


def draw_cases() -> Iterator[Case]:
    for dtype in DTYPES:
        for shape, axis in (((10,), -1), ((15, 7), -1), ((7, 15), 0), ((20, 300), -1), ((4, 3000), -1)):
            a = Inputs(dtype, shape, axis)
            for options in ({}, {"where": a.mask}, {"temperature": 0.7}):
                at = f"{dtype} {shape} axis={axis} {' '.join(options)}"
                draw = partial(sg.sample, a.x, axis=axis, rng=1, **options)
                yield f"sample {at}", lambda f=draw: (f(), f(20), f(2, replace=False))
                for replace in (True, False):
                    of_draws = partial(sg.sample_log_prob, a.x, draw(2), axis=axis, replace=replace, **options)
                    yield f"sample_log_prob {at} replace={replace}", of_draws
                relax = partial(sg.gumbel_softmax, a.x, axis=axis, rng=1, **options)
                yield f"gumbel_softmax {at}", lambda f=relax: (f(), f(hard=True))


def regression_cases() -> Iterator[Case]:
    try:
        from softgrad.regression import SoftmaxRegression  # noqa: PLC0415  needs scikit-learn
    except ImportError:
        return
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 5)), rng.integers(0, 3, 200)

    def fit(**options: Any) -> Any:
        model = SoftmaxRegression(**options).fit(X, y)
        return model.coef_, model.intercept_, model.n_iter_, model.predict_proba(X), model.predict_log_proba(X)

    yield "regression.SoftmaxRegression", fit
    yield "regression.SoftmaxRegression C class_weight", partial(fit, C=0.1, class_weight="balanced")


def calibration_cases() -> Iterator[Case]:
    """Evaluations and temperatures; the numbers of an evaluation stand for it."""
    if not hasattr(sg, "evaluate"):
        return

    def tame(a: Inputs) -> Array:
        return np.clip(np.nan_to_num(np.asarray(a.x, np.float64)), -30, 30).astype(a.x.dtype)

    def numbers(a: Inputs, **options: Any) -> Any:
        found = sg.evaluate(tame(a), a.labels, axis=a.axis, **options).to_dict()
        return [value for value in found.values() if isinstance(value, float)]

    for dtype in DTYPES:
        for shape, axis in (((15, 7), -1), ((7, 15), 0), ((3, 4, 5), -1), ((20, 300), -1)):
            a = Inputs(dtype, shape, axis)
            at = f"{dtype} {shape} axis={axis}"
            yield f"evaluate {at}", partial(numbers, a)
            yield (
                f"evaluate {at} options",
                partial(numbers, a, temperature=0.7, where=a.mask, sample_weight=a.sample_weight),
            )
            fit = partial(sg.fit_temperature, tame(a), a.labels, axis=axis)
            yield f"fit_temperature {at}", fit
    yield "Evaluation +", lambda: numbers(Inputs("float64", (15, 7), -1), per_class=True)


def cases() -> Iterator[Case]:
    yield from function_cases(DTYPES, SMALL, few=False)
    yield from function_cases(KERNEL_DTYPES, LARGE, few=True)
    yield from function_cases(("longdouble", "int8"), LARGE[:3], few=True)
    yield from function_cases(("float32",), HUGE, few=True)
    yield from layout_cases()
    yield from operator_cases()
    yield from other_cases()
    yield from draw_cases()
    yield from regression_cases()
    yield from calibration_cases()


def untested() -> list[str]:
    """The public functions and classes that no case calls; results and `backend` need none."""
    called = {name.split()[0] for name, _ in cases()} | {"backend", "softmax_jacobian"}
    return [name for name in sg.__all__ if name not in called and not hasattr(getattr(sg, name), "_fields")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=Path, help="a file with the names of the calls to compute, a line each")
    parser.add_argument("--save", type=Path, help="the folder for their results, 0.pickle and on")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    only = options.only.read_text().splitlines() if options.only else None
    print(inspect.getfile(sg), *untested(), sep="\t")
    with np.errstate(all="ignore"):
        for name, call in cases():
            if only is None:
                print(name, digest(evaluate(call)), sep="\t")
            elif name in only:
                (options.save / f"{only.index(name)}.pickle").write_bytes(pickle.dumps(evaluate(call)))


if __name__ == "__main__":
    main()
