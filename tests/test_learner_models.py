"""Estimators that work in scikit-learn, by whatever habits, work in a learner."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.helper import DataFrameTransformer

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier
from skal.strategies import BADGE, CoreSet, MarginSampling, QueryByCommittee
from skal.views import find_net, predictor_inputs

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
SEED_ROWS = np.r_[0:10, 50:60, 100:110]
POOL_ROWS = np.setdiff1d(np.arange(150), SEED_ROWS)


class Log(TransformerMixin, BaseEstimator):
    """As in every tutorial: there is nothing to learn."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.log1p(X)


class Doubled(BaseEstimator):
    """Resamples, and does nothing else: imbalanced-learn's samplers are like that."""

    def fit_resample(self, X, y):
        return np.vstack([X, X]), np.concatenate([y, y])


class ResamplingPipeline(Pipeline):
    """A pipeline of which some steps act in training only."""

    def fit(self, X, y):
        for _, step in self.steps[:-1]:
            if hasattr(step, "fit_resample"):
                X, y = step.fit_resample(X, y)
            else:
                X = step.fit(X, y).transform(X)
        self.steps[-1][1].fit(X, y)
        return self

    def predict_proba(self, X):
        return self.steps[-1][1].predict_proba(predictor_inputs(self, X))

    def predict(self, X):
        return self.steps[-1][1].predict(predictor_inputs(self, X))


class NearestMean(ClassifierMixin, BaseEstimator):
    """Its `fit` returns nothing."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.means_ = np.array([X[y == c].mean(0) for c in self.classes_])

    def predict(self, X):
        return self.classes_[((X[:, None] - self.means_) ** 2).sum(2).argmin(1)]


# ---------------------------------------------------------------------- steps of pipelines


def _classifier():
    return LogisticRegression(max_iter=500)


@pytest.mark.parametrize("strategy", [BADGE(), CoreSet(), MarginSampling()])
def test_a_transformer_that_learns_nothing_before_the_predictor(strategy):
    model = make_pipeline(Log(), _classifier())
    rows = {}
    for name, X in [("log", X_IRIS), ("ready", np.log1p(X_IRIS))]:
        estimator = model if name == "log" else _classifier()
        learner = ActiveLearner(estimator, strategy, random_state=0)
        learner.fit(X[SEED_ROWS], Y_IRIS[SEED_ROWS])
        rows[name] = learner.query(X[POOL_ROWS], 5)
    assert_array_equal(rows["log"], rows["ready"])


def test_steps_that_resample_are_left_out_of_what_the_predictor_sees():
    model = ResamplingPipeline(
        [("scale", StandardScaler()), ("double", Doubled()), ("net", NeuralNetClassifier())]
    ).set_params(net__max_epochs=3, net__random_state=0)
    learner = ActiveLearner(model, BADGE(), random_state=0)
    learner.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS])
    assert learner.query(X_IRIS[POOL_ROWS], 3).shape == (3,)
    assert len(find_net(learner.estimator_)[0]) == 1
    scaled = learner.estimator_[0].transform(X_IRIS)
    assert_allclose(predictor_inputs(learner.estimator_, X_IRIS), scaled)


@pytest.mark.parametrize("sampler", ["RandomOverSampler", "SMOTE", "RandomUnderSampler"])
def test_samplers_of_imbalanced_learn(sampler):
    pytest.importorskip("imblearn")
    from imblearn import over_sampling, pipeline, under_sampling

    kind = getattr(over_sampling, sampler, None) or getattr(under_sampling, sampler)
    model = pipeline.make_pipeline(StandardScaler(), kind(random_state=0), _classifier())
    for strategy in (BADGE(), CoreSet()):
        learner = ActiveLearner(model, strategy, random_state=0)
        first = learner.query(X_IRIS, 30) if isinstance(strategy, CoreSet) else SEED_ROWS
        learner.fit(X_IRIS[first], Y_IRIS[first])
        assert learner.query(X_IRIS[POOL_ROWS], 3).shape == (3,)


def test_cold_start_walks_the_steps_too():
    plain = ActiveLearner(Ridge(), CoreSet(), random_state=0).query(np.log1p(X_IRIS), 5)
    for steps in ([Log()], [make_pipeline(Log())], ["passthrough", Log()]):
        model = make_pipeline(*steps, Ridge())
        assert_array_equal(ActiveLearner(model, CoreSet(), random_state=0).query(X_IRIS, 5), plain)
    sampled = ResamplingPipeline([("log", Log()), ("double", Doubled()), ("ridge", Ridge())])
    assert_array_equal(ActiveLearner(sampled, CoreSet(), random_state=0).query(X_IRIS, 5), plain)


def test_frames_through_skorchs_own_transformer():
    frame = pd.DataFrame(X_IRIS.astype(np.float32), columns=list("abcd"))

    class Columns(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return X["X"]

    model = make_pipeline(DataFrameTransformer(), Columns(), NeuralNetClassifier(max_epochs=2))
    learner = ActiveLearner(model, BADGE(), random_state=0)
    learner.fit(frame.iloc[SEED_ROWS], Y_IRIS[SEED_ROWS])
    assert learner.query(frame, 4).shape == (4,)


# ---------------------------------------------------------------------- other habits


def test_a_fit_that_returns_nothing():
    learner = ActiveLearner(NearestMean(), CoreSet(), random_state=0)
    learner.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS])
    assert learner.score(X_IRIS, Y_IRIS) > 0.8
    assert_array_equal(learner.classes_, [0, 1, 2])
    rows = learner.query(X_IRIS[POOL_ROWS], 3)
    assert learner.teach(X_IRIS[POOL_ROWS][rows], Y_IRIS[POOL_ROWS][rows]).n_labeled_ == 33


def test_stacking_shows_predict_after_fit_only():
    regressor = StackingRegressor([("ridge", Ridge()), ("forest", RandomForestRegressor(5))], cv=2)
    classifier = StackingClassifier([("bayes", GaussianNB()), ("logistic", _classifier())], cv=2)
    for model in (
        regressor,
        classifier,
        make_pipeline(StandardScaler(), regressor),
    ):
        learner = ActiveLearner(model, CoreSet(), random_state=0)
        learner.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS])
        assert learner.query(X_IRIS[POOL_ROWS], 3).shape == (3,)
    margin = ActiveLearner(classifier, MarginSampling(), random_state=0)
    assert margin.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS]).query(X_IRIS, 2).shape == (2,)


def test_what_does_not_predict_is_still_refused():
    with pytest.raises(ValueError, match="'estimator' parameter of ActiveLearner must be"):
        ActiveLearner(StandardScaler()).fit(X_IRIS, Y_IRIS)


# ---------------------------------------------------------------------- warm start


@pytest.mark.parametrize(
    "model",
    [
        ExtraTreesClassifier(5),
        BaggingRegressor(n_estimators=3),
        GradientBoostingRegressor(n_estimators=5),
        HistGradientBoostingClassifier(max_iter=5),
        make_pipeline(StandardScaler(), RandomForestRegressor(5)),
    ],
)
def test_warm_start_is_refused_where_new_labels_would_not_be_learnt(model):
    with pytest.raises(ValueError, match="new labels would not be learnt"):
        ActiveLearner(model, warm_start=True).fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize(
    "model", [SGDClassifier(), MLPClassifier((16,), max_iter=60), _classifier()]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_warm_start_goes_on_where_it_learns(model):
    learner = ActiveLearner(model, warm_start=True, random_state=0)
    learner.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS])
    before = learner.predict(X_IRIS)
    learner.teach(X_IRIS[POOL_ROWS], np.full(len(POOL_ROWS), 2))
    assert (learner.predict(X_IRIS) == 2).sum() > (before == 2).sum()


def test_a_committee_with_a_warm_start_of_its_own_is_trained_afresh():
    forest = RandomForestRegressor(10, warm_start=True, random_state=0)
    learner = ActiveLearner(forest, QueryByCommittee(), random_state=0)
    learner.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS]).teach(X_IRIS[POOL_ROWS], Y_IRIS[POOL_ROWS])
    afresh = RandomForestRegressor(10, random_state=0).fit(learner.X_labeled_, learner.y_labeled_)
    assert_allclose(learner.predict(X_IRIS), afresh.predict(X_IRIS))
