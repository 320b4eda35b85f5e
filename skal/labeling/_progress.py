"""Tables about a session: one row per batch, and how far people agree."""

import json
from itertools import combinations
from math import nan

import numpy as np

from skal.labeling._codec import decode
from skal.labeling._estimate import kappa


def progress_frame(fold, log):
    """Return one row per batch; see `LabelingSession.progress`."""
    import pandas as pd

    outcomes = {outcome.training: outcome for outcome in log.records("outcome")}
    by_batch = {number: [] for number in fold.batches}
    for ask in fold.asks.values():
        by_batch[ask.batch].append(ask)
    rows = [_batch_row(fold, fold.batches[n], asks, outcomes) for n, asks in by_batch.items()]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS), index=pd.Index(by_batch, name="batch"))
    for training in log.records("training"):
        outcome = outcomes.get(training.id)
        before = [n for n, batch in fold.batches.items() if batch.at <= training.at]
        if outcome is not None and outcome.error is not None and before:
            frame.loc[before[-1], "error"] = outcome.error
    frame.attrs["agreement"] = pairs(fold)
    return frame


_COLUMNS = (
    "round",
    "strategy",
    "n_asked",
    "n_labeled",
    "n_skipped",
    "n_undone",
    "median_seconds",
    "audit_value",
    "audit_low",
    "audit_high",
    "kappa_to_previous",
    "agreement",
    "error",
)


def _batch_row(fold, batch, asks, outcomes):
    answers = [fold.current(ask.row, batch.id) for ask in asks]
    kinds = [{event.kind for event in events.values()} for events in answers]
    seconds = [e.seconds for events in answers for e in events.values() if e.seconds is not None]
    result = json.loads(outcomes[batch.training].result) if batch.training in outcomes else {}
    value, low, high, _ = result.get("audit", (nan, nan, nan, 0))
    return (
        batch.round,
        batch.strategy,
        len(asks),
        sum("label" in kind for kind in kinds),
        sum(kind == {"skip"} for kind in kinds),
        fold.n_undone(batch.id),
        float(np.median(seconds)) if seconds else nan,
        value,
        low,
        high,
        result.get("kappa", nan),
        _agreement(fold, asks),
        None,
    )


def _agreement(fold, asks):
    """Share of the pairs of answers about rows of a batch that are equal, NaN if there is none."""
    equal = [a == b for ask in asks for _, _, a, b in _pairs_of(fold, ask)]
    return float(np.mean(equal)) if equal else nan


def pairs(fold):
    """Return how far each pair of people agrees, and each person with themselves.

    Returns
    -------
    table : list of dict
        Keys annotator, other (the same, where a row was asked again), n_rows, agreement (share of
        equal labels) and kappa (Cohen's).
    """
    sides = {}
    for ask in fold.asks.values():
        for one, other, a, b in _pairs_of(fold, ask):
            left, right = sides.setdefault((one, other), ([], []))
            left.append(a)
            right.append(b)
    return [
        {
            "annotator": one,
            "other": other,
            "n_rows": len(left),
            "agreement": float(np.mean([a == b for a, b in zip(left, right, strict=True)])),
            "kappa": kappa(left, right),
        }
        for (one, other), (left, right) in sorted(sides.items())
    ]


def _pairs_of(fold, ask):
    """Pairs of labels about one ask: of several people, or of a second time with the first."""
    labels = _labels(fold.current(ask.row, ask.batch))
    if ask.purpose != "again":
        for one, other in combinations(sorted(labels), 2):
            yield one, other, labels[one], labels[other]
        return
    first = _labels(fold.current(ask.row))
    for one in sorted(labels):
        if one in first:
            yield one, one, first[one], labels[one]
        else:
            for other in sorted(first):
                pair = sorted([(one, labels[one]), (other, first[other])])
                yield pair[0][0], pair[1][0], pair[0][1], pair[1][1]


def _labels(events):
    return {
        name: _hashable(decode(event.value))
        for name, event in events.items()
        if event.kind == "label"
    }


def _hashable(label):
    return tuple(label) if isinstance(label, list) else label
