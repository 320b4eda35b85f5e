"""Whether two classifiers differ on one test set: permutation tests."""

from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from skal.metrics._auca import trapezoid_weights
from skal.metrics._budget import check_curves
from skal.metrics._settings import check_option

_STATISTICS = ("accuracy", "auca", "auca_ratio")
_KINDS = ("paired", "label")
# Random signs held at once: 8 MB as float64.
_BLOCK = 1_000_000


class PermutationTestResult(NamedTuple):
    """What was observed, and how often chance alone does as much.

    Parameters
    ----------
    statistic : float
        Observed difference, first minus second.

    pvalue : float
        Two-sided p-value.
    """

    statistic: float
    pvalue: float


def permutation_test(
    y_true,
    pred_a,
    pred_b,
    statistic="accuracy",
    n_perm=10_000,
    *,
    kind="paired",
    pred_random=None,
    x=None,
    random_state=None,
):
    """Test whether two classifiers, or two strategies' classifiers, differ on a test set.

    Parameters
    ----------
    y_true : array-like of shape (n_test,)
        True classes; at least two different ones.

    pred_a, pred_b : array-like of shape (n_test,) or (n_rounds, n_test)
        Predicted classes of the two. One row per round for areas, without the initial model if it
        is not to count.

    statistic : {"accuracy", "auca", "auca_ratio"}, default="accuracy"
        What the difference is taken of: the accuracy (one prediction per test row), the
        area under the accuracy curve (:func:`auca`), or that area relative to random's.

    n_perm : int, default=10000
        Number of random permutations: the p-value is uncertain by sqrt(p (1 - p) / n_perm).

    kind : {"paired", "label"}, default="paired"
        "paired" asks whether the two are equally good: it flips coins for who was right where the
        two differ. "label" is the published test: it permutes the true labels, so what it rejects
        is that predictions have nothing to do with labels. With many classes it calls accuracies
        different too easily, and ratios of areas hardly ever (see Notes); use it to reproduce
        published numbers only.

    pred_random : array-like of shape (n_rounds, n_test) or None, default=None
        Predictions of random sampling's classifiers; needed for "auca_ratio", and only there. To
        compare with random itself pass the same as `pred_b`.

    x : array-like of shape (n_rounds,) or None, default=None
        Number of labels at each round, strictly increasing, for areas. None is the number of the
        round.

    random_state : int, RandomState instance or None, default=None
        Seeds the permutations.

    Returns
    -------
    result : PermutationTestResult
        Named pair ``(statistic, pvalue)``: the observed difference, a minus b, and its two-sided
        p-value. Identical predictions have p-value 1; exchanging `pred_a` and `pred_b` turns the
        sign of the statistic and leaves the p-value.

    Raises
    ------
    ValueError
        If the test set is empty or has a single class, shapes do not fit, or an option is
        unknown.

    See Also
    --------
    paired_z : Compares over repeats, which also cover the luck of training.
    auca_ratio : The ratio itself.

    Notes
    -----
    Let :math:`c_{ti}` be 1 where classifier a is right about test row i at round t, 0 elsewhere,
    :math:`c'_{ti}` the same for b, and :math:`w_t` the weights of the rounds (1 for the accuracy,
    trapezoidal for areas). The observed statistic is the mean over rows of
    :math:`d_i = \\sum_t w_t (c_{ti} - c'_{ti})`, divided by random's area for "auca_ratio".

    - "paired": each :math:`d_i` gets a random sign, the same one for all rounds, so that the rounds
      stay as dependent as they are. :math:`p = (1 + \\#\\{|T^*| \\ge |T|\\}) / (1 + n_{perm})`,
      which is above 0. For the accuracy it estimates the exact McNemar test. Random's area is no
      part of the flips: "auca_ratio" has the p-value of "auca".
    - "label": one permutation of `y_true` for all rounds; :math:`p = \\#\\{|T^*| \\ge |T|\\} /
      n_{perm}`, which may be 0. Random's area is computed again from permuted labels. It falls to
      the level of guessing, so that permuted ratios spread wider than the observed one: large
      p-values are to be expected.

    The publication tests each trial on its own and reports the largest p-value. Both kinds take the
    trained classifiers as given: a small p-value says that these two differ, not that
    the strategies do. Rows are taken as independent.

    Cost: O(n_perm n_rows where the two differ) for "paired", O(n_perm n_rounds n_test) for "label".

    References
    ----------
    Xia, Henao (2023). Reliable active learning via influence functions. Transactions on Machine
    Learning Research, https://openreview.net/forum?id=dN9YICB6hN, appendix A.7 (kind "label").

    McNemar (1947). Note on the sampling error of the difference between correlated proportions or
    percentages. Psychometrika 12, 153-157.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.metrics import permutation_test
    >>> y = np.arange(100) % 2
    >>> good, poor = y.copy(), y.copy()
    >>> good[:10] = 1 - y[:10]
    >>> poor[:30] = 1 - y[:30]
    >>> result = permutation_test(y, good, poor, random_state=0)
    >>> round(result.statistic, 6), result.pvalue < 0.01
    (0.2, True)
    >>> permutation_test(y, good, good, random_state=0).pvalue
    1.0
    """
    check_option("statistic", statistic, _STATISTICS)
    check_option("kind", kind, _KINDS)
    if isinstance(n_perm, bool) or not isinstance(n_perm, Integral) or n_perm < 1:
        raise ValueError(f"n_perm must be an int of at least 1. Got {n_perm!r} instead.")
    if (pred_random is None) == (statistic == "auca_ratio"):
        raise ValueError(
            "pred_random must be given for statistic='auca_ratio', and only there. Got "
            f"{'None' if pred_random is None else 'predictions'} for {statistic!r} instead."
        )
    y, a, b, r = _as_codes(y_true, pred_a, pred_b, pred_random)
    weights = _weights(statistic, a.shape[0], x)
    rng = check_random_state(random_state)
    if kind == "paired":
        return _paired_test(y, a, b, r, weights, n_perm, rng)
    return _label_test(y, a, b, r, weights, n_perm, rng)


def _paired_test(y, a, b, r, weights, n_perm, rng):
    gains = weights @ ((a == y).astype(np.float64) - (b == y))
    level = 1.0 if r is None else _area(y, r, weights)
    if level == 0:
        raise ValueError("Random's area is 0: pred_random is wrong about every test row.")
    observed = gains.sum()
    gains = gains[gains != 0]
    # Sums of signed parts in another order may differ by rounding; they are still ties.
    bar = abs(observed) - 1e-12 * np.abs(gains).sum()
    count, block = 0, max(_BLOCK // max(len(gains), 1), 1)
    for start in range(0, n_perm, block):
        size = (min(block, n_perm - start), len(gains))
        signs = 2.0 * rng.randint(0, 2, size=size, dtype=np.int8) - 1.0
        count += int((np.abs(signs @ gains) >= bar).sum())
    return PermutationTestResult(float(observed / len(y) / level), (1 + count) / (1 + n_perm))


def _label_test(y, a, b, r, weights, n_perm, rng):
    observed = _difference(y, a, b, r, weights)
    bar = abs(observed) * (1 - 1e-12)
    count = sum(
        abs(_difference(rng.permutation(y), a, b, r, weights)) >= bar for _ in range(n_perm)
    )
    return PermutationTestResult(float(observed), count / n_perm)


def _difference(y, a, b, r, weights):
    difference = _area(y, a, weights) - _area(y, b, weights)
    if r is None or difference == 0:
        return difference
    level = _area(y, r, weights)
    return difference / level if level > 0 else np.copysign(np.inf, difference)


def _area(y, predictions, weights):
    return float(weights @ (predictions == y).mean(axis=1))


def _weights(statistic, n_rounds, x):
    if statistic == "accuracy":
        if n_rounds != 1 or x is not None:
            raise ValueError(
                "statistic='accuracy' takes predictions of shape (n_test,) and no x. Got "
                f"{n_rounds} rounds{'' if x is None else ' and x'} instead. Use statistic='auca' "
                "for whole curves."
            )
        return np.ones(1)
    x = np.arange(n_rounds) if x is None else x
    x, _ = check_curves(x, np.zeros(n_rounds))
    return trapezoid_weights(x)


def _as_codes(y_true, *predictions):
    """Classes as integers: the truth (n_test,), predictions (n_rounds, n_test) or None."""
    y_true = np.asarray(y_true)
    if y_true.ndim != 1 or len(y_true) == 0:
        raise ValueError(
            "y_true must have shape (n_test,) with at least one row. "
            f"Got shape {y_true.shape} instead."
        )
    if (y_true == y_true[0]).all():
        raise ValueError(
            f"y_true must have at least 2 classes. Got only {y_true.tolist()[0]!r} instead."
        )
    tables = [None if p is None else np.atleast_2d(np.asarray(p)) for p in predictions]
    for name, table in zip(("pred_a", "pred_b", "pred_random"), tables, strict=True):
        if table is not None and (table.ndim != 2 or table.shape[1] != len(y_true)):
            raise ValueError(
                f"{name} must have shape ({len(y_true)},) or (n_rounds, {len(y_true)}), one class "
                f"per row of y_true. Got shape {table.shape} instead."
            )
    given = [table for table in tables if table is not None]
    shapes = [table.shape for table in given]
    if len(set(shapes)) > 1 or shapes[0][0] == 0:
        raise ValueError(f"All predictions must have the same rounds. Got shapes {shapes} instead.")
    codes = np.unique(np.concatenate([y_true, *map(np.ravel, given)]), return_inverse=True)[1]
    pieces = iter(np.split(codes, np.cumsum([len(y_true), *[t.size for t in given]]))[:-1])
    y = next(pieces)
    return y, *[None if t is None else next(pieces).reshape(t.shape) for t in tables]
