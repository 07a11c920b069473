"""Softmax of an array that no process holds, on a cluster of two processes of this machine.

pip install "softgrad[dask,examples]"
python examples/dask_cluster.py
"""

from __future__ import annotations

import sys
import time

import numpy as np

try:
    import dask
    import dask.array as da
    from distributed import Client, LocalCluster
    from rich.console import Console
except ModuleNotFoundError as error:
    sys.exit(f'this example needs {error.name}: pip install "softgrad[dask,examples]"')

import softgrad as sg

console = Console(soft_wrap=True)

ROWS, CLASSES = 2000, 10_000


def main() -> int:
    """Print what the cluster computed; 0 if NumPy computes the same from one block."""
    logits = 3 * da.random.default_rng(0).normal(size=(ROWS, CLASSES), chunks=(250, CLASSES))
    labels = da.random.default_rng(1).integers(CLASSES, size=ROWS, chunks=250)

    # Nothing is computed here: these are descriptions, in the blocks that the logits have.
    loss, grad = sg.cross_entropy_grad(logits, labels)
    entropy = sg.entropy(logits)
    console.print(f"logits: {logits.nbytes / 1e6:.0f} MB in {logits.npartitions} blocks; the gradient: {grad}")

    start = time.perf_counter()
    loss, largest, entropy = dask.compute(loss.mean(), abs(grad).max(), entropy.mean())
    console.print(f"mean loss {loss:.4f}, largest gradient {largest:.4f}, mean entropy {entropy:.4f} nats")
    console.print(f"computed by two processes in {time.perf_counter() - start:.1f} s")

    # The classes in blocks, too: the blocks of a row find its sum together.
    blocks = logits.rechunk((500, 2500))
    block = sg.softmax(blocks)[:250].compute()
    same = np.allclose(block, sg.softmax(logits[:250].compute()), rtol=1e-14, atol=0)
    console.print(f"rows in {blocks.numblocks[1]} blocks each: {'equal' if same else 'NOT equal'} to those in one")
    return 0 if same else 1


if __name__ == "__main__":  # the workers are started by importing this file
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster),
    ):
        code = main()
    raise SystemExit(code)
