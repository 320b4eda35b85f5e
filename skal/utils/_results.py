"""Reading the tidy frames back: which column is the score, and the curves as arrays."""

import numpy as np

# What a frame of results has beside scores.
RESERVED_COLUMNS = (
    "strategy",
    "repeat",
    "split",
    "round",
    "n_labels",
    "fit_time",
    "query_time",
    "queried",
    "stopped",
)


def score_column(results, score):
    """Return the name of the score column, given or the only one."""
    columns = [name for name in results.columns if name not in RESERVED_COLUMNS]
    if score is None:
        if len(columns) == 1:
            return columns[0]
        raise ValueError(
            f"score must be chosen, since results have {len(columns)} score columns: {columns}."
        )
    if score not in columns:
        raise ValueError(f"score must be one of {columns}. Got {score!r} instead.")
    return score


def find_strategy(names, wanted):
    """Return the strategy called `wanted`, or the only one that begins so in any case."""
    names = list(names)
    if wanted in names:
        return wanted
    matches = [name for name in names if name.lower().startswith(str(wanted).lower())]
    if len(matches) == 1:
        return matches[0]
    raise ValueError(f"The baseline must be one of the strategies {names}. Got {wanted!r} instead.")


def curves_of(results, score):
    """Return `n_labels` (n_rounds,) and, by strategy, the scores (n_repeats, n_rounds).

    Accepts the frames of `compare_strategies` and of `active_learning_curve` (one strategy, named
    after its score, repeats being splits).
    """
    repeat = "repeat" if "repeat" in results.columns else "split"
    missing = [name for name in (repeat, "n_labels") if name not in results.columns]
    if missing:
        raise ValueError(
            f"results must be a frame from compare_strategies or active_learning_curve; it has no "
            f"column {missing[0]!r}. Got the columns {list(results.columns)}."
        )
    if len(results) == 0:
        raise ValueError("results must have at least one row. Got an empty frame instead.")
    if "strategy" in results.columns:
        parts = dict(list(results.groupby("strategy", sort=False, observed=True)))
    else:
        parts = {score: results}
    tables = {}
    for name, part in parts.items():
        if part.duplicated([repeat, "n_labels"]).any():
            raise ValueError(
                f"results must have one row per strategy, repeat and number of labels. Got several "
                f"for {name!r}: number the repeats of joined frames differently."
            )
        tables[str(name)] = part.pivot(index=repeat, columns="n_labels", values=score)
    first = next(iter(tables.values()))
    for name, table in tables.items():
        whole = len(parts[name]) == table.size
        if not (whole and table.index.equals(first.index) and table.columns.equals(first.columns)):
            raise ValueError(
                f"Every strategy must have the same repeats and budgets. {name!r} differs from "
                f"{next(iter(tables))!r}, or lacks some rounds."
            )
    curves = {name: table.to_numpy(dtype=np.float64) for name, table in tables.items()}
    return first.columns.to_numpy(dtype=np.float64), curves
