"""active_learning_curve against a loop written out by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GroupKFold, KFold

from skal.learner import ActiveLearner
from skal.model_selection import active_learning_curve
from skal.strategies import MarginSampling, RandomSampling

FIXED = ["split", "round", "n_labels"]
TIMES = ["fit_time", "query_time"]


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def diabetes():
    return load_diabetes(return_X_y=True)


def _classifier():
    return ActiveLearner(LogisticRegression(max_iter=1000), MarginSampling())


def test_frame_and_budget(iris):
    curve = active_learning_curve(
        _classifier(), *iris, n_instances=7, budget=25, cv=3, random_state=0
    )
    assert list(curve.columns) == [*FIXED, "score", *TIMES]
    assert len(curve) == 3 * 4
    for _, part in curve.groupby("split"):
        assert part["round"].tolist() == [0, 1, 2, 3]
        assert part["n_labels"].tolist() == [10, 17, 24, 25]
    assert curve["n_labels"].dtype == np.int64
    assert (curve["fit_time"] > 0).all()
    assert (curve.loc[curve["round"] == 0, "query_time"] == 0).all()
    assert (curve.loc[curve["round"] > 0, "query_time"] > 0).all()


def test_scores_are_those_of_a_model_trained_on_the_queried_rows(iris):
    X, y = iris
    cv = KFold(4, shuffle=True, random_state=5)
    curve = active_learning_curve(
        _classifier(),
        X,
        y,
        n_initial=6,
        n_instances=5,
        budget=20,
        cv=cv,
        random_state=0,
        return_queried=True,
    )
    for split, (train, test) in enumerate(cv.split(X)):
        labeled = []
        for _, line in curve[curve["split"] == split].iterrows():
            assert np.isin(line["queried"], train).all()
            labeled.extend(line["queried"])
            assert len(set(labeled)) == len(labeled) == line["n_labels"]
            model = LogisticRegression(max_iter=1000).fit(X[labeled], y[labeled])
            assert line["score"] == pytest.approx(accuracy_score(y[test], model.predict(X[test])))


@pytest.mark.parametrize(
    "scoring, columns",
    [
        ("neg_mean_absolute_error", ["neg_mean_absolute_error"]),
        (["r2", "neg_max_error"], ["r2", "neg_max_error"]),
        ({"fit": "r2", "mae": "neg_mean_absolute_error"}, ["fit", "mae"]),
        ({"neg_max_error", "r2"}, ["neg_max_error", "r2"]),
    ],
)
def test_scoring_columns(diabetes, scoring, columns):
    learner = ActiveLearner(Ridge())
    curve = active_learning_curve(
        learner, *diabetes, n_instances=20, budget=50, cv=2, scoring=scoring, random_state=0
    )
    assert list(curve.columns) == [*FIXED, *columns, *TIMES]
    if "r2" in columns:
        default = active_learning_curve(
            learner, *diabetes, n_instances=20, budget=50, cv=2, random_state=0
        )
        np.testing.assert_allclose(curve["r2"], default["score"])


def test_callable_scoring_sees_the_held_out_rows(diabetes):
    sizes = []

    def scorer(estimator, X, y):
        sizes.append(len(X))
        return len(y)

    curve = active_learning_curve(
        ActiveLearner(Ridge()), *diabetes, n_instances=50, budget=60, cv=2, scoring=scorer
    )
    assert set(sizes) == {221}
    assert (curve["score"] == 221).all()


def test_default_splits_hold_out_a_quarter_five_times(iris):
    curve = active_learning_curve(
        _classifier(), *iris, budget=12, random_state=0, scoring=lambda e, X, y: len(y)
    )
    assert curve["split"].unique().tolist() == [0, 1, 2, 3, 4]
    assert (curve["score"] == 38).all()


def test_groups_are_held_out_together(diabetes):
    X, y = diabetes
    groups = np.arange(len(y)) % 6
    curve = active_learning_curve(
        ActiveLearner(Ridge()),
        X,
        y,
        budget=12,
        cv=GroupKFold(3),
        groups=groups,
        random_state=0,
        return_queried=True,
    )
    for _, part in curve.groupby("split"):
        assert len(set(groups[np.concatenate(part["queried"].tolist())])) <= 4


def test_same_seed_same_curve_and_n_jobs_changes_nothing(iris):
    def curve(**options):
        frame = active_learning_curve(
            _classifier(), *iris, n_instances=5, budget=30, cv=2, return_queried=True, **options
        )
        return frame.drop(columns=TIMES)

    one = curve(random_state=3)
    pd.testing.assert_frame_equal(one, curve(random_state=3))
    pd.testing.assert_frame_equal(one, curve(random_state=3, n_jobs=2))
    pd.testing.assert_frame_equal(one, curve(random_state=3, n_jobs=2, progress_bar=True))
    assert not one.equals(curve(random_state=4))


def test_random_sampling_draws_afresh_in_every_split(diabetes):
    cv = [(np.arange(100), np.arange(100, 442))] * 2
    curve = active_learning_curve(
        ActiveLearner(Ridge(), RandomSampling(random_state=0)),
        *diabetes,
        budget=15,
        cv=cv,
        random_state=0,
        return_queried=True,
    )
    rows = [np.concatenate(part["queried"].tolist()) for _, part in curve.groupby("split")]
    assert set(rows[0]) != set(rows[1])


def test_caller_objects_are_left_alone(iris):
    X, y = iris
    learner, X0, y0 = _classifier(), X.copy(), y.copy()
    before = dict(learner.get_params())
    active_learning_curve(learner, X, y, budget=12, cv=2)
    assert learner.get_params() == before and not hasattr(learner, "estimator_")
    np.testing.assert_array_equal(X, X0)
    np.testing.assert_array_equal(y, y0)


def test_partly_labelled_target(diabetes):
    X, y = diabetes[0], diabetes[1].copy()
    y[::3] = np.nan
    curve = active_learning_curve(
        ActiveLearner(Ridge()),
        X,
        y,
        n_instances=10,
        budget=40,
        cv=3,
        random_state=0,
        return_queried=True,
    )
    assert np.isfinite(curve["score"]).all()
    assert not np.isnan(y[np.concatenate(curve["queried"].tolist())]).any()


def test_partly_labelled_classes(iris):
    X, y = iris
    y = y.astype(object)
    y[::4] = None
    curve = active_learning_curve(_classifier(), X, y, n_instances=10, budget=40, random_state=0)
    assert np.isfinite(curve["score"]).all()


def test_frames_with_text_columns(iris):
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    X, y = iris
    X = pd.DataFrame(X[:, :3], columns=list("abc"), index=np.random.permutation(150))
    X["kind"] = np.where(X["a"] > 5, "big", "small")
    y = pd.Series(np.array(["x", "y", "z"])[y], index=X.index)
    encode = make_column_transformer(
        (StandardScaler(), ["a", "b", "c"]), (OneHotEncoder(handle_unknown="ignore"), ["kind"])
    )
    learner = ActiveLearner(make_pipeline(encode, LogisticRegression()), MarginSampling())
    curve = active_learning_curve(learner, X, y, n_instances=10, budget=40, cv=2, random_state=0)
    assert curve["score"].iloc[-1] > 0.8


def test_errors_before_any_training(iris, diabetes):
    with pytest.raises(TypeError, match=r"of active_learning_curve must be an ActiveLearner"):
        active_learning_curve(LogisticRegression(), *iris)
    with pytest.raises(ValueError, match="labelled training rows, 75 in split 0. Got 100 instead"):
        active_learning_curve(_classifier(), *iris, budget=100, cv=2)
    with pytest.raises(ValueError, match="must be at least n_initial=10. Got 5 instead"):
        active_learning_curve(_classifier(), *iris, budget=5)
    with pytest.raises(ValueError, match="'n_instances' parameter of active_learning_curve must"):
        active_learning_curve(_classifier(), *iris, n_instances=0)
    with pytest.raises(ValueError, match="Got 'round' instead. Choose another key"):
        active_learning_curve(_classifier(), *iris, scoring={"round": "accuracy"})
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        active_learning_curve(_classifier(), iris[0], iris[1][:-1])
    with pytest.raises(ValueError, match="target y is None"):
        active_learning_curve(_classifier(), iris[0], None)
    y = diabetes[1].copy()
    y[50:] = np.nan
    with pytest.raises(ValueError, match="labelled training rows, 0 in split 0"):
        active_learning_curve(ActiveLearner(Ridge()), diabetes[0], y, budget=40, cv=KFold(2))
