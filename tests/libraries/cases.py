"""The table of functions that every library is tested with: operands made from logits, and options."""

from dataclasses import dataclass, field
from math import inf, nan
from typing import Any

import numpy as np
import pytest

import softgrad as sg

from ..maps import assert_close, directions, logits


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
    """Logits, and for each slice a label that is not masked."""
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


def _of_sparsemax(x, axis, where):
    return sg.sparsemax(x, axis=axis, where=where), directions(x)


def _of_entmax(x, axis, where):
    return sg.entmax(x, axis=axis, where=where), directions(x)


def _twice_softmax(x, axis, where):
    """Probabilities and directions for which the terms of a derivative by α do not cancel."""
    return (sg.softmax(x, axis=axis, where=where),) * 2


def _of_tsallis(x, axis, where):
    return (sg.softmax(x, axis=axis, where=where),)


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
    Case("sparsemax", _x, takes=TEMPERED),
    Case("entmax", _x, {"alpha": 1.25}, takes=TEMPERED),
    Case("entmax", _x, {"alpha": np.array(3.0)}, takes=TEMPERED, id="entmax of an array"),
    Case("sparsemax_vjp", _of_sparsemax, takes=AXIS),
    Case("entmax_vjp", _of_entmax, takes=AXIS),
    Case("entmax_vjp", _of_entmax, {"alpha": np.array(2.5)}, takes=AXIS, id="entmax_vjp of an array"),
    Case("entmax_alpha_vjp", _twice_softmax, takes=AXIS),
    Case("entmax_loss", _labels, {"sample_weight": np.float64(0.5), "ignore_index": 7}),
    Case("entmax_loss_grad", _labels, {"alpha": 1.25}),
    Case("soft_entmax_loss", _targets, {"alpha": np.array(3.0)}),
    Case("soft_entmax_loss_grad", _targets, {"sample_weight": np.float64(0.5)}),
    Case("sparsemax_loss", _labels),
    Case("sparsemax_loss_grad", _labels, {"sample_weight": np.float64(0.5)}),
    Case("soft_sparsemax_loss", _targets),
    Case("soft_sparsemax_loss_grad", _targets),
    Case("tsallis_entropy", _of_tsallis, takes=AXIS),
    Case("cross_entropy", _labels, takes=TEMPERED),
    Case("cross_entropy", _labels, {**PER_ROW, "ignore_index": 7}, id="cross_entropy options"),
    Case("cross_entropy", _labels, {**PER_ROW, "temperature": 0.5}, id="cross_entropy at 1/2"),
    Case("cross_entropy_grad", _labels, PER_ROW, takes=TEMPERED),
    Case("cross_entropy_grad_hess", _labels, PER_ROW),
    Case("cross_entropy_grad_hess", _labels, {"temperature": 2.0}, id="cross_entropy_grad_hess at 2"),
    Case("soft_cross_entropy", _targets, PER_ROW, takes=TEMPERED),
    Case("soft_cross_entropy_grad", _targets, takes=TEMPERED),
    Case("focal_loss", _labels, {"gamma": 1.5}, takes=TEMPERED),
    Case("focal_loss_grad", _labels, takes=TEMPERED),
    Case("entropy", _x, takes=TEMPERED),
    Case("entropy", _x, {"temperature": 0.0}, id="entropy at 0"),
    Case("entropy_grad", _x, takes=TEMPERED),
    Case("kl_divergence", _pair, takes=TEMPERED),
    Case("kl_divergence_grad", _pair, takes=TEMPERED),
    Case("selective_log_softmax", _labels, takes=TEMPERED),
    Case("selective_log_softmax", _index, id="selective_log_softmax k"),
)


every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id or case.name)


def has_rows(case, x, axis):
    """Labels need a class to point to."""
    return case.operands not in (_labels, _index) or _entries(x, axis) > 0 or not np.sum(x, axis=axis).size


def assert_results_close(got, expected, what=""):
    """Results, or tuples of them, of one dtype and shape and as near as two ways of rounding come."""
    if isinstance(expected, tuple):
        assert type(got) is type(expected), what
        for a, b in zip(got, expected, strict=True):
            assert_results_close(a, b, what)
        return
    assert got.shape == np.shape(expected), what
    assert_close(got, expected, case=what)


def rows_of_every_kind(case):
    """Operands and the mask."""
    x = logits((8, 5), np.dtype(np.float32))
    x[0, 2], x[1, 2], x[2, 2], x[3], x[4, 1] = nan, inf, -inf, -inf, 40
    where = np.ones(x.shape, bool)
    where[5, 2], x[5, 2], where[6] = False, nan, False
    where = where if "where" in case.takes else None
    return tuple(map(np.asarray, case.operands(x, -1, where))), {} if where is None else {"where": where}
