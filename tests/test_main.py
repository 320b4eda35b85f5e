"""``python -m skal``: what it prints and writes, and how wrong input ends."""

import gzip
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from skal import _cli, _cli_models, _cli_report
from skal._cli import main
from skal.datasets._loading import BUNDLED, load_table
from skal.model_selection import _runs

TINY = [
    "--repeats",
    "2",
    "--n-initial",
    "10",
    "--n-instances",
    "5",
    "--budget",
    "20",
    "--max-epochs",
    "2",
    "--n-jobs",
    "1",
]


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
    assert list(table) == ["random", "forest-variance", "typiclust-inputs"]
    assert table["random"][2] == "1.000"
    assert table["random"][3:7] == ["-"] * 4
    assert "2 repeats are too few to tell strategies apart" in out
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
    curve = results.query("strategy == 'forest-variance'").pivot(
        index="n_labels", columns="repeat", values="mean_absolute_error"
    )
    area = (curve.loc[10] / 2 + curve.loc[15] + curve.loc[20] / 2) / 2
    assert summary.loc["forest-variance", "area"] == pytest.approx(area.mean())
    assert summary.loc["forest-variance", "area_se"] == pytest.approx(area.std(ddof=1) / np.sqrt(2))
    assert float(table["forest-variance"][0]) == pytest.approx(area.mean(), rel=1e-3)
    assert (tmp_path / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def again_of(out):
    """The arguments of the command line that gives the same results again."""
    line = next(line for line in out.splitlines() if line.startswith("Again:"))
    command = line.removeprefix("Again:").split()
    assert command[:3] == ["python", "-m", "skal"]
    return command[3:]


def test_a_line_gives_the_same_results_again(capsys, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    status, out, _ = run(
        capsys, *TINY, "--seed", 3, "--strategies", "coreset-inputs", "--output", first
    )
    assert status == 0
    arguments = again_of(out)[:-1] + [str(again), "--n-jobs", "1"]
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


@pytest.mark.parametrize("model", ["net", "linear", "forest", "boosting", "table"])
@pytest.mark.parametrize("data", ["diabetes", "wine"])
def test_every_strategy_of_the_task(capsys, tmp_path, data, model):
    given = ["--data", data, "--model", model]
    _, _, err = run(capsys, *given, "--strategies", "?", "--output", tmp_path)
    names = re.search(r"choose from (.*)\. One of your own", err.strip())[1].split(", ")
    assert names[0] == "random" and len(names) >= 3
    tiny = ["--repeats", "1", "--n-initial", "10", "--n-instances", "2", "--budget", "12"]
    tiny += ["--max-epochs", "1", "--n-jobs", "1", "--output", tmp_path / "out"]
    status, out, err = run(capsys, *tiny, *given, "--strategies", ",".join(names))
    assert status == 0, err
    assert list(table_of(out)) == names
    assert set(_cli_models.STRATEGIES.serving("regression", "net")) >= {"random", "typiclust"}


def test_csv_with_text_and_gaps(capsys, tmp_path, houses):
    status, out, _ = run(
        capsys, *TINY, "--data", houses, "--target", "price", "--output", tmp_path / "out"
    )
    assert status == 0
    assert "regression of 'price' (79 different numbers; --task overrides), predicted as" in out
    assert "its logarithm; 79 rows, 3 numeric and 2 categorical" in out
    assert "Left out: column 'Id'" in out
    assert "Left out: 1 rows without a value of 'price'" in out
    assert f"--data {houses} --target price" in " ".join(again_of(out))
    # The error is in units of the price, not of its logarithm.
    assert pd.read_csv(tmp_path / "out" / "results.csv")["mean_absolute_error"].min() > 1000


def test_house_prices(capsys, tmp_path, shared_data):
    status, out, _ = run(
        capsys,
        *TINY,
        "--data",
        shared_data / "house_prices.csv",
        "--target",
        "SalePrice",
        "--output",
        tmp_path,
    )
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
        wrong(
            "text",
            ["--data", "{houses}", "--target", "quarter", "--task", "regression"],
            "'quarter' .*is not numeric.*or the task classification",
        ),
        wrong(
            "no classes",
            ["--data", "{houses}", "--target", "price", "--task", "classification"],
            "different values with decimals, which are no classes",
        ),
        wrong("own task", ["--data", "wine", "--task", "regression"], "is a classification"),
        wrong("task word", ["--task", "ranking"], "--task: invalid choice: 'ranking'"),
        wrong("model", ["--model", "nets"], "--model: invalid choice: 'nets'"),
        wrong("far name", ["--data", "wines"], "Did you mean 'wine'"),
        wrong(
            "net only",
            ["--model", "forest", "--strategies", "noise-stability"],
            "'noise-stability' does not serve this model. .*--model forest, choose from random",
        ),
        wrong("no net", ["--model", "linear", "--device", "cuda"], "--device is for nets"),
        wrong("own module", ["--strategies", "no.such:Thing"], "No module named 'no'"),
        wrong("own class", ["--strategies", "skal.strategies:Thing"], "has no 'Thing'"),
        wrong("own kind", ["--strategies", "collections:Counter"], "is no query strategy"),
        wrong("own arguments", ["--strategies", "sklearn.pipeline:Pipeline"], "without arguments"),
        wrong("all gaps", ["--data", "{houses}", "--target", "empty"], "at least two values"),
        wrong("own target", ["--data", "wine", "--target", "price"], "has a target of its own"),
        wrong("strategy", ["--strategies", "corset"], "'corset' is unknown. Did you mean 'co"),
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
        wrong("abbreviated", ["--target", "y", "--strat", "margin"], "unrecognized arguments"),
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
        (b"a,y,a\n1,2,3\n2,3,4\n", "two columns called 'a'"),
        (b"a,y\n1,2020-01-02\n2,2020-01-03\n3,2020-01-04\n", "holds dates"),
        (b"a,y\n1,anna\n2,bert\n3,carl\n4,dora\n5,emil\n6,fritz\n", "6 values in 6 rows .'anna'"),
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

    monkeypatch.setattr("skal.model_selection.compare_strategies", compare_strategies)
    status, _, err = run(capsys, *TINY, "--output", tmp_path)
    assert status == 130
    assert "interrupted" in err


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_and_byte_order_mark(tmp_path, separator):
    path = tmp_path / "file.csv"
    rows = [["size", "kind", "y"], ["1.5", " a", "1"], ["2.5", "b ", "2"], ["", "a", "3"]]
    rows.append(["3.5", "a", "4"])
    path.write_text("\ufeff" + "\n".join(separator.join(row) for row in rows), encoding="utf-8")
    table = load_table(str(path), "y")
    assert list(table.X.columns) == ["size", "kind"]
    assert table.X["kind"].str.strip().tolist() == ["a", "b", "a", "a"]
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
    assert [_cli_report.number(value) for value in (21873.4, 46.012, 0.9314, 0.0, np.nan)] == [
        "21873",
        "46.01",
        "0.9314",
        "0.000",
        "-",
    ]
    assert _cli_report.number(np.inf, 0) == "never"
    assert _cli_report.number(np.inf, 2) == "+inf"
    assert _cli_report.number(-1.234, 2) == "-1.23"


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


# ---------------------------------------------------------------------------------- the file


def csv_of(tmp_path, target, n=60, **columns):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=n), **columns, "y": target})
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    return str(path)


RNG = np.random.default_rng(1)


@pytest.mark.parametrize(
    "target, task, values",
    [
        (np.tile(["yes", "no", "no"], 20), "classification", ["no", "yes"]),
        (np.tile([" yes", "no ", "no"], 20), "classification", ["no", "yes"]),
        (np.tile([True, False], 30), "classification", ["False", "True"]),
        ([True, False, None] * 20, "classification", ["False", "True"]),
        (np.tile([0, 1], 30), "classification", [0, 1]),
        ([0, 1, None] * 20, "classification", [0, 1]),
        (np.tile([1.5, 2.5], 30), "classification", [1.5, 2.5]),
        (np.tile(np.arange(5), 12), "classification", [0, 1, 2, 3, 4]),
        (np.tile([10, 20, 30], 20), "classification", [10, 20, 30]),
        (np.arange(60), "regression", None),
        (np.tile(np.arange(30), 2), "regression", None),
        (np.tile([0.5, 1.5, 2.5], 20), "regression", None),
        (RNG.normal(size=60), "regression", None),
        (RNG.poisson(80, size=60), "regression", None),
    ],
)
def test_the_task_is_found_out(tmp_path, target, task, values):
    table = load_table(csv_of(tmp_path, target), "y")
    assert table.task == task and table.why
    assert len(table.X) == len(table.y) == pd.Series(target).notna().sum()
    if values is not None:
        assert np.unique(table.y).tolist() == values


def test_the_task_can_be_said(tmp_path, capsys):
    path = csv_of(tmp_path, np.tile(np.arange(5), 12))
    assert load_table(path, "y").y.dtype == np.int64
    table = load_table(path, "y", task="regression")
    assert table.task == "regression" and table.y.dtype == np.float64 and table.why == ""
    status, out, _ = run(
        capsys,
        *TINY,
        "--data",
        path,
        "--target",
        "y",
        "--task",
        "regression",
        "--output",
        tmp_path / "out",
        "--strategies",
        "random",
    )
    assert status == 0 and "regression of 'y', " in out
    assert "--task regression" in " ".join(again_of(out))


def test_every_shared_table_has_the_task_of_its_readme(shared_data):
    regression = "airfoil concrete energy kin40k protein sml wine bikeshare wage diamonds".split()
    paths = sorted((shared_data / "tables").glob("*.csv.gz"))
    if not paths:
        pytest.skip("needs the folder of shared tables")
    for path in paths:
        task = "regression" if path.name.split(".")[0] in regression else "classification"
        assert load_table(str(path), "target").task == task, path.name


def test_a_class_without_a_second_row_is_left_out(tmp_path):
    target = ["a", "b"] * 29 + ["c", "d"]
    table = load_table(csv_of(tmp_path, target), "y")
    assert set(table.y) == {"a", "b"} and len(table.X) == 58
    assert table.left_out == ("2 rows whose class no other row has ('c', 'd')",)


@pytest.mark.parametrize(
    "encoding, content",
    [
        ("cp1252", "größe;preis;art\n1,5;1.200,75;über\n2,5;99,5;ä\n4;3,25;ä\n"),
        ("utf-8", "größe;preis;art\n1,5;1.200,75;über\n2,5;99,5;ä\n4;3,25;ä\n"),
        ("utf-16", "größe\tpreis\tart\n1,5\t1.200,75\tüber\n2,5\t99,5\tä\n4\t3,25\tä\n"),
        ("utf-8", "größe;preis;art\n1.5;1200.75;über\n2.5;99.5;ä\n4;3.25;ä\n"),
        ("utf-8", "größe,preis,art\n1.5,1200.75,über\n2.5,99.5,ä\n4,3.25,ä\n"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_the_habits_of_spreadsheets(tmp_path, encoding, content, suffix):
    path = tmp_path / f"sheet{suffix}"
    opened = gzip.open if suffix.endswith("gz") else open
    with opened(path, "wt", encoding=encoding) as file:
        file.write(content)
    table = load_table(str(path), "preis")
    assert table.y.tolist() == [1200.75, 99.5, 3.25]
    assert table.X["größe"].tolist() == [1.5, 2.5, 4.0]
    assert table.X["art"].tolist() == ["über", "ä", "ä"]
    # The printed lines read the same.
    names = {}
    exec("\n".join(table.source), names)
    assert names["y"].tolist() == table.y.tolist()
    pd.testing.assert_frame_equal(names["X"], table.X)


def test_options_of_the_file_are_taken_at_their_word(tmp_path):
    path = tmp_path / "file.csv"
    path.write_bytes("a:b:y\n1:\xe9:2,5\n2:e:3,5\n3:\xe9:4\n".encode("latin-1"))
    options = {"separator": ":", "decimal": ",", "encoding": "latin-1"}
    table = load_table(str(path), "y", **options, task="regression")
    assert table.y.tolist() == [2.5, 3.5, 4.0] and list(table.X) == ["b"]
    with pytest.raises(ValueError, match="as a CSV file in UTF-8"):
        load_table(str(path), "y", encoding="utf-8")
    with pytest.raises(ValueError, match="unknown encoding"):
        load_table(str(path), "y", encoding="klingon")


def test_parquet(tmp_path):
    path = tmp_path / "table.parquet"
    days = pd.date_range("2026-01-01", periods=4)
    frame = pd.DataFrame({"size": [1.5, 2.0, 3.0, 4.0], "day": days, "y": list("abab")})
    frame.to_parquet(path)
    table = load_table(str(path), "y")
    assert table.task == "classification" and table.X["day"].dtype.kind == "M"
    assert table.source[2] == f"data = pd.read_parquet({str(path)!r})"
    (tmp_path / "broken.parquet").write_bytes(b"PAR")
    with pytest.raises(ValueError, match="as a parquet file"):
        load_table(str(tmp_path / "broken.parquet"), "y")
    (tmp_path / "sheet.xlsx").write_bytes(b"PK")
    with pytest.raises(ValueError, match="is a spreadsheet. Save the sheet as a CSV file"):
        load_table(str(tmp_path / "sheet.xlsx"), "y")


@pytest.mark.parametrize("format", ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%m/%d/%Y", "%d.%m.%Y"])
def test_dates_are_dates(tmp_path, capsys, format):
    days = pd.Series(pd.date_range("2025-01-03", periods=60, freq="37h"))
    days = pd.to_datetime(days.dt.strftime(format), format=format)
    path = csv_of(tmp_path, np.tile(["a", "b"], 30), day=days.dt.strftime(format))
    table = load_table(path, "y")
    assert table.X["day"].tolist() == days.tolist()
    names = {}
    exec("\n".join(table.source), names)
    pd.testing.assert_frame_equal(names["X"], table.X, check_dtype=False)


def test_texts_are_learnt_from_and_names_are_not(tmp_path):
    names = [f"person {i}" for i in range(60)]
    texts = [f"a text of several words {i}" for i in range(60)]
    table = load_table(csv_of(tmp_path, np.tile([0, 1], 30), name=names, text=texts), "y")
    assert list(table.X.columns) == ["size", "text"]
    assert table.left_out == ("column 'name' (it only numbers or names the rows)",)


# ---------------------------------------------------------------------------------- the advice


def python_of(out):
    """The lines of Python at the end."""
    lines = out[out.index("\nAdvice: ") :].splitlines()[3:]
    assert all(line.startswith("    ") or not line for line in lines)
    return "\n".join(line[4:] for line in lines)


@pytest.mark.parametrize("model", ["net", "linear", "forest", "boosting", "table"])
@pytest.mark.parametrize("target", ["churn", "price", "flag"])
def test_it_ends_with_advice_and_python_that_runs(capsys, tmp_path, model, target):
    rng = np.random.default_rng(0)
    area = rng.lognormal(size=70)
    path = csv_of(
        tmp_path,
        np.arange(70),
        n=70,
        area=area,
        churn=np.where(area + rng.normal(size=70) > 1, "yes", "no"),
        price=np.where(np.arange(70) == 5, np.nan, 1000 * area),
        flag=np.where(rng.random(70) < 0.1, None, area > 1),
        kind=rng.choice(["x", "y", None], 70),
    )
    arguments = [*TINY, "--data", path, "--target", target, "--model", model]
    status, out, err = run(capsys, *arguments, "--output", tmp_path / "out")
    assert status == 0, err
    assert f"{'regression' if target == 'price' else 'classification'} of {target!r}" in out
    assert "2 repeats cannot tell it from chance" in out
    names = {}
    exec(python_of(out), names)
    assert len(names["rows"]) == 5
    assert len(names["X_labelled"]) == 10
    # What was compared is what is printed.
    printed = names["model"]
    printed = getattr(printed, "regressor", printed)
    assert type(printed).__name__ in ("Pipeline", "TabularClassifier", "TabularRegressor")


def summary_of(**lines):
    columns = ["n_repeats", "difference", "pvalue_holm", "labels_saved", "labels_saved_low"]
    frame = pd.DataFrame.from_dict(lines, orient="index", columns=[*columns, "labels_saved_high"])
    return frame.rename_axis("strategy")


def test_advice_says_what_the_numbers_say():
    random = (10, 0, 1, 0, 0, 0)
    clear = summary_of(
        random=random, margin=(10, 0.05, 0.01, 0.3, 0.2, 0.4), badge=(10, 0.06, 0.2, 0.5, -1, 0.6)
    )
    name, why = _cli_report.advice(clear, 200)
    assert name == "margin"
    assert "saved 60 of 200 labels, 30 %" in why and "20 to 40 %" in why
    unsure = summary_of(random=random, margin=(10, 0.05, 0.01, 0.3, -np.inf, 0.4))
    assert "95 % interval: at most 40 %" in _cli_report.advice(unsure, 200)[1]
    early = summary_of(random=random, margin=(10, 0.05, 0.01, -np.inf, -np.inf, 0.1))
    assert "saved no label" in _cli_report.advice(early, 200)[1]
    chance = summary_of(random=random, margin=(10, 0.05, 0.06, 0.3, -1, 0.4))
    name, why = _cli_report.advice(chance, 200)
    assert name == "random" and "label at random" in why
    worse = summary_of(random=random, margin=(10, -0.05, 0.001, -1, -1, -1))
    assert _cli_report.advice(worse, 200)[0] == "random"
    few = summary_of(random=(3, 0, 1, 0, 0, 0), margin=(3, 0.05, 0.01, 0.3, 0.2, 0.4))
    assert "3 repeats cannot tell" in _cli_report.advice(few, 200)[1]
    assert _cli_report.advice(summary_of(random=random), 200)[0] == "random"


def test_a_strategy_of_ones_own(capsys, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from skal.strategies import MarginSampling\n"
        "class Mine(MarginSampling):\n    pass\n"
        "ready = Mine(random_state=3)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    status, out, err = run(
        capsys, *TINY, "--data", "wine", "--strategies", "mine:Mine,mine:ready", "--model", "linear"
    )
    assert status == 0, err
    assert list(table_of(out)) == ["random", "mine:Mine", "mine:ready"]
    best = re.search(r"Advice: (\S+) ", out)[1]
    if best.startswith("mine"):
        assert f"from mine import {best.split(':')[1]}" in out


# ---------------------------------------------------------------------------------- the folder


def test_results_are_never_replaced_unasked(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny = [*TINY, "--data", "wine", "--model", "linear", "--strategies", "margin"]
    for folder in ("skal_results", "skal_results-2", "skal_results-3"):
        status, out, _ = run(capsys, *tiny)
        assert status == 0 and f"Written: {folder}/learning_curves.png" in out
    status, out, err = run(capsys, *tiny, "--output", "skal_results")
    assert (status, out) == (2, "")
    assert "already holds learning_curves.png" in err and "--resume" in err
    (tmp_path / "skal_results" / "results.csv").write_text("mine")
    (tmp_path / "skal_results" / "runs" / "notes.json").write_text("mine, too")
    status, _, err = run(capsys, *tiny, "--output", "skal_results", "--overwrite")
    assert status == 2 and "holds 'notes.json'" in err  # and it is still there
    (tmp_path / "skal_results" / "runs" / "notes.json").unlink()
    assert run(capsys, *tiny, "--output", "skal_results", "--overwrite")[0] == 0
    assert "margin" in (tmp_path / "skal_results" / "results.csv").read_text()
    # The command it prints runs as it stands.
    assert main(again_of(out_of_last(capsys, tiny, tmp_path))) == 0


def out_of_last(capsys, tiny, tmp_path):
    return run(capsys, *tiny, "--output", tmp_path / "other")[1]


def test_an_interrupt_keeps_what_is_finished_and_resume_goes_on(capsys, tmp_path, monkeypatch):
    tiny = [*TINY, "--data", "wine", "--model", "linear", "--strategies", "margin"]
    assert run(capsys, *tiny, "--output", tmp_path / "whole")[0] == 0
    calls = []

    def simulate(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        yield from original(*arguments, **options)

    original = _runs.simulate
    monkeypatch.setattr(_runs, "simulate", simulate)
    status, out, err = run(capsys, *tiny, "--output", tmp_path / "out")
    assert status == 130
    assert list(table_of(out)) == ["random", "margin"]  # of the repeat that is whole
    assert "with 1 runs still to do" in err and "--resume" in err
    assert not (tmp_path / "out" / "results.csv").exists()
    status, out, err = run(capsys, *tiny, "--output", tmp_path / "out", "--resume")
    assert status == 0 and len(calls) == 5
    scores = ["strategy", "repeat", "n_labels", "accuracy", "balanced_accuracy"]
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "out" / "results.csv")[scores],
        pd.read_csv(tmp_path / "whole" / "results.csv")[scores],
    )
    status, _, err = run(capsys, *tiny, "--output", tmp_path / "out", "--resume", "--seed", "1")
    assert status == 2 and "another random_state" in err


def test_a_run_that_fails_is_one_line(capsys, tmp_path, monkeypatch):
    def simulate(*arguments, **options):
        raise ZeroDivisionError("out of luck")
        yield

    monkeypatch.setattr(_runs, "simulate", simulate)
    status, _, err = run(capsys, *TINY, "--output", tmp_path / "out")
    assert status == 2
    last = err.splitlines()[-1]
    assert "failed in strategy 'random', repeat 0" in last and "out of luck" in last


def test_a_full_disk_does_not_cost_the_table(capsys, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    tiny = [*TINY, "--data", "wine", "--model", "linear", "--strategies", "margin"]
    status, out, err = run(capsys, *tiny, "--output", tmp_path / "out")
    assert status == 2
    assert list(table_of(out)) == ["random", "margin"]
    assert "No space left" in err and "--resume" in err
    assert not list((tmp_path / "out").glob("*.part"))


# ---------------------------------------------------------------------------------- at once


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(argument):
    code = (
        "import sys; from skal._cli import main\n"
        "try:\n    main([sys.argv[1]])\n"
        "finally:\n    print({'torch', 'numpy', 'sklearn', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, argument], capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr


def test_bundled_names_are_those_of_the_loader():
    assert _cli.BUNDLED == tuple(BUNDLED)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("model", _cli_models.MODELS)
def test_the_printed_model_is_the_one_compared(model, task):
    y = np.array(["a", "b"]) if task == "classification" else np.array([1.0, 2.0])
    options = {"max_epochs": 3, "device": "cpu", "log_target": task == "regression"}
    source = _cli_models.model_source(model, task, **options)
    names = {"y": y}
    exec("\n".join([*_cli_models.import_lines(source), f"model = {source}"]), names)
    assert repr(names["model"]) == repr(_cli_models.make_model(source, y))
    if model == "net":
        assert "max_epochs=3" in source and "module__dropout=0.3" in source
