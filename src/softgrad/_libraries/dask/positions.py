"""Values that are checked one by one: errors name their position in the whole array, not in its block."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from softgrad._formulas.namespace import Array, namespace, widest
from softgrad._validation.labels import as_labels, as_weight

Position = tuple[int, ...]

LABELS, WEIGHTS = ("labels", "index"), ("sample_weight",)


def located(name: str, array: Array, n: float, options: dict[str, Any]) -> Array:
    """`array`, whose blocks are checked when they are computed if it holds labels of n classes or weights."""
    if name in LABELS and not math.isnan(n):
        check: Callable[..., Any] = partial(_check_labels, name, int(n), options.get("ignore_index"))
    elif name in WEIGHTS:
        check = partial(_check_weights, name)
    else:
        return array
    return array.map_blocks(partial(_checked, check), dtype=array.dtype, meta=array._meta, token=f"{name}-checked")


def _checked(check: Callable[..., Any], block: Array, block_info: Any = None) -> Array:
    start = tuple(first for first, _ in block_info[0]["array-location"])
    if not any(map(math.isnan, start)):  # after a chunk of unknown size only the position in the block is known
        check(block, start)
    return block


def _check_labels(name: str, n: int, ignore_index: Any, block: Array, start: Position) -> None:
    as_labels(block, tuple(block.shape), n, ignore_index, namespace(block), name, start)


def _check_weights(name: str, block: Array, start: Position) -> None:
    xp = namespace(block)
    as_weight(block, tuple(block.shape), widest(xp), xp, name, start)
