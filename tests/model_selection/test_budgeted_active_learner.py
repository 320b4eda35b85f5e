"""BudgetedActiveLearner: scikit-learn's checks, stages, searches, and what its fit reports."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_param_validation, parametrize_with_checks

from skal.learner import ActiveLearner
from skal.metrics import area_under_budget_curve, make_budget_scorer
from skal.model_selection import BudgetedActiveLearner
from skal.strategies import CoreSet, MarginSampling, RandomSampling

CHECKED = [
    BudgetedActiveLearner(
        ActiveLearner(LogisticRegression(), MarginSampling()), n_instances=20, budget=50
    ),
    BudgetedActiveLearner(ActiveLearner(Ridge(), RandomSampling()), n_instances=20, budget=50),
]


@parametrize_with_checks(CHECKED)
def test_sklearn_checks(estimator, check):
    check(estimator)


def test_parameter_validation():
    check_param_validation("BudgetedActiveLearner", clone(CHECKED[1]))


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def _model(**params):
    learner = ActiveLearner(LogisticRegression(max_iter=1000), MarginSampling())
    params = {"n_instances": 8, "budget": 30, "random_state": 0} | params
    return BudgetedActiveLearner(learner, **params)


@pytest.fixture(scope="module")
def fitted(iris):
    return _model().fit(*iris)


def test_what_fit_reports(fitted, iris):
    X, y = iris
    assert fitted.n_labels_.tolist() == [10, 18, 26, 30]
    assert [len(rows) for rows in fitted.queried_indices_] == [10, 8, 8, 4]
    rows = np.concatenate(fitted.queried_indices_)
    assert rows.dtype == np.int64 and len(np.unique(rows)) == 30
    assert fitted.termination_condition_ == "budget_spent"
    np.testing.assert_array_equal(fitted.learner_.X_labeled_, X[rows])
    np.testing.assert_array_equal(fitted.learner_.y_labeled_, y[rows])
    assert fitted.classes_.tolist() == [0, 1, 2] and fitted.n_features_in_ == 4


def test_fit_buys_no_label_twice_and_reads_no_other(iris):
    """Scrambling the labels that were never bought changes nothing but what stratifies."""
    X, y = load_diabetes(return_X_y=True)
    model = BudgetedActiveLearner(
        ActiveLearner(Ridge(), CoreSet(space="inputs")), n_instances=8, budget=40, random_state=0
    )
    first = clone(model).fit(X, y)
    bought = np.concatenate(first.queried_indices_)
    scrambled = np.random.default_rng(0).normal(size=len(y))
    scrambled[bought] = y[bought]
    second = clone(model).fit(X, scrambled)
    np.testing.assert_array_equal(bought, np.concatenate(second.queried_indices_))
    np.testing.assert_array_equal(first.predict(X), second.predict(X))


def test_stages(fitted, iris):
    X, y = iris
    bought = np.cumsum([len(rows) for rows in fitted.queried_indices_])
    rows = np.concatenate(fitted.queried_indices_)
    scores = list(fitted.staged_score(X, y))
    assert len(scores) == 4
    for n, predicted, score in zip(bought, fitted.staged_predict(X), scores, strict=True):
        model = LogisticRegression(max_iter=1000).fit(X[rows[:n]], y[rows[:n]])
        np.testing.assert_array_equal(predicted, model.predict(X))
        assert score == model.score(X, y)
    np.testing.assert_array_equal(predicted, fitted.predict(X))
    assert scores[-1] == fitted.score(X, y)


def test_stages_with_a_named_score_and_missing_labels(fitted, iris):
    X, y = iris
    partly = y.astype(object)
    partly[::2] = None
    scores = list(fitted.staged_score(X, partly, scoring="balanced_accuracy"))
    expected = balanced_accuracy_score(y[1::2], fitted.predict(X[1::2]))
    assert scores[-1] == pytest.approx(expected)
    with pytest.raises(ValueError, match="No row to score on has a label"):
        list(fitted.staged_score(X[:2], np.array([np.nan, np.nan])))


def test_budget_scorer_is_the_area_under_the_stages(fitted, iris):
    scores = list(fitted.staged_score(*iris, scoring="balanced_accuracy"))
    expected = area_under_budget_curve(fitted.n_labels_, scores)
    assert make_budget_scorer("balanced_accuracy")(fitted, *iris) == pytest.approx(expected)
    mean = make_budget_scorer(rule="mean")(fitted, *iris)
    assert mean == pytest.approx(np.mean(list(fitted.staged_score(*iris))))


def test_grid_search_gives_the_same_with_two_jobs(iris):
    grid = {
        "learner__query_strategy": [RandomSampling(), CoreSet(space="inputs")],
        "learner__estimator__C": [0.1, 10.0],
    }
    scoring = {"final": "accuracy", "budget": make_budget_scorer()}
    found = [
        GridSearchCV(_model(), grid, cv=2, scoring=scoring, refit="budget", n_jobs=n).fit(*iris)
        for n in (1, 2)
    ]
    for key in found[0].cv_results_:
        if "_test_" in key:
            one, two = (search.cv_results_[key] for search in found)
            np.testing.assert_array_equal(one, two)
            assert np.isfinite(one).all()
    assert len(set(found[0].cv_results_["mean_test_budget"])) > 1


def test_nested_strategy_parameters_are_searchable(iris):
    model = BudgetedActiveLearner(
        ActiveLearner(LogisticRegression(max_iter=1000), CoreSet()), n_instances=10, budget=20
    )
    grid = {"learner__query_strategy__space": ["inputs", "auto"]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(*iris)
    assert search.best_params_["learner__query_strategy__space"] in ("inputs", "auto")
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_cross_validate_hides_labels_of_the_training_fold_only(iris):
    found = cross_validate(_model(), *iris, cv=3, return_estimator=True)
    for model in found["estimator"]:
        assert model.n_labels_[-1] == 30
    assert (found["test_score"] > 0.7).all()


def test_budget_beyond_the_rows_labels_them_all(iris):
    X, y = iris[0][::6], iris[1][::6]
    model = _model(budget=100).fit(X, y)
    assert model.n_labels_.tolist() == [10, 18, 25]
    assert model.termination_condition_ == "pool_exhausted"
    assert sorted(np.concatenate(model.queried_indices_)) == list(range(25))
    model = _model(n_initial=40, budget=100).fit(X, y)
    assert model.n_labels_.tolist() == [25]
    assert model.termination_condition_ == "pool_exhausted"
    assert _model(budget=25).fit(X, y).termination_condition_ == "budget_spent"


def test_partly_labelled_target_buys_labelled_rows_only(iris):
    X, y = iris
    y = y.astype(object)
    y[::2] = None
    model = _model().fit(X, y)
    assert (np.concatenate(model.queried_indices_) % 2 == 1).all()
    model = _model(budget=100).fit(X, y)
    assert model.n_labels_[-1] == 75 and model.termination_condition_ == "pool_exhausted"
    with pytest.raises(ValueError, match="y has no labelled row"):
        _model().fit(X, np.full(150, np.nan))


def test_random_state(iris):
    def bought(**params):
        return np.concatenate(_model(**params).fit(*iris).queried_indices_).tolist()

    assert bought() == bought()
    assert bought() != bought(random_state=1)
    model = _model()
    model.set_params(learner__query_strategy=RandomSampling(), learner__random_state=0)
    other = clone(model).set_params(learner__random_state=1)
    rows = [np.concatenate(m.fit(*iris).queried_indices_) for m in (model, other)]
    np.testing.assert_array_equal(rows[0][:10], rows[1][:10])
    assert set(rows[0]) != set(rows[1])


def test_snapshots_are_light_and_independent(fitted, iris):
    assert len({id(estimator) for estimator in fitted.estimators_}) == 4
    assert fitted.estimators_[-1] is fitted.learner_.estimator_
    X = np.random.default_rng(0).normal(size=(3000, 20))
    y = X[:, 0]
    learner = ActiveLearner(Ridge(), RandomSampling())
    model = BudgetedActiveLearner(learner, n_instances=5, budget=100, random_state=0).fit(X, y)
    # 19 fitted models and 100 labelled rows: nothing like 19 times the 480 kB of the pool.
    assert len(pickle.dumps(model)) < 60_000
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_warm_start_does_not_rewrite_earlier_stages():
    from sklearn.linear_model import SGDRegressor

    X, y = load_diabetes(return_X_y=True)
    learner = ActiveLearner(SGDRegressor(max_iter=20, tol=None), warm_start=True)
    model = BudgetedActiveLearner(learner, n_instances=20, budget=50, random_state=0).fit(X, y)
    predictions = list(model.staged_predict(X[:5]))
    assert not np.allclose(predictions[0], predictions[-1])


def test_tags_and_optional_methods():
    assert is_classifier(_model()) and not is_regressor(_model())
    regressor = BudgetedActiveLearner(ActiveLearner(Ridge()))
    assert is_regressor(regressor)
    assert get_tags(regressor).regressor_tags.poor_score
    assert get_tags(_model()).classifier_tags.poor_score
    assert get_tags(_model()).target_tags.required
    assert not hasattr(regressor, "predict_proba") and hasattr(_model(), "predict_proba")
    signed = BudgetedActiveLearner(ActiveLearner(RidgeClassifier()))
    assert hasattr(signed, "decision_function") and not hasattr(signed, "predict_proba")


def test_delegated_methods(fitted, iris):
    X, _ = iris
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        expected = getattr(fitted.learner_, name)(X)
        np.testing.assert_array_equal(getattr(fitted, name)(X), expected)


def test_repr_in_a_notebook():
    for model in (_model(), BudgetedActiveLearner(None)):
        assert "BudgetedActiveLearner" in model._repr_html_()
    assert "BudgetedActiveLearner" in repr(_model())


def test_frames_keep_their_names(iris):
    X = pd.DataFrame(iris[0], columns=list("abcd"), index=np.arange(150)[::-1])
    model = _model().fit(X, pd.Series(iris[1], index=X.index))
    assert model.feature_names_in_.tolist() == list("abcd")
    assert isinstance(model.learner_.X_labeled_, pd.DataFrame)
    np.testing.assert_array_equal(model.predict(X), _model().fit(*iris).predict(iris[0]))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X.rename(columns={"a": "z"}))


def test_errors(iris):
    with pytest.raises(TypeError, match="of BudgetedActiveLearner must be an ActiveLearner"):
        BudgetedActiveLearner(LogisticRegression()).fit(*iris)
    with pytest.raises(ValueError, match="budget of BudgetedActiveLearner.*n_initial=10. Got 4"):
        _model(budget=4).fit(*iris)
    with pytest.raises(NotFittedError):
        _model().predict(iris[0])
    with pytest.raises(NotFittedError):
        list(_model().staged_predict(iris[0]))
    assert not hasattr(_model(), "classes_")
