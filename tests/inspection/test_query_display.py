import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_diabetes, load_iris, make_moons
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal import ActiveLearner
from skal.inspection import QueryDisplay
from skal.neural_network import NeuralNetClassifier
from skal.strategies import CoreSet, MarginSampling

X, Y = make_moons(80, noise=0.2, random_state=0)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_it_shows_what_the_learner_asks():
    learner = ActiveLearner(LogisticRegression(), MarginSampling(), random_state=0)
    learner.fit(X[:20], Y[:20])
    display = QueryDisplay.from_estimator(learner, X[20:], 4)
    picks, scores = learner.query(X[20:], 4, return_scores=True)
    assert np.array_equal(display.picks, picks)
    assert_allclose(display.pool_.get_offsets(), X[20:])
    assert_allclose(display.pool_.get_array(), scores)
    assert_allclose(display.picks_.get_offsets(), X[20:][picks])
    assert [text.get_text() for text in display.ax_.texts] == ["1", "2", "3", "4"]
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["pool", "labelled: 0", "labelled: 1", "asked for"]
    again = display.plot(numbers=False, legend=False)
    assert not again.ax_.texts and again.ax_.get_legend() is None


def test_many_columns_are_shown_by_their_components():
    D, t = load_diabetes(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), Ridge())
    learner = ActiveLearner(model, CoreSet(), random_state=0).fit(D[:20], t[:20])
    display = QueryDisplay.from_estimator(learner, D[20:80], 3)
    assert display.points.shape == (60, 2) and display.labeled.shape == (20, 2)
    assert display.ax_.get_xlabel() == "component 1 of the inputs"
    assert np.var(display.points[:, 0]) >= np.var(display.points[:, 1])
    two = ActiveLearner(Ridge(), CoreSet(), random_state=0).fit(D[["bmi", "bp"]][:20], t[:20])
    display = QueryDisplay.from_estimator(two, D[["bmi", "bp"]][20:80], 3)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("bmi", "bp")


def test_features_of_a_net_and_three_classes():
    Z, t = load_iris(return_X_y=True)
    learner = ActiveLearner(NeuralNetClassifier(max_epochs=2), CoreSet(), random_state=0)
    learner.fit(Z[::5, :2], t[::5])
    assert QueryDisplay.from_estimator(learner, Z[:, :2], 3).background is learner
    shown = QueryDisplay.from_estimator(learner, Z[:, :2], 3, space="features")
    assert shown.ax_.get_ylabel() == "component 2 of the features" and shown.background is None


def test_a_known_query():
    display = QueryDisplay.from_predictions(
        X, np.array([3, 1]), X_labeled=X[:2], axis_names=("a", "b")
    )
    assert_allclose(display.picks_.get_offsets(), X[[3, 1]])
    assert display.ax_.get_xlabel() == "a"


def test_bad_input():
    learner = ActiveLearner(LogisticRegression(), random_state=0).fit(X[:20], Y[:20])
    with pytest.raises(ValueError, match="space must be one of"):
        QueryDisplay.from_estimator(learner, X, space="plane")
    with pytest.raises(TypeError, match="needs a fitted torch net but found LogisticRegression"):
        QueryDisplay.from_estimator(learner, X, space="features")
    three = ActiveLearner(LogisticRegression()).fit(np.c_[X, X[:, 0]][:20], Y[:20])
    with pytest.raises(ValueError, match="Got rows with 3 columns instead. Use response=None"):
        QueryDisplay.from_estimator(three, np.c_[X, X[:, 0]], response="predict")
    with pytest.raises(ValueError, match="picks must be positions in X_pool"):
        QueryDisplay.from_predictions(X, [1, 200])
