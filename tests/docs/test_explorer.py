"""The explorer's mathematics beside softgrad, on hundreds of rows, by node."""

import json
import shutil
import subprocess

import numpy as np
import pytest

import softgrad as sg

from .documents import ROOT

EXPLORER = ROOT / "docs" / "explorer"
PROGRAM = """
import {{ readFileSync }} from "node:fs";
import * as math from {math};
import * as sparse from {sparse};
const round = {{ float32: Math.fround, float64: (value) => value }};
const text = (key, value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value);
const results = JSON.parse(readFileSync(0, "utf8")).map(({{ x, mask, T, label, dtype, alpha }}) => {{
  const row = {{ x, mask, T }};
  const exact = math.softmax(row);
  return {{
    ...exact,
    jacobian: T > 0 ? math.jacobian(exact, T) : null,
    ...(T > 0 ? math.crossEntropy(row, label) : {{}}),
    entropy: math.entropy(exact.p),
    shifted: math.usualSoftmax(row, round[dtype], true).p,
    unshifted: math.usualSoftmax(row, round[dtype], false).p,
    sparsemax: T > 0 ? sparse.sparsemax(row) : null,
    entmax: T > 0 ? sparse.entmax(row, alpha) : null,
  }};
}});
process.stdout.write(JSON.stringify(results, text));
"""

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


def rows(count=400):
    """Rows as the explorer holds them: 2 to 12 logits, masks, temperatures, small and saturated."""
    rng = np.random.default_rng(0)
    for i in range(count):
        n = int(rng.integers(2, 13))
        dtype = ("float32", "float64")[i % 2]
        scale = (0.1, 1, 10, 40, 300)[i % 5]
        x = (scale * rng.normal(size=n)).astype(dtype)
        mask = rng.random(n) < (0.7 if i % 3 == 0 else 1)
        mask[rng.integers(n)] = True
        T = 1.0 if i % 4 else float(np.asarray(rng.uniform(0.1, 5)).astype(dtype))
        label = int(rng.choice(np.flatnonzero(mask)))
        alpha = float(rng.uniform(1.05, 3))
        yield {"x": x.tolist(), "mask": mask.tolist(), "T": T, "label": label, "dtype": dtype, "alpha": alpha}
    yield {"x": [2.0, 2.0, 1.0], "mask": [True] * 3, "T": 0.0, "label": 0, "dtype": "float64", "alpha": 1.5}


@pytest.fixture(scope="module")
def computed():
    """Every row with what the explorer makes of it."""
    program = PROGRAM.format(**{name: json.dumps((EXPLORER / f"{name}.js").as_uri()) for name in ("math", "sparse")})
    cases = list(rows())
    command = ["node", "--input-type=module", "--eval", program]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return list(zip(cases, json.loads(done.stdout), strict=True))


def numbers(values):
    """Arrays from JSON, in which NaN and infinities are text."""
    return np.array(
        json.loads(json.dumps(values).replace('"Infinity"', "Infinity").replace('"NaN"', "NaN")), dtype=float
    )


def close(got, expected, ulp, dtype="float64", tiny=0.0):
    """Whether values agree to some ulp of `dtype`; below `tiny` to that."""
    got, expected = np.asarray(got, float), np.asarray(expected, float)
    spacing = np.spacing(np.abs(expected).astype(dtype)).astype(float)
    np.testing.assert_array_less(np.abs(got - expected), ulp * spacing + tiny)


def options(case):
    return {"where": case["mask"], "temperature": case["T"]}


def test_probabilities_are_softgrads(computed):
    for case, result in computed:
        close(result["p"], sg.softmax(case["x"], **options(case)), 8, tiny=1e-300)


def test_probabilities_of_float32_logits_round_to_softgrads(computed):
    for case, result in computed:
        if case["dtype"] == "float32":
            x = np.array(case["x"], dtype=np.float32)
            p = sg.softmax(x, where=case["mask"], temperature=np.float32(case["T"]))
            close(np.float32(result["p"]), p, 2.5, "float32", tiny=1e-44)


def test_what_is_left_beside_a_probability(computed):
    for case, result in computed:
        if case["T"] > 0:
            J = sg.softmax_jacobian(case["x"], **options(case)).toarray()
            close(result["jacobian"], J, 12, tiny=1e-300)


def test_losses_and_gradients(computed):
    for case, result in computed:
        if case["T"] > 0:
            x = np.array(case["x"]) / case["T"]
            loss, grad = sg.cross_entropy_grad(x, case["label"], where=case["mask"])
            scale = 1 + np.abs(x).max()  # x/T is rounded here and not there
            np.testing.assert_allclose(result["loss"], loss, rtol=4e-15 * scale, atol=1e-300)
            np.testing.assert_allclose(result["grad"], grad / case["T"], rtol=4e-15 * scale, atol=1e-300)


def test_entropy(computed):
    for case, result in computed:
        x = np.array(case["x"]) / case["T"] if case["T"] else np.array([0.0, 0.0, -np.inf])
        np.testing.assert_allclose(result["entropy"], sg.entropy(x, where=case["mask"]), rtol=1e-12, atol=1e-14)


def test_the_usual_formula_is_numpys(computed):
    """With the shift and without: the same overflow, and the same digits to the rounding of exp."""
    overflows = 0
    for case, result in computed:
        if case["T"] == 0:
            continue
        dtype = np.dtype(case["dtype"])
        x = np.array(case["x"], dtype) / dtype.type(case["T"])
        mask = np.array(case["mask"])
        for name, shift in (("shifted", x[mask].max()), ("unshifted", dtype.type(0))):
            with np.errstate(all="ignore"):
                e = np.where(mask, np.exp(x - shift), dtype.type(0))
                expected = e / e.sum()
            got = numbers(result[name])
            np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
            overflows += np.isnan(got).any()
            finite = ~np.isnan(got)
            close(got[finite], expected[finite], 8, dtype, tiny=np.finfo(dtype).tiny)
    assert overflows > 20


def test_sparse_maps_are_softgrads(computed):
    for case, result in computed:
        if case["T"] > 0:
            for name, expected in (
                ("sparsemax", sg.sparsemax(case["x"], **options(case))),
                ("entmax", sg.entmax(case["x"], case["alpha"], **options(case))),
            ):
                np.testing.assert_allclose(result[name], expected, rtol=1e-9, atol=1e-12)
