"""Public checks of the contract of batch selectors, whatever test framework is in use."""

import inspect
import pickle

import numpy as np
import torch
from sklearn.base import clone

from skal.utils._rows import Rows


def check_batch_selector(selector):
    """Check that a batch selector keeps its contract.

    Parameters
    ----------
    selector : BatchSelector
        An instance with the parameters to check. It is cloned, never changed.

    Raises
    ------
    AssertionError
        If the contract is broken; the message says how, and on what input.

    See Also
    --------
    skal.selection.BatchSelector : The contract.

    Notes
    -----
    Checked are: distinct int64 positions in range, on random rows, duplicates, zeros and one-row
    pools; a permutation when all rows are asked for; more than the pool, none, and NaN raise; the
    same seed gives the same batch, and the first rows of a larger batch where the class says so
    (`_prefix_stable`); labelled rows and scores are accepted; arrays, tensors, read-only memory and
    `Rows`, dense or factored, give the same batch; inputs, the selector and the global random
    generators of NumPy and torch stay untouched; `clone`, `pickle`, `get_params`.

    Examples
    --------
    >>> from skal.selection import TopK
    >>> from skal.testing._selector_checks import check_batch_selector
    >>> check_batch_selector(TopK())
    """
    for check in _CHECKS:
        check(selector)


# ---------------------------------------------------------------------- helpers


def _seeded(selector, seed=0):
    """A clone whose random numbers are its own."""
    copy = clone(selector)
    if "random_state" in copy.get_params(deep=False):
        copy.set_params(random_state=seed)
    return copy


def _pools():
    """Pairs (what they are, rows): random ones, and those that go wrong easily."""
    rng = np.random.RandomState(0)
    for width in (1, 8):
        random = rng.standard_normal((40, width))
        yield f"40 random rows of {width} columns", random
        yield f"10 rows of {width} columns, 4 times each", np.tile(random[:10], (4, 1))
        yield f"40 rows of {width} zeros", np.zeros((40, width))
        yield f"40 equal rows of {width} columns", np.tile(random[:1], (40, 1))
        yield f"one row of {width} columns", random[:1]


def _scores(Z):
    """Scores that fit any pool: from the first column."""
    return np.ascontiguousarray(Z[:, 0], dtype=np.float64)


def _assert_positions(positions, n_instances, n_pool, name, what):
    assert isinstance(positions, np.ndarray), (
        f"{name} must return an ndarray. Got {type(positions).__name__} on {what}."
    )
    assert positions.dtype == np.int64 and positions.shape == (n_instances,), (
        f"{name} must return int64 positions of shape ({n_instances},). Got {positions.dtype} of "
        f"shape {positions.shape} on {what}."
    )
    assert positions.min() >= 0 and positions.max() < n_pool, (
        f"{name} returned positions outside [0, {n_pool}) on {what}: {positions}."
    )
    assert len(set(positions.tolist())) == n_instances, (
        f"{name} returned a position twice on {what}: {positions}."
    )


def _assert_equal(found, expected, message):
    assert np.array_equal(found, expected), f"{message} Got {found} and {expected}."


def _assert_raises(call, errors, message):
    try:
        call()
    except errors as error:
        assert str(error), f"{message} It did, without a word."
        return
    raise AssertionError(message)


# ---------------------------------------------------------------------- the checks


def _check_parameters(selector):
    name = type(selector).__name__
    names = [key for key in inspect.signature(type(selector).__init__).parameters if key != "self"]
    parameters = selector.get_params(deep=False)
    assert sorted(parameters) == sorted(names), (
        f"get_params of {name} must name the arguments of __init__. Got {sorted(parameters)} "
        f"and {sorted(names)}."
    )
    for copy, how in ((clone(selector), "clone"), (pickle.loads(pickle.dumps(selector)), "pickle")):
        assert type(copy) is type(selector) and repr(copy) == repr(selector), (
            f"{how} must give an equal {name}. Got {copy!r} and {selector!r}."
        )
    for key, value in clone(selector).get_params(deep=False).items():
        assert repr(value) == repr(parameters[key]), f"clone of {name} changed {key!r}."


def _check_positions(selector):
    name = type(selector).__name__
    for what, Z in _pools():
        for n_instances in sorted({1, min(7, len(Z)), len(Z)}):
            positions = _seeded(selector).select(Z, n_instances, scores=_scores(Z))
            _assert_positions(positions, n_instances, len(Z), name, what)


def _check_labeled_rows(selector):
    """All rows of the pool are labelled rows as well, or none is."""
    name = type(selector).__name__
    for what, Z in _pools():
        labelled = _seeded(selector).select(Z, len(Z), Z_labeled=Z, scores=_scores(Z))
        _assert_positions(labelled, len(Z), len(Z), name, f"{what}, all labelled")
        alone = _seeded(selector).select(Z, 1, Z_labeled=Z[:0], scores=_scores(Z))
        _assert_positions(alone, 1, len(Z), name, f"{what}, with Z_labeled of no rows")


def _check_bad_input(selector):
    name = type(selector).__name__
    for what, Z in _pools():
        scores = _scores(Z)
        for n_instances in (0, -1, len(Z) + 1):
            _assert_raises(
                lambda Z=Z, n=n_instances, s=scores: _seeded(selector).select(Z, n, scores=s),
                ValueError,
                f"{name} must raise ValueError when asked for {n_instances} of {len(Z)} rows.",
            )
        bad = Z.copy()
        bad[-1, 0] = np.nan
        _assert_raises(
            lambda bad=bad, s=scores: _seeded(selector).select(bad, 1, scores=s),
            ValueError,
            f"{name} must raise ValueError on NaN ({what}).",
        )
        wide = np.zeros((3, Z.shape[1] + 1))
        _assert_raises(
            lambda Z=Z, s=scores, w=wide: _seeded(selector).select(Z, 1, scores=s, Z_labeled=w),
            ValueError,
            f"{name} must raise ValueError where Z_labeled has other columns than Z.",
        )
        _assert_raises(
            lambda Z=Z, s=scores: _seeded(selector).select(Z, 1, scores=np.append(s, 0.0)),
            ValueError,
            f"{name} must raise ValueError where scores is longer than Z.",
        )
    _assert_raises(
        lambda: _seeded(selector).select(np.zeros((0, 1)), 1, scores=np.zeros(0)),
        ValueError,
        f"{name} must raise ValueError on an empty pool.",
    )


def _check_same_seed(selector):
    name = type(selector).__name__
    for what, Z in _pools():
        for labelled in (None, Z[:5] + 0.5):
            options = {"scores": _scores(Z), "Z_labeled": labelled}
            whole = _seeded(selector).select(Z, len(Z), **options)
            again = _seeded(selector).select(Z, len(Z), **options)
            _assert_equal(again, whole, f"{name} must repeat itself for one seed on {what}.")
            if not getattr(selector, "_prefix_stable", False):
                continue
            for n_instances in sorted({1, len(Z) // 3, len(Z) - 1} - {0}):
                part = _seeded(selector).select(Z, n_instances, **options)
                _assert_equal(
                    part,
                    whole[:n_instances],
                    f"{name} says that a batch of {n_instances} is the start of a batch of "
                    f"{len(Z)} (_prefix_stable), on {what} it is not.",
                )


def _check_scores_returned(selector):
    name = type(selector).__name__
    for what, Z in _pools():
        for labelled in (None, Z[:3]):
            options = {"scores": _scores(Z), "Z_labeled": labelled}
            alone = _seeded(selector).select(Z, 1, **options)
            both = _seeded(selector).select(Z, 1, return_scores=True, **options)
            assert isinstance(both, tuple) and len(both) == 2, (
                f"{name} must return positions and scores with return_scores=True."
            )
            _assert_equal(both[0], alone, f"return_scores changes the rows {name} picks on {what}.")
            assert both[1].shape == (len(Z),) and both[1].dtype == np.float64, (
                f"{name} must return float64 scores of shape ({len(Z)},). Got {both[1].dtype} of "
                f"shape {both[1].shape}."
            )
            assert np.isfinite(both[1]).all(), f"{name} returned scores that are not finite."


def _check_containers(selector):
    name = type(selector).__name__
    for what, Z in _pools():
        Z = Z.astype(np.float32)
        labelled = Z[:3] + np.float32(0.5)
        scores = _scores(Z)
        n_instances = min(7, len(Z))

        def pick(Z, labelled, scores=scores, n_instances=n_instances):
            return _seeded(selector).select(Z, n_instances, Z_labeled=labelled, scores=scores)

        frozen = Z.copy()
        frozen.setflags(write=False)
        expected = pick(Z, labelled)
        others = {
            "a tensor": (torch.from_numpy(Z), torch.from_numpy(labelled)),
            "a tensor that requires grad": (
                torch.from_numpy(Z).requires_grad_(),
                torch.from_numpy(labelled),
            ),
            "a read-only array": (frozen, labelled),
            "an array in Fortran order": (np.asfortranarray(Z), labelled),
            "Rows": (Rows(Z), Rows(torch.from_numpy(labelled))),
        }
        for kind, (rows, rows_labelled) in others.items():
            _assert_equal(
                pick(rows, rows_labelled), expected, f"{name} picks other rows of {kind} ({what})."
            )
        factored, factored_labelled = _factored(Z), _factored(labelled)
        _assert_equal(
            pick(factored, factored_labelled),
            pick(factored.dense(), factored_labelled.dense()),
            f"{name} picks other rows of factored Rows than of the matrix they stand for ({what}).",
        )


def _factored(Z):
    """Rows with two factors per row, or one where there is one column; powers of two, so exact."""
    factors = np.ones((len(Z), min(2, Z.shape[1])), dtype=Z.dtype)
    factors[:, -1] = 0.5
    return Rows(Z, factors)


def _check_nothing_is_touched(selector):
    name = type(selector).__name__
    for what, Z in _pools():
        copy = _seeded(selector)
        before = repr(copy), dict(vars(copy))
        labelled, scores = Z[:3] + 0.5, _scores(Z)
        originals = [array.copy() for array in (Z, labelled, scores)]
        numpy_state, torch_state = np.random.get_state(), torch.random.get_rng_state()
        copy.select(Z, min(7, len(Z)), Z_labeled=labelled, scores=scores, return_scores=True)
        for array, original in zip((Z, labelled, scores), originals, strict=True):
            assert np.array_equal(array, original), f"{name} wrote to its input ({what})."
        assert repr(copy) == before[0] and vars(copy) == before[1], (
            f"select must leave {name} as it is: it has parameters and no fit."
        )
        same = all(
            np.array_equal(old, new)
            for old, new in zip(numpy_state, np.random.get_state(), strict=True)
        )
        assert same, f"{name} drew from NumPy's global generator, given a seed of its own."
        assert torch.equal(torch_state, torch.random.get_rng_state()), (
            f"{name} drew from torch's global generator."
        )


_CHECKS = (
    _check_parameters,
    _check_positions,
    _check_labeled_rows,
    _check_bad_input,
    _check_same_seed,
    _check_scores_returned,
    _check_containers,
    _check_nothing_is_touched,
)
