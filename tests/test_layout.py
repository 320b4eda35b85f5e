"""Arrows between the rooms of the package that must never be: read off the imports, not run."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "skal"
FILES = sorted(PACKAGE.rglob("*.py"))

# What a room (or a file of it) must not import: patterns of modules.
FORBIDDEN = {
    r"skal\.utils\b": r"skal\.(?!utils\b|_version\b)",
    r"skal\.selection\b": r"skal\.(views|neural_network|strategies|learner)\b",
    r"skal\.selection\._engines\b": r"skal\.selection\._(?!engines\b)",
    r"skal\.neural_network\b": r"skal\.(views|strategies|selection|learner)\b",
    r"skal\.views\b": r"skal\.(strategies|selection|learner|companions)\b",
    r"skal\.strategies\b": r"skal\.(learner|model_selection|inspection|testing|labeling|models)\b",
    r"skal\.preprocessing\b": r"skal\.(?!preprocessing\b|utils\b)",
    r"skal\.models\b": r"skal\.(?!models\b|preprocessing\b|neural_network\b|utils\b)",
    r"skal\.(metrics|datasets|oracles)\b": r"(torch|skal\.(neural_network|views|strategies))\b",
    r"skal\.model_selection\b": r"skal\.(strategies|views|neural_network)\b",
    r"skal\.companions\b": r"skal\.(strategies|selection|learner)\b",
    r"skal\.labeling\b": r"skal\.(strategies|neural_network)\b",
    r"skal\.(?!testing\b|_cli|__main__)": r"skal\.(testing|_cli)\b",
}  # fmt: skip
SHARED_BY_STRATEGIES = {"_base", "_spatial", "_posterior", "_measures", "_pool", "_meta"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path):
    """Every (module, name or None, line) that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{path}:{node.lineno}: write imports from the top, 'from skal...'"
            )
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (ROOT / whole.replace(".", "/")).with_suffix(".py").exists()
                yield (
                    (whole, None, node.lineno)
                    if is_module
                    else (
                        node.module,
                        alias.name,
                        node.lineno,
                    )
                )


def room(module):
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("source", FORBIDDEN)
def test_no_import_runs_upwards(source):
    wrong = [
        f"{module_name(path)}, line {line}: {target}"
        for path in FILES
        if re.match(source, module_name(path))
        for target, _, line in imports(path)
        if re.match(FORBIDDEN[source], target)
    ]
    assert not wrong, f"{source} must not import {FORBIDDEN[source]}"


def test_no_algorithm_is_built_on_another():
    wrong = [
        f"{module_name(path)}, line {line}: {target}"
        for path in (PACKAGE / "strategies").glob("_*.py")
        if path.stem != "__init__"
        for target, _, line in imports(path)
        if target.startswith("skal.strategies._")
        and target.split(".")[2] not in SHARED_BY_STRATEGIES
    ]
    assert not wrong


def test_no_private_name_crosses_rooms():
    wrong = [
        f"{module_name(path)}, line {line}: {target}.{name}"
        for path in FILES
        for target, name, line in imports(path)
        if (target == "skal" or target.startswith("skal."))
        and name is not None
        and name.startswith("_")
        and not name.startswith("__")
        and room(target) != room(module_name(path))
        and target != "skal.utils._compat"  # scikit-learn's own, in one place
    ]
    assert not wrong


def test_the_package_never_looks_outside_the_checkout():
    wrong = [
        str(path.relative_to(ROOT))
        for path in FILES
        if re.search(r"\.\./shared|parents\[2\]", path.read_text(encoding="utf-8"))
    ]
    assert not wrong
