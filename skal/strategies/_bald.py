"""BALD: rows whose label would tell most about the model."""

from skal.strategies._measures import mutual_information
from skal.strategies._posterior import PosteriorStrategy


class BALD(PosteriorStrategy):
    r"""Query the rows whose label would tell most about the model.

    The model is one of T that the labels leave possible: passes of a net with different units
    dropped, or members of an ensemble. With :math:`p_t` their class probabilities and
    :math:`\bar p` the mean of these, the score is the mutual information of label and model,

    .. math:: I(y; \theta) = H(\bar p) - \frac{1}{T} \sum_t H(p_t) = \frac{1}{T} \sum_t
        KL(p_t, \bar p) .

    It is large where each of the models is sure and they differ, and 0 where they agree, however
    unsure: rows that are noisy by nature are left alone.

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
    BatchBALD : Scores the batch as a whole, so that rows do not repeat each other.
    QueryByCommittee : The same score of an ensemble, and other disagreements.

    Notes
    -----
    The score is in nats, between 0 and ln min(T, C) for C classes; divide by ln 2 for bits. All of
    T = 1 are 0, and the batch is random. For regression there is no entropy without a model of the
    noise, and none is made up: use QueryByCommittee.

    A pass drops the same units in all rows, so that `transform` treats each row on its own; the
    expected score is that of separate draws. Dropout layers alone are switched on. What the net
    computes before the first of them is computed once per row instead of T times, where the rest of
    the net is a chain of modules. Cost: T passes over the rest; memory does not grow with T or
    n_pool beyond the scores.

    References
    ----------
    N. Houlsby, F. Huszar, Z. Ghahramani and M. Lengyel (2011). Bayesian active learning for
    classification and preference learning. arXiv:1112.5745, eq. 2.

    Y. Gal, R. Islam and Z. Ghahramani (2017). Deep Bayesian active learning with image data. ICML,
    arXiv:1703.02910 (dropout).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skal.neural_network import NeuralNetClassifier
    >>> from skal.strategies import BALD
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NeuralNetClassifier(module__dropout=0.3, max_epochs=5, random_state=0)
    >>> strategy = BALD(net, n_passes=20, random_state=0).fit(X[::10], y[::10])
    >>> strategy.query(X, n_instances=5).shape
    (5,)
    """

    def _score(self, log_P):
        return mutual_information(log_P.exp())
