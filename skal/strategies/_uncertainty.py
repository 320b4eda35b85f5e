"""Uncertainty sampling: the rows whose predicted class probabilities are least decided.

For class probabilities p of a row, with p_(1) >= p_(2) the two largest, the scores are

    least confidence    1 - p_(1)                in [0, 1 - 1/n_classes]
    margin              -(p_(1) - p_(2))         in [-1, 0]
    entropy             -sum_c p_c ln p_c        in [0, ln n_classes], in nats

Of several outputs or labels, the score is the mean over them, as if they were independent.
"""

import torch

from skal.strategies._base import SelectingStrategy
from skal.strategies._measures import margin_scores, rest_of_largest
from skal.utils._tags import QueryStrategyTags


class _UncertaintySampling(SelectingStrategy):
    """A score per row of class probabilities."""

    _query_tags = QueryStrategyTags(
        needs=("probabilities",), tasks=("classifier",), deterministic=True
    )

    def _represent(self, X):
        scores = [self._mean_score(P) for P in self.view.output_probabilities(X)]
        return scores[0] if len(scores) == 1 else torch.stack(scores).mean(0)

    def _mean_score(self, P):
        """Scores of rows; of several positions in each (pixels, tokens), the mean of theirs."""
        if P.ndim == 2:
            return self._score(P)
        positions = P.movedim(1, -1)
        return self._score(positions.reshape(-1, P.shape[1])).view(len(P), -1).mean(1)


class LeastConfidence(_UncertaintySampling):
    r"""Query the rows whose most likely class is least likely.

    The score of a row is :math:`1 - \max_c p_c`, in :math:`[0, 1 - 1/C]` for C classes.

    Parameters
    ----------
    estimator : classifier or None, default=None
        A classifier with `predict_proba`, or a torch net. None means the estimator of the learner
        the strategy is plugged into. Of several outputs or labels, the score is the mean over
        them.

    selector : BatchSelector or None, default=None
        Picks the batch from the scores. None is :class:`~skal.selection.TopK`: the largest scores,
        ties broken at random.

    device : str or None, default=None
        Where a net is evaluated ("cpu", "cuda:1"). None is the device of the net.

    random_state : int, RandomState or None, default=None
        Seeds the breaking of ties.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier that is read.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    MarginSampling : Looks at the two most likely classes.
    EntropySampling : Looks at all classes.

    Notes
    -----
    With two classes, least confidence, margin and entropy rank alike. The batch is not diverse:
    near-duplicates are chosen together. Probabilities of nets are computed in float64 from the
    logits, and the score as the sum of the other classes, so that saturated rows still rank.
    Cost: one pass of the model over the pool and O(n_pool n_classes).

    References
    ----------
    D. D. Lewis and W. A. Gale (1994). A sequential algorithm for training text classifiers. SIGIR.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import LeastConfidence
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = LeastConfidence(LogisticRegression(max_iter=500), random_state=0)
    >>> strategy.fit(X[::10], y[::10]).transform(X).shape
    (150, 1)
    """

    def _score(self, P):
        return rest_of_largest(P)


class MarginSampling(_UncertaintySampling):
    """Query the rows whose two most likely classes are closest.

    The score of a row is :math:`-(p_{(1)} - p_{(2)})`, in :math:`[-1, 0]`, of the two largest
    probabilities.

    Parameters
    ----------
    estimator : classifier or None, default=None
        A classifier with `predict_proba`, or a torch net. None means the estimator of the learner
        the strategy is plugged into. Of several outputs or labels, the score is the mean over
        them.

    selector : BatchSelector or None, default=None
        Picks the batch from the scores. None is :class:`~skal.selection.TopK`: the largest scores,
        ties broken at random.

    device : str or None, default=None
        Where a net is evaluated ("cpu", "cuda:1"). None is the device of the net.

    random_state : int, RandomState or None, default=None
        Seeds the breaking of ties.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier that is read.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    LeastConfidence : Looks at the most likely class only.
    EntropySampling : Looks at all classes.

    Notes
    -----
    A strong and cheap baseline for classification. The batch is not diverse. Cost: one pass of the
    model over the pool and O(n_pool n_classes).

    References
    ----------
    T. Scheffer, C. Decomain and S. Wrobel (2001). Active hidden Markov models for information
    extraction. IDA.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import MarginSampling
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = MarginSampling(LogisticRegression(max_iter=500), random_state=0)
    >>> rows = strategy.fit(X[::10], y[::10]).query(X, n_instances=5)
    >>> sorted(set(y[rows].tolist()))
    [1, 2]
    """

    def _score(self, P):
        return margin_scores(P)


class EntropySampling(_UncertaintySampling):
    r"""Query the rows whose predicted distribution over the classes has most entropy.

    The score of a row is :math:`-\sum_c p_c \ln p_c` in nats, in :math:`[0, \ln C]` for C
    classes, with :math:`0 \ln 0 = 0`.

    Parameters
    ----------
    estimator : classifier or None, default=None
        A classifier with `predict_proba`, or a torch net. None means the estimator of the learner
        the strategy is plugged into. Of several outputs or labels, the score is the mean over
        them.

    selector : BatchSelector or None, default=None
        Picks the batch from the scores. None is :class:`~skal.selection.TopK`: the largest scores,
        ties broken at random.

    device : str or None, default=None
        Where a net is evaluated ("cpu", "cuda:1"). None is the device of the net.

    random_state : int, RandomState or None, default=None
        Seeds the breaking of ties.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier that is read.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    LeastConfidence : Looks at the most likely class only.
    MarginSampling : Looks at the two most likely classes.

    Notes
    -----
    With many classes, entropy is dominated by the spread over unlikely ones; margin is often the
    better choice. The batch is not diverse. Cost: one pass of the model over the pool and
    O(n_pool n_classes).

    References
    ----------
    B. Settles (2009). Active learning literature survey. University of Wisconsin-Madison, TR 1648.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import EntropySampling
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = EntropySampling(LogisticRegression(max_iter=500), random_state=0)
    >>> strategy.fit(X[::10], y[::10]).query(X, n_instances=5).shape
    (5,)
    """

    def _score(self, P):
        return torch.special.entr(P).sum(1)
