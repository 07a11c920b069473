"""The table of derivatives: functions of what is given, and by which of it they are differentiated."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest

import softgrad as sg
from softgrad._api.sampling import gumbel_softmax_from

from ..maps import directions, logits


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
    a: Any

    def of(self, library):
        return Given(*(library.to(getattr(self, f.name)) for f in fields(self)))

    @property
    def label_options(self):
        return {**self.focal_options, "label_smoothing": 0.1, "z_loss": 0.01}

    @property
    def soft_options(self):
        return {"sample_weight": self.sample_weight, "where": self.mask}

    @property
    def tempered_options(self):
        return {**self.soft_options, "temperature": self.temperature}

    @property
    def focal_options(self):
        return {**self.row_options, "temperature": self.temperature}

    @property
    def row_options(self):
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
    a=np.array([1.5, 1.25, 2.5]),
)


# The logits are divided by 5 where most entries of a sparse map would be 0.
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
    "sparsemax": ("x", lambda o, x: sg.sparsemax(x / 5, temperature=o.temperature, where=o.mask)),
    "entmax": ("xa", lambda o, x, a: sg.entmax(x / 5, a)),
    "entmax options": ("x", lambda o, x: sg.entmax(x / 5, 1.25, axis=0, temperature=2.0)),
    "entmax of one alpha": ("xa", lambda o, x, a: sg.entmax(x / 5, a[0], temperature=o.temperature, where=o.mask)),
    "sparsemax_vjp": ("xg", lambda o, x, g: sg.sparsemax_vjp(sg.sparsemax(x / 5), g)),
    "entmax_vjp": ("xga", lambda o, x, g, a: sg.entmax_vjp(sg.entmax(x / 5, a), g, a)),
    "entmax_alpha_vjp": ("xga", lambda o, x, g, a: sg.entmax_alpha_vjp(sg.entmax(x / 5, a), g, a)),
    "entmax_loss": ("x", lambda o, x: sg.entmax_loss(x / 5, o.labels, 1.25, ignore_index=1)),
    "entmax_loss options": ("x", lambda o, x: sg.entmax_loss(x / 5, o.labels, o.a, **o.focal_options)),
    "entmax_loss_grad": ("x", lambda o, x: tuple(sg.entmax_loss_grad(x / 5, o.labels, o.a, **o.focal_options))),
    "soft_entmax_loss": ("xt", lambda o, x, t: sg.soft_entmax_loss(x / 5, t, o.a)),
    "soft_entmax_loss options": ("xt", lambda o, x, t: sg.soft_entmax_loss(x / 5, t, 1.25, **o.tempered_options)),
    "soft_entmax_loss_grad": ("xt", lambda o, x, t: tuple(sg.soft_entmax_loss_grad(x / 5, t, **o.tempered_options))),
    "sparsemax_loss": ("x", lambda o, x: sg.sparsemax_loss(x / 5, o.labels, **o.row_options)),
    "sparsemax_loss_grad": ("x", lambda o, x: tuple(sg.sparsemax_loss_grad(x / 5, o.labels))),
    "soft_sparsemax_loss": ("xt", lambda o, x, t: sg.soft_sparsemax_loss(x / 5, t, **o.soft_options)),
    "soft_sparsemax_loss_grad": ("xt", lambda o, x, t: tuple(sg.soft_sparsemax_loss_grad(x / 5, t))),
    "tsallis_entropy": ("t", lambda o, t: sg.tsallis_entropy(t, o.a)),
    "tsallis_entropy 1": ("t", lambda o, t: sg.tsallis_entropy(t, 1)),
    "cross_entropy": ("x", lambda o, x: sg.cross_entropy(x, o.labels, ignore_index=1)),
    "cross_entropy options": ("x", lambda o, x: sg.cross_entropy(x, o.labels, **o.label_options)),
    "cross_entropy_grad": ("x", lambda o, x: tuple(sg.cross_entropy_grad(x, o.labels, **o.label_options))),
    "soft_cross_entropy": ("xt", lambda o, x, t: sg.soft_cross_entropy(x, t)),
    "soft_cross_entropy options": ("xt", lambda o, x, t: sg.soft_cross_entropy(x, t, **o.label_options)),
    "soft_cross_entropy_grad": ("xt", lambda o, x, t: tuple(sg.soft_cross_entropy_grad(x, t, **o.label_options))),
    "focal_loss": ("x", lambda o, x: sg.focal_loss(x, o.labels)),
    "focal_loss options": ("x", lambda o, x: sg.focal_loss(x, o.labels, gamma=1.5, **o.focal_options)),
    "focal_loss_grad": ("x", lambda o, x: tuple(sg.focal_loss_grad(x, o.labels, gamma=0.5, **o.focal_options))),
    "entropy": ("x", lambda o, x: sg.entropy(x, where=o.mask, temperature=o.temperature)),
    "entropy_grad": ("x", lambda o, x: tuple(sg.entropy_grad(x, axis=0, temperature=0.5))),
    "kl_divergence": ("xg", lambda o, p, q: sg.kl_divergence(p, q, where=o.mask)),
    "kl_divergence_grad": ("xg", lambda o, p, q: tuple(sg.kl_divergence_grad(p, q, temperature=o.temperature))),
    "selective_log_softmax": ("x", lambda o, x: sg.selective_log_softmax(x, o.labels, temperature=o.temperature)),
    "selective_log_softmax k": ("x", lambda o, x: sg.selective_log_softmax(x, o.labels[:, None] - o.labels[:1])),
    "sample_log_prob": ("x", lambda o, x: sg.sample_log_prob(x, o.labels[:, None], temperature=o.temperature)),
    "gumbel_softmax_from": ("x", lambda o, x: gumbel_softmax_from(x, o.t, temperature=o.temperature)),
}


every_derivative = pytest.mark.parametrize("name", DERIVATIVES)


no_jit_warning = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script.*:DeprecationWarning"
)  # torch's own, by make_dual
