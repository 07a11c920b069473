"""The public names are exactly those that are promised, and every one of them is documented."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import softgrad as sg

NAMES = {
    "DivergenceGrad",
    "Entmax",
    "Evaluation",
    "LinearLossGrad",
    "LogSoftmax",
    "LogSumExpState",
    "LossGrad",
    "LossGradHess",
    "SimplexJacobian",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Sparsemax",
    "TemperatureFit",
    "apply_blocks",
    "backend",
    "calculate_gradient",
    "cross_entropy",
    "cross_entropy_grad",
    "cross_entropy_grad_hess",
    "cross_entropy_hessian",
    "entmax",
    "entmax_alpha_vjp",
    "entmax_jacobian",
    "entmax_loss",
    "entmax_loss_grad",
    "entmax_loss_hessian",
    "entmax_vjp",
    "entropy",
    "entropy_grad",
    "evaluate",
    "fit_temperature",
    "focal_loss",
    "focal_loss_grad",
    "gumbel_softmax",
    "kl_divergence",
    "kl_divergence_grad",
    "linear_cross_entropy",
    "linear_cross_entropy_grad",
    "log_softmax",
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logsumexp",
    "min_p_mask",
    "read_blocks",
    "sample",
    "sample_log_prob",
    "selective_log_softmax",
    "set_workers",
    "soft_cross_entropy",
    "soft_cross_entropy_grad",
    "soft_entmax_loss",
    "soft_entmax_loss_grad",
    "soft_sparsemax_loss",
    "soft_sparsemax_loss_grad",
    "softmax",
    "softmax_jacobian",
    "softmax_regression_hessian",
    "softmax_regression_hvp",
    "softmax_second",
    "softmax_vjp",
    "sparsemax",
    "sparsemax_jacobian",
    "sparsemax_loss",
    "sparsemax_loss_grad",
    "sparsemax_loss_hessian",
    "sparsemax_vjp",
    "tsallis_entropy",
    "top_k_mask",
    "top_p_mask",
}
FUNCTIONS = sorted(name for name in NAMES if inspect.isfunction(getattr(sg, name)))
CLASSES = sorted(name for name in NAMES if inspect.isclass(getattr(sg, name)))
SIGNATURES = {
    "softmax": "(x, /, *, axis=-1, temperature=1.0, where=None, normalization=True, dtype=None, out=None, "
    "workers=None)",
    "log_softmax": "(x, /, *, axis=-1, temperature=1.0, where=None, normalization=True, dtype=None, out=None, "
    "workers=None)",
    "logsumexp": "(x, /, *, axis=-1, b=None, where=None, keepdims=False, dtype=None, out=None, workers=None)",
    "softmax_jacobian": "(x, /, *, axis=-1, temperature=1.0, where=None)",
    "softmax_vjp": "(p, g, /, *, axis=-1, out=None, workers=None)",
    "log_softmax_vjp": "(y, g, /, *, axis=-1, out=None, workers=None)",
    "log_softmax_jvp": "(y, v, /, *, axis=-1, out=None, workers=None)",
    "softmax_second": "(p, u, v, /, *, axis=-1, out=None)",
    "sparsemax": "(x, /, *, axis=-1, temperature=1.0, where=None, dtype=None, out=None, workers=None)",
    "entmax": "(x, /, alpha=1.5, *, axis=-1, temperature=1.0, where=None, dtype=None, out=None, workers=None)",
    "sparsemax_jacobian": "(x, /, *, axis=-1, temperature=1.0, where=None)",
    "entmax_jacobian": "(x, /, alpha=1.5, *, axis=-1, temperature=1.0, where=None)",
    "sparsemax_vjp": "(p, g, /, *, axis=-1, out=None)",
    "entmax_vjp": "(p, g, /, alpha=1.5, *, axis=-1, out=None)",
    "entmax_alpha_vjp": "(p, g, /, alpha=1.5, *, axis=-1)",
    "calculate_gradient": "(x, normalization=True)",
    "top_k_mask": "(x, /, k, *, axis=-1, where=None, workers=None)",
    "top_p_mask": "(x, /, p, *, axis=-1, temperature=1.0, where=None, workers=None)",
    "min_p_mask": "(x, /, p, *, axis=-1, temperature=1.0, where=None, workers=None)",
    "sample": "(logits, /, size=None, *, rng=None, axis=-1, temperature=1.0, where=None, replace=True, workers=None)",
    "gumbel_softmax": "(logits, /, *, rng=None, axis=-1, temperature=1.0, hard=False, where=None)",
}
OPERATOR = (
    "shape",
    "dtype",
    "ndim",
    "T",
    "matvec",
    "rmatvec",
    "matmat",
    "__matmul__",
    "__rmatmul__",
    "diagonal",
    "trace",
    "toarray",
    "__array__",
    "sqrt",
    "pinv",
    "solve",
    "eigvalsh",
    "logpdet",
    "quadratic",
)


def test_all_is_the_promise():
    assert set(sg.__all__) == NAMES
    assert sg.__all__ == sorted(sg.__all__)


def test_dir_offers_public_names_and_modules():
    modules = [name for name in dir(sg) if inspect.ismodule(getattr(sg, name))]
    assert modules == ["boosting", "calibration", "compat", "files", "regression", "testing"]
    assert set(dir(sg)) == NAMES | set(modules) | {"__version__"}


def test_dir_of_a_module_offers_public_names():
    for name in ("boosting", "calibration", "compat", "files", "regression", "testing"):
        module = getattr(sg, name)
        assert dir(module) == sorted(module.__all__), name
        for public in module.__all__:
            getattr(module, public)
        with pytest.raises(AttributeError, match="'sotfmax'"):
            _ = module.sotfmax
    assert dir(sg.compat.scipy) == ["log_softmax", "logsumexp", "softmax"]


def test_type_checkers_see_the_same_names():
    stub = Path(sg.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^from (\S+) import \*$", stub, re.MULTILINE)) == sorted(sg._HOMES)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'sotfmax'"):
        _ = sg.sotfmax


def test_nothing_else_looks_public():
    for name, value in vars(sg).items():
        assert name.startswith("_") or name in NAMES or inspect.ismodule(value), name


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    signature = inspect.signature(getattr(sg, name))
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == SIGNATURES[name]


@pytest.mark.parametrize("name", OPERATOR)
def test_the_operator_has(name):
    assert hasattr(sg.SimplexJacobian, name)


def sections(documented):
    """The numpydoc section titles of a docstring."""
    return re.findall(r"^ *([A-Z][A-Za-z ]+)\n *-+$", inspect.getdoc(documented) or "", flags=re.MULTILINE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_documented(name):
    function = getattr(sg, name)
    found = sections(function)
    assert {"Returns", "Examples"} <= set(found)
    parameters = inspect.signature(function).parameters
    if parameters:
        assert "Parameters" in found
    described = inspect.getdoc(function).split("Returns\n")[0]
    for parameter in parameters:
        assert re.search(rf"^(\w+, )*\**{parameter}(, \w+)*( :|$)", described, flags=re.MULTILINE), parameter


@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_documented(name):
    cls = getattr(sg, name)
    assert {"Parameters", "Examples"} <= set(sections(cls))
    for method, value in vars(cls).items():
        if not method.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            assert inspect.getdoc(value), method


def test_the_version_is_a_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", sg.__version__)


def test_the_backend_is_the_level(level):
    assert sg.backend() == level
    assert np.isfinite(sg.softmax([1.0, 2.0])).all()
