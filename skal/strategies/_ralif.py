"""RALIF: rows whose likely labels would lower the loss over the pool, far from each other."""

from numbers import Real

import numpy as np
import torch
from sklearn.utils import get_tags

from skal.selection._engines.clocks import sample_by_distance
from skal.selection._engines.clusters import by_kmeans, by_mean_shift
from skal.strategies._base import QueryStrategy
from skal.utils._compat import Interval, StrOptions
from skal.utils._random import draw_seed
from skal.utils._rows import Rows, full_precision
from skal.utils._tags import QueryStrategyTags
from skal.views import has_net
from skal.views._influence import (
    LastLayerInfluence,
    derivatives_for_pool,
    encode_labels,
    fit_head,
    penalty,
)
from skal.views._last_layer import apply_layer, with_constant
from skal.views._layer_curvature import directional_losses
from skal.views._net_curvature import NetCurvature

_SAME = 1e-10  # of the squared norm: rows closer than this are equal, see KMeansPlusPlus


class RALIF(QueryStrategy):
    r"""Query rows whose likely labels would lower the loss over the pool, and that differ.

    Let h be the input of the last layer followed by a 1, p the class probabilities,
    :math:`g_k(x) = (p - e_k) \otimes h` the gradient of the loss of class k, v the mean over the
    pool of the gradients for the most likely class, and A the Hessian of the training loss in the
    weights of the last layer, plus weight decay and damping. With m labelled rows, adding x with
    label k changes the mean loss of the pool, :math:`\bar L`, by about

    .. math:: \Delta L_k(x) = - \tfrac{1}{m} \, v^\top A^{-1} g_k(x).

    The candidates are the share of the pool with the lowest scores,

    .. math:: \frac{1}{|S|} \sum_{k \in S} p_k (\bar L + \Delta L_k(x)), \qquad
        S = \{k : p_k > \tau\},

    and the batch is drawn from them by k-means++ on the inputs of the last layer: the best
    candidate first, then rows far from those labelled and from each other.

    Parameters
    ----------
    estimator : estimator or None, default=None
        A torch net with a linear output layer or multinomial ``LogisticRegression``, however
        wrapped. None means the estimator of the learner the strategy is plugged into.

    mode : {"truncated", "single", "expectation"}, default="truncated"
        The label that is assumed: likely ones only, as above; the most likely one; or all of them
        by their probabilities, which is 0 for every row and leaves random candidates (see Notes).

    tau : float, "auto" or "paper", default="auto"
        Classes with a larger probability are kept, for ``mode="truncated"``. "paper" is 4 / K for
        K classes, which keeps nothing for K <= 4; "auto" is min(4 / K, 0.4).

    aggregate : {"code", "paper", "conditional"}, default="code"
        How the kept classes are combined, for ``mode="truncated"``: their mean, as above and in
        the authors' code; their sum, as printed; or :math:`\sum_S p_k \Delta L_k / \sum_S p_k`,
        without the constant :math:`\bar L`. A row that keeps no class comes after all others for
        "code", before them for "paper" (its sum is 0), and counts as with ``mode="single"`` for
        "conditional". Where no row keeps any, ``mode="single"`` is used.

    candidate_fraction : float, default=0.1
        Share of the pool, in (0, 1], that the batch is drawn from; at least the batch itself.

    diversity : {"kmeans++", "mean_shift", "kmeans", "none"}, default="kmeans++"
        How the batch is taken from the candidates: by k-means++ seeding; from each cluster of a
        mean shift in proportion to its size, those nearest to its centre; the row nearest to each
        centre of k-means; or by their scores alone.

    solver : {"exact", "lissa"}, default="exact"
        Solve with A, by Cholesky or conjugate gradients to a residual of 1e-10; or iterate as the
        authors' code does (50 steps, scale 25, damping 0.01), which is far from converged and
        looks at neither `damping` nor `weight_decay`.

    params : {"last", "all"}, default="last"
        The weights that a further label moves: those of the last layer, or all of the net, with
        the Gauss-Newton matrix for A, in float64; for small nets. Logistic regression has one
        layer.

    damping : float, default=0.01
        Added to the diagonal of A. For ``params="all"`` it must not be 0.

    weight_decay : float or None, default=None
        Added to the diagonal of A, too. None takes that of the net's optimiser, or 1e-4 where it
        has none, and 1 / (C m) for ``LogisticRegression``, without the bias.

    refit_head : bool, default=False
        Whether the last layer is fitted anew, to the end, before influence is computed: it assumes
        that the loss is at its minimum. Needs the labels in `fit`, and ``params="last"``.

    device : str or None, default=None
        Where everything is computed ("cpu", "cuda:1"), in float64. None is the device of the net.

    random_state : int, RandomState or None, default=None
        Seeds the breaking of ties and the draws.

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
    TypeError
        If the estimator has no linear last layer.
    ValueError
        If the estimator is a regressor: the prediction as the label has no gradient, so every
        influence is 0.

    See Also
    --------
    LeastConfidence : What the default score comes close to, the other way round (see Notes).
    BADGE : Long gradients far from each other, without a threshold.

    Notes
    -----
    The score depends on the pool as a whole, through v, and is computed in `query`; `transform`
    gives the features. Scores returned by `query` are the negative of those above, in units of the
    loss, larger first.

    As :math:`\sum_k p_k g_k = 0` for softmax cross-entropy, the expected influence is exactly 0.
    And :math:`\bar L` is much larger than any :math:`\Delta L_k` once more than a few rows are
    labelled, so that the default score ranks rows by the mean of their kept probabilities, the
    smallest first: least confidence among rows with a class above `tau`. The user guide measures
    it. ``aggregate="conditional"`` ranks by influence.

    With ``params="last"`` earlier layers are held fixed. A does not depend on labels. Cost: one
    pass of the model, O(n_pool K d), and O(m K d) for each step of conjugate gradients; A is formed
    for at most 500 weights. With ``params="all"`` each step is a forward-mode and a backward pass
    over the labelled rows, and the pool takes one of each.

    References
    ----------
    M. Xia and R. Henao. Reliable active learning via influence functions. TMLR,
    https://openreview.net/forum?id=dN9YICB6hN, Equation 9 and Algorithm 1.

    P. W. Koh and P. Liang (2017). Understanding black-box predictions via influence functions.
    ICML, arXiv:1703.04730.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import RALIF
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = RALIF(LogisticRegression(max_iter=500), random_state=0).fit(X[::10], y[::10])
    >>> strategy.query(X, n_instances=5).shape
    (5,)
    """

    _parameter_constraints = {
        **QueryStrategy._parameter_constraints,
        "mode": [StrOptions({"truncated", "single", "expectation"})],
        "tau": [StrOptions({"auto", "paper"}), Interval(Real, 0, None, closed="left")],
        "aggregate": [StrOptions({"code", "paper", "conditional"})],
        "candidate_fraction": [Interval(Real, 0, 1, closed="right")],
        "diversity": [StrOptions({"kmeans++", "mean_shift", "kmeans", "none"})],
        "solver": [StrOptions({"exact", "lissa"})],
        "params": [StrOptions({"last", "all"})],
        "damping": [Interval(Real, 0, None, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "refit_head": ["boolean"],
    }
    _query_tags = QueryStrategyTags(
        needs=("probabilities", "features", "gradients"),
        tasks=("classifier",),
        conditioned_on_labeled=True,
    )

    def __init__(
        self,
        estimator=None,
        *,
        mode="truncated",
        tau="auto",
        aggregate="code",
        candidate_fraction=0.1,
        diversity="kmeans++",
        solver="exact",
        params="last",
        damping=0.01,
        weight_decay=None,
        refit_head=False,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, device=device, random_state=random_state)
        self.mode = mode
        self.tau = tau
        self.aggregate = aggregate
        self.candidate_fraction = candidate_fraction
        self.diversity = diversity
        self.solver = solver
        self.params = params
        self.damping = damping
        self.weight_decay = weight_decay
        self.refit_head = refit_head

    def _choose(self, X, n_instances, seed, return_scores):
        rng = np.random.RandomState(seed)
        H, log_P = self.view.last_layer(X, exact=True)
        with full_precision():
            scores = self._scores(X, H, log_P)
            n_candidates = max(n_instances, int(self.candidate_fraction * len(scores)))
            order = np.lexsort((rng.uniform(size=len(scores)), scores))[:n_candidates]
            chosen = order[self._diverse(Rows(H[order.copy()]), n_instances, rng)]
        return chosen.astype(np.int64), -scores

    def _scores(self, X, H, log_P):
        """The score of every row, smaller first: ndarray (n,), float64."""
        if self._net_curvature is None:
            log_P, derivatives = self._by_last_layer(H, log_P)
        else:
            curvature = self._net_curvature
            S = curvature.solve(curvature.gradient(X), self.solver)
            derivatives = curvature.directional(X, S)
        P = log_P.exp()
        change = directional_losses(P, derivatives) / -len(self._rows_labeled)
        loss = float(-log_P.max(1).values.mean())
        scores = aggregated(change, P, loss, self.mode, self.aggregate, self._threshold(P))
        return scores.cpu().numpy()

    def _by_last_layer(self, H, log_P):
        """Log-probabilities of the (refitted) head, and derivatives of its logits along s."""
        if self._head is not None:
            log_P = torch.log_softmax(apply_layer(H, self._head.to(log_P)), 1)
        constant = float(self.view.has_bias)
        return log_P, derivatives_for_pool(H, log_P, self._influence, self.solver, constant)

    def _threshold(self, P):
        if not isinstance(self.tau, str):
            return float(self.tau)
        paper = 4.0 / P.shape[1]
        return paper if self.tau == "paper" else min(paper, 0.4)

    def _diverse(self, rows, n_instances, rng):
        """Positions among the candidates, which are sorted by score."""
        if self.diversity == "none":
            return np.arange(n_instances)
        if self.diversity == "kmeans++":
            picks = sample_by_distance(
                rows, n_instances, draw_seed(rng), fixed=self._rows_labeled, first=0, tol=_SAME
            )
            return np.asarray(picks)
        Z = rows.dense().cpu().double().numpy()
        return (by_kmeans if self.diversity == "kmeans" else by_mean_shift)(Z, n_instances, rng)

    def _fit_labeled(self, X, y):
        H, log_P = self.view.last_layer(X, exact=True)
        self._rows_labeled = Rows(H)
        n_classes, owner = log_P.shape[1], type(self).__name__
        H = with_constant(H, torch.float64, float(self.view.has_bias))
        decay = penalty(self.weight_decay, self.estimator_, len(H), n_classes)
        self._head = self._net_curvature = None
        if self.params == "all" and has_net(self.estimator_):
            self._net_curvature = self._curvature_of_net(X, decay[0])
            return
        if self.refit_head:
            if y is None:
                raise ValueError(f"{owner}(refit_head=True) needs the labels: fit(X, y).")
            y = encode_labels(y, self.estimator_.classes_, owner)
            self._head = fit_head(H, y, n_classes, decay)
            log_P = torch.log_softmax(H @ self._head.to(H).T, 1)
        self._influence = LastLayerInfluence(H, log_P.exp(), decay, float(self.damping), owner)

    def _curvature_of_net(self, X, decay):
        if self.refit_head:
            raise ValueError(
                f"{type(self).__name__}(refit_head=True) looks at the last layer alone. Got "
                "params='all' instead. Use params='last'."
            )
        if not self.damping > 0:
            raise ValueError(
                f"'damping' of {type(self).__name__} must be above 0 with params='all': the "
                f"curvature of a net is singular. Got {self.damping} instead. Use 0.01."
            )
        ridge = decay + float(self.damping)
        return NetCurvature(self.view.net, X, ridge, type(self).__name__)

    def _represent(self, X):
        return Rows(self.view.last_layer(X)[0])

    def _check_task(self, estimator):
        if estimator is not None and get_tags(estimator).estimator_type == "regressor":
            raise ValueError(
                "RALIF serves classification: with the prediction as the label a regression has "
                f"no gradient, and every influence is 0. Got {type(estimator).__name__} instead. "
                "Use BAIT or TypiClust, or CoreSet with the selector LCMD."
            )
        super()._check_task(estimator)


def aggregated(change, P, loss, mode, aggregate, tau):
    """Combine the changes of all classes to a score per row.

    Parameters
    ----------
    change : tensor of shape (n, K), dtype float64
        Change of the pool's mean loss by the label of each class.

    P : tensor of shape (n, K), dtype float64
        Class probabilities.

    loss : float
        Mean loss of the pool.

    mode, aggregate : str
        As in `RALIF`.

    tau : float
        Classes with a larger probability are kept.

    Returns
    -------
    scores : tensor of shape (n,), dtype float64
        Smaller is asked first.
    """
    single = change.gather(1, P.argmax(1, keepdim=True)).ravel()
    kept = P > tau
    if mode == "single" or (mode == "truncated" and not kept.any()):
        scores = single
    elif mode == "expectation":
        scores = (P * change).sum(1)
    elif aggregate == "conditional":
        mass = (P * kept).sum(1)
        scores = torch.where(mass > 0, (P * kept * change).sum(1) / mass.clamp_min(tau), single)
    else:
        scores = (P * kept * (loss + change)).sum(1)
        if aggregate == "code":
            n_kept = kept.sum(1)
            scores = scores / n_kept.clamp_min(1)
            some = scores[n_kept > 0].max()
            scores = torch.where(n_kept > 0, scores, some + 1.0)
    # Rounding is no reason to prefer a row.
    noise = 1e-12 * change.abs().max()
    return torch.where(scores.abs() <= noise, 0.0, scores)
