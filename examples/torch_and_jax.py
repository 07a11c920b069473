"""The gradient of a loss by PyTorch's autograd and under JAX's jit: by their own cross-entropy and by softgrad's.

    pip install "softgrad[torch,jax,examples]"
    python examples/torch_and_jax.py

The gradient at the label is minus the probability of all other classes: what a model still learns from an example that
it gets right. The usual formula takes it to be p − 1, of which float32 has no digit left once the label leads by 17.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

import numpy as np

try:
    import jax
    import torch
    from rich.console import Console
    from rich.table import Table
except ModuleNotFoundError as error:
    sys.exit(f'this example needs {error.name}: pip install "softgrad[torch,jax,examples]"')

import softgrad as sg

Array = np.ndarray[Any, Any]

console = Console(soft_wrap=True)

MARGINS = [2, 5, 10, 15, 17, 20, 30, 60]
CLOSE = 1e-6

logits = np.array([[margin, 0, 0] for margin in MARGINS], np.float32)
labels = np.zeros(len(MARGINS), np.int64)


def by_torch(loss: Any) -> Array:
    """The gradient at each label, by autograd."""
    x = torch.tensor(logits, requires_grad=True)
    loss(x, torch.tensor(labels)).sum().backward()
    return x.grad[:, 0].numpy()


def by_jax(loss: Any) -> Array:
    """The gradient at each label, by a compiled function."""
    gradient = jax.jit(jax.grad(lambda x: loss(x, labels).sum()))
    return np.asarray(gradient(logits)[:, 0])


def torch_loss(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """PyTorch's own, per row."""
    return torch.nn.functional.cross_entropy(x, labels, reduction="none")


def jax_loss(x: jax.Array, labels: Array) -> jax.Array:
    """The same from JAX's own log_softmax."""
    return -jax.nn.log_softmax(x)[np.arange(len(labels)), labels]


def main() -> int:
    """Print the gradients; 0 if softgrad's are the true ones."""
    true = np.array([float(-2 / (Decimal(margin).exp() + 2)) for margin in MARGINS])
    found = {
        "PyTorch": by_torch(torch_loss),
        "JAX": by_jax(jax_loss),
        "softgrad\nin PyTorch": by_torch(sg.cross_entropy),
        "softgrad\nin JAX": by_jax(sg.cross_entropy),
    }
    table = Table(
        "lead of the\nlabel, nats", "true\ngradient", *found, title="Gradient of the cross-entropy at the label"
    )
    for margin, *gradients in zip(MARGINS, true, *found.values(), strict=True):
        table.add_row(str(margin), *(f"{gradient:.3e}" for gradient in gradients))
    console.print(table)

    error = max(np.abs(gradient / true - 1).max() for name, gradient in found.items() if "softgrad" in name)
    correct = bool(error <= CLOSE)
    verdict = f"softgrad's gradients are true to {error:.0e} of their size (allowed: {CLOSE:.0e})"
    console.print(verdict, style="green" if correct else "red", highlight=False)
    return 0 if correct else 1


if __name__ == "__main__":
    sys.exit(main())
