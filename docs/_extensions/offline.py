"""Copy what pages need beside them, so that they are read from a disk without a network."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import softgrad as sg

HERE = Path(__file__).parent


def copy_files(app: Any) -> None:
    """MathJax, as one file without fonts, and the explorer's modules."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")  # not a name that `import` can spell
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError('the documentation needs sphinx-mathjax-offline: pip install ".[docs]"')
    static = Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(spec.submodule_search_locations[0]) / "static" / "mathjax" / "tex-svg.js", static)


def resolve_public_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """A name that a module imports from softgrad links to softgrad's page of it."""
    name = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in sg.__all__:
        return None
    target = f"softgrad.{name}"
    return env.domains["py"].resolve_any_xref(env, node["refdoc"], app.builder, target, node, content)[0][1]


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", copy_files)
    app.connect("missing-reference", resolve_public_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
