"""LHD: rows on which a net and the average of its weights over the training differ most.

    y'  = arg max_k p_beta(k | x)                        what the averaged net predicts
    dl  = |log p_beta(y' | x) - log p_theta(y' | x)|     difference of the two losses
    lh  = dl (h_beta(x) - h_theta(x))                    times that of the hidden states

A row that the net has learnt, and one that it cannot learn because its labels are random, move
neither: what is left are rows that it is learning.
"""

import warnings
from numbers import Integral, Real

from skal.neural_network import EMACallback
from skal.neural_network._averaging import add_average, find_average
from skal.selection import KMeansPlusPlus
from skal.strategies._base import SelectingStrategy
from skal.utils._compat import Interval, StrOptions
from skal.utils._nesting import describe
from skal.utils._rows import Rows
from skal.utils._tags import QueryStrategyTags


class LHD(SelectingStrategy):
    r"""Query rows by the difference of losses and hidden states along the training.

    For data whose labels are noisy in places (heteroskedastic). While the net trains, the
    exponential moving average :math:`\beta` of its weights :math:`\theta` is kept. With the class
    :math:`\hat y = \arg\max_k p_\beta(k | x)` that the averaged net predicts and the penultimate
    features h, the embedding of a row is

    .. math::

        lh(x) = \bigl| \log p_\beta(\hat y | x) - \log p_\theta(\hat y | x) \bigr| \;
        \bigl( h_\beta(x) - h_\theta(x) \bigr) \in \mathbb{R}^d .

    It is short for rows that are learnt already, and for rows whose labels are random, which the
    net does not get better at. The batch is drawn by k-means++ seeding: the longest embedding
    first, each further row with probability proportional to its squared distance to the nearest
    row chosen.

    Parameters
    ----------
    estimator : classifier or None, default=None
        A torch net, however wrapped. None means the estimator of the learner the strategy is
        plugged into.

    alpha : float, default=0.999
        In [0, 1]. The average looks back over about 1 / (1 - `alpha`) steps of the optimiser; 5 to
        30 % of the steps of a training are advisable. 0 leaves no difference to look at.

    warmup : bool, default=True
        Whether the average is a plain mean of the first steps.

    ema_init : {"copy", "independent"}, default="copy"
        Whether the average starts at the initial weights or at others, drawn afresh, as in the
        authors' code.

    snapshot : {"gap", "end"}, default="gap"
        When the two sets of weights are compared. "gap": when the training accuracy of the net
        minus that of the average has shrunk in `patience` epochs in a row, as in the authors'
        code, or at the end where it never does. "end": at the end of the training, when they may
        have met already.

    patience : int, default=5
        Epochs in a row; with ``snapshot="gap"`` only.

    average_buffers : bool, default=True
        Whether the statistics of batch normalisation are averaged too, or copied.

    selector : BatchSelector or None, default=None
        Picks the batch. None is ``KMeansPlusPlus(init="max_norm", tol=1e-8)``.

    device : str or None, default=None
        Where the net is evaluated ("cpu", "cuda:1"). None is where it is.

    random_state : int, RandomState or None, default=None
        Seeds the draws.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier that is read.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    Raises
    ------
    TypeError
        If the estimator is no torch net.
    ValueError
        If it is a regressor, or a net that was trained without an average of its weights.

    Warns
    -----
    UserWarning
        If the embeddings of all rows are zero. The batch is then drawn uniformly.

    See Also
    --------
    skal.neural_network.EMACallback : The average, and the pair of weights that are compared.
    BADGE : Diverse uncertain rows, where labels are equally good everywhere.
    CoreSet : Diverse rows, whatever the net is sure of.

    Notes
    -----
    The average must be recorded while the net trains: the strategy adds an
    :class:`~skal.neural_network.EMACallback` with `alpha` to `average_buffers` to the net, inside a
    learner and where it fits its own estimator. A net that has one among its callbacks already
    keeps it, and the parameters here then have no effect. A net that is fitted beforehand needs
    the callback: ``callbacks=[EMACallback()]``.

    Defaults follow the authors' code where it says more than the paper (updates per step, warm-up,
    the moment of the comparison), but both nets are compared in evaluation mode, the average starts
    at the weights of the net, and it starts again at every fit.

    Losses are in nats, from float64 logarithms of the softmax. The columns of `transform` are the
    penultimate features. Scaling the last hidden layer by c and the head by 1/c scales the
    embedding by c, which does not change the draws.

    Cost: two passes of the net over the pool and O(n_pool n_instances d) in a few matrix products;
    in training, one more update of the weights per step and with ``snapshot="gap"`` one more pass
    of each batch.

    References
    ----------
    S. Khosla, C. K. Whye, J. T. Ash, C. Zhang, K. Kawaguchi and A. Lamb (2022). Understanding and
    improving neural active learning on heteroskedastic distributions. arXiv:2211.00928,
    Algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skal.neural_network import NeuralNetClassifier
    >>> from skal.strategies import LHD
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NeuralNetClassifier(module__hidden=(16,), max_epochs=5, random_state=0)
    >>> strategy = LHD(net, alpha=0.9, random_state=0).fit(X[::3], y[::3])
    >>> strategy.transform(X).shape
    (150, 16)
    >>> strategy.query(X, n_instances=3).shape
    (3,)
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "alpha": [Interval(Real, 0, 1, closed="both")],
        "warmup": ["boolean"],
        "ema_init": [StrOptions({"copy", "independent"})],
        "snapshot": [StrOptions({"gap", "end"})],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "average_buffers": ["boolean"],
    }
    _query_tags = QueryStrategyTags(
        needs=("features", "probabilities", "weights_history"), tasks=("classifier",)
    )
    # Equal rows in different mini-batches differ by rounding, which the difference makes larger.
    _default_selector = KMeansPlusPlus(init="max_norm", tol=1e-8)

    def __init__(
        self,
        estimator=None,
        *,
        alpha=0.999,
        warmup=True,
        ema_init="copy",
        snapshot="gap",
        patience=5,
        average_buffers=True,
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.alpha = alpha
        self.warmup = warmup
        self.ema_init = ema_init
        self.snapshot = snapshot
        self.patience = patience
        self.average_buffers = average_buffers

    def _represent(self, X):
        view = self.view.net
        main, averaged = self._snapshot(view.net)
        X = view.prepare(X)
        with view.replaced(main):
            H_main, log_P_main = view.features_and_log_probabilities(X)
        with view.replaced(averaged):
            H, log_P = view.features_and_log_probabilities(X)
        predicted = log_P.argmax(1, keepdim=True)
        loss_difference = (log_P.gather(1, predicted) - log_P_main.gather(1, predicted)).abs()
        hidden_difference = H - H_main
        self._warn_if_all_zero(loss_difference, hidden_difference)
        return Rows(hidden_difference.mul_(loss_difference.float()))

    def prepare_estimator(self, estimator):
        """Add the callback that averages the weights of the net while it trains.

        Parameters
        ----------
        estimator : estimator
            Unfitted, with a net at its end; it is changed.

        Returns
        -------
        estimator : estimator
            The same object.

        Raises
        ------
        TypeError
            If there is no net at its end.
        """
        self._check_task(estimator)
        callback = EMACallback(
            self.alpha,
            warmup=self.warmup,
            ema_init=self.ema_init,
            snapshot=self.snapshot,
            patience=self.patience,
            average_buffers=self.average_buffers,
        )
        add_average(estimator, callback, needed_by=type(self).__name__)
        return estimator

    def _snapshot(self, net):
        """The two sets of weights that were remembered in training."""
        callback = find_average(net)
        if not hasattr(callback, "snapshot_"):
            raise ValueError(
                f"{type(self).__name__} compares the weights of a net with their average over the "
                f"training, and {describe(self.estimator_)} was trained without one. Pass "
                f"callbacks=[EMACallback()] (from skal.neural_network) to {type(net).__name__} "
                f"before fit, or use {type(self).__name__} inside an ActiveLearner from its first "
                "fit on: it then adds the callback itself."
            )
        return callback.snapshot_

    def _warn_if_all_zero(self, loss_difference, hidden_difference):
        different = (loss_difference[:, 0] != 0) & (hidden_difference != 0).any(1)
        if len(different) > 1 and not different.any():
            warnings.warn(
                f"{type(self).__name__} finds no difference between the net and its average on any "
                f"of {len(different)} rows, and draws uniformly. The average follows the net at "
                "once with alpha=0; trained for long, the two meet: use a larger 'alpha' or "
                "snapshot='gap'.",
                UserWarning,
                stacklevel=5,
            )
