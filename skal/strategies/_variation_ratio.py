"""VariationRatio: rows on whose class random models do not agree."""

from skal.strategies._measures import share_of_minority
from skal.strategies._posterior import PosteriorStrategy


class VariationRatio(PosteriorStrategy):
    r"""Query the rows on whose class random models do not agree.

    Each of T models votes for its most probable class: passes of a net with different units
    dropped, or members of an ensemble. The score is the share of votes that the winner does not
    get, :math:`1 - \max_c v_c`.

    Parameters
    ----------
    estimator : estimator or None, default=None
        A torch net with dropout layers, or an ensemble of independent classifiers (bagging,
        forests, voting), however wrapped. None means the estimator of the learner the strategy is
        plugged into.

    n_passes : int, default=50
        T, for a net: the more, the less chance in the scores. An ensemble answers once per member.

    selector : BatchSelector or None, default=None
        Picks the batch from the scores. None is :class:`~skal.selection.TopK`: the largest scores,
        ties broken at random.

    device : str or None, default=None
        Where everything is computed ("cpu", "cuda:1"). None is the device of the net, or the CPU.

    random_state : int, RandomState or None, default=None
        Seeds which units are dropped, and the breaking of ties.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator that is read.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    Raises
    ------
    ValueError
        If no dropout layer runs in the net, there is neither a net nor an ensemble, or the
        estimator is a regressor.

    See Also
    --------
    BALD : Counts how sure the models are, too.
    QueryByCommittee : The same score of an ensemble, as measure="variation_ratio".

    Notes
    -----
    The score is between 0 and 1 - 1/C, a multiple of 1/T: many rows tie, and those are ranked at
    random. A model that gives two classes the same probability votes for the first. Votes are not
    defined for regression.

    Each pass drops the same units in all rows, so that `transform` treats each row on its own. Cost
    and memory are those of :class:`BALD`.

    References
    ----------
    L. C. Freeman (1965). Elementary applied statistics. Wiley.

    Y. Gal, R. Islam and Z. Ghahramani (2017). Deep Bayesian active learning with image data. ICML,
    arXiv:1703.02910, section 4 (dropout).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skal.neural_network import NeuralNetClassifier
    >>> from skal.strategies import VariationRatio
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NeuralNetClassifier(module__dropout=0.3, max_epochs=5, random_state=0)
    >>> strategy = VariationRatio(net, n_passes=20, random_state=0).fit(X[::10], y[::10])
    >>> strategy.query(X, n_instances=5).shape
    (5,)
    """

    def _score(self, log_P):
        return share_of_minority(log_P)
