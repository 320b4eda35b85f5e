"""MeanStd: rows whose class probabilities vary most between random models."""

from skal.strategies._posterior import PosteriorStrategy


def mean_deviation(P):
    """Standard deviation over models, mean over classes: (T, n, C) probabilities to (n,)."""
    return P.std(0, correction=0).mean(-1)


class MeanStd(PosteriorStrategy):
    r"""Query the rows whose class probabilities vary most between random models.

    T models answer: passes of a net with different units dropped, or members of an ensemble. With
    :math:`p_{tc}` the probability of class c, the score is its standard deviation over the models,
    averaged over the C classes:

    .. math:: \frac{1}{C} \sum_c \sqrt{ \frac{1}{T} \sum_t p_{tc}^2 -
        \Big( \frac{1}{T} \sum_t p_{tc} \Big)^2 } .

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
    BALD : The mutual information of label and model.
    QueryByCommittee : For regression, as measure="variance", with an ensemble.

    Notes
    -----
    The score is a probability, between 0 and 1/2; the deviation is that of the T models (divided by
    T, not T - 1). All of T = 1 are 0, and the batch is random. It is published for classification
    and refuses regression, where QueryByCommittee(measure="variance") is the published counterpart
    for ensembles.

    Each pass drops the same units in all rows, so that `transform` treats each row on its own. Cost
    and memory are those of :class:`BALD`.

    References
    ----------
    M. Kampffmeyer, A.-B. Salberg and R. Jenssen (2016). Semantic segmentation of small objects and
    modeling of uncertainty in urban remote sensing images using deep convolutional neural networks.
    CVPR workshops.

    Y. Gal, R. Islam and Z. Ghahramani (2017). Deep Bayesian active learning with image data. ICML,
    arXiv:1703.02910, section 4 (dropout).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skal.neural_network import NeuralNetClassifier
    >>> from skal.strategies import MeanStd
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NeuralNetClassifier(module__dropout=0.3, max_epochs=5, random_state=0)
    >>> strategy = MeanStd(net, n_passes=20, random_state=0).fit(X[::10], y[::10])
    >>> strategy.query(X, n_instances=5).shape
    (5,)
    """

    def _score(self, log_P):
        return mean_deviation(log_P.exp())
