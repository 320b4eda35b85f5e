"""Sheets: what is written, what is read back after a spreadsheet had them, and what is refused."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skal.labeling._digest import row_digests
from skal.labeling._sheet import (
    CHECK,
    ROW,
    SheetError,
    check_of,
    read_sheet,
    read_table,
    write_sheet,
    write_table,
)

NAMES = ["Id", "text", "label", "size"]
ROWS = [
    ["001", '=HYPERLINK("http://x")', "", "1.5"],
    ["002", "two\nlines, a comma", "", "-3"],
    ["003", "Ünï ☃", "", "+49 30"],
    ["004", "-", "", "@x"],
]
DIGESTS = [bytes([16 * place + 9] * 16) for place in range(4)]


def text_of(label, comma):
    return label


@pytest.fixture
def sheet(tmp_path):
    path = tmp_path / "data.ask.csv"
    write_sheet(path, NAMES, ROWS, [7, 8, 9, 10], DIGESTS, "label", "Id")
    return path


def cells(path):
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def fill(path, labels, separator=",", encoding="utf-8-sig", columns=None):
    """Write the file again as a spreadsheet would, with these labels."""
    lines = cells(path)
    for line, label in zip(lines[1:], labels, strict=False):
        line[lines[0].index("label")] = label
    if columns is not None:
        lines = [[line[lines[0].index(name)] for name in columns] for line in lines]
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(lines)
    path.write_bytes(text.getvalue().encode(encoding))


def test_what_is_written(sheet):
    assert sheet.read_bytes().startswith(b"\xef\xbb\xbf")
    head, *lines = cells(sheet)
    assert head == [ROW, CHECK, "Id", "label", "text", "size"]
    assert [line[0] for line in lines] == ["7", "8", "9", "10"]
    assert [line[3] for line in lines] == [""] * 4
    # No cell can run, and numbers stay numbers.
    assert [line[4] for line in lines] == [
        '\'=HYPERLINK("http://x")',
        "two\nlines, a comma",
        "Ünï ☃",
        "'-",
    ]
    assert [line[5] for line in lines] == ["1.5", "-3", "'+49 30", "'@x"]
    assert not list(sheet.parent.glob("*.part"))


def test_a_check_is_never_a_number():
    rng = np.random.default_rng(0)
    digests = [rng.bytes(16) for _ in range(2000)] + [
        b"\x12\x34\x56\x78" * 4,
        b"\x1e\x23\x45\x67" * 4,
    ]
    for digest in digests:
        check = check_of(digest)
        assert len(check) == 8 and set(check) <= set("0123456789abcdef") and check[0].isalpha()
    assert len({check_of(digest) for digest in digests}) == len(digests)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_separators_and_encodings(sheet, separator, encoding):
    if encoding == "cp1252":
        lines = cells(sheet)
        lines[3][4] = "Ünï"
        sheet.write_text(
            "\n".join(",".join(f'"{c.replace(chr(34), chr(39))}"' for c in line) for line in lines)
        )
    fill(sheet, ["Käse", "", " ? ", "dog "], separator, encoding)
    answers = read_sheet(sheet, "label", text_of)
    assert [(one.position, one.label) for one in answers] == [(7, "Käse"), (9, None), (10, "dog")]
    assert [one.check for one in answers] == [check_of(DIGESTS[i]) for i in (0, 2, 3)]


def test_lines_of_the_file_are_named(sheet):
    fill(sheet, ["cat", "dgo", "", "cow"])

    def parse(text, comma):
        if text not in ("cat", "dog"):
            raise ValueError(f"{text!r} is none of cat, dog")
        return text

    with pytest.raises(SheetError, match="2 cells .*nothing of it was stored") as error:
        read_sheet(sheet, "label", parse)
    # The cell in two lines pushes the others down, as an editor shows it.
    assert "line 4: 'dgo' is none of cat, dog; line 6: 'cow'" in str(error.value)


def test_only_three_columns_are_needed_in_any_order(sheet):
    fill(sheet, ["a", "b"], columns=["label", CHECK, ROW])
    assert [one.label for one in read_sheet(sheet, "label", text_of)] == ["a", "b"]


def test_rows_may_be_sorted_deleted_and_shown_as_floats(sheet):
    lines = cells(sheet)
    lines[3][3], lines[1][3] = "x", "y"
    lines[3][0] = "9,0"
    lines = [lines[0], lines[3], ["", "", "", ""], lines[1], []]
    text = io.StringIO()
    csv.writer(text, delimiter=";").writerows(lines)
    sheet.write_text(text.getvalue())
    assert [(one.position, one.label) for one in read_sheet(sheet, "label", text_of)] == [
        (9, "x"),
        (7, "y"),
    ]


def test_a_target_that_looks_like_a_formula(tmp_path):
    path = tmp_path / "s.csv"
    write_sheet(path, ["a", "=t"], [["1", ""]], [0], DIGESTS[:1], "=t")
    lines = cells(path)
    assert lines[0] == [ROW, CHECK, "'=t", "a"]
    lines[1][2] = "'=x"
    path.write_text("\n".join(",".join(line) for line in lines))
    assert [one.label for one in read_sheet(path, "=t", text_of)] == ["=x"]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,b\n1,2\n", "must have one column 'skal_row'"),
        (b"skal_row,skal_check\n1,a\n", "one column 'label'"),
        (b"skal_row,skal_check,label,label\n1,a,x,y\n", "one column 'label'"),
        (b"skal_row,skal_check,label\nseven,abc,x\n", "line 2: skal_row must be a number"),
        (b"skal_row,skal_check,label\n1e999,abc,x\n", "line 2: skal_row must be a number"),
        (b"PK\x03\x04\x00\x00\x00", "not as a workbook"),
        (b"\x00\x01", "not as a workbook"),
        (b'skal_row,"' + b"x" * 200_000 + b'",label', "as a CSV file: field larger"),
    ],
)
def test_what_is_no_sheet(tmp_path, content, message):
    path = tmp_path / "s.csv"
    path.write_bytes(content)
    with pytest.raises(SheetError, match=message):
        read_sheet(path, "label", text_of)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(SheetError, match="No such file"):
        read_sheet(tmp_path / "nowhere.csv", "label", text_of)
    with pytest.raises(SheetError, match="Cannot write"):
        write_table(tmp_path / "nowhere" / "x.csv", ",", ["a"], [["1"]])
    with pytest.raises(SheetError, match="column 'skal_row'"):
        write_sheet(tmp_path / "s.csv", [ROW, "y"], [], [], [], "y")


def test_an_old_sheet_stays_if_the_new_one_cannot_be_written(sheet, monkeypatch):
    before = sheet.read_bytes()

    def fsync(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("skal.labeling._sheet.os.fsync", fsync)
    with pytest.raises(SheetError, match="No space left"):
        write_sheet(sheet, NAMES, ROWS, [1, 2, 3, 4], DIGESTS, "label")
    assert sheet.read_bytes() == before and not list(sheet.parent.glob("*.part"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_come_back_as_they_were(tmp_path, separator):
    path = tmp_path / "t.csv"
    write_table(path, separator, NAMES, ROWS)
    assert read_table(path) == (separator, NAMES, ROWS)


def test_lines_with_too_many_cells(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1\n1,2,3\n")
    with pytest.raises(SheetError, match="3 cells in line 3 and 2 column names"):
        read_table(path)


CELLS = st.text(st.characters(exclude_characters="\0\r"), max_size=20)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), CELLS)
def test_hostile_cells_neither_run_nor_move_an_answer(tmp_path_factory, rows, label):
    """Whatever the cells hold, answers come back to their rows and nothing starts a formula."""
    path = tmp_path_factory.mktemp("sheets") / "s.csv"
    frame = pd.DataFrame(rows, columns=["a", "b"], dtype=object)
    digests = row_digests(frame, np.arange(len(frame)))
    label = label.strip() or "x"
    texts = [[a, "", b] for a, b in rows]
    write_sheet(path, ["a", "y", "b"], texts, list(range(len(rows))), digests, "y")
    lines = cells(path)
    for line in lines[1:]:
        for cell in line[3:]:
            assert not cell.startswith(("=", "@", "\t")) and (
                not cell.startswith(("+", "-")) or float(cell.replace(",", ".", 1)) is not None
            )
        line[2] = label
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    path.write_bytes(text.getvalue().encode("utf-8", "replace"))
    expected = label.encode("utf-8", "replace").decode()
    answers = read_sheet(path, "y", text_of)
    if expected == "?":
        expected = None
    elif expected.startswith("'") and expected[1:].startswith(("=", "+", "-", "@", "\t")):
        expected = expected[1:]
    assert [one.position for one in answers] == list(range(len(rows)))
    assert [one.check for one in answers] == [check_of(digest) for digest in digests]
    assert {one.label for one in answers} == {expected}
