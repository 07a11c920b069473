"""Put beside the pages what they need, so that they are read from a disk without a network."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

import softgrad as sg

EXPLORER = Path(__file__).parents[1] / "explorer"
MODULES = ("math", "sparse", "state", "digits", "view")  # each imports only from those before it


def copy_files(app: Any) -> None:
    """MathJax, as one file without fonts, and the explorer."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")  # not a name that `import` can spell
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError('the documentation needs sphinx-mathjax-offline: pip install ".[docs]"')
    static = Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(spec.submodule_search_locations[0]) / "static" / "mathjax" / "tex-svg-full.js", static)
    shutil.copy(EXPLORER / "explorer.css", static)
    (static / "explorer.js").write_text(bundle(), encoding="utf-8")


def bundle() -> str:
    """The explorer's modules as one script, since browsers refuse to import modules from files."""
    text = "".join((EXPLORER / f"{name}.js").read_text(encoding="utf-8") for name in MODULES)
    text = re.sub(r"^import .*?;\n", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^export ", "", text, flags=re.MULTILINE)
    return f'(() => {{\n"use strict";\n{text}\nstart(document.getElementById("explorer"));\n}})();\n'


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
