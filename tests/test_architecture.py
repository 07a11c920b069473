"""Imports point downward: the layers of CONTRIBUTING, read from the sources."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src"

LAYERS = [
    {"_kernels"},
    {"_formulas"},
    {"_numpy"},
    {"_validation"},
    {"_dispatch"},
    {"_api"},
    {"boosting", "calibration", "regression", "compat", "files", "testing"},
    {"cli", "_libraries", "__init__", "__main__"},
]
"""Packages and modules of softgrad, lowest first; those of one set may import each other, without cycles."""

KERNEL_LAYERS = ["simd", "math", "rows", "kernels", "module"]
"""Folders of src/kernels, lowest first."""

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "softgrad").rglob("*.py"))
}


def layer_of(module):
    part = module.split(".")[1] if "." in module else "__init__"
    return next(level for level, names in enumerate(LAYERS) if part in names)


def targets(node):
    """The modules of softgrad that an import statement names, each with the name taken from it."""
    if isinstance(node, ast.Import):
        return [(alias.name, None) for alias in node.names if alias.name.split(".")[0] == "softgrad"]
    if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != "softgrad":
        return []
    found = []
    for alias in node.names:
        whole = f"{node.module}.{alias.name}"
        found.append((whole, None) if whole in MODULES or whole == "softgrad._kernels" else (node.module, alias.name))
    return found


def imports(module, *, eager=False):
    """What a module imports of softgrad: all of it, or what it needs in order to be imported itself."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    later = set()
    for node in ast.walk(tree):
        is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if is_for_types or (eager and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            later.update(id(inner) for inner in ast.walk(node))
    return [target for node in ast.walk(tree) if id(node) not in later for target in targets(node)]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module):
    for target, _ in imports(module):
        if target != "softgrad" and not is_found_on_arrival(module, target):  # softgrad: the public names
            assert layer_of(target) <= layer_of(module), f"{module} imports {target}"


def is_found_on_arrival(module, target):
    """Whether this is the dispatcher's import of a library: in a function, when the first array of it arrives."""
    return module == "softgrad._dispatch" and target.startswith("softgrad._libraries.")


def test_only_the_dispatcher_imports_the_libraries_and_only_when_an_array_arrives():
    for module in MODULES:
        if not module.startswith("softgrad._libraries"):
            eager = module == "softgrad._dispatch"
            found = [name for name, _ in imports(module, eager=eager) if name.startswith("softgrad._libraries")]
            assert not found, module


def test_there_is_no_cycle():
    edges = {module: {name for name, _ in imports(module, eager=True) if name in MODULES} for module in MODULES}
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for target in sorted(edges[module]):
                visit(target)
            done.add(path.pop())

    for module in MODULES:
        if module != "softgrad":
            visit(module)


@pytest.mark.parametrize("module", MODULES)
def test_no_private_name_crosses_a_file(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    taken = [name for _, name in imports(module) if name and name.startswith("_") and not name.startswith("__")]
    assert not taken
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("softgrad")
        for alias in node.names
        if f"{node.module}.{alias.name}" in MODULES
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert not re.match(r"_[^_]", node.attr), ast.unparse(node)


def test_every_file_is_short_enough_to_be_read_in_one_sitting():
    for path in (*MODULES.values(), *(ROOT / "kernels").rglob("*.h"), *(ROOT / "kernels").rglob("*.cpp")):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 500, path


def test_every_file_is_installed():
    """A new file is listed in the meson.build beside it."""
    for path in MODULES.values():
        assert f"'{path.name}'" in (path.parent / "meson.build").read_text(encoding="utf-8"), path


@pytest.mark.parametrize("path", sorted((ROOT / "kernels").rglob("*.h")), ids=lambda path: path.name)
def test_includes_point_downward(path):
    layers = {name: level for level, name in enumerate(KERNEL_LAYERS)}
    own = layers[path.relative_to(ROOT / "kernels").parts[0]]
    for include in re.findall(r'^#include "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE):
        folder = include.split("/")[0] if "/" in include else path.parent.name
        assert layers[folder] <= own, f"{path} includes {include}"
