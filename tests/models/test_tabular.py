"""The regressor and the classifier for tables: raw tables in, sensible answers out."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.linear_model import RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal.models import TabularClassifier, TabularRegressor
from skal.models._folds import deal_folds
from skal.models._forest import ClassificationForest, RegressionForest
from skal.models._likelihood import best_temperature, floored, likelihoods
from skal.models._logistic import LogisticModel
from skal.models._regressor import _ALPHAS, _Ridge

REGRESSOR = TabularRegressor(n_estimators=10, random_state=0)
CLASSIFIER = TabularClassifier(n_estimators=10, random_state=0)
MODELS = pytest.mark.parametrize("model", [REGRESSOR, CLASSIFIER], ids=["regressor", "classifier"])


def mixed_table(n=60, seed=0):
    """A frame of numbers, categories, dates and gaps, and a target that depends on them."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": rng.normal(50, 20, n),
            "kind": rng.choice(["flat", "house", None], n, p=[0.5, 0.4, 0.1]),
            "built": pd.Timestamp("2000-01-01") + pd.to_timedelta(rng.integers(0, 5000, n), "D"),
            "lift": rng.random(n) < 0.5,
            "empty": np.nan,
            "same": 3,
        }
    )
    frame.loc[rng.random(n) < 0.1, "size"] = np.nan
    y = 2 * frame["size"].fillna(50) + 30 * (frame["kind"] == "house") + rng.normal(0, 2, n)
    return frame, y.to_numpy()


def target_of(model, y):
    return y if model is REGRESSOR else np.where(y > np.median(y), "dear", "cheap")


# ------------------------------------------------------------------ tables


@MODELS
def test_raw_tables_of_every_container_give_the_same_model(model):
    X, y = mixed_table()
    y = target_of(model, y)
    fitted = clone(model).fit(X[:40], y[:40])
    assert fitted.score(X[40:], y[40:]) > 0.8
    assert fitted.feature_names_in_.tolist() == X.columns.tolist()
    polar = clone(model).fit(pl.from_pandas(X[:40]), y[:40])
    np.testing.assert_array_equal(polar.predict(pl.from_pandas(X)), fitted.predict(X))
    array = clone(model).fit(X[:40].to_numpy(dtype=object), y[:40])
    np.testing.assert_array_equal(array.predict(X.to_numpy(dtype=object)), fitted.predict(X))


@MODELS
def test_the_order_of_rows_changes_nothing(model):
    X, y = mixed_table(30)
    y = target_of(model, y)
    order = np.random.default_rng(1).permutation(30)
    one, other = clone(model).fit(X, y), clone(model).fit(X.iloc[order], y[order])
    for name, weight in one.weights_.items():
        assert other.weights_[name] == pytest.approx(weight, abs=1e-6)


@MODELS
def test_repeated_rows_are_weights(model):
    X, y = mixed_table(20)
    y = target_of(model, y)
    repeated = np.r_[np.arange(20), [3, 3, 8]]
    weight = np.bincount(repeated)
    one = clone(model).fit(X, y, sample_weight=weight)
    other = clone(model).fit(X.iloc[repeated], y[repeated])
    assert one.weights_ == pytest.approx(other.weights_)


@MODELS
def test_another_preprocessor(model):
    X = np.random.default_rng(0).normal(size=(30, 3))
    y = target_of(model, X[:, 0])
    preprocessor = make_pipeline(StandardScaler())
    fitted = clone(model).set_params(preprocessor=preprocessor).fit(X, y)
    assert fitted.preprocessor_[0].n_samples_seen_ == 30
    assert not hasattr(preprocessor[0], "mean_")
    with pytest.raises(ValueError, match="NaN"):
        clone(fitted).fit(np.where(X > 2, np.nan, X), y)


@MODELS
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_labels(model, n):
    X, y = mixed_table(12)
    y = target_of(model, y) if model is REGRESSOR else np.array(list("abcdefghijkl"))
    fitted = pickle.loads(pickle.dumps(clone(model).fit(X[:n], y[:n])))
    answers = fitted.predict(X)
    if model is REGRESSOR:
        assert np.isfinite(answers).all()
        assert np.isfinite(fitted.predict(X, return_std=True)[1]).all()
        low, high = y[:n].min(), y[:n].max()
        assert answers.min() >= low - (high - low) and answers.max() <= high + (high - low)
    else:
        assert set(answers) <= set(y[:n])
        np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1)


@MODELS
def test_equal_targets(model):
    X, y = mixed_table(12)
    y = np.full(12, y[0]) if model is REGRESSOR else np.full(12, "only")
    fitted = clone(model).fit(X, y)
    assert fitted.weights_ == {}
    assert set(fitted.predict(X)) == {y[0]}
    if model is REGRESSOR:
        assert fitted.predict(X, return_std=True)[1].max() == 0
        assert fitted.predict_parts(X)["constant"].tolist() == y.tolist()
    else:
        assert fitted.predict_proba(X).tolist() == [[1.0]] * 12


@MODELS
def test_a_table_that_says_nothing(model):
    X = pd.DataFrame({"a": [1] * 10, "b": [None] * 10, "c": ["x"] * 10})
    y = np.arange(10.0) if model is REGRESSOR else np.array(list("aaaaaaabbb"))
    fitted = clone(model).fit(X, y)
    assert len(set(fitted.predict(X))) == 1
    if model is REGRESSOR:
        assert fitted.predict(X)[0] == pytest.approx(4.5, abs=0.5)
    else:
        assert fitted.predict_proba(X)[0, 0] == pytest.approx(0.7, abs=0.15)


@MODELS
def test_errors_of_targets(model):
    X, y = mixed_table(6)
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        clone(model).fit(X, None)
    with pytest.raises(ValueError, match="same number of rows|inconsistent"):
        clone(model).fit(X, y[:4])
    with pytest.raises(ValueError, match="NaN"):
        clone(model).fit(X, np.full(6, np.nan))
    with pytest.raises(ValueError, match="at least one non-zero"):
        clone(model).fit(X, target_of(model, y), sample_weight=np.zeros(6))


# ------------------------------------------------------------------ regression


def test_held_out_predictions_of_ridge_are_leaving_rows_out_one_by_one():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(25, 4))
    t = Z @ [1.0, 2.0, 0.0, 0.0] + rng.normal(size=25)
    ridge = _Ridge().fit(Z, t, np.ones(25))
    same = RidgeCV([ridge._model.alpha_])
    assert ridge._model.alpha_ in _ALPHAS
    np.testing.assert_allclose(
        ridge.held_out_, cross_val_predict(same, Z, t, cv=LeaveOneOut()), atol=1e-8
    )


def test_the_prediction_is_the_weighted_mean_of_the_parts():
    X, y = mixed_table()
    y = y - y.mean()  # negative targets are not transformed
    model = clone(REGRESSOR).fit(X[:40], y[:40])
    parts = model.predict_parts(X)
    assert list(parts) == list(model.weights_)
    mean = sum(share * parts[name] for name, share in model.weights_.items())
    np.testing.assert_allclose(model.predict(X), mean)
    assert sum(model.weights_.values()) == pytest.approx(1)


def test_a_target_whose_logarithm_is_linear_is_predicted_as_its_logarithm():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(80, 3))
    y = np.exp(2 * Z[:, 0] + 0.1 * rng.normal(size=80))
    model = clone(REGRESSOR).fit(Z[:50], y[:50])
    assert model.target_transform_ == "log"
    plain = clone(REGRESSOR).set_params(transform_target=False).fit(Z[:50], y[:50])
    assert plain.target_transform_ == "identity"
    errors = [np.abs(m.predict(Z[50:]) - y[50:]).mean() for m in (model, plain)]
    assert errors[0] < 0.7 * errors[1]
    assert model.predict(Z).min() > 0


def test_a_target_that_is_linear_is_not_transformed():
    Z = np.random.default_rng(0).uniform(1, 2, size=(60, 2))
    assert clone(REGRESSOR).fit(Z, 100 + 50 * Z[:, 0]).target_transform_ == "identity"


def test_standard_deviations_are_of_the_size_of_the_errors():
    rng = np.random.default_rng(0)
    Z = rng.uniform(-2, 2, size=(400, 2))
    y = np.sin(2 * Z[:, 0]) + 0.3 * rng.normal(size=400)
    model = clone(REGRESSOR).fit(Z[:100], y[:100])
    mean, std = model.predict(Z[100:], return_std=True)
    scaled = (y[100:] - mean) / std
    assert 0.7 < np.sqrt((scaled**2).mean()) < 1.4
    np.testing.assert_array_equal(mean, model.predict(Z[100:]))
    inside = model.predict([[0.0, 0.0]], return_std=True)[1]
    assert model.predict([[9.0, 9.0]], return_std=True)[1] > inside


def test_predictions_stay_near_the_labels():
    Z = np.linspace(0, 1, 20)[:, None]
    y = 10 * Z.ravel()
    model = clone(REGRESSOR).set_params(preprocessor=StandardScaler()).fit(Z, y)
    assert model.predict([[1e6]])[0] <= 15.0 + 1e-9


# ------------------------------------------------------------------ classification


def test_probabilities_are_the_mixture_and_never_zero():
    X, y = mixed_table()
    y = np.array(["a", "b", "c"])[np.digitize(y, np.quantile(y, [0.33, 0.66]))]
    model = clone(CLASSIFIER).fit(X[:40], y[:40])
    P = model.predict_proba(X)
    parts = model.predict_parts(X)
    mean = sum(share * parts[name] for name, share in model.weights_.items())
    np.testing.assert_allclose(P, mean)
    np.testing.assert_allclose(P.sum(axis=1), 1)
    assert P.min() > 0 and model.classes_.tolist() == ["a", "b", "c"]


def test_a_class_of_one_row_is_kept():
    X = np.random.default_rng(0).normal(size=(21, 2))
    X[20] = 8.0
    y = np.array([0, 1] * 10 + [2])
    model = clone(CLASSIFIER).fit(X, y)
    assert model.predict_proba(X).shape == (21, 3)
    assert model.predict(X[20:])[0] == 2


def test_logistic_regression_predicts_held_out_rows_from_the_other_folds():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(30, 2))
    codes = (Z[:, 0] > 0).astype(int)
    fold = np.arange(30) % 5
    model = LogisticModel().fit(Z, codes, np.ones(30), fold)
    flipped = codes.copy()
    flipped[fold == 2] = 1 - flipped[fold == 2]
    other = model._held_out(model.strength_, Z, flipped, np.ones(30), fold)
    np.testing.assert_allclose(other[fold == 2], model.held_out_[fold == 2])


def test_the_temperature_is_the_best_of_a_grid():
    rng = np.random.default_rng(0)
    codes = rng.integers(3, size=200)
    scores = np.eye(3)[codes] + rng.normal(size=(200, 3))
    found = best_temperature(scores, codes, np.ones(200))

    def loss(factor):
        P = np.exp(factor * scores)
        return log_loss(codes, P / P.sum(axis=1, keepdims=True))

    assert loss(found) <= min(loss(factor) for factor in np.geomspace(0.4, 50, 200)) + 1e-6


def test_floored_probabilities():
    P = np.array([[1.0, 0.0], [0.5, 0.5]])
    np.testing.assert_allclose(floored(P), [[0.99, 0.01], [0.5, 0.5]])
    np.testing.assert_allclose(likelihoods(P, np.array([1, 0])), [0.01, 0.5])


# ------------------------------------------------------------------ folds and forests


@pytest.mark.parametrize("n", [1, 3, 5, 23])
def test_folds_are_even_in_size_and_in_classes(n):
    fold = deal_folds(np.arange(n) % 2, np.random.RandomState(0))
    counts = np.bincount(fold)
    assert len(counts) == min(5, n) and np.ptp(counts) <= 1
    by_class = [np.bincount(fold[np.arange(n) % 2 == c], minlength=len(counts)) for c in (0, 1)]
    assert max(np.ptp(c) for c in by_class) <= 2


def test_forests_do_not_know_the_rows_they_hold_out():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(40, 2))
    y, codes = Z[:, 0].copy(), (Z[:, 0] > 0).astype(int)
    fold, weight = np.arange(40) % 5, np.ones(40)
    for cls, target, changed in (
        (RegressionForest, y, np.where(fold == 3, 100.0, y)),
        (ClassificationForest, codes, np.where(fold == 3, 1 - codes, codes)),
    ):
        one, other = (
            cls(10).fit(Z, t, weight, fold, np.random.RandomState(0)) for t in (target, changed)
        )
        np.testing.assert_array_equal(one.held_out_[fold == 3], other.held_out_[fold == 3])
