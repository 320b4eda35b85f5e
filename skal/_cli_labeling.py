"""Labelling from the command line: ``python -m skal query``, ``label`` and ``labels``.

The data are a CSV file that is never written to; answers go into a store beside it. `query` asks by
a sheet that a spreadsheet fills, `label` by a page of the browser or in the terminal, and `labels`
writes a copy of the data with the labels in it.
"""

import argparse
import shlex
import sys
import warnings
import webbrowser
from pathlib import Path

from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from skal._cli import ESTIMATOR_TYPES, STRATEGIES, TRAINING, InputError
from skal._cli_table import find_task, load_table
from skal._cli_terminal import label_in_terminal
from skal.labeling import LabelingSession, LabelStore, LabelStoreError, PoolChangedError
from skal.labeling._codec import decode
from skal.labeling._identity import RowNames
from skal.labeling._protocol import Conversation
from skal.labeling._server import LabelingPage
from skal.labeling._sheet import read_sheet, sheet_events, write_sheet, write_table
from skal.labeling._show import Shower
from skal.learner import ActiveLearner
from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor
from skal.preprocessing import TablePreprocessor

AUTO = "auto"
N_INSTANCES = 20
EPOCHS = 100
# Of the table that is printed: characters of a line, columns, and characters of a cell.
_WIDTH, _MOST_COLUMNS, _MOST_CHARACTERS = 98, 8, 24


def main(argv):
    """Run a command and return the exit status: 0, 2 for wrong input, 130 if interrupted."""
    try:
        options = _parser().parse_args(argv)
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _say
            {"query": _query, "label": _label, "labels": _labels}[options.command](options)
    except (InputError, LabelStoreError, ValueError) as error:
        print(f"skal: {' '.join(str(error).split())}{_advice(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("skal: stopped. Every answer shown as saved is on disk.", file=sys.stderr)
        return 130
    return 0


def _say(message, category, *_):
    """What Python would print as a warning, without the lines of code around it."""
    if issubclass(category, UserWarning):
        print(f"skal: {' '.join(str(message).split())}", file=sys.stderr)


def _advice(error):
    if isinstance(error, PoolChangedError):
        return (
            " Here: put the file back as it was; rows may move if --key named them from the start."
        )
    return ""


# ---------------------------------------------------------------------------------- options


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser():
    parser = _Parser(prog="python -m skal", description="Label a CSV file with a model's help.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    query = commands.add_parser(
        "query",
        description="Read the filled cells of the data and of the last sheet, train, and write the "
        "rows to label next as a sheet for a spreadsheet. The data are never written to.",
    )
    label = commands.add_parser(
        "label",
        description="Label row by row, on a page in this machine's browser or in the terminal. "
        "Every answer is on disk before the next row appears.",
    )
    labels = commands.add_parser(
        "labels",
        description="Write a copy of the data with the target filled where there is a label.",
    )
    for command in (query, label, labels):
        _add_options(command)
    query.add_argument(
        "--sheet", type=Path, metavar="FILE", help="the sheet (default: DATA.ask.csv)"
    )
    label.add_argument("--terminal", action="store_true", help="ask here, not in the browser")
    label.add_argument("--no-browser", action="store_true", help="only print the page's address")
    labels.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the copy to write"
    )
    labels.add_argument(
        "--predict",
        action="store_true",
        help="add a column with what a model, trained on all labels, says about every row",
    )
    return parser


def _add_options(parser):
    add = parser.add_argument
    add("data", type=Path, metavar="DATA.csv", help="the rows, one a line below the column names")
    add("--target", required=True, metavar="COLUMN", help="the column of the labels")
    add("--key", metavar="COLUMN", help="a column that names the rows, which may then move")
    add("--store", type=Path, metavar="FILE", help="where answers are kept (default: DATA.skal)")
    add(
        "--strategy",
        metavar="NAME",
        help="which rows to ask: auto (the default: what "
        f"skal.recommend says), {', '.join(STRATEGIES)}",
    )
    add("--classes", metavar="A,B,...", help="the labels that are accepted")
    add("--seed", type=_integer(0), metavar="N", help="fixes the random numbers (default: 0)")
    add(
        "-n",
        type=_integer(1),
        metavar="N",
        dest="n_instances",
        help=f"rows to ask at a time (default: {N_INSTANCES})",
    )


def _integer(low):
    def integer(text):
        value = int(text)
        if not low <= value < 2**32:
            raise argparse.ArgumentTypeError(f"must be at least {low}. Got {value} instead.")
        return value

    integer.__name__ = "int"
    return integer


def _start(options, sheet=None, must_exist=False):
    """Return the data, the path of the store, the task and the learner, all checked.

    A store is made only once everything is sound.
    """
    table = load_table(options.data, options.target, options.key)
    path = options.store or options.data.with_suffix(".skal")
    if must_exist and not path.exists():
        raise InputError(f"there is no store {str(path)!r} yet. Label some rows first.")
    _check_output(path, "--store", options)
    texts = []
    if sheet is not None and sheet.exists():
        texts = [one.label for one in read_sheet(sheet, table.target, lambda text, _: text)]
    with LabelStore(path if path.exists() else ":memory:") as store:
        task = find_task(options.classes, table, store, texts)
    return table, path, task, _learner(options, table, task)


def _check_output(path, option, options):
    if path.exists() and path.resolve() == options.data.resolve():
        raise InputError(f"{option} must be another file than the data, which are never changed.")


# ---------------------------------------------------------------------------------- commands


def _query(options):
    sheet = options.sheet or options.data.with_suffix(".ask.csv")
    _check_output(sheet, "--sheet", options)
    table, path, task, learner = _start(options, sheet)
    with LabelStore(path) as store:
        if sheet.exists():
            _store_sheet(sheet, table, store, task)
        with _session(options, table, store, task, learner) as session:
            rows = [int(row) for row in session.query()]
            print(_summary(table, session, task))
            if not rows:
                print("There is no row left to ask about.")
                return
            asked = {ask.row: ask.digest for ask in store.fold().open_asks()}
            names = RowNames(table.X, table.key_values)
            write_sheet(
                sheet,
                table.names,
                [table.rows[row] for row in rows],
                rows,
                [asked[names.name(row)] for row in rows],
                table.target,
                table.key,
            )
    print(_listing(table, rows))
    print(
        f"\n{_count(len(rows), 'row')} to label: {sheet}\nFill the column {table.target!r} (blank: "
        "not yet, ?: cannot tell), save it as CSV, and run the same line again:\n"
        f"    {_again(options)}"
    )


def _store_sheet(sheet, table, store, task):
    """Store the answers of a sheet, all or none."""
    answers = read_sheet(sheet, table.target, task.label)
    log, names = store.log, RowNames(table.X, table.key_values)
    events = sheet_events(answers, store.fold(), names.position, log.meta().get("id"), sheet)
    n_new = log.append_events(events, f"Of the answers in {sheet}, none")
    print(f"Read {sheet}: {_count(len(answers), 'answer')}, {n_new} of them new.", flush=True)


def _label(options):
    table, path, task, learner = _start(options)
    with LabelStore(path) as store:
        with _session(options, table, store, task, learner, not options.terminal) as session:
            print(_summary(table, session, task), flush=True)
            conversation = Conversation(
                session,
                show=Shower(table.shown),
                answer="number" if task.classes is None else "one",
                classes=task.classes,
            )
            try:
                if options.terminal:
                    label_in_terminal(conversation)
                else:
                    _serve(conversation, options)
            finally:
                print(f"\n{_summary(table, session, task)}")


def _serve(conversation, options):
    with LabelingPage(conversation) as page:
        print(f"The page, for this machine only:\n    {page.url}\nCtrl+C ends it.", flush=True)
        if not options.no_browser:
            webbrowser.open(page.url)
        page.wait()


def _labels(options):
    _check_output(options.output, "--output", options)
    table, path, task, learner = _start(options, must_exist=True)
    place, columns = table.names.index(table.target), list(table.names)
    comma = table.decimal_comma and any("," in text for text in table.given.values())
    rows = [list(row) for row in table.rows]
    with LabelStore(path) as store:
        names, fold = RowNames(table.X, table.key_values), store.fold()
        problems = store.verify(table.X, table.key_values)
        if problems and table.key is None:
            raise PoolChangedError(f"{problems[0]}.")
        if options.predict:
            columns.append(f"{table.target}_predicted")
            with _session(options, table, store, task, learner) as session:
                guesses = session.final_fit().learner_.predict(table.X).tolist()
            for row, guess in zip(rows, guesses, strict=True):
                row.append(_as_cell(guess, comma))
        for name in fold.answered_rows():
            answer, position = fold.resolve(name), names.position(name)
            if answer is None or answer.disputed or position < 0:
                continue
            label = decode(answer.label)
            if not _says(table.given.get(position), label, task, table):
                rows[position][place] = _as_cell(label, comma)
    write_table(options.output, table.separator, columns, rows)
    n_filled = sum(bool(row[place].strip()) for row in rows)
    print(f"Written: {options.output}, {n_filled} of {len(rows)} rows labelled.")


# ---------------------------------------------------------------------------------- the session


def _session(options, table, store, task, learner, background=False):
    """Open the session of the store, with the filled cells of the data as its first labels."""
    y, wrong = [None] * len(table.rows), []
    for row, text in table.given.items():
        try:
            y[row] = task.label(text, table.decimal_comma)
        except ValueError as error:
            wrong.append(f"row {row}: {error}")
    if wrong:
        raise InputError(
            f"{_count(len(wrong), 'cell')} of {table.target!r} in {str(table.path)!r} cannot be "
            f"taken: {'; '.join(wrong[:10])}."
        )
    begun = store.log.meta().get("settings", {}).get("n_instances")
    n = options.n_instances or begun or N_INSTANCES
    if begun not in (None, n):
        raise InputError(f"the store was begun with -n {begun}. Got {n} instead.")
    return LabelingSession(
        learner,
        table.X,
        store=store,
        y=y if table.given else None,
        key=table.key_values,
        classes=task.classes if task.fixed else None,
        n_instances=n,
        n_initial=n,
        background=background,
        random_state=options.seed,
    )


def _learner(options, table, task):
    strategy = _strategy(options.strategy or AUTO, task)
    training = {"max_epochs": EPOCHS, **TRAINING}
    if task.classes is None:
        net = NeuralNetRegressor(standardize_y=True, **training)
    else:
        net = NeuralNetClassifier(classes=task.classes, **training)
    prepare = make_column_transformer((TablePreprocessor(dtype="float32"), table.features))
    model = make_pipeline(prepare, net)
    return ActiveLearner(model, strategy, random_state=options.seed or 0)


def _strategy(name, task):
    if name == AUTO:
        return AUTO
    if name not in STRATEGIES:
        choice = ", ".join([AUTO, *STRATEGIES])
        raise InputError(f"strategy {name!r} is unknown. Choose from {choice}.")
    tasks = get_tags(STRATEGIES[name]).query_strategy_tags.tasks
    if ESTIMATOR_TYPES[task.kind] not in tasks:
        raise InputError(
            f"strategy {name!r} does not serve {task.kind}. Choose another one, or, where the "
            "labels are classes, say which: --classes A,B."
        )
    return STRATEGIES[name]


# ---------------------------------------------------------------------------------- words


def _summary(table, session, task):
    what = f"{task.kind} of {table.target!r}"
    if task.classes is not None:
        labels = [str(label) for label in session.y_.tolist() if label is not None]
        counts = (f"{name} {labels.count(name)}" for name in task.classes[:12])
        what = f"{what} ({', '.join(counts)})"
    lines = [f"{table.path}: {what}; {len(session.labeled_)} of {len(table.rows)} rows labelled."]
    try:
        audit = session.audit_
    except AttributeError:  # no model yet
        return lines[0]
    if audit.n and audit.value == audit.value:
        lines.append(
            f"The model: {audit.metric} {audit.value:.3g} ({audit.low:.3g} to {audit.high:.3g}, "
            f"95 %) on {audit.n} rows drawn at random and not learnt from."
        )
    return "\n".join(lines)


def _listing(table, rows):
    """A table of the rows asked about: their positions and the first cells."""
    order = [name for name in table.names if name != table.target]
    if table.key is not None:
        order = [table.key, *(name for name in order if name != table.key)]
    places = [table.names.index(name) for name in order[:_MOST_COLUMNS]]
    lines = [["row", *order[:_MOST_COLUMNS]]]
    lines += [[str(row), *(table.rows[row][place] for place in places)] for row in rows]
    lines = [[_short(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    while len(widths) > 1 and sum(widths) + 2 * len(widths) > _WIDTH:
        widths.pop()
    return "\n" + "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip()
        for line in lines
    )


def _short(cell):
    text = " ".join("".join(c if c.isprintable() else " " for c in cell).split())
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def _again(options):
    words = ["python", "-m", "skal", options.command, str(options.data), "--target", options.target]
    for name in ("key", "store", "strategy", "classes", "sheet"):
        value = getattr(options, name)
        words += [] if value is None else [f"--{name}", str(value)]
    if options.seed is not None:
        words += ["--seed", str(options.seed)]
    return shlex.join(
        words if options.n_instances is None else [*words, "-n", str(options.n_instances)]
    )


def _says(text, label, task, table):
    """Whether a cell of the data, None if it is empty, says the label already, in its own words."""
    try:
        return text is not None and task.label(text, table.decimal_comma) == label
    except ValueError:
        return False


def _as_cell(label, decimal_comma=False):
    text = repr(label) if isinstance(label, float) else str(label)
    return text.replace(".", ",") if decimal_comma and isinstance(label, float) else text


def _count(n, noun):
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
