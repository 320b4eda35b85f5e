"""Query by committee: the rows about which the members of an ensemble disagree."""

import numpy as np
import torch
from sklearn.ensemble import BaseEnsemble, VotingClassifier, VotingRegressor
from sklearn.utils import get_tags

from skal.neural_network import predictor_inputs, unwrap
from skal.strategies._base import QueryStrategy, _check_probabilities
from skal.utils._compat import StrOptions
from skal.utils._tables import is_frame, n_rows
from skal.utils._tags import QueryStrategyTags

_CLASSIFICATION = {"vote_entropy", "soft_vote_entropy", "kl", "kl_max", "variation_ratio"}


class QueryByCommittee(QueryStrategy):
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

    for T members and C classes.

    Parameters
    ----------
    estimator : estimator or None, default=None
        An estimator whose predictor is such an ensemble, however wrapped. None means the estimator
        of the learner the strategy is plugged into.

    measure : str, default="auto"
        The disagreement, a name of the table. "variance" serves regression, the others
        classification; "auto" is "variance" for regressors and "kl" for classifiers.

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
    O(T n_pool C) memory.

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
        **QueryStrategy._parameter_constraints,
        "measure": [StrOptions({"auto", "variance", *_CLASSIFICATION})],
    }

    def __init__(
        self, estimator=None, *, measure="auto", selector=None, device=None, random_state=None
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.measure = measure

    def _represent(self, X):
        measure = self._measure()
        ensemble = unwrap(self.estimator_)
        members = _members(ensemble, self.estimator_, "QueryByCommittee")
        X = predictor_inputs(self.estimator_, X)
        if measure == "variance":
            votes = _stack(members, _predictions, ensemble, X).to(self._torch_device())
            return votes.var(0, correction=0).reshape(votes.shape[1], -1).sum(1)
        P = _stack(members, _probabilities, ensemble, X).to(self._torch_device())
        return _disagreement(P, measure)

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


def _disagreement(P, measure):
    """Scores (n,) from member probabilities P (T, n, C)."""
    entropy = lambda p: torch.special.entr(p).sum(-1)  # noqa: E731
    mean = P.mean(0)
    if measure == "soft_vote_entropy":
        return entropy(mean)
    if measure in ("kl", "kl_max"):
        # KL(p_t || mean); where mean is 0 so is every p_t, and xlogy(0, .) is 0.
        divergence = (torch.xlogy(P, P) - torch.xlogy(P, mean)).sum(-1).clamp_min(0.0)
        return divergence.mean(0) if measure == "kl" else divergence.max(0).values
    votes = torch.nn.functional.one_hot(P.argmax(-1), P.shape[-1]).to(P.dtype).mean(0)
    return entropy(votes) if measure == "vote_entropy" else 1.0 - votes.max(-1).values


def _members(ensemble, estimator, owner):
    """Return the fitted members of an ensemble and the columns each of them sees."""
    members = getattr(ensemble, "estimators_", None)
    # Boosting keeps weights, or an array of stages by class.
    stages = hasattr(ensemble, "estimator_weights_") or getattr(members, "ndim", 1) > 1
    known = isinstance(ensemble, (BaseEnsemble, VotingClassifier, VotingRegressor))
    if members is None or not known or stages:
        raise ValueError(
            f"{owner} needs an ensemble of independent members but found "
            f"{type(ensemble).__name__} in {type(estimator).__name__}. Use for instance "
            "RandomForestRegressor, BaggingClassifier(your_estimator) or VotingClassifier."
        )
    if len(members) < 2:
        raise ValueError(
            f"{owner} needs at least two members. {type(ensemble).__name__} has {len(members)}."
        )
    columns = getattr(ensemble, "estimators_features_", [None] * len(members))
    return list(zip(members, columns, strict=True))


def _stack(members, answer, ensemble, X):
    """Stack what every member answers: float64 tensor (T, n, ...)."""
    if is_frame(X) and not isinstance(ensemble, (VotingClassifier, VotingRegressor)):
        # Forests and bagging hand their members bare arrays.
        X = np.asarray(X)
    answers = [answer(member, ensemble, _columns(X, columns)) for member, columns in members]
    return torch.as_tensor(np.stack(answers))


def _columns(X, columns):
    everything = columns is None or np.array_equal(columns, np.arange(X.shape[1]))
    return X if everything else X[:, columns]


def _predictions(member, ensemble, X):
    return np.asarray(member.predict(X), dtype=np.float64)


def _probabilities(member, ensemble, X, owner="QueryByCommittee"):
    """Probabilities of one member, with a column for every class of the ensemble."""
    classes = ensemble.classes_
    if isinstance(classes, list):
        raise ValueError(
            f"{owner} serves one output. Got an ensemble of {len(classes)} outputs "
            "instead. Use one learner per output."
        )
    # Members are trained on the positions of the classes, not on the classes.
    seen = np.asarray(member.classes_).astype(np.intp)
    full = np.zeros((n_rows(X), len(classes)))
    if hasattr(member, "predict_proba"):
        own = _check_probabilities(_at_least_two(member.predict_proba(X)), owner)
        full[:, seen] = own.numpy()[:, : len(seen)]
    else:
        full[np.arange(len(full)), np.asarray(member.predict(X)).astype(np.intp)] = 1.0
    return full


def _at_least_two(probabilities):
    """A member that saw one class alone answers one column of ones."""
    if isinstance(probabilities, np.ndarray) and probabilities.shape[1] == 1:
        return np.hstack([probabilities, 1.0 - probabilities])
    return probabilities
