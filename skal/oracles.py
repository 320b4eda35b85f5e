"""Who answers: oracles that are right, that are wrong in a known way, and people who are asked.

An oracle is any object with two methods. ``fit(X, y)`` shows it the rows of a simulation and their
true labels. ``label(X, rows)`` returns the labels of some rows: `X` holds them, `rows` are their
positions in the X of `fit`; a missing label (NaN or None) is a refusal. Simulations clone an
oracle before they use it, so it needs scikit-learn's ``get_params``, which ``BaseEstimator`` gives.
"""

from numbers import Real

import joblib
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from skal.utils._compat import Interval, StrOptions, _fit_context
from skal.utils._random import draw_seed
from skal.utils._tables import n_rows, one_row, take_rows
from skal.utils.validation import as_target, check_same_length, is_labeled, labeled_target

__all__ = ["CallableOracle", "NoisyOracle", "PerfectOracle", "ask", "k_symmetric_channel"]


def k_symmetric_channel(n_classes, noise):
    """Return the channel that is right with probability 1 - noise, else any other class.

    Parameters
    ----------
    n_classes : int
        Number of classes, K.

    noise : float
        Probability of a wrong label, from 0 to 1.

    Returns
    -------
    channel : ndarray of shape (n_classes, n_classes), dtype float64
        ``channel[i, j]`` is the probability of the answer i where the class is j: 1 - noise on the
        diagonal, noise / (K - 1) elsewhere. Columns sum to 1. With a single class it is the
        identity.

    Raises
    ------
    ValueError
        If `n_classes` is not positive or `noise` not between 0 and 1.

    Examples
    --------
    >>> from skal.oracles import k_symmetric_channel
    >>> k_symmetric_channel(3, 0.5)
    array([[0.5 , 0.25, 0.25],
           [0.25, 0.5 , 0.25],
           [0.25, 0.25, 0.5 ]])
    """
    if n_classes < 1:
        raise ValueError(f"n_classes must be at least 1. Got {n_classes} instead.")
    if not 0 <= noise <= 1:
        raise ValueError(f"noise must be between 0 and 1. Got {noise} instead.")
    if n_classes == 1:
        return np.ones((1, 1))
    channel = np.full((n_classes, n_classes), noise / (n_classes - 1))
    np.fill_diagonal(channel, 1 - noise)
    return channel


class PerfectOracle(BaseEstimator):
    """Answers with the truth.

    Attributes
    ----------
    y_ : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The labels shown in `fit`.

    See Also
    --------
    NoisyOracle : Answers that may be wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.oracles import PerfectOracle
    >>> X, y = np.arange(6.0).reshape(3, 2), np.array([7, 8, 9])
    >>> PerfectOracle().fit(X, y).label(X[[2, 0]], [2, 0])
    array([9, 7])
    """

    def fit(self, X, y):
        """Learn the labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            All rows.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels.

        Returns
        -------
        self : PerfectOracle
            The oracle that knows them.
        """
        y = as_target(y)
        check_same_length(X, y)
        self.y_ = y
        return self

    def label(self, X, rows):
        """Answer.

        Parameters
        ----------
        X : array-like of shape (n_asked, n_features)
            The rows asked about; not looked at.

        rows : array-like of shape (n_asked,) of ints
            Their positions in the X of `fit`.

        Returns
        -------
        y : array-like of shape (n_asked,) or (n_asked, n_outputs)
            Their labels.
        """
        check_is_fitted(self)
        return _answers_of(self.y_, rows)


class NoisyOracle(BaseEstimator):
    """Answers with the truth, sent through a noisy channel.

    The noise is resolute: the answer about a row is settled by the seed and the row. Asking twice
    does not help, and every strategy of a comparison gets the same wrong labels.

    Parameters
    ----------
    noise : float, array-like of shape (n_samples,), callable or None, default=0.1
        Probability of a wrong label: one for all rows, one for each row of the X of `fit`, or a
        function of X that returns one for each row, which simulations with held-out rows need.
        None with a matrix for `channel`.

    channel : {"symmetric", "typewriter"} or array-like of shape (K, K), default="symmetric"
        What a wrong label is. "symmetric" is any other class with equal probability; "typewriter"
        the next class, in sorted order, the first after the last. A matrix holds the probability
        ``channel[i, j]`` of the answer i where the class is j: columns sum to 1.

    resample : bool, default=False
        Whether each answer is drawn anew, also about the same row.

    random_state : int, RandomState or None, default=None
        Seeds the noise. In simulations it is set from their own seed where it is None.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The classes, sorted: the order of the channel.

    channel_ : ndarray of shape (K, K), dtype float64
        Probability of the answer i where the class is j, averaged over the rows.

    y_noisy_ : ndarray of shape (n_samples,)
        The settled answers. Missing labels stay missing. Not there with ``resample=True``.

    See Also
    --------
    skal.neural_network.NoisyChannelClassifier : Learns the channel from the labels.

    Notes
    -----
    With K classes the symmetric answer is :math:`y + r \\bmod K` with :math:`P(r = 0) = 1 -
    \\epsilon` and :math:`P(r = j) = \\epsilon / (K - 1)`. At :math:`\\epsilon = (K - 1) / K` the
    answer says nothing about the class.

    There is no noise model for regression here: add noise to `y`, or write a
    :class:`CallableOracle`.

    References
    ----------
    G. Gupta, A. K. Sahu and W.-Y. Lin (2019). Noisy batch active learning with deterministic
    annealing. arXiv:1909.12473, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.oracles import NoisyOracle
    >>> X, y = np.zeros((1000, 1)), np.arange(1000) % 4
    >>> oracle = NoisyOracle(0.3, random_state=0).fit(X, y)
    >>> float((oracle.y_noisy_ != y).mean())
    0.282
    >>> rows = np.arange(5)
    >>> bool((oracle.label(X[rows], rows) == oracle.label(X[rows], rows)).all())
    True
    """

    # Simulations refuse regressors: class numbers in a float y would pass for classes.
    answers_classes = True

    _parameter_constraints: dict = {
        "noise": [Interval(Real, 0, 1, closed="both"), "array-like", callable, None],
        "channel": [StrOptions({"symmetric", "typewriter"}), "array-like"],
        "resample": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(self, noise=0.1, *, channel="symmetric", resample=False, random_state=None):
        self.noise = noise
        self.channel = channel
        self.resample = resample
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Learn the labels and settle the answers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            All rows.

        y : array-like of shape (n_samples,)
            Their classes; missing ones (NaN, None) stay missing.

        Returns
        -------
        self : NoisyOracle
            The oracle.

        Raises
        ------
        ValueError
            If `y` holds no classes, or `noise` or `channel` do not fit the rows and classes.
        """
        y = as_target(y)
        check_same_length(X, y)
        known = is_labeled(y)
        self._labels = np.asarray(labeled_target(y, known))
        _check_classes(self._labels)
        self.classes_, codes = np.unique(self._labels, return_inverse=True)
        self._place = np.full(len(known), -1)
        self._place[known] = np.arange(len(codes))
        self._codes = codes
        self._noise, self._matrix = self._checked_noise(X, known)
        self.channel_ = self._mean_channel()
        self._rng = np.random.RandomState(draw_seed(self.random_state))
        vars(self).pop("y_noisy_", None)
        if not self.resample:
            # Drawn for all rows at once, so that the answer does not depend on who asks when.
            draws = self._rng.random_sample((len(known), 2))[known].T
            self._settled = self._draw(np.arange(len(codes)), draws)
            answers = self.classes_[self._settled]
            self.y_noisy_ = answers if known.all() else _with_gaps(answers, known)
        return self

    def label(self, X, rows):
        """Answer.

        Parameters
        ----------
        X : array-like of shape (n_asked, n_features)
            The rows asked about; not looked at.

        rows : array-like of shape (n_asked,) of ints
            Their positions in the X of `fit`.

        Returns
        -------
        y : ndarray of shape (n_asked,)
            Their labels, right or wrong.
        """
        check_is_fitted(self, "classes_")
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self._place):
            raise ValueError(
                f"rows must be positions in the X of fit, from 0 to {len(self._place) - 1}. Got "
                f"{rows.min()} to {rows.max()} instead."
            )
        places = self._place[rows]
        if (places < 0).any():
            row = rows[places < 0][0]
            raise ValueError(f"Row {row} had no label in fit, so there is nothing to disturb.")
        if self.resample:
            return self.classes_[self._draw(places, self._rng.random_sample((len(places), 2)).T)]
        return self.classes_[self._settled[places]]

    def _draw(self, places, draws):
        """Class numbers of answers about labelled rows, from two uniform numbers each."""
        codes, n_classes = self._codes[places], len(self.classes_)
        if self._matrix is not None:
            share = np.cumsum(self._matrix[:, codes], axis=0)
            return np.minimum((draws[0] * share[-1] >= share).sum(axis=0), n_classes - 1)
        if n_classes == 1:
            return codes
        steps = np.ones(len(codes), dtype=np.int64)
        if self.channel == "symmetric":
            steps += np.minimum(draws[1] * (n_classes - 1), n_classes - 2).astype(np.int64)
        return np.where(draws[0] < self._noise[places], (codes + steps) % n_classes, codes)

    def _checked_noise(self, X, known):
        """The noise of each labelled row or None, and the channel matrix or None."""
        n_classes, owner = len(self.classes_), type(self).__name__
        if not isinstance(self.channel, str):
            if self.noise is not None:
                raise ValueError(
                    f"'noise' of {owner} must be None where 'channel' is a matrix, which holds all "
                    f"probabilities. Got noise={self.noise!r} instead."
                )
            matrix = np.asarray(self.channel, dtype=np.float64)
            if matrix.shape != (n_classes, n_classes):
                raise ValueError(
                    f"'channel' of {owner} must have a row and a column for each of the "
                    f"{n_classes} classes {self.classes_.tolist()[:10]}. Got shape {matrix.shape} "
                    "instead."
                )
            if not (matrix >= 0).all() or not np.allclose(matrix.sum(axis=0), 1):
                raise ValueError(
                    f"The columns of 'channel' of {owner} must be probabilities: not negative, "
                    f"with sum 1. Got sums {matrix.sum(axis=0).round(4).tolist()} instead. "
                    "channel[i, j] is the probability of the answer i where the class is j."
                )
            return None, matrix
        noise = self.noise(X) if callable(self.noise) else self.noise
        if noise is None:
            raise ValueError(
                f"'noise' of {owner} must be a number from 0 to 1, or one per row, with "
                f"channel={self.channel!r}. Got None instead."
            )
        noise = np.asarray(noise, dtype=np.float64)
        if noise.ndim and noise.shape != (len(known),):
            raise ValueError(
                f"'noise' of {owner} must hold one number for each of the {len(known)} rows of "
                f"fit. Got shape {noise.shape} instead. Simulations that hold out rows fit the "
                "oracle on the others: pass a function of X there."
            )
        if not ((noise >= 0) & (noise <= 1)).all():
            raise ValueError(
                f"'noise' of {owner} must lie between 0 and 1. Got values from {noise.min()} to "
                f"{noise.max()} instead."
            )
        return np.broadcast_to(noise, len(known))[known], None

    def _mean_channel(self):
        if self._matrix is not None:
            return self._matrix
        n_classes = len(self.classes_)
        level = np.array([self._noise[self._codes == k].mean() for k in range(n_classes)])
        if self.channel == "symmetric":
            wrong = k_symmetric_channel(n_classes, 1.0)
        else:
            wrong = np.roll(np.eye(n_classes), 1, axis=0)
        return np.eye(n_classes) * (1 - level) + wrong * level if n_classes > 1 else np.ones((1, 1))


class CallableOracle(BaseEstimator):
    """Asks a function, or a person, row by row, and remembers what was said.

    Parameters
    ----------
    function : callable
        Gets one row, as it lies in its container (a 1-D array, or a Series of a frame), and returns
        its label; None (or NaN) is a refusal. :func:`ask` is such a function for a terminal.

    Attributes
    ----------
    answers_ : dict
        The label of each row that was answered, by its position in the X of `fit` (or in the pool,
        where `rows` says so).

    refused_ : list of int
        The positions of the rows that were refused, in order.

    See Also
    --------
    skal.ActiveLearner.teach : Takes refusals as missing labels, with ``rows=``.

    Notes
    -----
    No row is asked twice: answers and refusals are remembered by position, and another row at a
    position that is known raises. If the function raises, or is interrupted, what it said before
    is kept in `answers_`.

    In a simulation the function is asked instead of the `y` given, and the memory starts empty.
    Outside, `fit` is not needed: see the examples.

    Examples
    --------
    A loop with somebody who does not want to judge row 3:

    >>> import numpy as np
    >>> from skal.oracles import CallableOracle
    >>> X = np.arange(10.0).reshape(5, 2)
    >>> oracle = CallableOracle(lambda row: None if row[0] == 6 else int(row.sum() > 8))
    >>> oracle.label(X[[1, 3, 4]], rows=[1, 3, 4])
    array([0, None, 1], dtype=object)
    >>> oracle.answers_, oracle.refused_
    ({1: 0, 4: 1}, [3])
    """

    # Simulations ask about rows whose label is unknown too.
    knows_all_rows = True

    _parameter_constraints: dict = {"function": [callable]}

    def __init__(self, function):
        self.function = function

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Forget all answers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            All rows; not looked at.

        y : None
            Not used.

        Returns
        -------
        self : CallableOracle
            The oracle.
        """
        self.answers_, self.refused_, self._seen = {}, [], {}
        return self

    def label(self, X, rows):
        """Ask about the rows that were not asked before.

        Parameters
        ----------
        X : array-like of shape (n_asked, n_features)
            The rows asked about.

        rows : array-like of shape (n_asked,) of ints
            Their positions: what answers are remembered by.

        Returns
        -------
        y : ndarray of shape (n_asked,)
            Their labels. Of dtype object, with None for refusals, if there are any.

        Raises
        ------
        ValueError
            If a position is known and X holds another row for it.
        """
        self._validate_params()
        if not hasattr(self, "answers_"):
            self.fit(X)
        rows = [int(row) for row in rows]
        if len(rows) != n_rows(X):
            raise ValueError(
                f"rows must hold a position for each of the {n_rows(X)} rows of X. Got {len(rows)} "
                "instead."
            )
        contents = [one_row(X, place) for place in range(len(rows))]
        for row, content in zip(rows, contents, strict=True):
            if self._seen.get(row, joblib.hash(content)) != joblib.hash(content):
                raise ValueError(
                    f"Position {row} held another row when it was asked about. Give positions in "
                    "one and the same X, such as the X of the learner's fit (teach(rows=...)), or "
                    "call fit to forget all answers."
                )
        for row, content in zip(rows, contents, strict=True):
            if row not in self._seen:
                answer = self.function(content)
                self._seen[row] = joblib.hash(content)
                if is_labeled(_as_objects([answer]))[0]:
                    self.answers_[row] = answer
                else:
                    self.refused_.append(row)
        answers = [self.answers_.get(row) for row in rows]
        if any(row in self.refused_ for row in rows):
            return _as_objects(answers)
        return np.asarray(answers)


def ask(row, *, choices=None, read=input, write=print):
    """Show a row in the terminal and read its label: a function for :class:`CallableOracle`.

    Parameters
    ----------
    row : array-like
        The row.

    choices : list or None, default=None
        The labels that are accepted; anything else is asked again. None accepts all.
        ``CallableOracle(functools.partial(ask, choices=["cat", "dog"]))`` sets it.

    read, write : callable
        What reads a line after a prompt, and writes one.

    Returns
    -------
    label : int, float, str or None
        What was typed: a whole number, a number, or the text; None after "skip" or nothing.

    Examples
    --------
    >>> from skal.oracles import ask
    >>> ask([1.0, 2.0], read=lambda prompt: "skip", write=lambda text: None) is None
    True
    >>> ask([1.0, 2.0], read=lambda prompt: "3", write=lambda text: None)
    3
    """
    write(row)
    while True:
        label = _read_label(read("label (or skip): ").strip())
        if label is None or choices is None or label in list(choices):
            return label
        write(f"{label!r} is none of {list(choices)}.")


def _read_label(answer):
    if answer in ("", "skip"):
        return None
    for kind in (int, float):
        try:
            return kind(answer)
        except ValueError:
            pass  # the next kind, and text at last
    return answer


# ---------------------------------------------------------------------------------- plumbing


def check_oracle(oracle, owner):
    """Raise TypeError unless `oracle` is None or an object that can be shown labels and asked."""
    if oracle is None:
        return
    if isinstance(oracle, type) or not all(
        hasattr(oracle, name) for name in ("fit", "label", "get_params")
    ):
        raise TypeError(
            f"The 'oracle' parameter of {owner} must be an oracle, with the methods 'fit', 'label' "
            f"and 'get_params', or None for the true labels. Got {oracle!r} instead. For example: "
            "NoisyOracle(0.2), or CallableOracle(function)."
        )


def _answers_of(y, rows):
    rows = np.asarray(rows, dtype=np.int64)
    answers = take_rows(y, rows)
    mask = is_labeled(answers)
    return labeled_target(answers, mask) if mask.all() else answers


def _check_classes(labels):
    kind = type_of_target(labels) if len(labels) else "no labels"
    if kind not in ("binary", "multiclass") or labels.ndim != 1:
        raise ValueError(
            f"NoisyOracle disturbs classes. Got a y of the kind {kind!r} instead. For regression, "
            "add noise to y, or use CallableOracle with a function of your own."
        )


def _with_gaps(answers, known):
    filled = np.full(len(known), None, dtype=object)
    filled[known] = answers
    return filled


def _as_objects(values):
    objects = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        objects[place] = value
    return objects
