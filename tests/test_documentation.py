"""The pages keep up with the code."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = [
    "skal",
    "skal.datasets",
    "skal.inspection",
    "skal.labeling",
    "skal.metrics",
    "skal.model_selection",
    "skal.models",
    "skal.neural_network",
    "skal.oracles",
    "skal.preprocessing",
    "skal.selection",
    "skal.stopping",
    "skal.strategies",
    "skal.testing",
    "skal.utils",
    "skal.views",
]
# What rooms share among themselves: importable, but no promise to users.
INTERNAL = {"skal": {"__version__"}}


def names_on_api_page():
    """The names below each ``currentmodule`` of the API page."""
    names, room = {}, None
    for line in (ROOT / "doc" / "api.rst").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\.\. currentmodule:: (\S+)", line):
            room = names.setdefault(match[1], set())
        elif match := re.match(r"   (\w+)$", line):
            assert match[1] not in room, f"{match[1]} stands twice in doc/api.rst"
            room.add(match[1])
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_api_page_lists_every_public_name(room):
    public = set(importlib.import_module(room).__all__) - INTERNAL.get(room, set())
    assert names_on_api_page()[room] == public


def test_the_page_of_the_command_line_names_every_strategy():
    from skal._cli import STRATEGIES

    page = (ROOT / "doc" / "user_guide" / "command_line.rst").read_text(encoding="utf-8")
    missing = [name for name in STRATEGIES if f"``{name}``" not in page]
    assert not missing


@pytest.mark.parametrize("room", ["skal.strategies", "skal.selection"])
def test_the_page_of_strategies_has_them_all(room):
    page = (ROOT / "doc" / "user_guide" / "strategies.rst").read_text(encoding="utf-8")
    bases = {"QueryStrategy", "QueryStrategyTags", "SelectingStrategy", "BatchSelector", "Rows"}
    names = set(importlib.import_module(room).__all__) - bases
    assert not [name for name in names if f"`~{room}.{name}`" not in page]


def test_readme_is_short():
    readme = (ROOT / "README.rst").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 130


def test_readme_has_the_two_command_lines_that_ci_runs():
    readme = (ROOT / "README.rst").read_text(encoding="utf-8")
    lines = [line for line in readme.splitlines() if re.match(r"    \S.* -m (venv|pytest)", line)]
    assert len(lines) == 2
    assert all("-c constraints.txt" in line for line in lines)
    assert "python -m skal" in lines[0]


def test_constraints_are_exact():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert "torch==2.13.0" in pins


def test_the_page_of_the_command_line_has_its_defaults():
    from skal import _cli

    page = (ROOT / "doc" / "user_guide" / "command_line.rst").read_text(encoding="utf-8")
    rows = re.findall(r"^``--([\w-]+)`` .*?  +(\S+)$", page, flags=re.M)
    documented = {name: text.strip("`") for name, text in rows}
    defaults = vars(_cli._parser().parse_args([]))
    for name in (
        "data",
        "model",
        "n-initial",
        "n-instances",
        "budget",
        "repeats",
        "max-epochs",
        "device",
        "seed",
    ):
        assert documented[name] == str(defaults[name.replace("-", "_")]), name
    assert documented["output"] == _cli.OUTPUT
    options = {name for name in defaults if f"``--{name.replace('_', '-')}``" not in page}
    assert not options
