"""The gradient checks pass what is right and name what is wrong."""

import re

import numpy as np
import pytest

import softgrad as sg
from softgrad.testing import GradientMismatch, check_jacobian, check_jvp, check_vjp

X = np.array([[1.0, 2.0, 3.0], [0.0, 4.0, 1.0], [-2.0, 0.5, 0.25], [3.0, -1.0, 0.125]])
P = sg.softmax(X)
Y = sg.log_softmax(X)
LABELS = np.array([0, 2, 1, 1])
rng = np.random.default_rng(7)
W = rng.normal(size=(3, 5))


def mismatch(check, *arguments, **options):
    with pytest.raises(GradientMismatch) as caught:
        check(*arguments, **options)
    return caught.value


def batch_cross_entropy(z):
    return -sg.log_softmax(z)[np.arange(len(z)), LABELS].mean()


def batch_cross_entropy_gradient(z):
    return (sg.softmax(z) - np.eye(3)[LABELS]) / len(z)


class Network:
    """Linear, tanh, linear, relu: the kind of layer that people write, with state between the passes."""

    def __init__(self):
        random = np.random.default_rng(3)
        self.W1, self.W2 = random.normal(size=(3, 6)), random.normal(size=(6, 2))

    def __call__(self, x):
        self.hidden = np.tanh(x @ self.W1)
        self.linear = self.hidden @ self.W2
        return np.maximum(self.linear, 0)

    def backward(self, g):
        g = g * (self.linear > 0)
        return ((g @ self.W2.T) * (1 - self.hidden**2)) @ self.W1.T


RIGHT = {
    "tanh": (np.tanh, lambda v: v * (1 - np.tanh(X) ** 2), X),
    "relu": (lambda z: np.maximum(z, 0), lambda v: v * (X > 0), X + 0.0),
    "softmax": (sg.softmax, lambda v: sg.softmax_vjp(P, v), X),
    "cube of large and small": (lambda z: z**3, lambda v: 3 * (1e4 * X) ** 2 * v, 1e4 * X),
    "log near 0": (np.log, lambda v: v / (1e-7 * np.abs(X[:1])), 1e-7 * np.abs(X[:1])),
    "logits with an offset": (sg.softmax, lambda v: sg.softmax_vjp(P, v), X + 1e4),
    "constant": (np.ones_like, np.zeros_like, X),
    "number": (np.sin, lambda v: v * np.cos(0.3), 0.3),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("check", [check_vjp, check_jvp])  # these Jacobians are symmetric
def test_right_derivatives_pass(check, name):
    function, product, x = RIGHT[name]
    if name == "relu":
        x = x[np.abs(x) > 0.1]
        product = lambda v: v * (x > 0)  # noqa: E731
    check(function, product, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("layer", [sg.Softmax(), sg.LogSoftmax(), sg.Softmax(axis=0), sg.LogSoftmax(axis=None)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_layers_pass(layer, dtype, scale):
    x = (scale * X).astype(dtype)
    check_vjp(layer, layer.backward, x)
    check_jacobian(layer, layer.backward, x, axis=layer.axis)


def test_layer_is_left_at_the_point_or_called_again():
    """backward always sees the forward pass on x itself, never one on a neighbouring point."""
    calls = []

    class Recorder:
        def __call__(self, x):
            self.x = x
            return x**2

        def backward(self, g):
            calls.append(self.x)
            return 2 * self.x * g

    layer = Recorder()
    check_vjp(layer, layer.backward, X, directions=4)
    assert len(calls) == 4
    for seen in calls:
        np.testing.assert_array_equal(seen, X)


def test_reused_output_buffer_passes():
    buffer = np.empty_like(X)
    check_vjp(lambda z: np.tanh(z, out=buffer), lambda g: g * (1 - np.tanh(X) ** 2), X)


def test_hand_written_network_passes_in_both_directions():
    network = Network()
    check_vjp(network, network.backward, X)
    J = np.stack([network.backward(unit) for unit in np.eye(8).reshape(8, 4, 2) if network(X) is not None])
    check_jacobian(network, J.reshape(4, 2, 4, 3), X)
    check_jvp(network, lambda v: np.tensordot(J.reshape(4, 2, 4, 3), v, axes=2), X)


def test_output_of_another_shape_than_x():
    check_vjp(lambda w: X @ w, lambda g: X.T @ g, W)
    check_vjp(sg.logsumexp, lambda g: g[:, None] * P, X)
    check_jvp(sg.logsumexp, lambda v: (P * v).sum(axis=-1), X)
    check_vjp(lambda z: z[:, :, None] * W, lambda g: (g * W).sum(axis=-1), X)
    check_jvp(sg.log_softmax, lambda v: sg.log_softmax_jvp(Y, v), X)
    check_vjp(sg.log_softmax, lambda g: sg.log_softmax_vjp(Y, g), X)


def test_reduction_to_a_number():
    check_vjp(batch_cross_entropy, lambda g: g * batch_cross_entropy_gradient(X), X)
    check_jvp(batch_cross_entropy, lambda v: np.sum(v * batch_cross_entropy_gradient(X)), X)
    check_jacobian(batch_cross_entropy, batch_cross_entropy_gradient(X), X)


def test_jacobian_as_operator_array_and_callable_along_any_axis():
    check_jacobian(sg.softmax, sg.softmax_jacobian(X), X)
    check_jacobian(lambda z: sg.softmax(z, axis=0), sg.softmax_jacobian(X, axis=0), X, axis=0)
    check_jacobian(
        lambda z: sg.softmax(z, axis=None), lambda: sg.softmax_jacobian(X, axis=None).toarray(), X, axis=None
    )
    check_jacobian(lambda z: z @ W, np.broadcast_to(W.T, (4, 5, 3)), X)
    check_jacobian(sg.softmax, sg.calculate_gradient([1, 2, 3]).tolist(), [1, 2, 3])


def test_float32_derivative_of_a_float32_layer():
    """What a float32 pass rounds is within the documented 3.5e-4; an error ten times that is not."""
    x = X.astype(np.float32)
    p = sg.softmax(x)
    check_vjp(sg.softmax, lambda g: sg.softmax_vjp(p, g), x)
    check_vjp(lambda z: sg.softmax(z.astype(np.float32)), lambda g: sg.softmax_vjp(p, g), x)
    check_vjp(sg.softmax, lambda g: np.float32(1 + 1e-4) * sg.softmax_vjp(p, g), x)
    mismatch(check_vjp, sg.softmax, lambda g: np.float32(1 + 3.5e-3) * sg.softmax_vjp(p, g), x)


@pytest.mark.parametrize("relative", [1e-6, -1e-6])
def test_float64_tolerance_is_tight(relative):
    check_vjp(sg.softmax, lambda g: (1 + relative / 1000) * sg.softmax_vjp(P, g), X)
    mismatch(check_vjp, sg.softmax, lambda g: (1 + relative) * sg.softmax_vjp(P, g), X)


def test_rtol_is_taken():
    check_vjp(np.tanh, lambda g: 1.001 * g * (1 - np.tanh(X) ** 2), X, rtol=1e-2)
    mismatch(check_vjp, np.tanh, lambda g: 1.001 * g * (1 - np.tanh(X) ** 2), X, rtol=1e-4)


def test_sign_slip_is_named():
    found = mismatch(check_vjp, sg.softmax, lambda g: -sg.softmax_vjp(P, g), X)
    assert found.hints == ("the wrong entries have the opposite sign",)
    assert found.got == pytest.approx(-found.expected, rel=1e-9)
    assert found.error == pytest.approx(2 * abs(found.expected))


def test_sign_slip_off_the_diagonal_only():
    J = np.abs(sg.calculate_gradient(X[0]))
    found = mismatch(check_jacobian, sg.softmax, J, X[0])
    assert found.index in {(1, 2), (2, 1)}  # the largest of them
    assert found.hints == ("the wrong entries have the opposite sign",)


def test_missing_factor_is_named():
    found = mismatch(check_jvp, lambda z: z**2, lambda v: X * v, X)
    assert "the wrong entries are 0.5 times what they should be" in found.hints
    assert found.index == (1, 1, 1, 1)  # d x²/dx is largest where x is 4
    assert (found.expected, found.got) == pytest.approx((8.0, 4.0))


def test_dropped_batch_mean_is_named():
    found = mismatch(check_vjp, batch_cross_entropy, lambda g: g * 4 * batch_cross_entropy_gradient(X), X)
    assert "4 is the length of axis 0 of x: is a mean over it missing?" in found.hints
    found = mismatch(check_vjp, batch_cross_entropy, lambda g: g * batch_cross_entropy_gradient(X) / 4, X)
    assert "4 is the length of axis 0 of x: was it divided by once too often?" in found.hints


def test_wrong_axis_fails_with_the_worst_entry():
    found = mismatch(check_vjp, sg.softmax, lambda g: sg.softmax_vjp(P, g, axis=0), X, directions=1)
    seen = []
    check_vjp(sg.softmax, lambda g: seen.append(g) or sg.softmax_vjp(P, g), X, directions=1)  # the same g
    right, wrong = sg.softmax_vjp(P, seen[0]), sg.softmax_vjp(P, seen[0], axis=0)
    assert found.index == np.unravel_index(np.argmax(np.abs(right - wrong)), X.shape)
    assert found.got == wrong[found.index]
    assert found.expected == pytest.approx(right[found.index], rel=1e-9)


@pytest.mark.parametrize("entry", [(0, 0), (2, 1), (3, 2)])
def test_one_wrong_entry_is_found(entry):
    def vjp(g):
        gradient = sg.softmax_vjp(P, g)
        gradient[entry] += 1e-6
        return gradient

    found = mismatch(check_vjp, sg.softmax, vjp, X)
    assert found.index == entry
    assert found.error == pytest.approx(1e-6, rel=1e-3)
    assert found.hints == ("every other entry agrees",)

    J = sg.calculate_gradient(X)
    J[(entry[0], 0, entry[1])] *= 1.001
    found = mismatch(check_jacobian, sg.softmax, J, X)
    assert found.index == (entry[0], 0, *entry)


def test_wrong_column_is_named():
    def vjp(g):
        gradient = sg.softmax_vjp(P, g)
        gradient[:, 1] -= gradient[:, 0] ** 2
        return gradient

    found = mismatch(check_vjp, sg.softmax, vjp, X)
    assert found.index[1] == 1
    assert "all of them are at index 1 of axis 1 of x" in found.hints


def test_one_wrong_entry_among_many_is_found():
    x = rng.normal(size=(200, 100))

    def product(v):
        image = v * (1 - np.tanh(x) ** 2)
        image[123, 45] *= 1.01
        return image

    for check, index in ((check_vjp, (123, 45)), (check_jvp, (123, 45, 123, 45))):
        found = mismatch(check, np.tanh, product, x)
        assert found.index == index
        assert "where x is worst; x has 20000" in str(found)


def test_transposed_jacobian_is_named():
    x = X[0]
    J = np.eye(3) - sg.softmax(x)
    assert "it is the transposed Jacobian" in mismatch(check_jacobian, sg.log_softmax, J.T, x).hints
    forward = mismatch(check_vjp, sg.log_softmax, lambda g: sg.log_softmax_jvp(Y, g), X)
    assert "it is J g, not Jᵀ g: the Jacobian is transposed" in forward.hints
    reverse = mismatch(check_jvp, sg.log_softmax, lambda v: sg.log_softmax_vjp(Y, v), X)
    assert "it is the transposed Jacobian" in reverse.hints


def test_transposed_gradient_is_named():
    square = rng.normal(size=(3, 3))
    found = mismatch(check_vjp, lambda w: X @ w, lambda g: g.T @ X, square)
    assert "it is the transposed gradient" in found.hints
    with pytest.raises(GradientMismatch, match=r"vjp\(g\) must have shape \(3, 5\); got \(5, 3\): transposed\?"):
        check_vjp(lambda w: X @ w, lambda g: g.T @ X, W)


def test_slices_that_are_not_independent_are_found():
    found = mismatch(check_jacobian, lambda z: z - z.mean(axis=0), np.broadcast_to(np.eye(3), (4, 3, 3)), X)
    assert (found.expected, found.got) == pytest.approx((0.75, 1.0))


def test_zero_gradient_is_named():
    found = mismatch(check_vjp, np.tanh, np.zeros_like, X)
    assert found.hints == ("it is 0 everywhere: was it ever filled in?",)


def test_kink_is_named():
    x = np.array([1.0, 0.0, -1.0])
    found = mismatch(check_vjp, lambda z: np.maximum(z, 0), lambda g: g * (x > 0), x)
    assert found.index == (1,)
    assert "the function has a kink here: the slopes to either side differ" in found.hints


def test_gradient_that_is_not_finite_fails():
    def vjp(g):
        gradient = sg.softmax_vjp(P, g)
        gradient[1, 2] = np.nan
        return gradient

    with pytest.raises(GradientMismatch, match=re.escape("got nan at index (1, 2)")) as caught:
        check_vjp(sg.softmax, vjp, X)
    assert caught.value.index == (1, 2)


def test_report_names_the_worst_entry():
    found = mismatch(check_jvp, lambda z: z**2, lambda v: -2 * X * v, X)
    assert str(found) == (
        "jvp(v) is wrong in 11 of 144 entries\n"
        "  worst     df[1, 1]/dx[1, 1]\n"
        "  expected  8  (finite difference)\n"
        "  got       -8\n"
        "  error     16, tolerance 1e-07\n"
        "  hint      the wrong entries have the opposite sign"
    )


def test_results_are_the_same_every_time():
    def report(seed=0):
        return str(mismatch(check_vjp, sg.softmax, lambda g: sg.softmax_vjp(P, g, axis=0), X, seed=seed))

    assert report() == report()
    assert report() != report(seed=1)
    assert report(np.random.default_rng(1)) == report(seed=1)


def test_what_cannot_be_checked_is_refused():
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match="function must be repeatable"):
        check_vjp(lambda z: z * random.integers(0, 2, z.shape), lambda g: g, X)
    with pytest.raises(ValueError, match="do not settle as the step shrinks"):
        check_vjp(lambda z: np.tanh(z.astype(np.float16)), lambda g: g * (1 - np.tanh(X) ** 2), X)
    with pytest.raises(ValueError, match="do not settle as the step shrinks"):
        check_vjp(lambda z: z + (z >= X), lambda g: g, X)  # a jump
    with pytest.raises(ValueError, match=re.escape("x must be finite; got inf at index (1,)")):
        check_vjp(np.tanh, lambda g: g, [0.0, np.inf])
    with pytest.raises(ValueError, match=re.escape("function(x) must be finite; got -inf at index (0,)")):
        check_vjp(lambda z: sg.log_softmax(z, where=[False, True]), lambda g: g, [0.0, 1.0])
    with pytest.raises(ValueError, match="x must not be empty"):
        check_vjp(np.tanh, lambda g: g, [])
    with pytest.raises(ValueError, match="directions must be at least 1; got 0"):
        check_vjp(np.tanh, lambda g: g, X, directions=0)
    with pytest.raises(TypeError, match="x must hold real numbers; got dtype complex128"):
        check_vjp(np.tanh, lambda g: g, [1j])
    with pytest.raises(GradientMismatch, match=re.escape("jacobian must have shape (3, 3)")):
        check_jacobian(sg.softmax, np.zeros((2, 2)), X[0])
