"""Finished runs of a comparison on disk: a file each, and a manifest that says of what."""

import json
import os
import tempfile
import warnings
from numbers import Number
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import joblib
import numpy as np
from scipy import sparse

from skal._version import __version__
from skal.model_selection._runs import without_queried
from skal.utils._random import draw_seed
from skal.utils._tables import is_mapping

_MANIFEST, _FORMAT = "comparison.json", 1
# A text this long says enough of a value; longer ones are told apart by their checksum.
_LONGEST = 200


class StrategyRuns(NamedTuple):
    """A strategy, by its name in the comparison, with its parameters as texts."""

    name: str
    settings: dict


class Checkpoint:
    """A folder of finished runs.

    Every file is written whole under another name and then renamed, so that a kill leaves a run or
    no run, never half of one. Nothing is pickled: the files are JSON, and reading them runs no
    code. Cheap to send to workers, which store what they finish themselves.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def open(self, settings, random_state):
        """Begin, or go on; return the root seed.

        Raises ValueError if the folder holds runs of other settings, naming those that differ.
        """
        manifest = self.folder / _MANIFEST
        settings = {"skal": __version__, "format": _FORMAT, **settings}
        if self._is_new():
            seed = draw_seed(random_state)
            write_json(manifest, {"root_seed": seed, **settings})
            return seed
        kept = _read_json(manifest) if manifest.exists() else None
        if kept is None:
            raise ValueError(
                f"{str(manifest)!r} cannot be read, so that nobody knows what the runs beside it "
                "are of. Delete the folder, or use another one as checkpoint."
            )
        seed = kept.pop("root_seed")
        if random_state is not None and draw_seed(random_state) != seed:
            raise ValueError(
                f"The runs in {str(self.folder)!r} have another random_state. Pass the one they "
                "were begun with, or None to go on with it, or use another folder."
            )
        self._check(kept, settings, f"the runs in {str(self.folder)!r}")
        return seed

    def _is_new(self):
        """Make the folder; whether it holds no runs yet."""
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"checkpoint must be a folder. {str(self.folder)!r} is a file.")
        self.folder.mkdir(parents=True, exist_ok=True)
        names = [path.name for path in self.folder.iterdir() if path.suffix != ".part"]
        strangers = [name for name in names if name != _MANIFEST and not name.startswith("run-")]
        if strangers:
            raise ValueError(
                "checkpoint must be a new or empty folder, or one that an earlier comparison "
                f"wrote. {str(self.folder)!r} holds {sorted(strangers)[0]!r}."
            )
        return set(names) <= {_MANIFEST}

    @property
    def remark(self):
        """What to say of it where a comparison ends early."""
        return f"They are kept in {str(self.folder)!r}: the same call goes on from them."

    def load_all(self, places, with_queried):
        """Return the records of the finished ones of some (run, strategy), by their place."""
        loaded = {}
        for place, (run, strategy) in enumerate(places):
            records = self.load(run, strategy)
            if records is not None:
                loaded[place] = records if with_queried else without_queried(records)
        return loaded

    def load(self, run, strategy):
        """Return the records of a finished run, or None if it has still to be done."""
        path = self._path(run, strategy.name)
        if not path.exists():
            return None
        kept = _read_json(path)
        if kept is None or not {"settings", "records"} <= kept.keys():
            warnings.warn(
                f"{str(path)!r} is damaged; its run is done again.", UserWarning, stacklevel=4
            )
            return None
        where = f"strategy {strategy.name!r}, repeat {run.repeat} in {str(self.folder)!r}"
        self._check(kept["settings"], _run_settings(run, strategy), where)
        records = kept["records"]
        for record in records:
            record["queried"] = np.array(record["queried"], dtype=np.int64)
        return records

    def save(self, run, strategy, records):
        """Store the records of a finished run; a run that cannot be stored is not lost by it."""
        records = [{**record, "queried": record["queried"].tolist()} for record in records]
        content = {"settings": _run_settings(run, strategy), "records": records}
        try:
            write_json(self._path(run, strategy.name), content)
        except OSError as error:
            warnings.warn(
                f"The run of strategy {strategy.name!r}, repeat {run.repeat}, could not be kept in "
                f"{str(self.folder)!r} ({error}). It counts in this comparison, and would be done "
                "again by the next one.",
                UserWarning,
                stacklevel=2,
            )

    def _path(self, run, name):
        # Any name is allowed for a strategy, not for a file; the checksum tells "a/b" from "a b".
        readable = "".join(c if c.isalnum() and c.isascii() else "-" for c in name)[:40]
        return self.folder / f"run-{run.repeat:04d}-{readable}-{crc32(name.encode()):08x}.json"

    def _check(self, kept, now, whose):
        differ = [name for name in {**kept, **now} if kept.get(name) != now.get(name)]
        if differ:
            name = differ[0]
            raise ValueError(
                f"checkpoint holds another comparison: {name} of {whose} is "
                f"{kept.get(name, 'absent')}, and {now.get(name, 'absent')} now. Use another "
                "folder, or delete this one to begin afresh."
            )


def write_json(path, content):
    """Write a file that is either whole or not there, even if the process is killed."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _read_json(path):
    """Return the object in a file, or None if it holds none."""
    try:
        content = json.loads(path.read_text(encoding="ascii"))
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


# ------------------------------------------------------------------ what a run depends on


def comparison_settings(learner, X, y, scores, plan):
    """Return what all runs of a comparison have in common, as texts by name."""
    settings = {name: str(plan[name]) for name in ("n_initial", "n_instances", "budget")}
    settings["stratify_initial"] = str(plan["stratify"])
    settings["scores"] = f"{scores.columns}"
    settings["X"], settings["y"] = _digest(X), _digest(y)
    settings |= describe("oracle", plan["oracle"]) | describe("stopping", plan["stopping"])
    settings["params"] = _text({name: _digest(value) for name, value in plan["params"].items()})
    for name, value in plan["params"].items():
        settings[f"params {name}"] = _text(np.asarray(value))
    parameters = describe("learner", learner)
    return settings | {
        name: text for name, text in parameters.items() if "query_strategy" not in name
    }


def _run_settings(run, strategy):
    rows = joblib.hash((np.asarray(run.train), np.asarray(run.test)))
    return {
        "name": strategy.name,
        "repeat": run.repeat,
        "split": run.split,
        "seed": run.seed,
        "rows of the split": rows,
        **strategy.settings,
    }


def describe(name, value):
    """Return the parameters of an object, nested ones too, as texts that stay the same.

    Not hashes of pickles: these may differ between processes, and then nobody could go on.
    """
    texts = {name: _text(value)}
    if hasattr(value, "get_params") and not isinstance(value, type):
        for key, part in value.get_params(deep=True).items():
            texts[f"{name}__{key}"] = _text(part)
    return texts


def _text(value):
    if value is None or isinstance(value, (str, Number, np.generic)):
        text = repr(value)
    elif isinstance(value, (np.ndarray, sparse.spmatrix, sparse.sparray)):
        text = _digest(value)
    elif isinstance(value, np.random.RandomState):
        text = f"RandomState {joblib.hash(value.get_state(legacy=True))}"
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = [_text(part) for part in value]
        parts = sorted(parts) if isinstance(value, (set, frozenset)) else parts
        text = f"{type(value).__name__}({', '.join(parts)})"
    elif isinstance(value, dict):
        text = f"dict({', '.join(f'{_text(k)}: {_text(v)}' for k, v in value.items())})"
    elif hasattr(value, "__qualname__"):
        text = f"{value.__module__}.{value.__qualname__}"
    else:
        # Its parameters, if it has any, are described one by one.
        text = f"{type(value).__module__}.{type(value).__qualname__}"
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}... ({crc32(text.encode('utf-8', 'surrogatepass')):08x})"


def _digest(data):
    """Return a text that stands for the content of rows or labels."""
    if is_mapping(data):
        return f"dict of {_text({key: _digest(part) for key, part in data.items()})}"
    if sparse.issparse(data):
        data = data.tocsr()
        parts = joblib.hash((data.data, data.indices, data.indptr))
        return f"{data.shape[0]} x {data.shape[1]} sparse {parts}"
    if hasattr(data, "iloc"):
        import pandas as pd

        columns = [data] if data.ndim == 1 else [data.iloc[:, i] for i in range(data.shape[1])]
        names = [str(column.name) for column in columns]
        hashes = [_hash_column(pd, column) for column in columns]
        return f"{' x '.join(map(str, data.shape))} frame {joblib.hash((names, hashes))}"
    try:
        array = np.asarray(data)
        return f"{' x '.join(map(str, array.shape))} {array.dtype} {joblib.hash(array)}"
    except (ValueError, TypeError, AttributeError):
        return f"{len(data)} rows"


def _hash_column(pd, column):
    try:
        return pd.util.hash_pandas_object(column, index=False).to_numpy()
    except TypeError:
        return [repr(value) for value in column]
