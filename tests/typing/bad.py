"""Calls that a type checker refuses: every line that ends with `# no`, and no other."""

import numpy as np

import softgrad as sg

x = np.zeros((2, 3))
r: str = sg.softmax(x)  # no
s: str = sg.softmax_jacobian(x) @ x  # no
t: str = sg.calculate_gradient(x)  # no
u: str = sg.Softmax()(x)  # no
v: str = sg.logsumexp(x)  # no
w: int = sg.cross_entropy_grad(x, [0, 1])  # no
sg.softmax("abc")  # no
sg.softmax(["a", "b"])  # no
sg.softmax([["a"], ["b"]])  # no
sg.softmax({"a": 1.0})  # no
sg.softmax({1.0, 2.0})  # no
sg.softmax(None)  # no
sg.softmax()  # no
sg.softmax(x, False)  # no
sg.softmax(x, axis="columns")  # no
sg.softmax(x, axis=0.5)  # no
sg.softmax(x, dim=0)  # no
sg.softmax(x, normalization="no")  # no
sg.softmax(x, workers="all")  # no
sg.softmax_vjp(x)  # no
sg.softmax_vjp(x, "abc")  # no
sg.cross_entropy(x, ["cat", "dog"])  # no
sg.cross_entropy(x, [0, 1], label_smoothing="much")  # no
sg.cross_entropy(x, [0, 1], reduction="mean")  # no
sg.cross_entropy_grad("abc", [0, 1])  # no
sg.entropy_grad(x, axis="columns")  # no
sg.calculate_gradient("abc")  # no
sg.Softmax()("abc")  # no
sg.Softmax(axis="columns")  # no
sg.softmax_jacobian("abc")  # no
sg.softmax_jacobian(x) @ "abc"  # no
z = sg.no_such_name  # no
