"""Disagreement of committees, against scipy and against members asked one by one."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import entropy
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skal import ActiveLearner
from skal.strategies import EntropySampling, QueryByCommittee
from skal.strategies._measures import disagreement
from skal.utils._compat import InvalidParameterError

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["u", "v", "w"])[Y]


def _by_definition(P, measure):
    """Disagreement from member probabilities (T, n, C), with scipy's entropy and KL."""
    T, n, C = P.shape
    mean = P.mean(0)
    kl = np.array([[entropy(P[t, i], mean[i]) for i in range(n)] for t in range(T)])
    votes = np.array([np.bincount(P[:, i].argmax(1), minlength=C) / T for i in range(n)])
    return {
        "kl": kl.mean(0),
        "kl_max": kl.max(0),
        "soft_vote_entropy": entropy(mean, axis=1),
        "vote_entropy": entropy(votes, axis=1),
        "variation_ratio": 1 - votes.max(1),
    }[measure]


MEASURES = ["kl", "kl_max", "soft_vote_entropy", "vote_entropy", "variation_ratio"]


@pytest.mark.parametrize("measure", MEASURES)
def test_measures_are_the_definitions(measure):
    import torch

    P = np.random.RandomState(0).dirichlet(np.full(4, 0.3), size=(5, 40))
    P[:, 0] = np.eye(4)[2]
    P[0, 1], P[1:, 1] = np.eye(4)[0], np.eye(4)[1]
    scores = disagreement(torch.tensor(P), measure).numpy()
    assert_allclose(scores, _by_definition(P, measure), atol=1e-12)
    assert abs(scores[0]) < 1e-12


@pytest.mark.parametrize(
    "ensemble",
    [
        RandomForestClassifier(n_estimators=7, random_state=0),
        ExtraTreesClassifier(n_estimators=7, max_depth=3, random_state=0),
        BaggingClassifier(GaussianNB(), n_estimators=7, max_features=3, random_state=0),
        make_pipeline(StandardScaler(), BaggingClassifier(n_estimators=7, random_state=0)),
        VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression(max_iter=1000))]),
    ],
)
@pytest.mark.parametrize("measure", MEASURES)
def test_every_ensemble_of_independent_members_is_a_committee(ensemble, measure):
    strategy = QueryByCommittee(ensemble, measure=measure).fit(X, NAMES)
    fitted = strategy.estimator_
    inputs = X if not hasattr(fitted, "steps") else fitted[0].transform(X)
    committee = fitted if not hasattr(fitted, "steps") else fitted[-1]
    columns = getattr(committee, "estimators_features_", [slice(None)] * 7)
    members = zip(committee.estimators_, columns, strict=False)
    P = np.stack([member.predict_proba(inputs[:, c]) for member, c in members])
    scores = strategy.query(X, 1, return_scores=True)[1]
    assert_allclose(scores, _by_definition(P, measure), atol=1e-10)


def test_members_that_missed_a_class_give_it_no_probability():
    rare = np.r_[0:50, 50:100, 100:102]
    neighbour = KNeighborsClassifier(n_neighbors=1)
    bagging = BaggingClassifier(neighbour, n_estimators=10, max_samples=20, random_state=0)
    strategy = QueryByCommittee(bagging, measure="soft_vote_entropy").fit(X[rare], NAMES[rare])
    counts = {len(member.classes_) for member in strategy.estimator_.estimators_}
    assert 2 in counts
    scores = strategy.query(X, 1, return_scores=True)[1]
    assert_allclose(scores, entropy(strategy.estimator_.predict_proba(X), axis=1), atol=1e-10)


def test_members_without_probabilities_vote():
    bagging = BaggingClassifier(RidgeClassifier(), n_estimators=5, random_state=0)
    strategy = QueryByCommittee(bagging, measure="vote_entropy").fit(X, Y)
    votes = np.stack([member.predict(X) for member in strategy.estimator_.estimators_])
    expected = [entropy(np.bincount(column.astype(int), minlength=3)) for column in votes.T]
    assert_allclose(strategy.query(X, 1, return_scores=True)[1], expected, atol=1e-12)


@pytest.mark.parametrize(
    "ensemble",
    [
        RandomForestRegressor(n_estimators=6, random_state=0),
        BaggingRegressor(Ridge(), n_estimators=6, random_state=0),
        VotingRegressor([("a", Ridge()), ("b", Ridge(alpha=100.0))]),
    ],
)
def test_regression_is_the_variance_of_the_members(ensemble):
    X, y = load_diabetes(return_X_y=True)
    strategy = QueryByCommittee(ensemble).fit(X, y)
    predictions = [member.predict(X) for member in strategy.estimator_.estimators_]
    scores = strategy.query(X, 1, return_scores=True)[1]
    assert_allclose(scores, np.var(predictions, axis=0), rtol=1e-6)


def test_variance_ignores_a_shift_of_the_target_and_scales_with_its_square():
    X, y = load_diabetes(return_X_y=True)
    bagging = BaggingRegressor(Ridge(), n_estimators=6, random_state=0)
    scores, shifted, scaled = (
        QueryByCommittee(bagging).fit(X, target).query(X, 1, return_scores=True)[1]
        for target in (y, y + 1000.0, 3 * y)
    )
    assert_allclose(shifted, scores, rtol=1e-6)
    assert_allclose(scaled, 9 * scores, rtol=1e-6)


def test_several_outputs_add_up():
    X, y = load_diabetes(return_X_y=True)
    forest = RandomForestRegressor(n_estimators=5, random_state=0)
    strategy = QueryByCommittee(forest).fit(X, np.column_stack([y, -y]))
    predictions = np.stack([member.predict(X) for member in strategy.estimator_.estimators_])
    expected = predictions.var(0).sum(1)
    assert_allclose(strategy.query(X, 1, return_scores=True)[1], expected, rtol=1e-6)


def test_variance_inside_a_transformed_target():
    X, y = load_diabetes(return_X_y=True)
    model = TransformedTargetRegressor(
        RandomForestRegressor(n_estimators=5, random_state=0), func=np.log1p, inverse_func=np.expm1
    )
    strategy = QueryByCommittee(model).fit(X, y)
    members = strategy.estimator_.regressor_.estimators_
    expected = np.var([member.predict(X) for member in members], axis=0)
    assert_allclose(strategy.query(X, 1, return_scores=True)[1], expected, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize(
    "model",
    [
        AdaBoostClassifier(n_estimators=3),
        GradientBoostingClassifier(n_estimators=3),
        HistGradientBoostingRegressor(max_iter=3),
        LogisticRegression(max_iter=1000),
    ],
)
def test_what_is_no_committee_is_refused(model):
    with pytest.raises(ValueError, match=f"found {type(model).__name__}.*RandomForestRegressor"):
        QueryByCommittee(model).fit(X, Y).transform(X)


def test_bad_measures():
    forest = RandomForestClassifier(n_estimators=3)
    with pytest.raises(ValueError, match="must be 'auto' or .*'kl'.*Got 'variance'"):
        QueryByCommittee(forest, measure="variance").fit(X, Y).transform(X)
    with pytest.raises(ValueError, match="must be 'auto' or 'variance' for regression"):
        QueryByCommittee(RandomForestRegressor(n_estimators=3), measure="kl").fit(X, Y).transform(X)
    with pytest.raises(InvalidParameterError, match="'measure' parameter"):
        QueryByCommittee(forest, measure="votes").fit(X, Y).transform(X)
    with pytest.raises(ValueError, match="at least two members"):
        QueryByCommittee(RandomForestClassifier(n_estimators=1)).fit(X, Y).transform(X)


def test_fully_grown_trees_disagree_by_the_entropy_of_their_mean():
    forest = FrozenEstimator(RandomForestClassifier(20, random_state=0).fit(X[::5], Y[::5]))
    disagreement = QueryByCommittee(forest).fit(X, Y).transform(X)
    assert_allclose(disagreement, EntropySampling(forest).fit(X, Y).transform(X), atol=1e-6)
    smooth = FrozenEstimator(
        RandomForestClassifier(20, min_samples_leaf=5, random_state=0).fit(X[::5], Y[::5])
    )
    disagreement = QueryByCommittee(smooth).fit(X, Y).transform(X)
    assert disagreement.max() < EntropySampling(smooth).fit(X, Y).transform(X).max() - 0.1


# ---------------------------------------------------------------------- bootstraps


def test_bootstraps_of_a_pipeline_on_frames_with_categories():
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"a": rng.randn(80), "k": pd.Categorical(rng.choice(["u", "v"], 80))})
    y = 3 * frame["a"].to_numpy() + (frame["k"] == "u").to_numpy()
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
        remainder=StandardScaler(),
    )
    strategy = QueryByCommittee(make_pipeline(columns, Ridge()), n_bootstraps=5, random_state=0)
    strategy.fit(frame[:30], y[:30])
    members = strategy._committee.estimators
    assert len(members) == 5
    answers = np.stack([member.predict(frame) for member in members])
    assert answers.std(0).min() > 0
    assert_allclose(strategy.transform(frame)[:, 0], answers.var(0), rtol=1e-4)
    again = QueryByCommittee(make_pipeline(columns, Ridge()), n_bootstraps=5, random_state=0)
    assert (again.fit(frame[:30], y[:30]).query(frame, 5) == strategy.query(frame, 5)).all()


@pytest.mark.parametrize("model", [LogisticRegression(max_iter=1000), RidgeClassifier()])
def test_bootstraps_of_a_classifier(model):
    X, y = load_iris(return_X_y=True)
    names = np.array(["a", "b", "c"])[y]
    first = np.r_[0:6, 50:56, 100:102]
    learner = ActiveLearner(model, QueryByCommittee(n_bootstraps=20), random_state=0)
    rows, scores = learner.fit(X[first], names[first]).query(X, 10, return_scores=True)
    assert len(set(rows)) == 10 and (scores >= 0).all() and scores.max() > 0.1
    # A sample may lack a class, never all but one.
    few = np.r_[0:1, 50:59]
    assert len(learner.fit(X[few], names[few]).query(X, 3)) == 3


def test_bootstraps_say_what_they_cannot():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="needs the labels y"):
        fitted = FrozenEstimator(Ridge().fit(X, y))
        QueryByCommittee(fitted, n_bootstraps=3).fit(X)
    two = np.column_stack([y > 0, y > 1])
    with pytest.raises(ValueError, match="one output. Got 2 outputs"):
        QueryByCommittee(KNeighborsClassifier(), n_bootstraps=3).fit(X, two)
