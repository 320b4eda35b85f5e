"""Beginning a session in a new store, or going on with the one that is in it."""

import json
import platform
import uuid
import warnings
from copy import deepcopy
from hashlib import blake2b

import numpy as np
import sklearn
from sklearn.utils import check_random_state

from skal._version import __version__
from skal.labeling._batches import draw_reserve
from skal.labeling._codec import decode, encode, is_missing
from skal.labeling._identity import check_rows, differing
from skal.labeling._log import new_event
from skal.labeling._reading import digests_of
from skal.utils._random import draw_seed
from skal.utils.validation import check_same_length, is_labeled, target_values


def begin_or_resume(log, names, settings, learner, random_state):
    """Return the settings the store has, storing them if it is new.

    Raises
    ------
    ValueError
        If the session in the store was begun with other settings.
    """
    seed = learner.random_state if random_state is None else random_state
    seed = draw_seed(deepcopy(seed))
    if "settings" not in log.meta():
        reserve = draw_reserve(names.n, seed) if settings["audit"] else []
        digests = names.digests(reserve)
        log.set_meta(
            {
                "id": uuid.uuid4().hex,
                "versions": {
                    "skal": __version__,
                    "scikit-learn": sklearn.__version__,
                    "numpy": np.__version__,
                    "python": platform.python_version(),
                },
                "n_rows": names.n,
                "root_seed": seed,
                "columns": names.columns,
                "key": settings["key"],
                "settings": settings,
                "reserve": [
                    [names.name(place), digest.hex()]
                    for place, digest in zip(reserve, digests, strict=True)
                ],
            }
        )
    # Also if new: another process may have been faster.
    meta = log.meta()
    _check_agree(meta["settings"], settings, log.path)
    if isinstance(random_state, (int, np.integer)) and seed != meta["root_seed"]:
        raise ValueError(
            f"The session in {log.path!r} was begun with another random_state. Got "
            f"{random_state!r} instead. Pass the one of then, or None."
        )
    return meta


def _check_agree(stored, given, path):
    given = json.loads(json.dumps(given))
    for name, value in given.items():
        if stored.get(name) != value:
            raise ValueError(
                f"The session in {path!r} was begun with {name}={_shown(stored.get(name))}. Got "
                f"{_shown(value)} instead. Pass the same, or begin a new store."
            )


def _shown(value):
    """Settings as the user writes them: classes are stored as JSON."""
    if isinstance(value, list):
        return [decode(text) for text in value]
    return repr(value)


def check_pool(log, names, fold, reserve, on_change, root_seed):
    """Compare the rows with what they were; see `check_rows`.

    What is trusted is remembered, so that ``on_change="trust"`` is said once.
    """
    asked = digests_of(fold)
    kept = {name: bytes.fromhex(digest) for name, digest in reserve}
    known = {**kept, **asked, **_trusted(log)}
    rng = check_random_state(root_seed)
    if on_change == "trust":
        changed, lost = differing(names, known)
        now = names.digests([names.position(name) for name in changed])
        if changed:
            told = {name: digest.hex() for name, digest in zip(changed, now, strict=True)}
            log.set_meta({f"trusted {uuid.uuid4().hex}": {"since": fold.last_event, "rows": told}})
        return
    check_rows(names, {name: known[name] for name in asked}, on_change, rng, also=known)
    check_rows(
        names,
        {name: known[name] for name in kept},
        on_change,
        rng,
        also=known,
        what="rows kept for the estimate of accuracy",
        when="the session began",
    )


def _trusted(log):
    told = [value for key, value in log.meta().items() if key.startswith("trusted ")]
    rows = {}
    for one in sorted(told, key=lambda one: one["since"]):
        rows.update({name: bytes.fromhex(digest) for name, digest in one["rows"].items()})
    return rows


def import_labels(log, names, fold, y, store_id, resolve, check):
    """Store the labels of `y`, once, for rows without answers.

    Parameters
    ----------
    check : callable
        Gets labels, returns them as they are to be stored, and raises where they will not do.
    """
    check_same_length(names.X, y)
    known = np.flatnonzero(is_labeled(y))
    labels = check(python_labels(target_values(y)))
    answered, events, n_differ = set(fold.answered_rows()), [], 0
    for place in known:
        name, text = names.name(place), encode(labels[place])
        if name not in answered:
            uid = blake2b(f"{store_id} import {name} {text}".encode(), digest_size=16).hexdigest()
            events.append(new_event("label", name, value=text, source="import", uid=uid))
            continue
        one = fold.resolve(name, resolve)
        n_differ += one is None or one.label is None or decode(one.label) != labels[place]
    if n_differ:
        warnings.warn(
            f"{n_differ} labels of y differ from the answers in the store, which are kept. Use "
            "correct() to change an answer.",
            UserWarning,
            stacklevel=4,
        )
    if events:
        log.append_events(events, f"Your {len(events)} labels in y")


def python_labels(labels):
    """Return labels as a list of Python's own types, rows of several outputs as lists."""
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "biufU":
        return labels.tolist()
    values = list(labels)
    return [value.tolist() if isinstance(value, np.ndarray) else _own(value) for value in values]


def _own(value):
    plain = isinstance(value, np.generic) and value.dtype.kind in "biufU"
    return value.item() if plain and not is_missing(value) else value
