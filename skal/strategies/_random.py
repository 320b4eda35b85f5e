"""Random sampling: the baseline every other strategy has to beat."""

import numpy as np

from skal.strategies._base import QueryStrategy
from skal.utils._tables import n_rows
from skal.utils._tags import QueryStrategyTags


class RandomSampling(QueryStrategy):
    """Query rows uniformly at random, without replacement.

    Works with any estimator, and before any label is known. Compare every other strategy with it:
    where one does not beat it, it is not worth its cost.

    Parameters
    ----------
    estimator : estimator or None, default=None
        Never read. It is there so that this strategy can stand wherever another does.

    random_state : int, RandomState or None, default=None
        Seeds the draw.

    Attributes
    ----------
    estimator_ : estimator or None
        The fitted estimator, where one was given.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    CoreSet : Spreads the batch over the pool.

    Notes
    -----
    All rows have the score 0 (`transform` returns a column of zeros) and ties are broken at
    random: every subset of the batch size is equally likely, in every order. Cost: O(n_pool).

    Examples
    --------
    >>> import numpy as np
    >>> from skal.strategies import RandomSampling
    >>> X = np.arange(20.0).reshape(10, 2)
    >>> strategy = RandomSampling(random_state=0).fit(X[:2])
    >>> strategy.query(X, n_instances=3).shape
    (3,)
    """

    _query_tags = QueryStrategyTags(requires_fitted_estimator=False)
    _parameter_constraints = {
        name: QueryStrategy._parameter_constraints[name] for name in ("estimator", "random_state")
    }
    device = None  # nothing is computed

    def __init__(self, estimator=None, *, random_state=None):
        self.estimator = estimator
        self.random_state = random_state

    def _represent(self, X):
        return np.zeros(n_rows(X))

    def _choose(self, X, n_instances, seed, return_scores):
        drawn = np.random.RandomState(seed).permutation(n_rows(X))[:n_instances]
        return drawn, self._represent(X) if return_scores else None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.estimator is None:
            tags.input_tags.allow_nan = tags.input_tags.string = True
        return tags
