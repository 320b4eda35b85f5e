"""What the command line prints and draws: introduction, table, advice, figure."""

from pathlib import Path

import numpy as np

from skal._cli_models import BASELINE, import_lines, strategy_source
from skal.inspection import LearningCurveDisplay
from skal.metrics._paired import ENOUGH_RUNS

SIGNIFICANT = 0.05


def introduction(options, table, model, strategies):
    """Say what is compared on what."""
    kinds = _kinds(table.X)
    how = f" ({table.why}; --task overrides)" if table.why else ""
    if "log1p" in model:
        how += ", predicted as its logarithm"
    elif "standardize_y" in model:
        how += ", standardised"
    lines = [
        f"{table.name}: {table.task} of {table.target!r}{how}; {len(table.X)} rows, {kinds}.",
        *(f"Left out: {what}." for what in table.left_out),
        f"Model: {model}",
        f"{len(strategies)} strategies, {options.repeats} repeats: {options.n_initial} random "
        f"labels, then {options.n_instances} per query up to {options.budget}.",
    ]
    return "\n".join(lines)


def _kinds(X):
    from skal.datasets._tables import is_numeric

    dates = sum(X[name].dtype.kind in "Mm" for name in X.columns)
    numeric = sum(is_numeric(X[name]) for name in X.columns)
    other = X.shape[1] - dates - numeric
    dates = f", {dates} of dates" if dates else ""
    return f"{numeric} numeric and {other} categorical columns{dates}"


def report(summary, table, score, greater_is_better):
    """The table, and how to read it."""
    head = ["strategy", "area", "s.e.", "ratio", "95 % interval", "p", "labels saved"]
    head += ["95 % interval", "final", "s.e."]
    rows = [[name, *_cells(name, line)] for name, line in summary.iterrows()]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, ["-" * width for width in widths], *rows]
    ]
    better = "higher" if greater_is_better else "lower"
    unit = "" if greater_is_better else f" in units of {table.target!r}"
    notes = [
        f"area: {in_words(score)}{unit} on held-out rows, averaged over the budget; {better} is "
        "better.",
        f"ratio: to {BASELINE}, above 1 is better.  p: of Student's t on paired repeats, after "
        "Holm's correction;",
        f"above {SIGNIFICANT} it may well be chance.  labels saved: not needed for the final score "
        f"of {BASELINE}.",
    ]
    n_repeats = int(summary["n_repeats"].max())
    if n_repeats < ENOUGH_RUNS:
        notes.append(
            f"{n_repeats} repeat{'s are' if n_repeats > 1 else ' is'} too few to tell strategies "
            f"apart: take at least {ENOUGH_RUNS}, better 10 (--repeats)."
        )
    return "\n".join(["", *lines, "", *notes])


def _cells(name, line):
    if name == BASELINE:
        test = ["-", "-", "-", "-"]
    else:
        test = [
            _interval(line.ratio_low, line.ratio_high, lambda value: number(value, 3)),
            _p(line.pvalue_holm),
            _share(line.labels_saved),
            _interval(line.labels_saved_low, line.labels_saved_high, _share),
        ]
    return [
        number(line.area),
        number(line.area_se),
        number(line.ratio, 3),
        *test,
        number(line.final),
        number(line.final_se),
    ]


def _interval(low, high, text):
    if np.isnan(low) or np.isnan(high):
        return "-"
    return f"{text(low)} to {text(high)}"


def _p(value):
    return "< 0.001" if value < 0.001 else number(value, 3)


def _share(value):
    """A share in per cent; below zero it may be any number that was not paid for."""
    if np.isnan(value):
        return "-"
    return "none" if value < 0 else f"{100 * value:.0f} %"


def number(value, decimals=None):
    """Four significant digits without exponents, or so many decimals."""
    if np.isnan(value):
        return "-"
    if np.isinf(value):
        return "never" if value > 0 and decimals == 0 else f"{value:+}"
    if decimals is None:
        size = 0 if value == 0 else int(np.floor(np.log10(abs(value))))
        decimals = min(max(0, 3 - size), 6)
    return f"{value:.{decimals}f}"


def in_words(score):
    return score.replace("_", " ")


# ---------------------------------------------------------------------------------- advice


def advice(summary, budget):
    """Return the strategy to take, and a sentence that says why, or why not."""
    others = summary.drop(index=BASELINE)
    n_repeats = int(summary["n_repeats"].max())
    better = others[others["difference"] > 0]
    if len(others) == 0:
        return BASELINE, "nothing was compared with random sampling: name some --strategies."
    if n_repeats < ENOUGH_RUNS:
        best = better["difference"].idxmax() if len(better) else BASELINE
        return best, (
            f"{best} has the best mean, but {n_repeats} repeat{'s' * (n_repeats > 1)} cannot tell "
            "it from chance: run again with --repeats 10."
        )
    better = better[better["pvalue_holm"] <= SIGNIFICANT]
    if len(better) == 0:
        return BASELINE, (
            f"label at random: nothing here is better beyond chance after {n_repeats} repeats, and "
            "random labels stay a fair sample of the rows."
        )
    best = better["difference"].idxmax()
    return best, f"take {best}: {_saved(better.loc[best], budget)}"


def _saved(line, budget):
    share, low, high = line.labels_saved, line.labels_saved_low, line.labels_saved_high
    if not share > 0:
        return (
            f"it is better on the way ({_p(line.pvalue_holm)} is its p), but saved no label at the "
            f"final score of {BASELINE}."
        )
    sure = f"{100 * low:.0f} to {100 * high:.0f} %" if low > 0 else f"at most {100 * high:.0f} %"
    return (
        f"it saved {share * budget:.0f} of {budget} labels, {100 * share:.0f} %, on the way to the "
        f"final score of {BASELINE} (95 % interval: {sure})."
    )


def python_lines(table, model, name, strategy, options):
    """Lines of Python that label with this model and strategy; they run as they stand."""
    made, import_line = strategy_source(name, strategy)
    source = list(table.source)
    place = source.index("")
    stratify = ""
    if table.task == "classification":
        counts = np.unique(table.y, return_counts=True)[1]
        enough = len(counts) <= options.n_initial <= len(table.y) - len(counts)
        if enough and counts.min() > 1:
            stratify = ", stratify=y"
    imports = [
        *import_lines(model),
        *source[:place],
        "from sklearn.model_selection import train_test_split",
        "from skal import ActiveLearner",
        *([import_line] if import_line else []),
    ]
    return [
        *sorted(imports, key=_import_order),
        "",
        *source[place + 1 :],
        f"model = {model}",
        "# The rows you have labels for, and the others.",
        f"X_labelled, X_pool, y_labelled, _ = train_test_split(X, y, "
        f"train_size={options.n_initial}{stratify})",
        f"learner = ActiveLearner(model, {made}).fit(X_labelled, y_labelled)",
        f"rows = learner.query(X_pool, n_instances={options.n_instances})",
        "# Label X_pool.iloc[rows], learner.teach(X_pool.iloc[rows], labels), and query the rest.",
    ]


def _import_order(line):
    return line.startswith("from skal"), line.startswith("from"), line


# ---------------------------------------------------------------------------------- the figure


def figure(results, table, score):
    """Learning curves on the left, paired differences to the baseline on the right."""
    # Not through pyplot: the caller's backend and figures stay as they are.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(drawing)
    left, right = drawing.subplots(1, 2)
    what = in_words(score).capitalize()
    for ax, reference in ((left, None), (right, BASELINE)):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="0.9", linewidth=0.8)
        LearningCurveDisplay.from_results(
            results, score=score, baseline=BASELINE, relative_to=reference, ax=ax, score_name=what
        )
    n_repeats = results["repeat"].nunique()
    left.set_title("Mean over repeats", loc="left", fontsize=10)
    right.set_title(f"Paired difference to {BASELINE}", loc="left", fontsize=10)
    drawing.suptitle(
        f"{Path(table.name).name}: {in_words(score)} of {table.target!r}, {n_repeats} repeats, "
        "bands of 95 % intervals",
        fontsize=11,
    )
    return drawing
