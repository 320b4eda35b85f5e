"""What a learner knows: rows and labels added, taken back and corrected.

Functions from one state to changes of it; a state is a mapping with the attributes of the learner:
`X_labeled_`, `y_labeled_`, `n_labeled_`, and

- `_X_given`: the rows of the last fit, None while all of them have a label;
- `_answered`: which of these need not be asked about any more, bool;
- `_given_rows`: where among these each labelled row is, -1 for rows that came without a place;
- `_fit_params`: arguments of fit, per-row values in the order of the labelled rows.
"""

import numpy as np

from skal.utils._casting import cast_rows
from skal.utils._labels import append_target
from skal.utils._metadata import append_params, take_params
from skal.utils._tables import concat_rows, copy_rows, n_rows, take_rows
from skal.utils.validation import is_labeled, labeled_target


def started(X, y, labeled, params):
    """The state in which a learner is that has been given `X`, of which some rows are labelled."""
    X = copy_rows(X)
    return {
        "X_labeled_": X if labeled.all() else take_rows(X, labeled),
        "y_labeled_": labeled_target(y, labeled),
        "n_labeled_": int(labeled.sum()),
        "_X_given": None if labeled.all() else X,
        "_answered": labeled,
        "_given_rows": np.flatnonzero(labeled),
        "_fit_params": take_params(params, labeled),
    }


def resumed(X, rows, labels, known, answered):
    """The state of a learner that has been asked about `rows` of `X`, in this order."""
    X = copy_rows(X)
    return {
        "X_labeled_": take_rows(X, rows[known]),
        "y_labeled_": labeled_target(labels, known),
        "n_labeled_": int(known.sum()),
        "_X_given": None if answered.all() else X,
        "_answered": answered,
        "_given_rows": rows[known],
        "_fit_params": {},
    }


def added(state, X, y, rows, params):
    """The changes that new labels make; those of rows without a label are answered, no more."""
    known = is_labeled(y)
    params = append_params(state["_fit_params"], take_params(params, known), state["n_labeled_"])
    changes = {}
    if rows is not None:
        changes["_answered"] = state["_answered"].copy()
        changes["_answered"][rows] = True
    changes["n_labeled_"] = state["n_labeled_"] + int(known.sum())
    if known.any():
        new = copy_rows(X) if known.all() else take_rows(X, known)
        places = np.full(int(known.sum()), -1) if rows is None else rows[known]
        changes["X_labeled_"] = concat_rows(*cast_rows(state["X_labeled_"], new))
        changes["y_labeled_"] = append_target(state["y_labeled_"], labeled_target(y, known))
        changes["n_rounds_"] = state["n_rounds_"] + 1
        changes["_given_rows"] = np.concatenate([state["_given_rows"], places])
        changes["_fit_params"] = params
    return changes


def removed(state, positions, rows):
    """The changes when labels are taken back, and rows of the last fit may be asked about again."""
    kept = np.setdiff1d(np.arange(state["n_labeled_"]), positions)
    places = state["_given_rows"][positions]
    reopened = np.union1d(rows, places[places >= 0]).astype(np.intp)
    changes = {"_answered": state["_answered"].copy()}
    changes["_answered"][reopened] = False
    if state["_X_given"] is None and len(reopened):
        # Every row of the fit has a label: they are all among the labelled rows.
        places = {row: i for i, row in enumerate(state["_given_rows"].tolist()) if row >= 0}
        where = [places[row] for row in range(len(state["_answered"]))]
        changes["_X_given"] = take_rows(state["X_labeled_"], where)
    if len(positions):
        changes["X_labeled_"] = take_rows(state["X_labeled_"], kept)
        changes["y_labeled_"] = take_rows(state["y_labeled_"], kept)
        changes["n_labeled_"] = len(kept)
        changes["_n_learnt"] = int((kept < state["_n_learnt"]).sum())
        changes["_given_rows"] = state["_given_rows"][kept]
        mask = np.isin(np.arange(state["n_labeled_"]), kept)
        changes["_fit_params"] = take_params(state["_fit_params"], mask)
    return changes


def relabeled(state, positions, y):
    """The changes when labels are corrected."""
    labels = labeled_target(y, np.ones(n_rows(y), dtype=bool))
    others = np.setdiff1d(np.arange(state["n_labeled_"]), positions)
    joined = append_target(take_rows(state["y_labeled_"], others), labels)
    order = np.argsort(np.concatenate([others, positions]))
    return {"y_labeled_": take_rows(joined, order)}
