"""Pools whose labels are noise in places: some rows are easy, others cannot be learnt."""

from numbers import Integral, Real

import numpy as np
from sklearn.datasets import make_moons
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.validation import check_consistent_length

from skal.utils._compat import Interval, StrOptions, validate_params

N_KINDS = 100  # colours of make_noisy_diverse, distinct noisy rows of make_noisy_class
N_LABELS_OF_KIND = 3

_COMMON = {
    "noise_fraction": [Interval(Real, 0, 1, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
}


@validate_params(
    {
        "noise": [Interval(Real, 0, None, closed="left")],
        "copies": [Interval(Integral, 0, None, closed="left")],
        "n_samples": [Interval(Integral, 4, None, closed="left")],
        "test_seed": ["random_state"],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_four_moons(
    *, n_samples=12_000, noise=0.1, copies=6, test_seed=None, shuffle=True, random_state=None
):
    """Make four moons, one of them with random labels and repeated: the toy of the LHD paper.

    Two interleaving moons twice, side by side: classes 0 and 1 on the left, 2 and 3 on the right.
    Every point of class 0 gets one of the four labels at random, once, and stands in the pool
    ``1 + copies`` times with that label.

    Parameters
    ----------
    n_samples : int, default=12000
        Number of distinct points, a multiple of 4.

    noise : float, default=0.1
        Standard deviation of the noise added to the inputs.

    copies : int, default=6
        How often the points of class 0 are repeated. With 6, 70 % of the pool are noisy.

    test_seed : int, RandomState or None, default=None
        None tests on the points of the pool, as published; otherwise the test points are drawn
        anew from this seed.

    shuffle : bool, default=True
        Whether the rows of the pool come in random order; otherwise the copies come last.

    random_state : int, RandomState or None, default=None
        Seeds points, labels and order.

    Returns
    -------
    moons : Bunch
        With the attributes

        - `data`: ndarray of shape (n_samples (1 + copies / 4), 2), the pool;
        - `target`: int64 ndarray, its labels;
        - `is_noisy`: bool ndarray, the rows whose label is pure chance;
        - `data_test`: ndarray of shape (n_samples, 2);
        - `target_test`: int64 ndarray, the true classes of these.

    See Also
    --------
    make_noisy_class : Random labels in a class of your own data.

    References
    ----------
    S. Khosla, C. K. Whye, J. T. Ash, C. Zhang, K. Kawaguchi and A. Lamb (2022). Understanding and
    improving neural active learning on heteroskedastic distributions. arXiv:2211.00928, Figure 1.

    Examples
    --------
    >>> from skal.datasets import make_four_moons
    >>> moons = make_four_moons(random_state=123)
    >>> moons.data.shape, float(moons.is_noisy.mean())
    ((30000, 2), 0.7)
    """
    if n_samples % 4:
        raise ValueError(f"n_samples must be a multiple of 4. Got {n_samples} instead.")
    rng = check_random_state(random_state)
    X, y = _moons_twice(n_samples, noise, rng)
    X_test, y_test = X, y
    if test_seed is not None:
        X_test, y_test = _moons_twice(n_samples, noise, check_random_state(test_seed))
    noisy = np.flatnonzero(y == 0)
    labels = y.copy()
    labels[noisy] = rng.randint(4, size=len(noisy))
    rows = np.concatenate([np.arange(n_samples), np.tile(noisy, copies)])
    if shuffle:
        rows = rng.permutation(rows)
    return Bunch(
        data=X[rows],
        target=labels[rows],
        is_noisy=(y == 0)[rows],
        data_test=X_test,
        target_test=y_test,
    )


def _moons_twice(n_samples, noise, rng):
    X, y = make_moons(n_samples // 2, noise=noise, random_state=rng)
    return np.vstack([X, X + [4, 0]]), np.concatenate([y, y + 2]).astype(np.int64)


@validate_params(
    {"X": ["array-like"], "y": ["array-like"], "value": [Real, "array-like", None], **_COMMON},
    prefer_skip_nested_validation=True,
)
def make_noisy_blank(X, y, *, noise_fraction=0.8, value=None, shuffle=True, random_state=None):
    """Add blank rows with random labels to a classification data set.

    Parameters
    ----------
    X : array-like of shape (n_clean, ...)
        Clean rows: a table, or images of shape (n_clean, n_channels, height, width).

    y : array-like of shape (n_clean,)
        Their classes.

    noise_fraction : float, default=0.8
        Share of noisy rows in the result, f: round(n_clean f / (1 - f)) of them are added.

    value : float, array-like of the shape of a row, or None, default=None
        What a blank row holds. None is 0 for images, and the smallest value of each column for
        tables.

    shuffle : bool, default=True
        Whether the rows come in random order. Otherwise the noisy ones come last, as in the
        published code.

    random_state : int, RandomState or None, default=None
        Seeds labels and order.

    Returns
    -------
    X : ndarray of shape (n_clean + n_noisy, ...)
        Clean and noisy rows.

    y : ndarray of shape (n_clean + n_noisy,)
        Labels; those of noisy rows are uniform over all classes.

    is_noisy : ndarray of shape (n_clean + n_noisy,), dtype bool
        Which rows are noisy.

    info : Bunch
        `n_noisy`; `n_unique_noisy`, the number of distinct noisy rows; `accuracy_ceiling`, the
        best accuracy on clean test rows distributed like `X`.

    See Also
    --------
    skal.metrics.clean_fraction : The share of clean rows among those a strategy asked about.

    References
    ----------
    S. Khosla, C. K. Whye, J. T. Ash, C. Zhang, K. Kawaguchi and A. Lamb (2022). Understanding and
    improving neural active learning on heteroskedastic distributions. arXiv:2211.00928, section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skal.datasets import make_noisy_blank
    >>> X, y = load_digits(return_X_y=True)
    >>> X_all, y_all, is_noisy, info = make_noisy_blank(X, y, random_state=0)
    >>> X_all.shape, info.n_noisy, info.n_unique_noisy
    ((8985, 64), 7188, 1)
    """
    X, y, rng = _checked(X, y, random_state)
    n_noisy = _n_noisy(len(X), noise_fraction)
    if value is None:
        value = 0 if X.ndim > 2 else X.min(axis=0)
    blank = np.broadcast_to(np.asarray(value, dtype=X.dtype), X.shape[1:])
    labels = rng.choice(np.unique(y), n_noisy)
    noisy = np.broadcast_to(blank, (n_noisy, *X.shape[1:]))
    return _joined(X, y, noisy, labels, int(n_noisy > 0), 1.0, shuffle, rng)


@validate_params(
    {
        "X": ["array-like"],
        "y": ["array-like"],
        "n_kinds": [Interval(Integral, 1, None, closed="left")],
        **_COMMON,
    },
    prefer_skip_nested_validation=True,
)
def make_noisy_diverse(
    X, y, *, noise_fraction=0.8, n_kinds=N_KINDS, shuffle=True, random_state=None
):
    """Add rows of a hundred kinds, each with three random labels of its own.

    Parameters
    ----------
    X : array-like of shape (n_clean, ...)
        Clean rows: a table, or images of shape (n_clean, n_channels, height, width).

    y : array-like of shape (n_clean,)
        Their classes.

    noise_fraction : float, default=0.8
        Share of noisy rows in the result, f: round(n_clean f / (1 - f)) of them are added.

    n_kinds : int, default=100
        Number of distinct noisy rows. A kind of image has one colour, uniform in the range of each
        channel of `X` (one of 255 steps from its smallest value); a kind of table row is uniform
        in the bounding box of `X`.

    shuffle : bool, default=True
        Whether the rows come in random order. Otherwise the noisy ones come last.

    random_state : int, RandomState or None, default=None
        Seeds kinds, labels and order.

    Returns
    -------
    X : ndarray of shape (n_clean + n_noisy, ...)
        Clean and noisy rows.

    y : ndarray of shape (n_clean + n_noisy,)
        Labels. Each kind has three classes of its own (all of them, where there are fewer); the
        label of a noisy row is uniform over them.

    is_noisy : ndarray of shape (n_clean + n_noisy,), dtype bool
        Which rows are noisy.

    info : Bunch
        `n_noisy`; `n_unique_noisy`, the number of distinct noisy rows; `accuracy_ceiling`, the
        best accuracy on clean test rows distributed like `X`; `kind_labels`, ndarray of shape
        (n_kinds, 3), the classes of each kind.

    See Also
    --------
    make_noisy_blank : One kind, any label.

    References
    ----------
    S. Khosla, C. K. Whye, J. T. Ash, C. Zhang, K. Kawaguchi and A. Lamb (2022). Understanding and
    improving neural active learning on heteroskedastic distributions. arXiv:2211.00928, section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skal.datasets import make_noisy_diverse
    >>> X, y = load_digits(return_X_y=True)
    >>> X_all, y_all, is_noisy, info = make_noisy_diverse(X, y, random_state=0)
    >>> info.n_unique_noisy, info.kind_labels.shape
    (100, (100, 3))
    """
    X, y, rng = _checked(X, y, random_state)
    n_noisy, classes = _n_noisy(len(X), noise_fraction), np.unique(y)
    kinds = _random_rows(X, n_kinds, rng)
    n_labels = min(N_LABELS_OF_KIND, len(classes))
    kind_labels = np.array([rng.permutation(classes)[:n_labels] for _ in range(n_kinds)])
    kind = rng.randint(n_kinds, size=n_noisy)
    labels = kind_labels[kind, rng.randint(n_labels, size=n_noisy)]
    n_unique = len(np.unique(kind))
    found = _joined(X, y, kinds[kind], labels, n_unique, 1.0, shuffle, rng)
    found[3].kind_labels = kind_labels
    return found


@validate_params(
    {
        "X": ["array-like"],
        "y": ["array-like"],
        "noisy_class": "no_validation",
        "corrupt": [StrOptions({"selected", "all"})],
        "n_unique": [Interval(Integral, 1, None, closed="left")],
        **_COMMON,
    },
    prefer_skip_nested_validation=True,
)
def make_noisy_class(
    X,
    y,
    *,
    noisy_class=None,
    noise_fraction=0.8,
    corrupt="selected",
    n_unique=N_KINDS,
    shuffle=True,
    random_state=None,
):
    """Repeat rows of one class with random labels.

    Parameters
    ----------
    X : array-like of shape (n_clean, ...)
        Clean rows: a table, or images.

    y : array-like of shape (n_clean,)
        Their classes.

    noisy_class : label or None, default=None
        The class whose rows are repeated. None is the second in sorted order, as published.

    noise_fraction : float, default=0.8
        Share of noisy rows, f: round(n_clean f / (1 - f)) copies are added, n_clean being the
        number of rows of `X`.

    corrupt : {"selected", "all"}, default="selected"
        "selected" (the paper) takes `n_unique` random rows of the class out of the clean part and
        repeats them; the other rows of the class keep their label. "all" (the published code)
        repeats the first `n_unique` rows of the class, and gives every original row of the class a
        random label too: then no row says what the class is, and `accuracy_ceiling` is the share
        of the other classes.

    n_unique : int, default=100
        Number of distinct rows that are repeated. Where the class has no more, half of it with
        ``corrupt="selected"``, so that clean rows are left to say what the class is; all of it with
        "all".

    shuffle : bool, default=True
        Whether the rows come in random order. Otherwise the copies come last.

    random_state : int, RandomState or None, default=None
        Seeds rows, labels and order.

    Returns
    -------
    X : ndarray of shape (n_samples, ...)
        Clean and noisy rows.

    y : ndarray of shape (n_samples,)
        Labels; those of noisy rows are uniform over all classes, anew for each copy.

    is_noisy : ndarray of shape (n_samples,), dtype bool
        Which rows are noisy.

    info : Bunch
        `n_noisy`; `n_unique_noisy`, the number of distinct noisy rows; `accuracy_ceiling`, the
        best accuracy on clean test rows distributed like `X`.

    See Also
    --------
    make_noisy_diverse : Noisy rows that look like no class.

    References
    ----------
    S. Khosla, C. K. Whye, J. T. Ash, C. Zhang, K. Kawaguchi and A. Lamb (2022). Understanding and
    improving neural active learning on heteroskedastic distributions. arXiv:2211.00928, section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skal.datasets import make_noisy_class
    >>> X, y = load_digits(return_X_y=True)
    >>> X_all, y_all, is_noisy, info = make_noisy_class(X, y, corrupt="all", random_state=0)
    >>> round(info.accuracy_ceiling, 3)
    0.899
    """
    X, y, rng = _checked(X, y, random_state)
    n_copies, classes = _n_noisy(len(X), noise_fraction), np.unique(y)
    if noisy_class is None:
        noisy_class = classes[min(1, len(classes) - 1)]
    members = np.flatnonzero(y == noisy_class)
    if len(members) == 0:
        raise ValueError(
            f"noisy_class must be one of the classes {classes.tolist()[:10]}. Got "
            f"{noisy_class!r} instead."
        )
    if corrupt == "selected":
        copied, ceiling = rng.permutation(members)[: _n_taken(members, n_unique, noisy_class)], 1.0
        noisy, clean = rng.choice(copied, n_copies), np.setdiff1d(np.arange(len(X)), copied)
        distinct = len(np.unique(noisy))
    else:
        copied, ceiling = members[:n_unique], 1.0 - len(members) / len(X)
        noisy = np.concatenate([members, rng.choice(copied, n_copies)])
        clean, distinct = np.setdiff1d(np.arange(len(X)), members), len(members)
    labels = rng.choice(classes, len(noisy))
    return _joined(X[clean], y[clean], X[noisy], labels, distinct, ceiling, shuffle, rng)


# ---------------------------------------------------------------------------------- plumbing


def _n_taken(members, n_unique, noisy_class):
    """How many rows of a class are taken out of the clean part: never all of them."""
    if len(members) < 2:
        raise ValueError(
            f"Class {noisy_class!r} has a single row, and corrupt='selected' must leave a clean "
            "one. Name a larger noisy_class, or use corrupt='all'."
        )
    return n_unique if n_unique < len(members) else len(members) // 2


def _checked(X, y, random_state):
    X, y = np.asarray(X), np.asarray(y)
    check_consistent_length(X, y)
    if X.ndim < 2 or len(X) == 0 or X.dtype.kind not in "biuf":
        raise ValueError(
            "X must hold numeric rows: a table (n_samples, n_features) or images (n_samples, "
            f"n_channels, height, width). Got shape {X.shape} and dtype {X.dtype} instead."
        )
    if y.ndim != 1:
        raise ValueError(f"y must be 1-D, a class for each row. Got shape {y.shape} instead.")
    return X, y, check_random_state(random_state)


def _n_noisy(n_clean, noise_fraction):
    return round(noise_fraction / (1 - noise_fraction) * n_clean)


def _random_rows(X, n_kinds, rng):
    """Images of one colour, or rows anywhere in the bounding box: ndarray (n_kinds, ...)."""
    if X.ndim == 2:
        low, high = X.min(axis=0), X.max(axis=0)
        return (low + (high - low) * rng.random_sample((n_kinds, X.shape[1]))).astype(X.dtype)
    axes = (0, *range(2, X.ndim))
    low, high = X.min(axis=axes).astype(float), X.max(axis=axes).astype(float)
    steps = np.floor(255 * rng.random_sample((n_kinds, X.shape[1]))) / 255
    colors = (low + (high - low) * steps).astype(X.dtype)
    return np.broadcast_to(
        colors.reshape(n_kinds, -1, *[1] * (X.ndim - 2)), (n_kinds, *X.shape[1:])
    )


def _joined(X, y, noisy, labels, n_unique, ceiling, shuffle, rng):
    """Clean and noisy rows in one, in random order, with the mask and what is known about it."""
    is_noisy = np.repeat([False, True], [len(X), len(noisy)])
    rows = rng.permutation(len(is_noisy)) if shuffle else np.arange(len(is_noisy))
    info = Bunch(n_noisy=len(noisy), n_unique_noisy=n_unique, accuracy_ceiling=float(ceiling))
    data = np.concatenate([X, noisy])[rows]
    return data, np.concatenate([y, labels])[rows], is_noisy[rows], info
