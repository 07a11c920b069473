"""What the project set out to reach, as data; compare.py prints what of it is met, and asserts nothing."""

from __future__ import annotations

from dataclasses import dataclass

from cases import Case
from timing import Time

BASELINE, OUT, NEW, TWO = "baseline", "softgrad out=", "softgrad", "softgrad 2 threads"
OPTIONAL = ("masked softmax", "tempered softmax", "masked log_softmax", "tempered log_softmax", "masked logsumexp")
BIG, LONG, ONE_ROW, SHORT = (4096, 4096), (64, 131_072), (1, 2**24), (100_000, 10)


@dataclass(frozen=True)
class Target:
    """`own` is at least so many times as fast as `other` ("≥"), or takes at most so many times as long ("≤")."""

    function: str
    shape: tuple[int, ...]
    own: str
    relation: str
    ratios: tuple[float | None, float | None]
    """For float32 and for float64."""
    other: str
    axis: int = -1
    other_axis: int | None = None
    """Where `other` is timed on another axis."""


TARGETS = (
    Target("softmax", BIG, OUT, "≤", (1.25, 1.3), BASELINE),
    Target("softmax", BIG, OUT, "≥", (1.8, 1.7), "torch out="),
    Target("softmax", BIG, NEW, "≥", (2.5, 2.5), "torch"),
    Target("softmax", LONG, OUT, "≤", (1.5, 1.5), BASELINE),
    Target("softmax", LONG, OUT, "≥", (1.7, 1.7), "torch out="),
    Target("softmax", (64, 1000), OUT, "≥", (1.8, 1.8), "torch out="),
    Target("softmax", (64, 1000), NEW, "≥", (4, None), "SciPy"),
    Target("softmax", SHORT, OUT, "≥", (20, 12), "torch out="),
    Target("softmax", SHORT, NEW, "≥", (2, 1.3), "JAX"),
    Target("softmax", SHORT, NEW, "≥", (25, None), "SciPy"),
    Target("softmax", ONE_ROW, OUT, "≥", (1.5, 1.5), "torch out="),
    Target("softmax", ONE_ROW, TWO, "≥", (1.5, 1.5), "torch 2 threads"),
    Target("log_softmax", BIG, OUT, "≤", (1.3, 1.3), BASELINE),
    Target("logsumexp", BIG, NEW, "≥", (1.3, 1.2), "JAX"),
    Target("logsumexp", BIG, NEW, "≥", (20, None), "SciPy"),
    Target("softmax_vjp", BIG, OUT, "≥", (1.5, 1.5), "torch out="),
    Target("softmax_vjp", BIG, OUT, "≤", (1.3, 1.3), BASELINE),
    Target("jacobian", (1000,), NEW, "≤", (1.2, 1.2), BASELINE),
    Target("cross_entropy_grad", BIG, NEW, "≥", (4, None), "torch"),
    Target("cross_entropy_grad", BIG, NEW, "≥", (3, None), "JAX"),
    Target("cross_entropy_grad", SHORT, NEW, "≥", (10, None), "scikit-learn"),
    Target("cross_entropy_grad", SHORT, NEW, "≥", (2, None), "JAX"),
    Target("cross_entropy_grad_hess", SHORT, NEW, "≥", (10, None), "scikit-learn"),
    Target("softmax", BIG, OUT, "≤", (2, 2), OUT, axis=0, other_axis=-1),
    *(Target(function, shape, OUT, "≤", (1.3, 1.3), BASELINE) for function in OPTIONAL for shape in ((64, 1000), BIG)),
    Target("softmax", (10,), NEW, "≤", (1, 1), "torch"),
    Target("softmax", (10,), NEW, "≤", (0.2, 0.2), "SciPy"),
)


def rows(results: dict[Case, dict[str, Time]]) -> list[list[str]]:
    """For each target that `results` decides: the case, the target, what was measured, and whether it is met.

    Between the last two, what the target allows and what softgrad takes, both as multiples of the baseline.
    """
    found = []
    for target in TARGETS:
        for dtype, wanted in zip(("float32", "float64"), target.ratios, strict=True):
            measured = _measured(target, dtype, results) if wanted is not None else None
            if wanted is None or measured is None:
                continue
            own, other, baseline = measured
            ratio, allowed = (own / other, wanted * other) if target.relation == "≤" else (other / own, other / wanted)
            met = own <= allowed
            case = Case(target.function, target.shape, dtype, target.axis)
            wish = f"{target.relation} {wanted:g} × {target.other if target.other_axis is None else 'the last axis'}"
            multiples = [f"{time / baseline:.3g}" for time in (allowed, own)]
            found.append([f"{case}, {target.own}", wish, f"{ratio:.3g}", *multiples, "met" if met else "missed"])
    return found


def _measured(target: Target, dtype: str, results: dict[Case, dict[str, Time]]) -> tuple[float, float, float] | None:
    """The times of softgrad, of what it is compared with, and of the baseline."""
    own_case = Case(target.function, target.shape, dtype, target.axis)
    other_axis = target.axis if target.other_axis is None else target.other_axis
    own, other = results.get(own_case, {}), results.get(Case(target.function, target.shape, dtype, other_axis), {})
    if target.own not in own or target.other not in other or BASELINE not in own:
        return None
    return own[target.own].median, other[target.other].median, own[BASELINE].median
