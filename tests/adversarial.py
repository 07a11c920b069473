"""Batches of rows that are drawn to break bounds, and the check of every function on them.

Errors of one sign add up where a row has one or two values, where a few units in the last place separate its entries,
and where rounding goes the same way in every term; quotients round worst where a significand is near 1; results are
subnormal, logits near the largest number, and lengths go through every way that a kernel has.
"""

from __future__ import annotations

import numpy as np

import softgrad as sg

from . import error_bounds


def _spread(rng, rows, low, high):
    """One magnitude for each row, evenly distributed logarithms."""
    return np.exp(rng.uniform(np.log(low), np.log(high), (rows, 1)))


def _few_ulp(rng, shape, info):
    centre = rng.choice([-1, 1], (shape[0], 1)) * _spread(rng, shape[0], 1e-2, 300)
    return centre * (1 + rng.integers(-4, 5, shape) * float(info.eps))


def _few_units(rng, shape, info):
    return rng.uniform(-40, 40, (shape[0], 1)) + _spread(rng, shape[0], 0.05, 30) * rng.uniform(-1, 1, shape)


def _two_values(rng, shape, info):
    a = rng.uniform(-60, 60, (shape[0], 1))
    b = a - _spread(rng, shape[0], 1e-3, 40)
    return np.where(rng.random(shape) < rng.random((shape[0], 1)) ** 3, a, b)


def _one_value(rng, shape, info):
    return np.broadcast_to(rng.uniform(-300, 300, (shape[0], 1)), shape)


def _one_above(rng, shape, info):
    x = np.array(_one_value(rng, shape, info))
    x[:, :1] += _spread(rng, shape[0], 1e-3, 100)
    return x


def _saturated(rng, shape, info):
    x = rng.normal(size=shape) * _spread(rng, shape[0], 0.1, 10)
    x[np.arange(shape[0]), rng.integers(shape[1], size=shape[0])] += rng.uniform(0, 80, shape[0])
    return x


def _plus_minus(rng, shape, info):
    return rng.choice([-1.0, 1.0], shape) * _spread(rng, shape[0], 1, 400)


def _normal(rng, shape, info):
    return rng.normal(size=shape) * _spread(rng, shape[0], 1e-3, 200) + rng.normal(size=(shape[0], 1)) * 10


def _subnormal(rng, shape, info):
    x = rng.uniform(float(np.log(info.smallest_subnormal)) - 2, float(np.log(info.tiny)) + 5, shape)
    x[:, :1] = 0
    return x + rng.choice([0.0, 0.0, 17.0, -300.0], (shape[0], 1))


def _far(rng, shape, info):
    return rng.choice([-1, 1], (shape[0], 1)) * _spread(rng, shape[0], 200, 1e5) + rng.normal(size=shape) * 4


def _near_zero(rng, shape, info):
    return -np.exp(rng.uniform(-90 if info.bits == 32 else -700, 5, shape))


def _small_sum(rng, shape, info):
    """The logarithm of the sum of the exponentials is near 0."""
    return np.log(rng.dirichlet(np.ones(shape[1]), shape[0])) + rng.normal(size=(shape[0], 1)) * 1e-3


LOSSES = error_bounds.LOSS, error_bounds.LOSS_GRADIENT, error_bounds.LOSS_HESSIAN

KINDS = {
    "few ulp": _few_ulp,
    "few units": _few_units,
    "two values": _two_values,
    "one value": _one_value,
    "one above": _one_above,
    "saturated": _saturated,
    "plus and minus": _plus_minus,
    "normal": _normal,
    "subnormal": _subnormal,
    "far": _far,
    "near zero": _near_zero,
    "small sum": _small_sum,
}


def rows(kind, shape, dtype, rng):
    """Rows of one kind, of numbers of `dtype`."""
    info = np.finfo(dtype)
    with np.errstate(all="ignore"):
        return np.array(KINDS[kind](rng, shape, info)).astype(dtype)


def batches(seed, dtype, count, longest=5000):
    """(kind, rows of one length), about `count` rows in all; one in ten may have up to `longest` entries."""
    rng = np.random.default_rng(seed)
    kinds = sorted(KINDS)
    done = 0
    while done < count:
        kind = kinds[rng.integers(len(kinds))]
        choice = rng.random()
        n = (
            int(rng.integers(1, 130))
            if choice < 0.6
            else int(np.exp(rng.uniform(0, np.log(longest if choice > 0.9 else 900))))
        )
        size = int(np.clip(20_000 // n, 4, 64))
        yield kind, rows(kind, (size, n), dtype, rng)
        done += size


def _temperature(rng, x):
    choice = rng.integers(4)
    if choice == 0:
        return float(rng.choice([0.7, 3.0, 0.1, 10.0, 1000.0]))
    rows = x.shape[0]
    return np.exp(rng.uniform(-3, 3, rows)) if choice < 3 else np.exp(rng.uniform(-12, 12, rows))


class Checks:
    """Every function on a batch of rows; keeps the largest errors by function."""

    def __init__(self, reference, level):
        self.reference, self.level = reference, level
        self.factor = 1.0
        self.worst = {}
        """what → (error ÷ bound, error, bound, where it was found)."""

    def note(self, what, errors, bound, subnormal=None, where=""):
        """Keep the largest error of a batch, in ulp or, where sizes are subnormal, in spacings."""
        factor = self.factor if bound != error_bounds.GENERIC_SOFTMAX else 1
        for name, limit in (
            ("normal", bound * factor),
            ("subnormal", (bound if subnormal is None else subnormal) * factor),
        ):
            at = np.unravel_index(np.argmax(errors[name]), errors.shape)
            error = float(errors[name][at])
            key = what if name == "normal" else f"{what}, subnormal"
            if error > self.worst.get(key, (0, -1.0))[1]:
                self.worst[key] = error / limit, error, limit, f"{where} row {at} entry {errors[name + '_at'][at]}"

    def broken(self):
        """What is beyond its bound."""
        return {what: found for what, found in self.worst.items() if found[0] > 1}

    def every_function(self, x, rng, where=""):
        """All checks of one batch."""
        self.factor = error_bounds.scaled(self.level, x.dtype)
        self.forward(x, rng, where)
        self.products(x, rng, where)
        self.labels(x, rng, where)
        self.soft_targets(x, rng, where)
        self.information(x, rng, where)
        self.states(x, rng, where)
        if x.shape[-1] <= 64:
            self.jacobians(x, rng, where)

    def forward(self, x, rng, where=""):
        reference, softmax = self.reference, error_bounds.softmax(self.level, x.dtype)
        t = _temperature(rng, x)
        mask = rng.random(x.shape) < rng.choice([0.3, 0.7, 0.95], (x.shape[0], 1))
        for what, options in (
            ("", {}),
            (" T", {"temperature": t}),
            (" mask", {"where": mask}),
            (" T mask", {"temperature": t, "where": mask}),
        ):
            note = f"{where} {options.get('temperature', '')}"
            p, y = sg.softmax(x, **options), sg.log_softmax(x, **options)
            self.note("softmax" + what, reference.softmax(p, x, **options), softmax, error_bounds.SUBNORMAL, note)
            self.note(
                "log_softmax" + what,
                reference.log_softmax(y, x, **options),
                error_bounds.LOG_SOFTMAX,
                error_bounds.SUBNORMAL,
                note,
            )
            if "temperature" not in options:
                got = sg.logsumexp(x, **options)
                bound = error_bounds.LOGSUMEXP
                self.note(
                    "logsumexp" + what, reference.logsumexp(got, x, **options), bound, error_bounds.SUBNORMAL, note
                )
        b = np.exp(rng.normal(size=x.shape) * 3).astype(x.dtype) * (rng.random(x.shape) < 0.8)
        if rng.random() < 0.5:
            b *= rng.choice([-1, 1], x.shape)
        got = sg.logsumexp(x, b=b)
        self.note(
            "logsumexp b",
            reference.weighted_logsumexp(got, x, b),
            error_bounds.LOGSUMEXP,
            error_bounds.SUBNORMAL,
            where,
        )

    def sparse_maps(self, x, rng, where="", alphas=(2.0, 1.5)):
        """sparsemax and entmax, with entries a few units beside the threshold, and their losses."""
        rows = x.shape[0]
        self.factor = 1.0
        t = rng.choice([np.ones(rows), np.exp(rng.uniform(-3, 6, rows))])
        mask = rng.random(x.shape) < 0.8
        for alpha in alphas:
            p = sg.entmax(x, alpha).astype(np.float64)
            with np.errstate(all="ignore"):
                threshold = x.max(-1, keepdims=True) - p.max(-1, keepdims=True) ** (alpha - 1) / (alpha - 1)
                units = threshold * (1 + rng.integers(-3, 4, x.shape) * float(np.finfo(x.dtype).eps))
            near = rng.random(x.shape) < rng.choice([0.0, 0.2, 0.9], (rows, 1))
            z = np.where(near & (x < x.max(-1, keepdims=True)), units, x).astype(x.dtype)
            bound = error_bounds.sparse_ulp(x.dtype)
            name = f"entmax {alpha}" if alpha in (1.5, 2) else "entmax"
            for what, options in (("", {}), (" T mask", {"temperature": t, "where": mask})):
                got = sg.entmax(z, alpha, **options)
                found = self.reference.entmax(got, z, alpha, **options)
                self.note(name + what, found, bound, where=f"{where} {alpha}")
            if alpha in (1.5, 2):
                self.sparse_losses(z, alpha, p, rng, where)

    def sparse_losses(self, x, alpha, p, rng, where):
        rows, n = x.shape
        if rng.random() < 0.5:
            given = {"labels": np.where(rng.random(rows) < 0.5, x.argmax(-1), rng.integers(n, size=rows))}
            what, bound = f"entmax_loss {alpha}", error_bounds.SPARSE_GRADIENT
            loss, grad = sg.entmax_loss_grad(x, given["labels"], alpha)
        else:
            y = np.where(rng.random((rows, 1)) < 0.5, p, rng.dirichlet(np.ones(n), rows))
            given = {"targets": y.astype(x.dtype)}
            what, bound = f"soft_entmax_loss {alpha}", error_bounds.LOSS_GRADIENT
            loss, grad = sg.soft_entmax_loss_grad(x, given["targets"], alpha)
        of_loss, of_grad = self.reference.entmax_loss(loss, grad, x, alpha, **given)
        self.note(what, of_loss, error_bounds.SPARSE_LOSS, where=where)
        self.note(f"{what}, gradient", of_grad, bound, where=where)

    def products(self, x, rng, where=""):
        reference, dtype = self.reference, x.dtype
        u = (rng.normal(size=x.shape) * np.exp(rng.normal(size=x.shape) * 3)).astype(dtype)
        v = rng.normal(size=x.shape).astype(dtype)
        if rng.random() < 0.5:  # directions of one or two values
            u = np.where(x > np.median(x, axis=-1, keepdims=True), u[:, :1], v[:, :1]).astype(dtype)
        p, y = sg.softmax(x), sg.log_softmax(x)
        for which, what, got, output, bound in (
            (0, "softmax_vjp", sg.softmax_vjp(p, u), p, error_bounds.VJP),
            (1, "log_softmax_jvp", sg.log_softmax_jvp(y, u), y, error_bounds.LOG_SOFTMAX_JVP),
            (2, "log_softmax_vjp", sg.log_softmax_vjp(y, u), y, error_bounds.LOG_SOFTMAX_VJP),
        ):
            self.note(what, reference.product(which, got, output, u), bound, where=where)
        got = sg.softmax_second(p, u, v)
        self.note("softmax_second", reference.product(3, got, p, u, v), error_bounds.SOFTMAX_SECOND, where=where)

    def labels(self, x, rng, where=""):
        reference = self.reference
        rows, n = x.shape
        label = np.where(rng.random(rows) < 0.4, x.argmax(-1), rng.integers(n, size=rows))
        loss, grad, hess = sg.cross_entropy_grad_hess(x, label)
        found = reference.cross_entropy(x, label, loss=loss, grad=grad, hess=hess, dtype=x.dtype)
        for what, errors, bound in zip(("", "_grad", "_hess"), found, LOSSES, strict=True):
            self.note("cross_entropy" + what, errors, bound, where=where)
        loss, grad = sg.cross_entropy_grad(x, label)
        found = reference.cross_entropy(x, label, loss=loss, grad=grad, dtype=x.dtype)
        for what, errors, bound in zip(("", "_grad"), found, LOSSES, strict=False):
            self.note("cross_entropy" + what, errors, bound, where=where)
        weight, sample = rng.random(n), rng.random(rows)
        for name, smoothing, z in (("smoothing", 0.1, 0.0), ("z-loss", 0.0, 1e-3), ("options", 0.1, 1e-3)):
            given = {"weight": weight, "sample_weight": sample, "label_smoothing": smoothing, "z_loss": z}
            loss, grad, hess = sg.cross_entropy_grad_hess(x, label, **given)
            found = reference.cross_entropy(
                x,
                label,
                loss=loss,
                grad=grad,
                hess=hess,
                weight=weight,
                smoothing=smoothing,
                sample_weight=sample,
                z_loss=z,
                dtype=x.dtype,
            )
            for what, errors, bound in zip(("", "_grad", "_hess"), found, LOSSES, strict=True):
                self.note(f"cross_entropy{what} {name}", errors, bound, where=where)
        gamma = float(rng.choice([0.5, 1.0, 2.0, 5.0]))
        loss, grad = sg.focal_loss_grad(x, label, gamma=gamma)
        found = reference.focal(loss, grad, x, label, gamma)
        for what, errors, bound in zip(("", "_grad"), found, LOSSES, strict=False):
            self.note(f"focal_loss{what}", errors, bound + gamma, where=f"{where} gamma={gamma}")

    def soft_targets(self, x, rng, where=""):
        kind = rng.integers(3)
        if kind == 0:
            t = rng.dirichlet(np.ones(x.shape[1]), x.shape[0])
        elif kind == 1:
            t = np.broadcast_to(rng.random((x.shape[0], 1)), x.shape)
        else:
            t = np.where(rng.random(x.shape) < 0.3, 0.7, 0.1)
        t = t.astype(x.dtype)
        for name, z in (("", 0.0), (" z-loss", 1e-3)):
            loss, grad = sg.soft_cross_entropy_grad(x, t, z_loss=z)
            found = self.reference.cross_entropy(x, targets=t, loss=loss, grad=grad, z_loss=z, dtype=x.dtype)
            for what, errors, bound in zip(("", "_grad"), found, LOSSES, strict=False):
                self.note(f"soft_cross_entropy{what}{name}", errors, bound, where=where)

    def information(self, x, rng, where=""):
        value, grad = sg.entropy_grad(x)
        for what, errors, bound in zip(("", "_grad"), self.reference.entropy(value, grad, x), LOSSES, strict=False):
            self.note("entropy" + what, errors, bound, where=where)
        y = (x + rng.choice([1e-9, 1e-6, 1e-2, 1.0]) * rng.normal(size=x.shape)).astype(x.dtype)
        if rng.random() < 0.3:
            y = np.where(x == x.max(-1, keepdims=True), y[:, :1], x).astype(x.dtype)
        value, *grads = sg.kl_divergence_grad(x, y)
        found = self.reference.divergence(value, *grads, x, y)
        for what, errors, bound in zip(
            ("", "_grad p", "_grad q"), found, (LOSSES[0], LOSSES[1], LOSSES[1]), strict=True
        ):
            self.note("kl_divergence" + what, errors, bound, where=where)

    def states(self, x, rng, where=""):
        state = sg.LogSumExpState()
        for block in np.array_split(x, min(3, x.shape[1]), axis=1):
            state.update(block)
        least = 745 * float(np.finfo(x.dtype).tiny)  # terms are weights times up to 745, and weights may be subnormal
        for what, errors in (
            ("logsumexp", self.reference.logsumexp(state.logsumexp(), x)),
            ("entropy", self.reference.entropy(state.entropy(), None, x, least)[0]),
            ("mean", self.reference.mean(state.mean(), x, least)),
            ("normalize", self.reference.softmax(state.normalize(x), x)),
            ("normalize log", self.reference.log_softmax(state.normalize(x, log=True), x)),
        ):
            self.note("state " + what, errors, error_bounds.STATE, where=where)  # each block rounds to a spacing

    def jacobians(self, x, rng, where=""):
        t = _temperature(rng, x)
        for what, options in (("", {}), (" T", {"temperature": t})):
            got = sg.softmax_jacobian(x, **options).toarray()
            self.note(
                "jacobian" + what,
                self.reference.jacobian(got, x, **options),
                error_bounds.JACOBIAN,
                error_bounds.JACOBIAN_OF_SUBNORMAL,
                where=f"{where} {options}",
            )
