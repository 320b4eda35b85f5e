"""``python -m skal``: what it prints and writes, and how wrong input ends."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from skal import _cli
from skal._cli import main

TINY = [
    "--repeats", "2", "--n-initial", "10", "--n-instances", "5", "--budget", "20",
    "--max-epochs", "2", "--n-jobs", "1",
]  # fmt: skip


@pytest.fixture
def houses(tmp_path):
    """A CSV file like a real one: ids, gaps, text, a skewed price, a row without a price."""
    rng = np.random.default_rng(0)
    area = rng.lognormal(4.6, 0.5, 80)
    quarter = rng.choice(["lake", "hill", "None"], 80)
    frame = pd.DataFrame(
        {
            "Id": np.arange(1, 81),
            "area": np.where(rng.random(80) < 0.1, np.nan, area),
            "rooms": (area / 25).astype(int),
            "quarter": np.where(rng.random(80) < 0.2, None, quarter),
            "empty": np.nan,
            "garden": rng.random(80) < 0.5,
            "price": 2000 * area * rng.lognormal(0, 0.2, 80),
        }
    )
    frame.loc[3, "price"] = np.nan
    path = tmp_path / "houses.csv"
    frame.to_csv(path, index=False)
    return path


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def table_of(out):
    """The printed table by strategy: lists of cells."""
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("strategy"))
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines[start + 2 :]]
    return {row[0]: row[1:] for row in rows[: rows.index([""])]}


def test_default_data(capsys, tmp_path):
    status, out, err = run(capsys, *TINY, "--output", tmp_path)
    assert status == 0
    assert "diabetes: regression of 'target', standardised; 442 rows, 10 numeric" in out
    table = table_of(out)
    assert list(table) == ["random", "coreset", "coreset-inputs"]
    assert table["random"][2] == "1.000"
    assert table["random"][4] == "-"
    assert "100%" in err and "6/6" in err  # the progress bar counts strategies x repeats

    results = pd.read_csv(tmp_path / "results.csv")
    assert len(results) == 3 * 2 * 3
    assert {"strategy", "repeat", "n_labels", "mean_absolute_error", "r2"} <= set(results.columns)
    assert (results["mean_absolute_error"] > 0).all()
    assert sorted(results["n_labels"].unique()) == [10, 15, 20]
    # Same split and labels, same net: round 0 is the same for every strategy.
    first = results[results["n_labels"] == 10].groupby("repeat")["mean_absolute_error"]
    assert (first.nunique() == 1).all()

    summary = pd.read_csv(tmp_path / "summary.csv", index_col="strategy")
    curve = results.query("strategy == 'coreset'").pivot(
        index="n_labels", columns="repeat", values="mean_absolute_error"
    )
    area = (curve.loc[10] / 2 + curve.loc[15] + curve.loc[20] / 2) / 2
    assert summary.loc["coreset", "area"] == pytest.approx(area.mean())
    assert summary.loc["coreset", "area_se"] == pytest.approx(area.std(ddof=1) / np.sqrt(2))
    assert float(table["coreset"][0]) == pytest.approx(area.mean(), rel=1e-3)
    assert (tmp_path / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_last_line_gives_the_same_results_again(capsys, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    status, out, _ = run(
        capsys, *TINY, "--seed", 3, "--strategies", "coreset-inputs", "--output", first
    )
    assert status == 0
    command = out.splitlines()[-1].removeprefix("Again:").split()
    assert command[:3] == ["python", "-m", "skal"]
    arguments = command[3:-1] + [str(again), "--n-jobs", "1"]
    assert run(capsys, *arguments)[0] == 0
    scores = ["strategy", "repeat", "n_labels", "mean_absolute_error", "r2"]
    pd.testing.assert_frame_equal(
        pd.read_csv(first / "results.csv")[scores], pd.read_csv(again / "results.csv")[scores]
    )


def test_classification(capsys, tmp_path):
    status, out, _ = run(
        capsys, *TINY, "--data", "wine", "--strategies", "margin, entropy", "--output", tmp_path
    )
    assert status == 0
    assert list(table_of(out)) == ["random", "margin", "entropy"]
    assert "accuracy on held-out rows, averaged over the budget; higher is better" in out
    results = pd.read_csv(tmp_path / "results.csv")
    assert results["accuracy"].between(0, 1).all()


@pytest.mark.parametrize("data", ["diabetes", "wine"])
def test_every_strategy_of_the_task(capsys, tmp_path, data):
    _, _, err = run(capsys, "--data", data, "--strategies", "?", "--output", tmp_path)
    names = re.search(r"choose from (.*)\.$", err.strip())[1].split(", ")
    assert names[0] == "random" and len(names) >= 3
    tiny = [*TINY[:-6], "--budget", "12", "--max-epochs", "1", "--n-jobs", "1"]
    status, out, _ = run(
        capsys, *tiny, "--data", data, "--strategies", ",".join(names), "--output", tmp_path
    )
    assert status == 0
    assert list(table_of(out)) == names


def test_csv_with_text_and_gaps(capsys, tmp_path, houses):
    status, out, _ = run(
        capsys, *TINY, "--data", houses, "--target", "price", "--output", tmp_path / "out"
    )
    assert status == 0
    assert "regression of 'price', predicted as its logarithm; 79 rows, 3 numeric and 2" in out
    assert "Left out: column 'Id'" in out
    assert "Left out: 1 rows without a value of 'price'" in out
    assert f"--data {houses} --target price" in out.splitlines()[-1]
    # The error is in units of the price, not of its logarithm.
    assert pd.read_csv(tmp_path / "out" / "results.csv")["mean_absolute_error"].min() > 1000


def test_house_prices(capsys, tmp_path, shared_data):
    status, out, _ = run(
        capsys, *TINY, "--data", shared_data / "house_prices.csv", "--target", "SalePrice",
        "--output", tmp_path,
    )  # fmt: skip
    assert status == 0
    assert "predicted as its logarithm; 1460 rows, 36 numeric and 43 categorical" in out
    errors = pd.read_csv(tmp_path / "results.csv")["mean_absolute_error"]
    assert np.isfinite(errors).all()


def test_ames_by_name(capsys, tmp_path, monkeypatch, shared_data):
    from skal.datasets import _loading, fetch_ames_housing

    local = shared_data / "house_prices.csv"
    monkeypatch.setattr(
        _loading, "fetch_ames_housing", lambda **kw: fetch_ames_housing(path=local, **kw)
    )
    status, out, _ = run(
        capsys, *TINY, "--data", "ames", "--strategies", "random", "--output", tmp_path
    )
    assert status == 0
    assert "ames: regression of 'SalePrice', predicted as its logarithm; 1460 rows" in out


def wrong(name, arguments, message):
    return pytest.param(arguments, message, id=name)


@pytest.mark.parametrize(
    "arguments, message",
    [
        wrong("no file", ["--data", "nowhere.csv"], "no such file.*names ames, diabetes"),
        wrong("folder", ["--data", "."], "It is a folder"),
        wrong("no target", ["--data", "{houses}"], "needs a target.*'Id', 'area'"),
        wrong("no column", ["--data", "{houses}", "--target", "prices"], "Did you mean 'price'"),
        wrong("far column", ["--data", "{houses}", "--target", "xyz"], "no column 'xyz'. It has"),
        wrong("text", ["--data", "{houses}", "--target", "quarter"], "'quarter' .*is not numeric"),
        wrong("bools", ["--data", "{houses}", "--target", "garden"], "'garden' .*is not numeric"),
        wrong("all gaps", ["--data", "{houses}", "--target", "empty"], "at least two values"),
        wrong("own target", ["--data", "wine", "--target", "price"], "has a target of its own"),
        wrong("strategy", ["--strategies", "corset"], "'corset' is unknown.*coreset-inputs"),
        wrong("task", ["--strategies", "margin"], "'margin' serves another task.*coreset"),
        wrong("budget", ["--budget", "332"], "at most 331.*of 442.*Got 332"),
        wrong("budget low", ["--budget", "19"], "at least --n-initial, 20. Got 19"),
        wrong("zero", ["--n-instances", "0"], "must be at least 1. Got 0"),
        wrong("number", ["--budget", "many"], "--budget: invalid int value: 'many'"),
        wrong("seed", ["--seed", "-1"], "--seed: must be at least 0. Got -1"),
        wrong("device", ["--device", "tpu"], "--device.*Got 'tpu'"),
        wrong("option", ["--batch", "3"], "unrecognized arguments: --batch 3"),
        wrong("jobs", ["--n-jobs", "0"], "--n-jobs: must not be 0"),
        wrong("output", ["--output", "{houses}"], "--output .*no folder"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(capsys, tmp_path, houses, arguments, message):
    arguments = [argument.format(houses=houses) for argument in arguments]
    if "--output" not in arguments:
        arguments += ["--output", tmp_path / "out"]
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("skal: ")
    assert err.count("\n") == 1
    assert re.search(message, err), err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "as a CSV file"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00", "as a CSV file"),
        (b"a,b\x00c\n1,2\n", "NUL bytes"),
        (b"a,y\n", "has a header and no rows"),
        (b'a,y\n1,2\n3,4,5,6\n"', "as a CSV file"),
        (b"y\n1\n2\n", "no column to predict from"),
        (b"a,y\n1,2\ninf,3\n3,4\n", "'a' .*infinite"),
        (b"a,y\n1,2\n2,inf\n", "'y' .*infinite"),
        (b"a,y\n1.5,2\n2.5,3\n", "--budget must be at most 1"),
    ],
)
def test_wrong_files(capsys, tmp_path, content, message):
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    status, _, err = run(capsys, "--data", path, "--target", "y", "--output", tmp_path / "out")
    assert status == 2
    assert err.count("\n") == 1
    assert re.search(message, err), err


def test_offline(capsys, tmp_path, monkeypatch):
    from urllib.error import URLError

    from skal.datasets import _ames

    def fetch_openml(**_):
        raise URLError("no network")

    monkeypatch.setattr(_ames, "fetch_openml", fetch_openml)
    status, _, err = run(capsys, "--data", "ames", "--output", tmp_path / "out")
    assert status == 2
    assert re.search(r"could not download .*no network.*--data house_prices.csv", err)


def test_interrupt(capsys, tmp_path, monkeypatch):
    def compare_strategies(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_cli, "compare_strategies", compare_strategies)
    status, _, err = run(capsys, *TINY, "--output", tmp_path)
    assert status == 130
    assert "interrupted" in err


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_byte_order_mark(tmp_path, separator):
    from skal.datasets._loading import load_table

    path = tmp_path / "file.csv"
    rows = [["size", "kind", "y"], ["1.5", " a", "1"], ["2.5", "b ", "2"], ["", "a", "3"]]
    rows.append(["3.5", "a", "4"])
    path.write_text("\ufeff" + "\n".join(separator.join(row) for row in rows), encoding="utf-8")
    table = load_table(str(path), "y")
    assert list(table.X.columns) == ["size", "kind"]
    assert table.X["kind"].tolist() == ["a", "b", "a", "a"]
    assert table.y.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "y, helps",
    [
        (np.random.default_rng(0).lognormal(size=500), True),
        (np.random.default_rng(0).normal(10, 1, 500), False),
        (np.random.default_rng(0).lognormal(size=500) - 1, False),
        (-np.random.default_rng(0).lognormal(size=500) + 100, False),
    ],
    ids=["price", "normal", "not positive", "skewed to the left"],
)
def test_when_a_logarithm_is_taken(y, helps):
    assert _cli._log_helps(y) is helps


def test_numbers_in_the_table():
    assert [_cli._number(value) for value in (21873.4, 46.012, 0.9314, 0.0, np.nan)] == [
        "21873", "46.01", "0.9314", "0.000", "-"
    ]  # fmt: skip
    assert _cli._number(np.inf, 0) == "never"
    assert _cli._number(np.inf, 2) == "+inf"
    assert _cli._number(-1.234, 2) == "-1.23"


def test_as_a_command(tmp_path):
    command = [sys.executable, "-m", "skal", *TINY, "--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Written:" in done.stdout
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr
    wrong = subprocess.run(
        [*command[:3], "--data", "nowhere.csv"], capture_output=True, text=True, check=False
    )
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("skal: Cannot read 'nowhere.csv'")
