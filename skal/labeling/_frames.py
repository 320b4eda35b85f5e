"""Events and labels as pandas frames."""

import numpy as np

from skal.labeling._codec import decode
from skal.labeling._schema import Event


def events_frame(events):
    """Return every event with row and value decoded; `at` is a time in UTC."""
    import pandas as pd

    columns = dict(zip(Event._fields, zip(*events, strict=True), strict=True)) if events else {}
    columns = {name: list(columns.get(name, ())) for name in Event._fields}
    columns |= {
        "at": _times(pd.Series(columns["at"], dtype=np.float64)),
        "row": _objects(map(decode, columns["row"])),
        "value": _objects(None if text is None else decode(text) for text in columns["value"]),
        "seconds": np.array(columns["seconds"], dtype=np.float64),
        "batch": pd.array(columns["batch"], dtype="Int64"),
        "ref": _objects(columns["ref"]),
    }
    return pd.DataFrame(columns)


def answers_frame(events):
    """Return one row's answers, one per annotator: columns row, label, annotator, at, seconds."""
    frame = events_frame(events)
    return frame.rename(columns={"value": "label"})[["row", "label", "annotator", "at", "seconds"]]


def labels_frame(resolved):
    """Return the label of each row, None where answers tie."""
    import pandas as pd

    resolved = list(resolved)
    labels = [None if one.label is None else decode(one.label) for one in resolved]
    return pd.DataFrame(
        {
            "row": _objects(decode(one.row) for one in resolved).infer_objects(),
            # A dispute is None: inferring a dtype would make it NaN.
            "label": _objects(labels)
            if any(one is None for one in labels)
            else _objects(labels).infer_objects(),
            "annotator": _objects(one.annotator for one in resolved),
            "at": _times(pd.Series([one.at for one in resolved], dtype=np.float64)),
            "seconds": np.array([one.seconds for one in resolved], dtype=np.float64),
            "n_answers": np.array([one.n_answers for one in resolved], dtype=np.int64),
        }
    )


def _times(seconds):
    import pandas as pd

    # To the microsecond: a float of seconds has no more.
    micros = np.round(seconds.to_numpy(dtype=np.float64) * 1e6).astype(np.int64)
    return pd.Series(pd.to_datetime(micros, unit="us", utc=True), index=seconds.index)


def _objects(values):
    """A column that holds each value as it is: lists stay lists, ints stay ints."""
    import pandas as pd

    values = list(values)
    column = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        column[i] = value
    return pd.Series(column, dtype=object)
