"""Comparisons on several settings (data set, batch size, architecture), read from tidy frames."""

import warnings
from collections.abc import Mapping
from numbers import Real
from typing import NamedTuple

import numpy as np
from scipy import stats

from skal.utils._results import curves_of, find_strategy, score_column

TESTS = ("z", "t")
LABEL_BUDGETS = ("doubling", "all")


class Setting(NamedTuple):
    """One comparison: the scores of every strategy, by repeat and round."""

    name: object
    score: str
    n_labels: np.ndarray
    curves: dict

    def has(self, names, t):
        """Whether every strategy has all its scores at round `t`."""
        return all(
            name in self.curves and not np.isnan(self.curves[name][:, t]).any() for name in names
        )


def read_settings(results, score):
    """Return the settings in `results`: a frame, a list of frames or a dict of frames."""
    if isinstance(results, Mapping):
        frames = dict(results)
    elif isinstance(results, (list, tuple)):
        frames = dict(enumerate(results))
    else:
        frames = {0: results}
    if not frames:
        raise ValueError("results must hold at least one setting. Got none instead.")
    settings = []
    for name, frame in frames.items():
        if not hasattr(frame, "columns"):
            raise TypeError(
                "results must be a frame from compare_strategies, or a list or dict of them, one "
                f"per setting. Got {type(frame).__name__} instead."
            )
        column = score_column(frame, score)
        settings.append(Setting(name, column, *curves_of(frame, column)))
    return settings


def strategies_of(settings):
    """Return the names of all strategies, in order of appearance."""
    return list(dict.fromkeys(name for setting in settings for name in setting.curves))


def baseline_of(setting, baseline):
    """Return the full name of the baseline in a setting."""
    return find_strategy(setting.curves, baseline)


def budget_rounds(setting, label_budgets, *, baseline, greater_is_better, include_initial):
    """Return the rounds whose label budgets count, as positions in ``setting.n_labels``."""
    n_rounds = len(setting.n_labels)
    if label_budgets == "all":
        rounds = np.arange(1, n_rounds)
    else:
        rounds = _doubling_rounds(setting, baseline, greater_is_better)
    return np.concatenate([[0], rounds]).astype(np.int64) if include_initial else rounds


def _doubling_rounds(setting, baseline, greater_is_better):
    """Rounds 1, 2, 4, ... up to half the way to where the baseline has learned all but 1 %."""
    if len(setting.n_labels) == 1:
        return np.empty(0, dtype=np.int64)
    steps = np.diff(setting.n_labels)
    if (steps[:-1] != steps[0]).any() or steps[-1] > steps[0]:
        raise ValueError(
            "label_budgets='doubling' needs batches of one size, but the last. Got budgets "
            f"{setting.n_labels.tolist()} in setting {setting.name!r} instead. Use "
            "label_budgets='all'."
        )
    name = baseline_of(setting, baseline)
    curve = setting.curves[name].mean(axis=0) * (1.0 if greater_is_better else -1.0)
    final = curve[-1]
    if np.isnan(final):
        raise ValueError(
            f"label_budgets='doubling' needs the baseline's final score. {name!r} has none in "
            f"setting {setting.name!r}. Use label_budgets='all'."
        )
    learned = np.flatnonzero(curve >= (0.99 * final if final > 0 else final / 0.99))[0]
    batches = int((setting.n_labels[learned] - setting.n_labels[0]) // steps[0])
    # floor(log2(batches)) of them, in exact integers.
    return 2 ** np.arange(max(batches.bit_length() - 1, 0), dtype=np.int64)


def complete_rounds(settings, rounds, names, *, stacklevel=3):
    """Leave out, with a warning, the rounds at which some strategy has no score."""
    kept = [
        np.array([t for t in some if setting.has(names, t)], dtype=np.int64)
        for setting, some in zip(settings, rounds, strict=True)
    ]
    n_all, n_kept = sum(map(len, rounds)), sum(map(len, kept))
    if n_kept < n_all:
        where = [
            s.name
            for s, some, left in zip(settings, rounds, kept, strict=True)
            if len(left) < len(some)
        ]
        missing = [
            name
            for name in names
            if not all(
                s.has([name], t) for s, some in zip(settings, rounds, strict=True) for t in some
            )
        ]
        warnings.warn(
            f"{n_all - n_kept} of {n_all} label budgets are left out for every strategy, because "
            f"{missing} have no score there (settings {where}).",
            UserWarning,
            stacklevel=stacklevel,
        )
    return kept


def check_any_rounds(settings, rounds, *, stacklevel=3):
    """Raise if no setting has a label budget, warn if some have none."""
    empty = [setting.name for setting, some in zip(settings, rounds, strict=True) if len(some) == 0]
    if len(empty) == len(settings):
        raise ValueError(
            "No setting has a label budget to compare at: with label_budgets='doubling' the "
            "baseline must need more than the initial labels and one batch for 99 % of its final "
            "score. Run larger budgets or smaller batches, or use label_budgets='all'."
        )
    if empty:
        warnings.warn(
            f"Settings {empty} do not count: their baseline reaches 99 % of its final score within "
            "the first batch.",
            UserWarning,
            stacklevel=stacklevel,
        )


def critical_value(threshold, test, n_runs):
    """Return the value beyond which a paired statistic over `n_runs` is significant."""
    return threshold if test == "z" else stats.t.isf(stats.norm.sf(threshold), n_runs - 1)


def check_test(threshold, test):
    """Check the two arguments that say what is significant."""
    check_option("test", test, TESTS)
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or not threshold > 0:
        raise ValueError(f"threshold must be a number above 0. Got {threshold!r} instead.")


def check_runs(setting):
    """Check that a setting has the two repeats that a paired test needs."""
    n_runs = len(next(iter(setting.curves.values())))
    if n_runs < 2:
        raise ValueError(
            f"A paired comparison needs at least 2 repeats. Got {n_runs} in setting "
            f"{setting.name!r} instead."
        )
    return n_runs


def check_option(name, value, allowed):
    """Check that an argument is one of a few strings."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}. Got {value!r} instead.")
