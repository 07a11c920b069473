"""Functions of arrays, applied to files that are larger than memory."""

from softgrad.files.apply import apply_blocks
from softgrad.files.blocks import Contents
from softgrad.files.formats.table import FORMATS

__all__ = ["FORMATS", "Contents", "apply_blocks"]
