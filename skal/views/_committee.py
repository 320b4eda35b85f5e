"""The members of a fitted ensemble, and what each of them answers."""

from functools import partial

import numpy as np
import torch
from sklearn.ensemble import BaseEnsemble, VotingClassifier, VotingRegressor

from skal.utils._tables import is_frame, n_rows
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
            f"{owner} serves one output. Got an ensemble of {len(classes)} outputs "
            "instead. Use one learner per output."
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
