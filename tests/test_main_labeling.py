"""``python -m skal query``, ``label`` and ``labels``: from a CSV file with an empty column on."""

import csv
import io
import os
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from skal import _cli_labeling
from skal._cli import InputError, main
from skal._cli_table import Task, find_task, load_table
from skal.labeling import LabelStore

KINDS = ["setosa", "versicolor", "virginica"]
TARGET = ["--target", "kind"]
CLASSES = ["--classes", ",".join(KINDS)]


@pytest.fixture(autouse=True)
def _few_epochs(monkeypatch):
    monkeypatch.setattr(_cli_labeling, "EPOCHS", 40)


@pytest.fixture
def flowers(tmp_path):
    """150 flowers in a CSV file whose column of kinds is empty, and the kinds."""
    X, y = load_iris(return_X_y=True, as_frame=True)
    order = np.random.RandomState(0).permutation(150)
    frame = X.iloc[order].reset_index(drop=True)
    frame.insert(0, "Id", [f"F{i:03}" for i in range(150)])
    frame.insert(2, "kind", "")
    path = tmp_path / "flowers.csv"
    frame.to_csv(path, index=False)
    return path, [KINDS[k] for k in y.to_numpy()[order]]


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def read(path, separator=","):
    text = path.read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))


def fill(path, answer, target="kind", separator=","):
    """Fill the target of a sheet, `answer` being a function of the position of a row."""
    rows = read(path)
    for row in rows:
        row[target] = answer(int(row["skal_row"]))
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8-sig")


def test_from_an_empty_column_to_a_model_with_a_spreadsheet(capsys, flowers):
    path, truth = flowers
    before, sheet = path.read_bytes(), path.with_suffix(".ask.csv")
    status, out, err = run(capsys, "query", path, *TARGET, *CLASSES, "-n", 20)
    assert (status, err) == (0, "")
    assert "0 of 150 rows labelled" in out and f"20 rows to label: {sheet}" in out
    assert f"python -m skal query {path} --target kind --classes" in out
    asked = [int(row["skal_row"]) for row in read(sheet)]
    assert len(set(asked)) == 20
    # The table that is printed shows them in this order.
    assert re.findall(r"^(\d+) +F\d", out, re.M) == [str(row) for row in asked]

    fill(sheet, lambda row: truth[row], separator=";")
    status, out, err = run(capsys, "query", path, *TARGET)
    assert (status, err) == (0, "")
    assert "20 answers, 20 of them new" in out and "20 of 150 rows labelled" in out
    again = [int(row["skal_row"]) for row in read(sheet)]
    assert len(again) == 20 and not set(again) & set(asked)

    # One answer, one that nobody can tell, the others blank: these stay open.
    fill(sheet, lambda row: truth[row] if row == again[3] else "?" if row == again[5] else "")
    status, out, _ = run(capsys, "query", path, *TARGET)
    assert "2 answers, 2 of them new" in out and "21 of 150 rows labelled" in out
    left = [row for row in again if row not in (again[3], again[5])]
    assert [int(row["skal_row"]) for row in read(sheet)] == left

    output = path.with_name("labelled.csv")
    status, out, _ = run(capsys, "labels", path, *TARGET, "-o", output, "--predict")
    assert (status, "21 of 150 rows labelled" in out) == (0, True)
    rows = read(output)
    assert {i: row["kind"] for i, row in enumerate(rows) if row["kind"]} == {
        row: truth[row] for row in [*asked, again[3]]
    }
    right = np.mean([row["kind_predicted"] == kind for row, kind in zip(rows, truth, strict=True)])
    assert right > 0.8  # the names of the flowers count as a column, no --key being given
    assert [row["Id"] for row in rows] == [f"F{i:03}" for i in range(150)]
    assert path.read_bytes() == before


def test_a_sheet_read_twice_is_stored_once(capsys, flowers, tmp_path):
    path, truth = flowers
    sheet = path.with_suffix(".ask.csv")
    run(capsys, "query", path, *TARGET, *CLASSES, "-n", 5)
    fill(sheet, lambda row: truth[row])
    copy = sheet.read_bytes()
    run(capsys, "query", path, *TARGET)
    sheet.write_bytes(copy)
    status, out, _ = run(capsys, "query", path, *TARGET)
    assert status == 0 and "5 answers, 0 of them new" in out
    # A cell that was changed is a correction.
    sheet.write_bytes(copy)
    fill(sheet, lambda row: "virginica")
    run(capsys, "query", path, *TARGET)
    with LabelStore(path.with_suffix(".skal")) as store:
        assert set(store.labels()["label"]) == {"virginica"}
        assert set(store.events()["source"]) == {"sheet"}
        assert store.verify() == []


def test_bad_cells_are_all_listed_and_nothing_is_stored(capsys, flowers):
    path, truth = flowers
    sheet = path.with_suffix(".ask.csv")
    run(capsys, "query", path, *TARGET, *CLASSES, "-n", 6)
    asked = [int(row["skal_row"]) for row in read(sheet)]
    fill(sheet, lambda row: "rose" if row in asked[1:3] else truth[row])
    before = sheet.read_bytes()
    status, out, err = run(capsys, "query", path, *TARGET)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "2 cells" in err and "line 3: 'rose'" in err and "line 4: 'rose'" in err
    assert "nothing of it was stored" in err and sheet.read_bytes() == before
    with LabelStore(path.with_suffix(".skal")) as store:
        assert len(store.events()) == 0
    # A row that was never asked about.
    fill(sheet, lambda row: truth[row])
    sheet.write_text(sheet.read_text().replace(read(sheet)[0]["skal_check"], "abcdef01"))
    status, _, err = run(capsys, "query", path, *TARGET)
    assert status == 2 and "line 2: this row was not asked about" in err


@pytest.mark.parametrize(
    "text, label", [("Setosa", "setosa"), (" VIRGINICA ", "virginica"), ("versicolor", None)]
)
def test_spellings_of_classes(capsys, flowers, text, label):
    path, _ = flowers
    run(capsys, "query", path, *TARGET, *CLASSES, "-n", 2)
    fill(path.with_suffix(".ask.csv"), lambda row: text)
    assert run(capsys, "query", path, *TARGET)[0] == 0
    with LabelStore(path.with_suffix(".skal")) as store:
        assert set(store.labels()["label"]) == {label or text}


def test_numbers_with_decimal_commas(capsys, tmp_path):
    rng = np.random.RandomState(0)
    a, b = rng.normal(size=(2, 80))
    price = [f"{200 + 30 * x:.2f}".replace(".", ",") for x in a]
    path = tmp_path / "houses.csv"
    frame = pd.DataFrame(
        {"a": a, "b": b, "price": [p if i % 8 == 0 else "" for i, p in enumerate(price)]}
    )
    frame.to_csv(path, index=False, sep=";")
    status, out, err = run(capsys, "query", path, "--target", "price", "-n", 10)
    assert (status, err) == (0, "")
    assert "regression of 'price'; 10 of 80 rows labelled" in out
    fill(path.with_suffix(".ask.csv"), lambda row: price[row], "price", ";")
    status, out, err = run(capsys, "query", path, "--target", "price")
    assert (status, err) == (0, "") and "20 of 80 rows labelled" in out
    output = tmp_path / "out.csv"
    status, out, err = run(capsys, "labels", path, "--target", "price", "-o", output)
    assert (status, err) == (0, "")
    rows = read(output, ";")
    assert [row["price"] for row in rows][::8] == price[::8]  # as they stood
    known = [float(row["price"].replace(",", ".")) for row in rows if row["price"]]
    assert len(known) == 20 and min(known) > 100
    assert all("." not in row["price"] for row in rows)


def test_filled_cells_say_what_the_classes_are(capsys, flowers):
    path, truth = flowers
    frame = pd.read_csv(path, dtype=object)
    frame["kind"] = [truth[i] if i < 30 else None for i in range(150)]
    frame.to_csv(path, index=False)
    status, out, _ = run(capsys, "query", path, *TARGET, "-n", 4)
    counts = ", ".join(f"{kind} {truth[:30].count(kind)}" for kind in KINDS)
    assert status == 0 and f"classification of 'kind' ({counts}); 30 of 150" in out
    fill(path.with_suffix(".ask.csv"), lambda row: "rose")  # a class that is new
    status, out, _ = run(capsys, "query", path, *TARGET)
    assert status == 0 and "rose 4" in out


def test_rows_that_move_need_a_key(capsys, flowers):
    path, truth = flowers
    kinds = dict(zip([f"F{i:03}" for i in range(150)], truth, strict=True))
    for key in ([], ["--key", "Id"]):
        store = path.with_suffix(f".{len(key)}.skal")
        sheet = path.with_suffix(f".{len(key)}.csv")
        more = [*TARGET, *key, "--store", store]
        run(capsys, "query", path, *more, *CLASSES, "-n", 8, "--sheet", sheet)
        first = list(read(sheet)[0])
        assert first[:3] == ["skal_row", "skal_check", "Id" if key else "kind"]
        rows = read(sheet)
        for row in rows:
            row["kind"] = kinds[row["Id"]]
        pd.DataFrame(rows).to_csv(sheet, index=False)
        text = path.read_text()
        head, *lines = text.splitlines()
        path.write_text("\n".join([head, *lines[::-1]]))
        status, out, err = run(capsys, "query", path, *more, "--sheet", sheet)
        path.write_text(text)
        if key:
            assert (status, err) == (0, "") and "8 of 150 rows labelled" in out
            output = path.with_name("out.csv")
            assert run(capsys, "labels", path, *more, "-o", output)[0] == 0
            found = {row["Id"]: row["kind"] for row in read(output) if row["kind"]}
            assert len(found) == 8 and found.items() <= kinds.items()
        else:
            assert status == 2 and "hold other data" in err and "--key" in err


def test_label_in_the_terminal(capsys, flowers, monkeypatch):
    path, _ = flowers
    answers = iter(["1", "rose", "", "virginica", "u", "s", "l", "2", "q"])
    monkeypatch.setattr("builtins.input", lambda prompt: print(prompt) or next(answers))
    arguments = ["label", path, *TARGET, *CLASSES, "-n", 6, "--terminal"]
    monkeypatch.setattr(
        "skal._cli_labeling.label_in_terminal", _with_input(_cli_labeling.label_in_terminal)
    )
    status, out, err = run(capsys, *arguments)
    assert (status, err) == (0, "")
    assert "Saved: setosa." in out and "! 'rose' is no answer" in out
    assert "Taken back" in out and "Saved: cannot tell." in out and "Put off" in out
    assert "1: setosa, 2: versicolor, 3: virginica: " in out
    assert "2 of 150 rows labelled" in out
    with LabelStore(path.with_suffix(".skal")) as store:
        assert sorted(store.labels()["label"]) == ["setosa", "versicolor"]
        assert (store.events()["seconds"].dropna() >= 0).all()


def _with_input(function):
    return lambda conversation: function(conversation, read=lambda prompt: input(prompt))


def test_an_end_of_input_ends_the_terminal(flowers):
    path, _ = flowers
    command = [sys.executable, "-m", "skal", "label", path, *TARGET, *CLASSES, "--terminal"]
    done = subprocess.run(
        command, input="1\n2\n", capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "2 of 150 rows labelled" in done.stdout and done.stderr == ""


def test_label_opens_a_page_and_ctrl_c_ends_it(flowers):
    path, _ = flowers
    command = [sys.executable, "-u", "-m", "skal", "label", path, *TARGET, *CLASSES, "--no-browser"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        for line in job.stdout:
            if found := re.search(r"http://\S+", line):
                break
        with urllib.request.urlopen(found[0], timeout=30) as answer:
            assert answer.read().startswith(b"<!doctype html>")
        job.send_signal(signal.SIGINT)
        out, err = job.communicate(timeout=60)
    assert job.returncode == 130, err
    assert "Every answer shown as saved is on disk" in err and "Traceback" not in err
    assert "0 of 150 rows labelled" in out


def wrong(name, arguments, message):
    return pytest.param(arguments, message, id=name)


@pytest.mark.parametrize(
    "arguments, message",
    [
        wrong("no target", ["query", "{data}"], "required: --target"),
        wrong("no column", ["query", "{data}", "--target", "kinds"], "'kinds' nowhere.*kind"),
        wrong("no file", ["label", "nowhere.csv", *TARGET], "There is no such file"),
        wrong("no store", ["labels", "{data}", *TARGET, "-o", "x.csv"], "no store .* yet"),
        wrong("no output", ["labels", "{data}", *TARGET], "required: -o"),
        wrong("over data", ["labels", "{data}", *TARGET, "-o", "{data}"], "another file than the"),
        wrong("sheet", ["query", "{data}", *TARGET, "--sheet", "{data}"], "another file than the"),
        wrong("store", ["query", "{data}", *TARGET, "--store", "{data}"], "another file than the"),
        wrong("key", ["query", "{data}", *TARGET, "--key", "kind"], "must be two columns"),
        wrong("no key", ["query", "{data}", *TARGET, "--key", "id"], "--key must be a column"),
        wrong("twice", ["query", "{data}", *TARGET, "--key", "petal"], "--key must be a column"),
        wrong("one class", ["query", "{data}", *TARGET, "--classes", "a"], "two different names"),
        wrong("equal", ["query", "{data}", *TARGET, "--classes", "a,a"], "two different names"),
        wrong("blank", ["query", "{data}", *TARGET, "--classes", "a,"], "two different names"),
        wrong("strategy", ["query", "{data}", *TARGET, "--strategy", "x"], "'x' is unknown"),
        wrong(
            "task",
            ["query", "{data}", *TARGET, "--strategy", "badge"],
            "badge. does not serve regression",
        ),
        wrong("zero", ["query", "{data}", *TARGET, "-n", "0"], "at least 1. Got 0"),
        wrong("many", ["query", "{data}", *TARGET, "-n", "many"], "invalid int value"),
        wrong("option", ["label", "{data}", *TARGET, "--sheets", "x"], "unrecognized"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(capsys, flowers, arguments, message):
    path, _ = flowers
    before = sorted(os.listdir(path.parent))
    status, out, err = run(capsys, *[argument.format(data=path) for argument in arguments])
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("skal: ") and re.search(message, err), err
    assert sorted(os.listdir(path.parent)) == before


def test_settings_of_the_store_stay(capsys, flowers):
    path, _ = flowers
    run(capsys, "query", path, *TARGET, *CLASSES, "-n", 5, "--seed", 3)
    for more, message in (
        (["-n", 6], "begun with -n 5. Got 6"),
        (["--classes", "a,b"], "begun with --classes setosa"),
        (["--seed", 4], "random_state"),
    ):
        status, _, err = run(capsys, "query", path, *TARGET, *more)
        assert status == 2 and message in err
    assert run(capsys, "query", path, *TARGET, "--seed", 3)[0] == 0


def table_of(tmp_path, header, *lines):
    path = tmp_path / "t.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return load_table(path, "y")


@pytest.mark.parametrize(
    "cells, task",
    [
        (["", "", "", ""], Task(None, True)),
        (["1", "", "2.5", ""], Task(None, True)),
        (["b", "", "a", "b"], Task(["a", "b"], False)),
        (["nan", "NA", "", "a"], Task(["a"], False)),
    ],
)
def test_what_is_asked_for(tmp_path, cells, task):
    table = table_of(tmp_path, "x,y", *(f"{i % 3},{cell}" for i, cell in enumerate(cells)))
    with LabelStore(":memory:") as store:
        assert find_task(None, table, store) == task
        with pytest.raises(InputError, match="numbers .*words"):
            find_task(None, table, store, ["3", "a"])


def test_columns_to_learn_from(tmp_path):
    lines = [f"{i},name{i},{i * 0.7},some words that differ {i},,1,{'ab'[i % 2]}" for i in range(6)]
    table = table_of(tmp_path, "no,name,x,text,empty,constant,y", *lines)
    assert table.features == ["x", "text", "constant"]
    assert table.given == {i: "ab"[i % 2] for i in range(6)}


@pytest.mark.parametrize(
    "header, message",
    [
        ("y", "no column to learn"),
        ("a,a,y", "two columns called"),
        ("a,,y", "empty or stand twice"),
    ],
)
def test_headers_that_will_not_do(tmp_path, header, message):
    cells = ",".join(["1"] * (header.count(",") + 1))
    with pytest.raises(InputError, match=message):
        table_of(tmp_path, header, cells, cells.replace("1", "2"))
