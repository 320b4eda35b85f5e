"""The CSV file that is labelled from the command line: its cells as they stand, and its task."""

import math
from pathlib import Path
from typing import NamedTuple

from skal._cli import InputError
from skal.datasets._tables import is_numeric, read_csv
from skal.labeling._codec import decode
from skal.labeling._sheet import read_table


class Table(NamedTuple):
    """A CSV file."""

    path: Path
    separator: str
    names: list
    rows: list  # of lists of str, as they stand
    X: object  # all columns but the target, typed
    features: list  # the columns of X that a model can learn from
    target: str
    given: dict  # the texts of the target by position, where there is one
    key: str | None

    @property
    def decimal_comma(self):
        return self.separator == ";"

    @property
    def key_values(self):
        if self.key is None:
            return None
        place = self.names.index(self.key)
        return [row[place].strip() for row in self.rows]

    @property
    def shown(self):
        """What people see: all cells but the target's, as they stand."""
        import pandas as pd

        frame = pd.DataFrame(self.rows, columns=self.names, dtype=object)
        return frame.drop(columns=self.target).replace("", None)


def load_table(path, target, key=None):
    """Return the :class:`Table` in a CSV file.

    Raises
    ------
    InputError
        If it cannot be read, or a column is missing.
    """
    try:
        frame = read_csv(path)
        separator, names, rows = read_table(path)
    except (OSError, ValueError) as error:
        raise InputError(error) from error
    for option, name in (("--target", target), ("--key", key)):
        if name is not None and names.count(name) != 1:
            found = "more than once" if name in names else "nowhere"
            raise InputError(
                f"{option} must be a column of {str(path)!r}, which has {name!r} {found}. Its "
                f"columns are {', '.join(names[:12])}."
            )
    if key == target:
        raise InputError("--key and --target must be two columns.")
    if len(frame) != len(rows) or list(map(str, frame.columns)) != names:
        raise InputError(f"{str(path)!r} has column names that are empty or stand twice.")
    X = frame.drop(columns=target)
    features = [name for name in X.columns if name != key and not _names_rows(X[name])]
    if not features:
        raise InputError(f"{str(path)!r} has no column to learn from beside the target.")
    place = names.index(target)
    known = frame[target].notna().to_numpy().nonzero()[0]
    given = {int(row): rows[row][place].strip() for row in known if rows[row][place].strip()}
    return Table(path, separator, names, rows, X, features, target, given, key)


def _names_rows(column):
    """Whether a column is empty, counts the rows, or has another name in each of them."""
    if column.isna().all():
        return True
    if is_numeric(column):
        values = column.to_list()
        return any(values == list(range(start, start + len(values))) for start in (0, 1))
    if len(column) < 3 or column.isna().any() or not column.is_unique:
        return False
    # Texts of several words differ from row to row, too, and can be learnt from.
    return column.astype(str).str.split().str.len().mean() < 3


# ---------------------------------------------------------------------------------- the task


class Task(NamedTuple):
    """What the answers are: one of these classes, or numbers (None).

    `fixed` says that no other class is accepted.
    """

    classes: list | None
    fixed: bool

    @property
    def kind(self):
        return "regression" if self.classes is None else "classification"

    def label(self, text, decimal_comma=False):
        """Return the label that the text of a cell stands for.

        Raises
        ------
        ValueError
            If it is none.
        """
        if self.classes is None:
            return _number(text, decimal_comma)
        alike = [one for one in self.classes if _alike(one, text)]
        found = [one for one in alike if one == text] or alike
        if len(found) == 1:
            return found[0]
        if self.fixed:
            raise ValueError(f"{text[:40]!r} is none of {', '.join(self.classes[:12])}")
        return text


def find_task(classes, table, store, sheet_texts=()):
    """Return the :class:`Task`: from --classes, the store, or the labels that are there.

    Parameters
    ----------
    classes : str or None
        What --classes says.

    table : Table
        The data, whose target may be partly filled.

    store : LabelStore
        May hold a session.

    sheet_texts : list of str or None
        The filled cells of the sheet.

    Raises
    ------
    InputError
        If they are no classes, or numbers and words.
    """
    stored = store.log.meta().get("settings", {}).get("classes")
    stored = stored and [str(decode(one)) for one in stored]
    if classes is not None:
        names = [name.strip() for name in classes.split(",")]
        if len(set(names)) < 2 or len(set(names)) < len(names) or not all(names):
            raise InputError(
                "--classes must be two different names or more, separated by commas. Got "
                f"{classes!r} instead."
            )
        if stored and stored != names:
            raise InputError(
                f"the store was begun with --classes {','.join(stored)}. Got {classes!r} instead."
            )
        return Task(names, True)
    if stored:
        return Task(stored, True)
    texts = [text for text in [*table.given.values(), *sheet_texts] if text is not None]
    texts += [str(label) for label in store.labels()["label"] if label is not None]
    numbers = [text for text in texts if _is_number(text, table.decimal_comma)]
    if len(numbers) == len(texts):
        return Task(None, True)
    words = sorted(set(texts) - set(numbers))
    if numbers:
        raise InputError(
            f"the labels are numbers (such as {numbers[0]}) and words ({', '.join(words[:5])}). "
            "Mend one or the other, or say which are accepted: --classes A,B."
        )
    return Task(words, False)


def _number(text, decimal_comma=False):
    plain = text.strip().replace("\u2212", "-")
    if decimal_comma and "." not in plain:
        plain = plain.replace(",", ".", 1)
    try:
        value = float(plain)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in plain:
        raise ValueError(f"{text[:40]!r} is no number")
    return int(plain) if plain.lstrip("+-").isdecimal() else value


def _is_number(text, decimal_comma=False):
    try:
        _number(text, decimal_comma)
    except ValueError:
        return False
    return True


def _alike(label, text):
    """Whether a spreadsheet may have made one of the other: TRUE of true, 1 of 01."""
    if label.casefold() == text.casefold():
        return True
    return _is_number(label) and _is_number(text) and float(label) == float(text)
