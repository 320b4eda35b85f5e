"""Greedy sampling against the definition, row by row."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal import ActiveLearner
from skal.strategies import GreedySampling
from skal.strategies import _greedy_sampling as module

X, Y = load_diabetes(return_X_y=True)
X_POOL = X[30:120]


def by_definition(inputs, outputs, mode, n):
    """`inputs` and `outputs` are pairs of labelled rows and pool."""
    labeled = list(zip(*(part[0].tolist() for part in (inputs, outputs)), strict=True))
    left, picks = dict(enumerate(zip(inputs[1], outputs[1], strict=True))), []
    while len(picks) < n:
        scores = {}
        for i, (x, f) in left.items():
            between = []
            for x_r, y_r in labeled:
                d_x, d_y = np.linalg.norm(x - np.asarray(x_r)), np.linalg.norm(f - np.asarray(y_r))
                between.append({"inputs": d_x, "outputs": d_y, "both": d_x * d_y}[mode])
            scores[i] = min(between)
        picks.append(max(scores, key=scores.get))
        labeled.append(left.pop(picks[-1]))
    return picks


@pytest.mark.parametrize("mode", ["inputs", "outputs", "both"])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_picks_by_the_definition(mode, n_outputs, monkeypatch):
    monkeypatch.setattr(module, "_NUMBERS", 200)
    y = np.column_stack([Y, Y**0.5])[:30, :n_outputs]
    model = make_pipeline(StandardScaler(), Ridge())
    strategy = GreedySampling(model, mode=mode, random_state=0).fit(X[:30], y)
    scale = y.std(0)
    inputs = [strategy.estimator_[0].transform(rows) for rows in (X[:30], X_POOL)]
    f = strategy.estimator_.predict(X_POOL).reshape(len(X_POOL), -1)
    assert strategy.query(X_POOL, 6).tolist() == by_definition(
        inputs, [y / scale, f / scale], mode, 6
    )


def test_the_scale_of_the_target_does_not_matter():
    picks = [
        GreedySampling(Ridge(), random_state=0).fit(X[:30], c * Y[:30]).query(X_POOL, 10).tolist()
        for c in (1.0, 1e4)
    ]
    assert picks[0] == picks[1]


def test_before_any_label_the_middle_comes_first():
    learner = ActiveLearner(Ridge(), GreedySampling(mode="inputs"), random_state=0)
    rows = learner.query(X_POOL, 5)
    distances = np.linalg.norm(X_POOL - X_POOL.mean(0), axis=1)
    assert rows[0] == distances.argmin()
    assert rows[1] == np.linalg.norm(X_POOL - X_POOL[rows[0]], axis=1).argmax()


def test_what_is_refused():
    with pytest.raises(ValueError, match="GreedySampling serves regression"):
        GreedySampling(LogisticRegression()).fit(X[:30], Y[:30] > 100)
    learner = ActiveLearner(Ridge(), GreedySampling(), random_state=0)
    with pytest.raises(ValueError, match="GreedySampling needs a fitted estimator"):
        learner.query(X_POOL)
