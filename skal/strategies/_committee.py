"""Query by committee: the rows about which the members of an ensemble disagree."""

from numbers import Integral

import torch
from sklearn.utils import get_tags

from skal.strategies._base import SelectingStrategy
from skal.strategies._measures import disagreement
from skal.utils._compat import Interval, StrOptions
from skal.utils._random import child_seed
from skal.utils._tags import QueryStrategyTags
from skal.views._committee import bootstrap_committee

_CLASSIFICATION = {"vote_entropy", "soft_vote_entropy", "kl", "kl_max", "variation_ratio"}


class QueryByCommittee(SelectingStrategy):
    r"""Query the rows about which the members of a fitted ensemble disagree most.

    Any scikit-learn ensemble of independent members is a committee: random forests, extra trees,
    bagging of any estimator, voting. With member probabilities :math:`p_t`, their mean
    :math:`\bar p`, the fractions of votes :math:`v` and member predictions :math:`f_t`, the score
    of a row is

    ===================  =========================================  =======================
    `measure`            score                                      range
    ===================  =========================================  =======================
    "kl"                 mean over t of :math:`KL(p_t, \bar p)`     [0, ln T], nats
    "kl_max"             largest over t of the same                 [0, ln T], nats
    "vote_entropy"       entropy of v                               [0, ln min(T, C)], nats
    "soft_vote_entropy"  entropy of :math:`\bar p`                  [0, ln C], nats
    "variation_ratio"    1 - largest entry of v                     [0, 1 - 1/C]
    "variance"           variance of :math:`f_t` over t, summed     squared units of the
                         over the outputs                           target the members see
    ===================  =========================================  =======================

    for T members and C classes. Of several outputs, the score is the mean over them.

    Parameters
    ----------
    estimator : estimator or None, default=None
        An estimator whose predictor is such an ensemble, however wrapped. None means the estimator
        of the learner the strategy is plugged into.

    measure : str, default="auto"
        The disagreement, a name of the table. "variance" serves regression, the others
        classification; "auto" is "variance" for regressors and "kl" for classifiers.

    n_bootstraps : int or None, default=None
        Size of a committee of clones of the estimator, each trained on a bootstrap sample of the
        labelled rows: for estimators that are no ensembles, of whatever they take (pipelines on
        frames with categories). None reads the members of the ensemble that the estimator is.

    selector : BatchSelector or None, default=None
        Picks the batch from the scores. None is :class:`~skal.selection.TopK`: the largest scores,
        ties broken at random.

    device : str or None, default=None
        Where the scores are computed. None is the CPU.

    random_state : int, RandomState or None, default=None
        Seeds the breaking of ties, of which votes of few members have many.

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
        If the estimator holds no ensemble of independent members.

    See Also
    --------
    EntropySampling : The entropy of a single model.

    Notes
    -----
    Members that were trained on a sample without some of the classes give these probability 0. "kl"
    is the mutual information between the label and the member. Trees grown until their leaves are
    pure, as those of a forest are by default, answer 0 or 1: "kl" is then the entropy of the mean,
    and no safer with many classes than entropy is (see the reliability study). Boosting stages
    correct each other and are no committee. Cost: one pass of each member over the pool,
    O(T n_pool C) memory; with `n_bootstraps`, as many trainings at every query.

    References
    ----------
    H. S. Seung, M. Opper and H. Sompolinsky (1992). Query by committee. COLT.

    A. McCallum and K. Nigam (1998). Employing EM and pool-based active learning for text
    classification. ICML ("kl").

    I. Dagan and S. P. Engelson (1995). Committee-based sampling for training probabilistic
    classifiers. ICML ("vote_entropy").

    R. Burbidge, J. J. Rowland and R. D. King (2007). Active learning for regression based on query
    by committee. IDEAL ("variance").

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> from skal.strategies import QueryByCommittee
    >>> X, y = load_diabetes(return_X_y=True)
    >>> forest = RandomForestRegressor(n_estimators=10, random_state=0)
    >>> strategy = QueryByCommittee(forest, random_state=0).fit(X[:50], y[:50])
    >>> strategy.query(X[50:], n_instances=5).shape
    (5,)
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "measure": [StrOptions({"auto", "variance", *_CLASSIFICATION})],
        "n_bootstraps": [Interval(Integral, 2, None, closed="left"), None],
    }

    _committee = None

    def __init__(
        self,
        estimator=None,
        *,
        measure="auto",
        n_bootstraps=None,
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.measure = measure
        self.n_bootstraps = n_bootstraps

    def _fit_labeled(self, X, y):
        self._committee = None
        if self.n_bootstraps is not None:
            seed = child_seed(self._seed, 2)
            self._committee = bootstrap_committee(self.estimator_, X, y, self.n_bootstraps, seed)
        super()._fit_labeled(X, y)

    def _represent(self, X):
        measure = self._measure()
        members = self.view if self._committee is None else self._committee
        if measure == "variance":
            votes = members.members(X, "predictions")
            return votes.var(0, correction=0).reshape(votes.shape[1], -1).sum(1)
        scores = [disagreement(P, measure) for P in members.output_members(X)]
        return scores[0] if len(scores) == 1 else torch.stack(scores).mean(0)

    def _measure(self):
        """The disagreement to compute, checked against the task."""
        regression = get_tags(self.estimator_).estimator_type == "regressor"
        if self.measure == "auto":
            return "variance" if regression else "kl"
        if regression != (self.measure == "variance"):
            served = "'variance'" if regression else str(sorted(_CLASSIFICATION))
            raise ValueError(
                f"The 'measure' of QueryByCommittee must be 'auto' or {served} for "
                f"{'regression' if regression else 'classification'}. Got {self.measure!r} instead."
            )
        return self.measure

    _query_tags = QueryStrategyTags(needs=("committee",), deterministic=True)
