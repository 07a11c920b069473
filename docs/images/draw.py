"""Draw the picture of the README: python docs/images/draw.py."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import softgrad as sg

mpl.use("Agg")


def draw_saturation(path: Path) -> None:
    """The gradient of cross-entropy at the label, −(1 − p), as the label's logit grows: by p − 1 and by softgrad."""
    margin = np.linspace(0, 40, 321, dtype=np.float32)
    logits = np.stack([margin, 0 * margin, 0 * margin], axis=-1)
    usual = np.exp(logits - logits.max(axis=-1, keepdims=True))
    usual = 1 - (usual / usual.sum(axis=-1, keepdims=True))[:, 0]
    own = -sg.cross_entropy_grad(logits, np.zeros(len(margin), np.int64)).grad[:, 0]
    zero = usual <= 0
    figure, axes = plt.subplots(figsize=(8.6, 3.4), layout="constrained", dpi=120)
    axes.semilogy(margin, own, color="#1f6f43", linewidth=5, alpha=0.45, label="softgrad")
    axes.semilogy(margin[~zero], usual[~zero], color="#c22f2f", linewidth=1.6, label="usual formula, 1 − p")
    first = margin[zero][0]
    axes.axvspan(first, 40, color="#c22f2f", alpha=0.07, linewidth=0)
    axes.text(
        first + 0.6, 2e-2, f"from a lead of {first:.1f} on\nthe usual formula gives 0", color="#9c1f1f", va="center"
    )
    axes.set(
        xlim=(0, 40),
        xlabel="how far the label's logit leads the two others",
        ylabel="|gradient at the label|",
        title="Cross-entropy of three classes in float32",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower left", frameon=False)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    draw_saturation(Path(__file__).with_name("saturation.png"))
