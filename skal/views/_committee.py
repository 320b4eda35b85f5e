"""The members of a fitted ensemble, and what each of them answers."""

from functools import partial

import numpy as np
import torch
from sklearn.base import clone, is_classifier
from sklearn.ensemble import BaseEnsemble, VotingClassifier, VotingRegressor

from skal.utils._random import child_seed, set_random_states
from skal.utils._tables import is_frame, n_rows, take_rows
from skal.utils.validation import target_values
from skal.views._checks import check_probabilities


def committee_members(ensemble, estimator, owner):
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


def committee_answers(view, X, answers):
    """Stack what the members of the ensemble in `view` answer: float64 tensor (T, n, ...)."""
    ensemble = view.predictor
    members = committee_members(ensemble, view.estimator, view.owner)
    if answers == "predictions":
        return stack_answers(members, member_predictions, ensemble, X)
    return stack_answers(members, partial(member_probabilities, owner=view.owner), ensemble, X)


def committee_outputs(view, X):
    """What the members answer for each output: a list of float64 tensors (T, n, C)."""
    ensemble = view.predictor
    if not isinstance(getattr(ensemble, "classes_", None), list):
        return [committee_answers(view, X, "probabilities")]
    X = np.asarray(X) if is_frame(X) else X
    answers = [
        member.predict_proba(columns_seen(X, columns))
        for member, columns in committee_members(ensemble, view.estimator, view.owner)
    ]
    return [
        torch.as_tensor(np.stack([_at_least_two(P) for P in output]), dtype=torch.float64)
        for output in zip(*answers, strict=True)
    ]


class BootstrapCommittee:
    """Clones of one estimator that were trained on bootstrap samples of the same rows."""

    def __init__(self, estimators, classes):
        self.estimators = estimators
        self.classes = classes

    def members(self, X, answers="probabilities"):
        """As `ModelView.members`: what every member answers, float64 tensor (T, n, ...)."""
        if answers == "predictions":
            votes = [np.asarray(member.predict(X), np.float64) for member in self.estimators]
        else:
            votes = [self._probabilities(member, X) for member in self.estimators]
        return torch.as_tensor(np.stack(votes))

    def output_members(self, X):
        """As `ModelView.output_members`, for one output."""
        return [self.members(X)]

    def _probabilities(self, member, X):
        full = np.zeros((n_rows(X), len(self.classes)))
        if not hasattr(member, "predict_proba"):
            votes = np.searchsorted(self.classes, np.asarray(member.predict(X)))
            full[np.arange(len(full)), votes] = 1.0
            return full
        own = check_probabilities(_at_least_two(member.predict_proba(X)), "QueryByCommittee")
        seen = np.searchsorted(self.classes, member.classes_)
        full[:, seen] = own.numpy()[:, : len(seen)]
        return full


def bootstrap_committee(estimator, X, y, n_members, seed):
    """Train clones of a fitted estimator on bootstrap samples of the labelled rows.

    Parameters
    ----------
    estimator : estimator
        Its clones are trained.

    X, y : array-like of n_labeled rows
        The labelled rows and their labels.

    n_members : int
        T.

    seed : int
        Seeds the samples and the trainings.

    Returns
    -------
    committee : BootstrapCommittee
        The members.
    """
    if y is None:
        raise ValueError("QueryByCommittee(n_bootstraps=...) needs the labels y in fit.")
    classes, members = None, []
    if is_classifier(estimator):
        if np.ndim(y) == 2 and np.shape(y)[1] > 1:
            raise ValueError(
                "QueryByCommittee(n_bootstraps=...) serves one output. Got "
                f"{np.shape(y)[1]} outputs instead. Use an ensemble of several outputs, such as "
                "RandomForestClassifier."
            )
        classes = np.unique(target_values(y).ravel())
    labels = target_values(y)
    for member in range(n_members):
        rows = _bootstrap(labels, classes, np.random.RandomState(child_seed(seed, member)))
        model = clone(estimator)
        set_random_states(model, child_seed(seed, member, 1))
        fitted = model.fit(take_rows(X, rows), take_rows(y, rows))
        members.append(model if fitted is None else fitted)
    return BootstrapCommittee(members, classes)


def _bootstrap(y, classes, rng):
    """Rows drawn with replacement; of a classifier's, one of at least two classes is among them."""
    rows = rng.randint(len(y), size=len(y))
    while classes is not None and len(classes) > 1 and len(np.unique(y[rows])) < 2:
        rows = rng.randint(len(y), size=len(y))
    return rows


def stack_answers(members, answer, ensemble, X):
    """Stack what every member answers: float64 tensor (T, n, ...)."""
    if is_frame(X) and not isinstance(ensemble, (VotingClassifier, VotingRegressor)):
        # Forests and bagging hand their members bare arrays.
        X = np.asarray(X)
    answers = [answer(member, ensemble, columns_seen(X, columns)) for member, columns in members]
    return torch.as_tensor(np.stack(answers))


def columns_seen(X, columns):
    everything = columns is None or np.array_equal(columns, np.arange(X.shape[1]))
    return X if everything else X[:, columns]


def member_predictions(member, ensemble, X):
    return np.asarray(member.predict(X), dtype=np.float64)


def member_probabilities(member, ensemble, X, owner):
    """Probabilities of one member, with a column for every class of the ensemble."""
    classes = ensemble.classes_
    if isinstance(classes, list):
        raise ValueError(
            f"{owner} serves one output. Got an ensemble of {len(classes)} outputs instead. Use "
            "QueryByCommittee or EntropySampling, which serve several, or one learner per output."
        )
    # Members are trained on the positions of the classes, not on the classes.
    seen = np.asarray(member.classes_).astype(np.intp)
    full = np.zeros((n_rows(X), len(classes)))
    if hasattr(member, "predict_proba"):
        own = check_probabilities(_at_least_two(member.predict_proba(X)), owner)
        full[:, seen] = own.numpy()[:, : len(seen)]
    else:
        full[np.arange(len(full)), np.asarray(member.predict(X)).astype(np.intp)] = 1.0
    return full


def _at_least_two(probabilities):
    """A member that saw one class alone answers one column of ones."""
    if isinstance(probabilities, np.ndarray) and probabilities.shape[1] == 1:
        return np.hstack([probabilities, 1.0 - probabilities])
    return probabilities
