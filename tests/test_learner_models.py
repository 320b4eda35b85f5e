"""Estimators that work in scikit-learn, by whatever habits, work in a learner."""

import datetime
import warnings
from collections import UserList, deque
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.semi_supervised import LabelPropagation, LabelSpreading, SelfTrainingClassifier
from skorch.helper import DataFrameTransformer, SliceDataset

from skal import ActiveLearner
from skal.model_selection import (
    BudgetedActiveLearner,
    active_learning_curve,
    compare_strategies,
)
from skal.neural_network import NeuralNetClassifier
from skal.strategies import BADGE, CoreSet, MarginSampling, QueryByCommittee
from skal.utils._tables import object_array
from skal.views import find_net, predictor_inputs

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
SEED_ROWS = np.r_[0:10, 50:60, 100:110]
# One row of the flowers occurs twice.
POOL_ROWS = np.setdiff1d(np.arange(142), SEED_ROWS)


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


# ---------------------------------------------------------------------- rows that are objects


class Lengths(TransformerMixin, BaseEstimator):
    """Reads objects one by one, whatever they are."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.array([[len(str(row)), hash(str(row)) % 7] for row in X], dtype=float)


def _objects(kind):
    rng = np.random.RandomState(0)
    texts = [f"{'word ' * (i % 5)}{i}" for i in range(40)]
    return {
        "texts with gaps": [None if i % 7 == 6 else text for i, text in enumerate(texts)],
        "texts with NaN": [np.nan if i % 7 == 6 else text for i, text in enumerate(texts)],
        "paths": [Path(text) for text in texts],
        "tokens": [text.split() for text in texts],
        "tokens of one length": [[text, "x"] for text in texts],
        "signals": [rng.randn(i % 5 + 1) for i in range(40)],
        "images": [rng.randn(i % 3 + 2, 4) for i in range(40)],
        "records": [{"text": text} for text in texts],
        "dates": [datetime.date(2026, 1, 1 + i % 28) for i in range(40)],
    }[kind]


OBJECTS = [
    "texts with gaps",
    "texts with NaN",
    "paths",
    "tokens",
    "tokens of one length",
    "signals",
    "images",
    "records",
    "dates",
]


def _as_objects(rows, container):
    if container == "list":
        return rows
    if container == "array":
        return object_array(rows)
    return pd.Series(object_array(rows), index=range(7, 7 + len(rows)))


@pytest.mark.filterwarnings("ignore:.*labelled already")
@pytest.mark.parametrize("container", ["list", "array", "series"])
@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_are_rows(kind, container):
    rows = _objects(kind)
    X, y = _as_objects(rows, container), np.arange(40) % 2
    model = make_pipeline(Lengths(), LogisticRegression(max_iter=1000))
    for strategy in (MarginSampling(), CoreSet()):
        learner = ActiveLearner(model, strategy, random_state=0)
        learner.fit(_as_objects(rows[:20], container), y[:20])
        picked = learner.query(X, 3)
        learner.teach(_as_objects([rows[i] for i in picked[:1]], container), y[picked[:1]])
        assert learner.n_labeled_ == 21 and type(learner.X_labeled_) is type(X)
        assert learner.predict(X).shape == (40,)
    partly = np.where(np.arange(40) < 20, y, np.nan)
    learner.fit(X, partly)
    picked = learner.query(n_instances=2)
    learner.teach(None, y[picked], rows=picked).forget(rows=picked[:1])
    assert learner.n_labeled_ == 21


def test_tables_of_text_in_lists_reach_the_estimator_as_they_are():
    table = [["u", "x"], ["v", "y"], ["u", "y"], ["v", "x"]]
    model = make_pipeline(OneHotEncoder(), LogisticRegression())
    learner = ActiveLearner(model, CoreSet(), random_state=0).fit(table, [0, 1, 0, 1])
    assert learner.teach(np.array([["u", "z"]]), [1]).n_labeled_ == 5
    assert len(learner.query(table, 2)) == 2


def test_signals_of_equal_length_may_be_followed_by_others():
    class Means(Lengths):
        def transform(self, X):
            return np.array([[np.mean(row)] for row in X])

    learner = ActiveLearner(make_pipeline(Means(), Ridge()), random_state=0)
    learner.fit([np.ones(3), np.zeros(3)], [1.0, 0.0])
    learner.teach([np.ones(2), np.zeros(5)], [2.0, 3.0])
    assert [len(row) for row in learner.X_labeled_] == [3, 3, 2, 5]


# ---------------------------------------------------------------------- pools that are no arrays


class Endless(torch.utils.data.Dataset):
    """As torch's documentation has them: it never raises an IndexError."""

    def __len__(self):
        return 100

    def __getitem__(self, i):
        return X_IRIS[i % 150], Y_IRIS[i % 150]


class Bare:
    """Has what a sequence needs, and no end."""

    def __len__(self):
        return 100

    def __getitem__(self, i):
        return X_IRIS[i % 150]


def _elsewhere():
    lazy = pl.DataFrame(X_IRIS).lazy()
    return [
        (Endless(), r"Got Endless .*np.stack\(\[dataset"),
        (Bare(), r"Got Bare .*list of its rows"),
        (lazy, r"Got LazyFrame .*collect\(\)"),
        (torch.utils.data.DataLoader(Endless()), "Got DataLoader"),
        (_faked("h5py", "Dataset"), r"Got Dataset .*Pass X\[:\]"),
        (_faked("dask.array.core", "Array"), r"Got Array .*Pass X.compute\(\)"),
        (_faked("datasets.arrow_dataset", "Dataset"), r"Pass X.to_pandas\(\)"),
    ]


def _faked(module, name):
    """What looks like a class of a package that need not be installed."""
    kind = type(name, (Bare,), {"__module__": module, "__array__": lambda self: X_IRIS})
    return kind()


@pytest.mark.parametrize(("pool", "match"), _elsewhere(), ids=lambda value: type(value).__name__)
def test_what_is_not_in_memory_is_refused_in_a_sentence(pool, match):
    learner = ActiveLearner(LogisticRegression(max_iter=500), MarginSampling(), random_state=0)
    learner.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS])
    for call in (
        lambda: learner.query(pool, 3),
        lambda: learner.predict(pool),
        lambda: learner.teach(pool, Y_IRIS[:100]),
        lambda: learner.fit(pool, Y_IRIS[:100]),
        lambda: learner.query_strategy.set_params(estimator=LogisticRegression()).fit(pool, Y_IRIS),
        lambda: BudgetedActiveLearner(learner, budget=20).fit(pool, Y_IRIS[:100]),
    ):
        with pytest.raises(TypeError, match=match):
            call()
    assert learner.n_labeled_ == 30
    with pytest.raises(TypeError, match=r"y must be held in memory|y must have"):
        learner.fit(X_IRIS[:100], Bare())


def test_rows_that_are_endless_are_never_read():
    rows = [Bare(), Bare(), Bare()]
    learner = ActiveLearner(make_pipeline(Lengths(), Ridge()), random_state=0)
    assert learner.fit(rows, [1.0, 2.0, 3.0]).n_labeled_ == 3


def test_what_can_be_served_is():
    learner = ActiveLearner(LogisticRegression(max_iter=500), MarginSampling(), random_state=0)
    learner.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS])
    expected = learner.query(X_IRIS, 5)
    tensors = torch.utils.data.TensorDataset(torch.tensor(X_IRIS), torch.tensor(Y_IRIS))
    for pool in (
        tensors,
        SliceDataset(Endless()),
        UserList(X_IRIS.tolist()),
        deque(X_IRIS.tolist()),
    ):
        rows = learner.query(pool, 5)
        if len(pool) == 150:
            assert_array_equal(rows, expected)
        assert len(set(rows)) == 5


# ---------------------------------------------------------------------- semi-supervised


def _partly(names=None):
    y = np.full(150, None, dtype=object)
    labels = Y_IRIS if names is None else np.array(names)[Y_IRIS]
    y[SEED_ROWS] = labels[SEED_ROWS]
    return y, labels


@pytest.mark.parametrize("names", [None, ["a", "b", "c"]])
@pytest.mark.parametrize(
    "model",
    [
        SelfTrainingClassifier(LogisticRegression(max_iter=1000)),
        LabelSpreading(kernel="knn", n_neighbors=5),
        LabelPropagation(kernel="knn", n_neighbors=5),
        make_pipeline(StandardScaler(), LabelSpreading()),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_semi_supervised_classifiers_see_the_unlabelled_rows(model, names):
    y, labels = _partly(names)
    learner = ActiveLearner(model, MarginSampling(), random_state=0).fit(X_IRIS, y)
    last = learner.estimator_[-1] if isinstance(model, Pipeline) else learner.estimator_
    seen = getattr(last, "transduction_", getattr(last, "labeled_iter_", None))
    assert len(seen) == 150
    rows = learner.query(n_instances=5)
    learner.teach(None, labels[rows], rows=rows)
    assert sorted(learner.classes_) == sorted(set(labels))
    assert learner.score(X_IRIS, labels) > 0.9
    assert set(learner.predict(X_IRIS)) <= set(labels)
    coded = np.where(np.isin(np.arange(150), np.r_[SEED_ROWS, rows]), Y_IRIS, -1)
    order = np.r_[SEED_ROWS, rows, np.setdiff1d(np.arange(150), np.r_[SEED_ROWS, rows])]
    alone = clone(model).fit(X_IRIS[order], coded[order])
    expected = alone.predict(X_IRIS) if names is None else np.array(names)[alone.predict(X_IRIS)]
    assert_array_equal(learner.predict(X_IRIS), expected)


def test_semi_supervised_needs_minus_one_for_itself():
    y = np.where(Y_IRIS == 0, -1, Y_IRIS).astype(float)
    y[POOL_ROWS] = np.nan
    with pytest.raises(ValueError, match="marks unlabelled rows by -1, which is a class here"):
        ActiveLearner(LabelSpreading()).fit(X_IRIS, y)


def test_semi_supervised_in_a_simulation():
    model = BudgetedActiveLearner(
        ActiveLearner(LabelSpreading(kernel="knn", n_neighbors=5)), n_instances=5, budget=20
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert model.fit(X_IRIS, Y_IRIS).score(X_IRIS, Y_IRIS) > 0.8
    assert len(model.learner_.estimator_.transduction_) == 150


# ---------------------------------------------------------------------- weights, callbacks

WEIGHTS = np.linspace(0.1, 3.0, 150)


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(max_iter=1000),
        make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), LogisticRegression())),
        GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {}, cv=2),
        RandomForestClassifier(5, random_state=0),
        VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], voting="soft"),
    ],
)
def test_sample_weight_needs_no_routing(model):
    learner = ActiveLearner(model, random_state=0)
    learner.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS], sample_weight=WEIGHTS[SEED_ROWS])
    learner.teach(X_IRIS[20:24], Y_IRIS[20:24], sample_weight=WEIGHTS[20:24])
    rows = np.r_[SEED_ROWS, 20:24]
    expected = clone(model)
    names = {"sample_weight": WEIGHTS[rows]}
    if isinstance(model, Pipeline):
        names = {"pipeline__logisticregression__sample_weight": WEIGHTS[rows]}
    elif isinstance(model, GridSearchCV):
        names = {"logisticregression__sample_weight": WEIGHTS[rows]}
    expected.fit(X_IRIS[rows], Y_IRIS[rows], **names)
    assert_allclose(learner.predict_proba(X_IRIS), expected.predict_proba(X_IRIS), rtol=1e-6)
    plain = ActiveLearner(model, random_state=0).fit(X_IRIS[rows], Y_IRIS[rows])
    assert not np.allclose(plain.predict_proba(X_IRIS), learner.predict_proba(X_IRIS))
    if not isinstance(model, GridSearchCV):
        weighted = learner.score(X_IRIS, Y_IRIS, sample_weight=WEIGHTS)
        assert weighted == expected.score(X_IRIS, Y_IRIS, sample_weight=WEIGHTS)
    with pytest.raises(ValueError, match="same per-row arguments as fit"):
        learner.teach(X_IRIS[30:32], Y_IRIS[30:32])


def test_sample_weight_through_a_transformed_target_and_a_net():
    model = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), Ridge()), func=np.log1p, inverse_func=np.expm1
    )
    learner = ActiveLearner(model).fit(X_IRIS, Y_IRIS, sample_weight=WEIGHTS)
    expected = clone(model).fit(X_IRIS, Y_IRIS, ridge__sample_weight=WEIGHTS)
    assert_allclose(learner.predict(X_IRIS), expected.predict(X_IRIS))
    net = NeuralNetClassifier(max_epochs=3, random_state=0)
    learner = ActiveLearner(net, random_state=0).fit(X_IRIS, Y_IRIS, sample_weight=WEIGHTS)
    expected = clone(net).fit(X_IRIS, Y_IRIS, sample_weight=WEIGHTS)
    assert_allclose(learner.predict_proba(X_IRIS), expected.predict_proba(X_IRIS), rtol=1e-5)


def test_weights_that_cannot_be_used_are_refused():
    with pytest.raises(ValueError, match="KNeighborsClassifier.fit takes no sample_weight"):
        ActiveLearner(KNeighborsClassifier()).fit(X_IRIS, Y_IRIS, sample_weight=WEIGHTS)
    with pytest.raises(ValueError, match=r"of shape \(150,\), a weight per row. Got \(3,\)"):
        ActiveLearner(Ridge()).fit(X_IRIS, Y_IRIS, sample_weight=WEIGHTS[:3])
    learner = ActiveLearner(Ridge()).fit(X_IRIS, Y_IRIS, sample_weight=WEIGHTS)
    with pytest.raises(ValueError, match=r"of shape \(2,\)"):
        learner.teach(X_IRIS[:2] + 1, [0, 1], sample_weight=WEIGHTS)
    assert learner.n_labeled_ == 150
    y, _ = _partly()
    with pytest.raises(ValueError, match="there is no sample_weight"):
        model = SelfTrainingClassifier(LogisticRegression())
        ActiveLearner(model).fit(X_IRIS, y, sample_weight=WEIGHTS)


def test_sample_weight_in_simulations():
    learner = ActiveLearner(LogisticRegression(max_iter=1000), MarginSampling())
    model = BudgetedActiveLearner(learner, n_instances=20, budget=50, random_state=0)
    model.fit(X_IRIS, Y_IRIS, sample_weight=WEIGHTS)
    rows = np.concatenate(model.queried_indices_)
    expected = LogisticRegression(max_iter=1000)
    expected.fit(X_IRIS[rows], Y_IRIS[rows], sample_weight=WEIGHTS[rows])
    assert_allclose(model.predict_proba(X_IRIS), expected.predict_proba(X_IRIS), rtol=1e-5)
    plan = dict(n_instances=10, budget=30, cv=2, random_state=0)
    params = {"sample_weight": WEIGHTS}
    curve = active_learning_curve(learner, X_IRIS, Y_IRIS, params=params, **plan)
    plain = active_learning_curve(learner, X_IRIS, Y_IRIS, **plan)
    even = active_learning_curve(
        learner, X_IRIS, Y_IRIS, params={"sample_weight": np.ones(150)}, **plan
    )
    assert_array_equal(even["score"], plain["score"])
    assert not np.array_equal(curve["score"], plain["score"])
    results = compare_strategies(
        learner, {"margin": MarginSampling()}, X_IRIS, Y_IRIS, params=params, **plan
    )
    assert_array_equal(results["score"], curve["score"])
    with pytest.raises(ValueError, match="a weight per row"):
        compare_strategies(
            learner,
            {"m": MarginSampling()},
            X_IRIS,
            Y_IRIS,
            params={"sample_weight": WEIGHTS[:9]},
            **plan,
        )


def test_weights_are_routed_where_routing_is_on():
    with config_context(enable_metadata_routing=True):
        estimator = LogisticRegression(max_iter=1000).set_fit_request(sample_weight=True)
        learner = ActiveLearner(estimator, random_state=0)
        model = BudgetedActiveLearner(learner, n_instances=20, budget=50, random_state=0)
        model.fit(X_IRIS, Y_IRIS, sample_weight=WEIGHTS)
    rows = np.concatenate(model.queried_indices_)
    expected = LogisticRegression(max_iter=1000)
    expected.fit(X_IRIS[rows], Y_IRIS[rows], sample_weight=WEIGHTS[rows])
    assert_allclose(model.predict_proba(X_IRIS), expected.predict_proba(X_IRIS), rtol=1e-5)


def test_callbacks_of_the_estimator():
    ScoringMonitor = pytest.importorskip("sklearn.callback").ScoringMonitor
    learner = ActiveLearner(LogisticRegression(max_iter=500), random_state=0)
    monitor = ScoringMonitor(scoring="accuracy")
    assert learner.set_callbacks(monitor) is learner
    learner.fit(X_IRIS, Y_IRIS)
    assert learner.estimator_._skl_callbacks == [monitor]
    assert not hasattr(learner.estimator, "_skl_callbacks")
    assert clone(learner).fit(X_IRIS, Y_IRIS).estimator_._skl_callbacks == [monitor]
    assert not hasattr(learner.set_callbacks().fit(X_IRIS, Y_IRIS).estimator_, "_skl_callbacks")
    with pytest.raises(TypeError, match="callbacks"):
        learner.set_callbacks("monitor")
    assert not hasattr(ActiveLearner(Ridge()), "set_callbacks")
