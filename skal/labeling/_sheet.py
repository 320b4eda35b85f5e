"""Rows to label as a spreadsheet, and back: what spreadsheets do to files is expected.

They change separators, encodings, decimal points, dates and long numbers. Hence only three columns
are read back: the target, and two that say which row a line is about, `skal_row` (its position) and
`skal_check` (eight hexadecimal digits of its digest, the first of them a letter, so that no
program takes them for a number).
"""

import csv
import io
import os
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from skal.labeling._codec import encode
from skal.labeling._log import new_event

ROW, CHECK = "skal_row", "skal_check"
CANNOT_TELL = "?"
SEPARATORS = ",;\t"
# What makes a spreadsheet run a cell as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MOST_SHOWN = 10


class SheetError(ValueError):
    """The sheet cannot be read, or cells of it are no answers; nothing was stored."""


class Answer(NamedTuple):
    """One filled cell: the line of the file, the row it is about, and what it says."""

    line: int
    position: int
    check: str
    label: object  # None: cannot tell


def check_of(digest):
    """Return the eight hexadecimal digits that stand for the digest of a row."""
    text = digest.hex()[:8]
    return text if text[0].isalpha() else "abcdef"[int(text[0]) % 6] + text[1:]


def write_sheet(path, names, rows, positions, digests, target, key=None):
    """Write the rows to be labelled as a CSV file, all or nothing.

    Parameters
    ----------
    path : path-like
        The file; one that exists is replaced once the new one is whole.

    names : list of str
        The columns of the data.

    rows : list of list of str
        The cells of the rows, as they stand in the data.

    positions : list of int
        Their positions in the data.

    digests : list of bytes
        Their digests, as stored when they were asked about.

    target : str
        The column of the labels, which is left empty.

    key : str or None, default=None
        The column that names rows, which comes first.
    """
    taken = {ROW, CHECK} & set(names)
    if taken:
        raise SheetError(
            f"The data have a column {taken.pop()!r}, which a sheet needs for itself. Rename it."
        )
    order = [name for name in ([key] if key else []) if name != target]
    order += [name for name in names if name not in (key, target)]
    places = [names.index(name) for name in order]
    n_key = 1 if key and key != target else 0
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(map(_harmless, [ROW, CHECK, *order[:n_key], target, *order[n_key:]]))
    for cells, position, digest in zip(rows, positions, digests, strict=True):
        shown = [_harmless(cells[place]) for place in places]
        writer.writerow([position, check_of(digest), *shown[:n_key], "", *shown[n_key:]])
    # Spreadsheets take UTF-8 for what it is only behind a byte order mark.
    replace_file(path, text.getvalue().encode("utf-8-sig", "replace"))


def read_sheet(path, target, parse):
    """Return the answers in a sheet.

    Parameters
    ----------
    path : path-like
        The file.

    target : str
        The column of the labels. A blank cell is no answer, "?" means that nobody can tell.

    parse : callable
        Gets the text of a cell and whether the file has decimal commas (its separator is a
        semicolon), and returns the label. Raises ValueError for what is none.

    Returns
    -------
    answers : list of Answer
        In the order of the file.

    Raises
    ------
    SheetError
        If the file is no sheet, or for all cells that are no answers, with their lines.
    """
    lines, separator = _read_lines(path)
    header = [_without_apostrophe(_mended(name.strip())) for name in lines[0][1]]
    missing = [name for name in (ROW, CHECK, target) if header.count(name) != 1]
    if missing:
        raise SheetError(
            f"{str(path)!r} must have one column {missing[0]!r}. It has "
            f"{', '.join(map(repr, header[:8]))}. Keep the columns that query wrote, or move the "
            "file away to have a new one written."
        )
    places = [header.index(name) for name in (ROW, CHECK, target)]
    answers, wrong = [], []
    for number, cells in lines[1:]:
        row, check, text = (cells[place].strip() if place < len(cells) else "" for place in places)
        if not text:
            continue
        try:
            answers.append(_answer(number, row, check, text, parse, separator == ";"))
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
    if wrong:
        raise SheetError(bad_cells(path, wrong))
    return answers


def sheet_events(answers, fold, position_of, store_id, path, annotator=""):
    """Return what the answers of a sheet come to as events of a store.

    A row is found by its check, and among equal rows by its position. The uid is a hash of store,
    batch, row and answer, so that a sheet read twice is stored once.

    Parameters
    ----------
    answers : list of Answer
        From `read_sheet`.

    fold : Fold
        The state of the store.

    position_of : callable
        The position of a row by its name.

    store_id : str
        What tells this store from others.

    path : path-like
        The file, for the error.

    annotator : str, default=""
        Who answered.

    Returns
    -------
    events : list of Event
        One for each answer.

    Raises
    ------
    SheetError
        For all lines that are about rows that were never asked, or twice about the same row.
    """
    asks = {}
    for ask in fold.asks.values():
        asks.setdefault(check_of(ask.digest), {})[ask.row] = ask  # the last batch counts
    events, lines, wrong = [], {}, []
    for answer in answers:
        found = list(asks.get(answer.check, {}).values())
        here = [ask for ask in found if position_of(ask.row) == answer.position]
        if not here and len(found) != 1:
            wrong.append(f"line {answer.line}: this row was not asked about ({CHECK} is unknown)")
            continue
        ask = (here or found)[0]
        if ask.row in lines:
            wrong.append(f"line {answer.line}: the same row as line {lines[ask.row]}")
            continue
        lines[ask.row] = answer.line
        events.append(_event(answer.label, ask, store_id, annotator))
    if wrong:
        raise SheetError(bad_cells(path, wrong))
    return events


def _event(label, ask, store_id, annotator):
    kind, value = ("skip", "cannot tell") if label is None else ("label", label)
    value = encode(value)
    whole = "\0".join([str(store_id), str(ask.batch), ask.row, kind, value])
    uid = blake2b(whole.encode(), digest_size=16).hexdigest()
    return new_event(
        kind, ask.row, annotator, value=value, batch=ask.batch, source="sheet", uid=uid
    )


def bad_cells(path, wrong):
    """Return the sentence about cells that are no answers."""
    more = f"; and {len(wrong) - _MOST_SHOWN} more" if len(wrong) > _MOST_SHOWN else ""
    cells = "1 cell" if len(wrong) == 1 else f"{len(wrong)} cells"
    return (
        f"{cells} of {str(path)!r} cannot be taken, so that nothing of it was stored: "
        f"{'; '.join(wrong[:_MOST_SHOWN])}{more}. Mend the file and run the command again."
    )


def read_table(path):
    """Return the separator, the column names and the rows of a CSV file, all cells as they stand.

    Raises
    ------
    SheetError
        If it is no CSV file.
    """
    lines, separator = _read_lines(path)
    names = lines[0][1]
    rows = []
    for number, cells in lines[1:]:
        if len(cells) > len(names):
            raise SheetError(
                f"{str(path)!r} has {len(cells)} cells in line {number} and {len(names)} column "
                "names. Mend that line."
            )
        rows.append(cells + [""] * (len(names) - len(cells)))
    return separator, names, rows


def write_table(path, separator, names, rows):
    """Write a CSV file, all or nothing."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    replace_file(path, text.getvalue().encode("utf-8", "replace"))


def replace_file(path, content):
    """Put a file in its place at once: it is the old one or the whole new one at any moment."""
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SheetError(f"Cannot write {str(path)!r}: {error.strerror}.") from error


# ---------------------------------------------------------------------------------- plumbing


def _read_lines(path):
    """The lines that hold anything, as (number, cells), and the separator of the first one."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise SheetError(f"Cannot read {str(path)!r}: {error.strerror}.") from error
    text = _decode(raw, path)
    header = text.lstrip("\r\n").partition("\n")[0]
    separator = max(SEPARATORS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    lines = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append((reader.line_num, cells))
    except csv.Error as error:
        raise SheetError(
            f"Cannot read {str(path)!r} as a CSV file: {error}, near line {reader.line_num}."
        ) from error
    if not lines:
        raise SheetError(f"{str(path)!r} is empty. Move it away to have a new one written.")
    return lines, separator


def _decode(raw, path):
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "cp1252"]  # the second is what older spreadsheets write
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise SheetError(
        f"{str(path)!r} is no CSV file. Save the sheet as text: CSV, in UTF-8, not as a workbook."
    )


def _mended(name):
    """A column name that some program read as Windows-1252 and saved as UTF-8, mark and all."""
    try:
        name = name.encode("cp1252").decode("utf-8")
    except UnicodeError:
        pass  # as it should be
    return name.removeprefix("\ufeff")


def _answer(line, row, check, text, parse, decimal_comma):
    text = _without_apostrophe(text)
    label = None if text == CANNOT_TELL else parse(text, decimal_comma)
    try:
        position = int(float(row.replace(",", ".")))
    except (ValueError, OverflowError):
        raise ValueError(f"{ROW} must be a number. Got {row[:40]!r} instead") from None
    return Answer(line, position, check.lower(), label)


def _harmless(cell):
    """A cell that no spreadsheet runs: an apostrophe goes before what looks like a formula."""
    if not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell.replace(",", ".", 1))
    except ValueError:
        return f"'{cell}"
    return cell


def _without_apostrophe(text):
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA) else text
