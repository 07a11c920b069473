"""Functions of arrays, applied to files that are larger than memory."""

from softgrad.files.apply import apply_blocks
from softgrad.files.blocks import Contents
from softgrad.files.formats.safetensors import bfloat16
from softgrad.files.formats.table import FORMATS
from softgrad.files.read import Block, Blocks, read_blocks

__all__ = ["FORMATS", "Block", "Blocks", "Contents", "apply_blocks", "bfloat16", "read_blocks"]


def __dir__() -> list[str]:
    return __all__
