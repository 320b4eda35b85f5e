"""Simulations that a stopping criterion ends."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from skal import ActiveLearner
from skal.model_selection import BudgetedActiveLearner, compare_strategies, summarize_comparison
from skal.stopping import AllOf, BatchAccuracy, MaxLabels, StablePredictions, StoppingCriterion
from skal.strategies import MarginSampling, RandomSampling

X, Y = load_iris(return_X_y=True)
TIMES = ["fit_time", "query_time"]


def learner():
    return ActiveLearner(LogisticRegression(max_iter=500), MarginSampling())


def compare(**options):
    return compare_strategies(
        learner(),
        {"random": RandomSampling(), "margin": MarginSampling()},
        X,
        Y,
        n_instances=5,
        budget=40,
        n_repeats=2,
        random_state=0,
        **options,
    )


def test_curves_are_those_without_until_the_stop_and_flat_after(tmp_path):
    plain = compare()
    stopped = compare(stopping=MaxLabels(20), checkpoint=tmp_path / "runs")
    assert stopped["n_labels"].tolist() == plain["n_labels"].tolist()
    assert (stopped["stopped"] == (stopped["n_labels"] > 20)).all()
    real = ~stopped["stopped"]
    pd.testing.assert_frame_equal(
        stopped[real].drop(columns=[*TIMES, "stopped"]), plain[real].drop(columns=TIMES)
    )
    for _, run in stopped.groupby(["strategy", "repeat"]):
        after = run.loc[run["stopped"], "score"]
        assert (after == run.loc[run["n_labels"] == 20, "score"].item()).all()
        assert (run.loc[run["stopped"], TIMES] == 0).all(axis=None)
    assert len(summarize_comparison(stopped)) == 2  # `stopped` is no score
    again = compare(stopping=MaxLabels(20), checkpoint=tmp_path / "runs")
    pd.testing.assert_frame_equal(again, stopped)
    with pytest.raises(ValueError, match="another comparison: stopping__n_labels"):
        compare(stopping=MaxLabels(25), checkpoint=tmp_path / "runs")


class Witness(StoppingCriterion):
    """Looks at everything a round offers, and never stops."""

    seen = []

    def _measure(self, round):
        before = round.previous_predictions(round.queried)
        shape = round.predict_proba(round.unlabeled).shape
        self.seen.append((round.n_labels, round.queried, round.labels, before, shape))
        assert not set(round.queried) & set(round.unlabeled)
        assert len(round.predict(round.unlabeled)) == len(round.unlabeled)
        assert round.audit is None
        return 0

    def _stops(self):
        return False


def test_a_round_offers_what_is_promised(monkeypatch):
    monkeypatch.setattr(Witness, "seen", [])
    model = BudgetedActiveLearner(
        learner(), n_instances=5, budget=25, stopping=Witness(), random_state=0
    ).fit(X, Y)
    assert model.termination_condition_ == "budget_spent"
    assert [n for n, *_ in Witness.seen] == model.n_labels_.tolist()
    for place, (n, queried, labels, before, shape) in enumerate(Witness.seen):
        np.testing.assert_array_equal(queried, model.queried_indices_[place])
        assert labels == Y[queried].tolist()
        assert shape == (150 - n, 3)
        if place == 0:
            assert before is None
        else:
            expected = model.estimators_[place - 1].predict(X[queried])
            np.testing.assert_array_equal(before, expected)


def test_budgeted_learner_stops_where_the_criterion_says():
    model = BudgetedActiveLearner(
        learner(), n_instances=5, budget=100, stopping=MaxLabels(20), random_state=0
    )
    model.fit(X, Y)
    assert model.n_labels_.tolist() == [10, 15, 20]
    assert model.termination_condition_ == "stopped"
    assert not hasattr(model.stopping, "history_")
    stable = AllOf([StablePredictions(0.95), BatchAccuracy(0.0)])
    assert model.set_params(stopping=stable).fit(X, Y).n_labels_[-1] <= 100
    assert model.set_params(stopping=None, budget=200).fit(X, Y).termination_condition_ == (
        "pool_exhausted"
    )


@pytest.mark.parametrize("wrong", [MaxLabels, 0.95, "stable"])
def test_what_is_no_criterion_is_refused(wrong):
    with pytest.raises(TypeError, match="must be a criterion from skal.stopping, or None"):
        compare(stopping=wrong)
    with pytest.raises(TypeError, match="'stopping' parameter of BudgetedActiveLearner"):
        BudgetedActiveLearner(learner(), stopping=wrong).fit(X, Y)
