"""Functions of arrays, applied to files that are larger than memory."""

from softgrad.files.apply import apply_blocks
from softgrad.files.atomic import unfinished
from softgrad.files.blocks import Contents
from softgrad.files.formats.safetensors import bfloat16
from softgrad.files.formats.table import FORMATS

__all__ = ["FORMATS", "Contents", "apply_blocks", "bfloat16", "unfinished"]
