"""The table of all speed ratios reads what the benchmarks write."""

import importlib.util
from pathlib import Path

import pytest

SPEED = Path(__file__).resolve().parents[1] / "benchmarks" / "speed"
SAMPLE = """\
Title: n_pool=10
one thread

10 rows, batch 2
contestant                   CPU s         (min - max)    wall s  peak MiB    ratio
-----------------------------------------------------------------------------------
skal                         0.024     (0.022 - 0.026)     0.064       6.0      1.0
scipy + scikit-learn         0.305     (0.293 - 0.311)     0.888      44.8     12.9
skal on cuda                 0.010     (0.009 - 0.011)     0.016      -0.5      0.4
distinct rows: 2, 2

20 rows
contestant                   CPU s         (min - max)    wall s  peak MiB    ratio
-----------------------------------------------------------------------------------
skal                         1.500     (1.400 - 1.600)     1.700      60.0      1.0
"""


@pytest.fixture(scope="module")
def run_all():
    spec = importlib.util.spec_from_file_location("run_all", SPEED / "run_all.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ratios_of_a_file(run_all, tmp_path):
    path = tmp_path / "x.txt"
    path.write_text(SAMPLE)
    asked = {("x", "10 rows, batch 2", "scipy + scikit-learn"): "10"}
    peer, device, alone = run_all.lines_of("x", path, asked)
    assert peer == {
        "benchmark": "x",
        "input": "10 rows, batch 2",
        "against": "scipy + scikit-learn",
        "skal CPU s": "0.024",
        "skal MiB": "6",
        "ratio": "12.9",
        "other MiB": "45",
        "asked": "10",
    }
    assert (device["against"], device["ratio"]) == ("skal on cuda", "0.25 (wall)")
    assert alone["input"] == "20 rows" and alone["against"] == "" and "ratio" not in alone


def test_every_file_of_results_is_read(run_all):
    paths = list((SPEED / "results").glob("*.txt"))
    assert len(paths) > 3
    for path in paths:
        found = run_all.measurements(path)
        assert found and all(rows[0][0] == "skal" for rows in found.values()), path.name
