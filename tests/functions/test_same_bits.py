"""A row has the same bits in any batch, layout and order of axes, and with any number of threads: one random test."""

import ml_dtypes  # noqa: F401  registers bfloat16
import numpy as np
import pytest

import softgrad as sg

from .. import adversarial

DTYPES = ("float16", "bfloat16", "float32", "float64")


def _columns(a):
    return np.ascontiguousarray(np.moveaxis(a, -1, 0)), 0


def _reversed(a):
    return np.ascontiguousarray(a[..., ::-1])[..., ::-1], -1


def _strided(a):
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2], -1


def _shifted(a):
    memory = np.zeros(a.size + 3, a.dtype)
    memory[3:] = a.reshape(-1)
    return memory[3:].reshape(a.shape), -1


def _some_rows(a):
    wide = np.zeros((2 * a.shape[0], *a.shape[1:]), a.dtype)
    wide[::2] = a
    return wide[::2], -1


def _padded_columns(a):
    wide = np.zeros((a.shape[-1], a.shape[0] + 5), a.dtype)
    wide[:, 2:-3] = a.T
    return wide[:, 2:-3], 0


LAYOUTS = {
    "rows": lambda a: (a, -1),
    "columns": _columns,
    "Fortran order": lambda a: (np.asfortranarray(a), -1),
    "reversed": _reversed,
    "strided": _strided,
    "shifted": _shifted,
    "every other row": _some_rows,
    "columns of a wider array": _padded_columns,
}
"""Rows of an array of two dimensions in other layouts, and the axis that they are along."""

MAPS = {
    "softmax": lambda x, o, **k: (sg.softmax(x, temperature=o.temperature, where=o.mask, **k),),
    "log_softmax": lambda x, o, **k: (sg.log_softmax(x, temperature=o.temperature, where=o.mask, **k),),
    "logsumexp": lambda x, o, **k: (sg.logsumexp(x, where=o.mask, **k),),
    "logsumexp b": lambda x, o, **k: (sg.logsumexp(x, b=o.positive, where=o.mask, **k),),
    "softmax_vjp": lambda x, o, **k: (sg.softmax_vjp(o.p, o.v, **k),),
    "log_softmax_jvp": lambda x, o, **k: (sg.log_softmax_jvp(o.y, o.v, **k),),
    "log_softmax_vjp": lambda x, o, **k: (sg.log_softmax_vjp(o.y, o.v, **k),),
    "softmax_second": lambda x, o, axis, **k: (sg.softmax_second(o.p, o.v, o.u, axis=axis),),
    "cross_entropy": lambda x, o, axis, **k: (sg.cross_entropy(x, o.labels, axis=axis, where=o.label_mask),),
    "cross_entropy_grad": lambda x, o, axis, **k: sg.cross_entropy_grad(x, o.labels, axis=axis, where=o.label_mask),
    "cross_entropy_grad_hess": lambda x, o, axis, **k: sg.cross_entropy_grad_hess(
        x, o.labels, axis=axis, sample_weight=o.weight, label_smoothing=0.1, z_loss=1e-3
    ),
    "soft_cross_entropy_grad": lambda x, o, axis, **k: sg.soft_cross_entropy_grad(
        x, o.positive, axis=axis, z_loss=1e-4
    ),
    "focal_loss": lambda x, o, axis, **k: (sg.focal_loss(x, o.labels, axis=axis, gamma=o.gamma),),
    "focal_loss_grad": lambda x, o, axis, **k: sg.focal_loss_grad(x, o.labels, axis=axis, gamma=o.gamma),
    "entropy": lambda x, o, axis, **k: (sg.entropy(x, axis=axis, where=o.mask),),
    "entropy_grad": lambda x, o, axis, **k: sg.entropy_grad(x, axis=axis, where=o.mask),
    "kl_divergence_grad": lambda x, o, axis, **k: sg.kl_divergence_grad(x, o.other, axis=axis),
}
"""Functions of rows x and of other operands o, as tuples of results."""

FORMULAS = {
    "sparsemax": lambda x, o, **k: (sg.sparsemax(x, temperature=o.temperature, where=o.mask, **k),),
    "entmax": lambda x, o, **k: (sg.entmax(x, temperature=o.temperature, where=o.mask, **k),),
    "entmax of alphas": lambda x, o, axis, **k: (sg.entmax(x, 1 + o.gamma / 3, axis=axis),),
    "entmax_vjp": lambda x, o, axis, **k: (sg.entmax_vjp(o.p, o.v, 1 + o.gamma, axis=axis),),
    "entmax_loss_grad": lambda x, o, axis, **k: sg.entmax_loss_grad(x, o.labels, 1 + o.gamma, axis=axis),
    "soft_entmax_loss": lambda x, o, axis, **k: (sg.soft_entmax_loss(x, o.p, 1 + o.gamma, axis=axis),),
}
"""The same of functions without kernels, which no level changes."""


class Operands:
    """What belongs to rows: arrays of their shape, and one number for each of them."""

    def __init__(self, **parts):
        self.__dict__.update(parts)

    def each(self, of_slice, of_row):
        """The same with of_slice(a) for arrays of the shape of the rows, of_row(a) for one number per row."""
        changed = {
            name: a if not isinstance(a, np.ndarray) else of_slice(a) if a.ndim == 2 else of_row(a)
            for name, a in self.__dict__.items()
        }
        return Operands(**changed)


def draw(rng, dtype):
    """Rows of one kind or of several, and operands for every function."""
    n = int(rng.integers(1, 40)) if rng.random() < 0.4 else int(np.exp(rng.uniform(0, np.log(700))))
    size = int(rng.integers(2, 75))
    narrow = "float32" if dtype in ("float16", "bfloat16") else dtype
    kinds = rng.choice(sorted(adversarial.KINDS), 3)
    x = np.stack([adversarial.rows(kinds[i % 3], (1, n), np.dtype(narrow), rng)[0] for i in range(size)])
    with np.errstate(all="ignore"):
        x = np.clip(x, -6e4, 6e4).astype(dtype) if narrow != dtype else x
    choice = rng.integers(4)
    temperature = 1.0 if choice < 2 else 0.7 if choice == 2 else np.exp(rng.uniform(-2, 2, size))
    mask = rng.random(x.shape) < rng.random((size, 1)) if rng.random() < 0.5 else None
    labels = rng.integers(n, size=size)
    label_mask = None
    if mask is not None:
        label_mask = mask.copy()
        label_mask[np.arange(size), labels] = True
    p, y = sg.softmax(x), sg.log_softmax(x)
    numbers = {name: rng.normal(size=x.shape).astype(dtype) for name in ("u", "v", "other")}
    return x, Operands(
        temperature=temperature, mask=mask, label_mask=label_mask, labels=labels, p=p, y=y,
        positive=rng.random(x.shape).astype(dtype), weight=rng.random(size), gamma=float(rng.choice([0.5, 1, 2, 3.3])),
        **numbers,
    )  # fmt: skip


def bits(a):
    """The bits of numbers; every NaN has the same."""
    a = np.asarray(a)
    plain = np.where(np.isnan(a), a.dtype.type(np.nan), a)
    return plain.view(f"u{a.dtype.itemsize}")


def check(name, x, operands, layout, workers):
    expected = (MAPS | FORMULAS)[name](x, operands, axis=-1)
    moved, axis = LAYOUTS[layout](x)
    there = operands.each(lambda a: LAYOUTS[layout](a)[0], lambda a: a)
    options = {"workers": workers} if name in ("softmax", "log_softmax", "logsumexp", "sparsemax", "entmax") else {}
    got = (MAPS | FORMULAS)[name](moved, there, axis=axis, **options)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        a = np.moveaxis(np.asarray(a), axis, -1) if np.ndim(a) == 2 else a  # noqa: PLW2901
        different = bits(a) != bits(b)
        assert not different.any(), (
            name,
            layout,
            workers,
            i,
            x.shape,
            x.dtype.name,
            np.argwhere(different)[:3].tolist(),
        )


def check_parts(name, x, operands, rng):
    """Rows in a smaller batch, and alone."""
    expected = (MAPS | FORMULAS)[name](x, operands, axis=-1)
    start = int(rng.integers(len(x)))
    stop = start + 1 + int(rng.integers(len(x) - start))
    parts = [slice(start, stop), slice(start, start + 1), start]
    for part in parts:
        some = operands.each(lambda a, p=part: a[p], lambda a, p=part: a[p])
        got = (MAPS | FORMULAS)[name](x[part], some, axis=-1)
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            different = bits(a) != bits(np.asarray(b)[part])
            assert not np.any(different), (name, part, i, x.shape, x.dtype.name, np.argwhere(different)[:3].tolist())


@np.errstate(all="ignore")
def run(seed, names=tuple(MAPS)):
    rng = np.random.default_rng(seed)
    x, operands = draw(rng, str(rng.choice(DTYPES)))
    for name in names:
        check(name, x, operands, str(rng.choice(sorted(LAYOUTS))), int(rng.integers(1, 4)))
        check_parts(name, x, operands, rng)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_bits_do_not_depend_on_batch_layout_or_threads(level, block):
    names = [name for name in MAPS if not (level == "generic" and name.startswith("focal"))]
    for seed in range(block * 40, block * 40 + 40):
        run(seed, names)


def test_bits_of_formulas_do_not_depend_on_batch_or_layout():
    for seed in range(12):
        run(seed, tuple(FORMULAS))


@pytest.mark.xfail(strict=False, reason="open: NumPy's exp of one row and of many differ in the last bit")
def test_focal_losses_of_the_formulas_do_not_depend_on_the_batch(level):
    if level != "generic":
        pytest.skip("the kernels do not")
    for seed in range(120):
        run(seed, ("focal_loss", "focal_loss_grad"))
