"""Oracles: who is right how often, the same answer twice, and refusals."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV

from skal import ActiveLearner
from skal.model_selection import (
    BudgetedActiveLearner,
    active_learning_curve,
    compare_strategies,
)
from skal.oracles import CallableOracle, NoisyOracle, PerfectOracle, ask, k_symmetric_channel
from skal.strategies import MarginSampling, RandomSampling

X = np.arange(12_000.0).reshape(6000, 2)
Y = np.arange(6000) % 4
ALL = np.arange(6000)


@pytest.mark.parametrize("n_classes", [1, 2, 5])
@pytest.mark.parametrize("noise", [0, 0.3, 1])
def test_columns_of_the_symmetric_channel_sum_to_one(n_classes, noise):
    channel = k_symmetric_channel(n_classes, noise)
    np.testing.assert_allclose(channel.sum(axis=0), 1)
    if n_classes > 1:
        np.testing.assert_allclose(np.diag(channel), 1 - noise)
        assert np.unique(channel[~np.eye(n_classes, dtype=bool)]).size == 1


@pytest.mark.parametrize(("n_classes", "noise"), [(0, 0.1), (3, -0.1), (3, 1.1), (3, np.nan)])
def test_the_symmetric_channel_refuses(n_classes, noise):
    with pytest.raises(ValueError, match="Got"):
        k_symmetric_channel(n_classes, noise)


def test_the_perfect_oracle_is_right():
    y = pd.Series(Y.astype(str), index=ALL + 7)
    answers = PerfectOracle().fit(X, y).label(X[[5, 2]], [5, 2])
    assert answers.tolist() == ["1", "2"]


def _joint(oracle, y=Y):
    """Counts of (answer, class)."""
    answers = oracle.fit(X, y).label(X, ALL)
    return np.array([[np.sum((answers == i) & (y == j)) for j in range(4)] for i in range(4)])


@pytest.mark.parametrize("resample", [False, True])
def test_symmetric_noise_has_its_rate_and_is_uniform_over_the_other_classes(resample):
    counts = _joint(NoisyOracle(0.3, resample=resample, random_state=0))
    wrong = counts[~np.eye(4, dtype=bool)]
    assert abs(wrong.sum() / 6000 - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 6000)
    assert chisquare(wrong).pvalue > 1e-3


def test_the_typewriter_strikes_the_next_key():
    counts = _joint(NoisyOracle(0.4, channel="typewriter", random_state=1))
    np.testing.assert_array_equal(counts.sum(axis=0), 1500)
    assert abs(np.trace(counts) / 6000 - 0.6) < 0.03
    assert np.trace(counts) + sum(counts[(j + 1) % 4, j] for j in range(4)) == 6000


def test_answers_follow_a_given_channel():
    rng = np.random.RandomState(0)
    channel = rng.dirichlet(np.ones(4), 4).T
    oracle = NoisyOracle(None, channel=channel, random_state=3)
    counts = _joint(oracle)
    for j in range(4):
        assert chisquare(counts[:, j], 1500 * channel[:, j]).pvalue > 1e-3
    np.testing.assert_array_equal(oracle.channel_, channel)


def test_noise_may_differ_from_row_to_row():
    level = np.where(X[:, 0] < 6000, 0.0, 0.5)
    listed = NoisyOracle(level, random_state=0).fit(X, Y)
    called = NoisyOracle(lambda X: np.where(X[:, 0] < 6000, 0.0, 0.5), random_state=0).fit(X, Y)
    np.testing.assert_array_equal(listed.y_noisy_, called.y_noisy_)
    wrong = listed.y_noisy_ != Y
    assert not wrong[:3000].any()
    assert abs(wrong[3000:].mean() - 0.5) < 0.04
    np.testing.assert_allclose(np.diag(listed.channel_), 0.75, atol=1e-3)


def test_an_answer_is_settled_by_seed_and_row():
    oracle = NoisyOracle(0.5, random_state=0).fit(X, Y)
    some = np.array([17, 3, 999])
    first = oracle.label(X[some], some)
    oracle.label(X, ALL)
    np.testing.assert_array_equal(oracle.label(X[some[::-1]], some[::-1]), first[::-1])
    np.testing.assert_array_equal(clone(oracle).fit(X, Y).label(X[some], some), first)
    assert (NoisyOracle(0.5, random_state=1).fit(X, Y).y_noisy_ != oracle.y_noisy_).any()


def test_resampled_answers_differ():
    oracle = NoisyOracle(0.5, resample=True, random_state=0).fit(X, Y)
    assert (oracle.label(X, ALL) != oracle.label(X, ALL)).any()
    assert not hasattr(oracle, "y_noisy_")


def test_no_noise_changes_nothing_and_all_noise_is_never_right():
    assert (NoisyOracle(0.0).fit(X, Y).y_noisy_ == Y).all()
    assert not (NoisyOracle(1.0).fit(X, Y).y_noisy_ == Y).any()
    assert (NoisyOracle(1.0).fit(X, np.ones(6000, dtype=int)).y_noisy_ == 1).all()


def test_labels_that_are_missing_stay_missing():
    y = np.where(ALL < 3000, Y, np.nan)
    oracle = NoisyOracle(0.2, random_state=0).fit(X, y)
    assert all(value is None for value in oracle.y_noisy_[3000:])
    assert oracle.label(X[:2], [0, 1]).dtype.kind == "f"
    with pytest.raises(ValueError, match="Row 3001 had no label"):
        oracle.label(X[:1], [3001])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": 1.5}, "'noise'"),
        ({"noise": None}, "'noise' of NoisyOracle must be a number"),
        ({"noise": [0.1, 0.2]}, "one number for each of the 6000 rows"),
        ({"noise": np.full(6000, 2.0)}, "between 0 and 1"),
        ({"channel": "morse"}, "'channel'"),
        ({"channel": np.eye(4)}, "must be None where 'channel' is a matrix"),
        ({"noise": None, "channel": np.eye(3)}, "each of the 4 classes"),
        ({"noise": None, "channel": np.ones((4, 4))}, "columns of 'channel'"),
    ],
)
def test_the_noisy_oracle_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        NoisyOracle(**settings).fit(X, Y)


def test_the_noisy_oracle_refuses_regression():
    with pytest.raises(ValueError, match="disturbs classes.*CallableOracle"):
        NoisyOracle().fit(X, Y + 0.5)


def test_a_person_is_asked_once_and_may_refuse():
    asked = []

    def judge(row):
        asked.append(float(row[0]))
        return None if row[0] == 6 else "big" if row[0] > 4 else "small"

    oracle = CallableOracle(judge)
    assert oracle.label(X[[1, 3]], [1, 3]).tolist() == ["small", None]
    assert oracle.label(X[[3, 4, 1]], [3, 4, 1]).tolist() == [None, "big", "small"]
    assert asked == [2.0, 6.0, 8.0]
    assert oracle.answers_ == {1: "small", 4: "big"}
    assert oracle.refused_ == [3]
    with pytest.raises(ValueError, match="position for each of the 2 rows"):
        oracle.label(X[:2], [0])


def test_what_was_said_before_an_interruption_is_kept():
    def judge(row):
        if row[0] == 4:
            raise KeyboardInterrupt
        return 1

    oracle = CallableOracle(judge)
    with pytest.raises(KeyboardInterrupt):
        oracle.label(X[:5], range(5))
    assert oracle.answers_ == {0: 1, 1: 1}


def test_a_person_sees_the_row_of_a_frame_by_name():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    oracle = CallableOracle(lambda row: row["b"])
    assert oracle.label(frame, [0, 1]).tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("typed", "label"), [("3", 3), ("0.5", 0.5), (" cat ", "cat"), ("skip", None), ("", None)]
)
def test_the_terminal_is_read(typed, label):
    shown = []
    assert ask([1, 2], read=lambda prompt: typed, write=shown.append) == label
    assert shown == [[1, 2]]


# ---------------------------------------------------------------------------------- simulations

IRIS = load_iris(return_X_y=True)
LEARNER = ActiveLearner(LogisticRegression(max_iter=500), MarginSampling())
PLAN = {"n_initial": 6, "n_instances": 7, "budget": 30}


def _compare(oracle, **more):
    return compare_strategies(
        LEARNER,
        [RandomSampling(), MarginSampling()],
        *IRIS,
        oracle=oracle,
        n_repeats=2,
        random_state=0,
        return_queried=True,
        **PLAN,
        **more,
    ).drop(columns=["fit_time", "query_time"])


def test_true_answers_change_nothing():
    pd.testing.assert_frame_equal(_compare(None), _compare(PerfectOracle()))
    pd.testing.assert_frame_equal(_compare(None), _compare(NoisyOracle(0.0)))


def test_wrong_answers_hurt_from_the_first_query_on():
    clean, noisy = _compare(None), _compare(NoisyOracle(0.6))
    first = clean["round"] == 0
    np.testing.assert_array_equal(clean[first]["score"], noisy[first]["score"])
    last = clean["round"] == 4
    assert noisy[last]["score"].mean() < clean[last]["score"].mean() - 0.1


def test_two_strategies_hear_the_same_about_a_row():
    curves = [
        BudgetedActiveLearner(
            ActiveLearner(LogisticRegression(max_iter=500), strategy),
            n_initial=6,
            n_instances=36,
            budget=150,
            oracle=NoisyOracle(0.5),
            random_state=0,
        ).fit(*IRIS)
        for strategy in (RandomSampling(), MarginSampling())
    ]
    labels = []
    for model in curves:
        rows = np.concatenate(model.queried_indices_)
        labels.append(np.asarray(model.learner_.y_labeled_)[np.argsort(rows)])
    np.testing.assert_array_equal(*labels)
    assert 0.3 < (labels[0] != IRIS[1]).mean() < 0.65


def test_the_first_sample_is_clean():
    model = BudgetedActiveLearner(LEARNER, **PLAN, oracle=NoisyOracle(1.0), random_state=0)
    model.fit(*IRIS)
    rows, labels = np.concatenate(model.queried_indices_), np.asarray(model.learner_.y_labeled_)
    np.testing.assert_array_equal(labels[:6], IRIS[1][rows[:6]])
    assert (labels[6:] != IRIS[1][rows[6:]]).all()


def test_refused_rows_are_replaced_and_cost_nothing():
    X_iris, y_iris = IRIS
    truth = {tuple(x): int(label) for x, label in zip(X_iris, y_iris, strict=True)}
    oracle = CallableOracle(lambda row: None if row[0] > 6 else truth[tuple(row)])
    model = BudgetedActiveLearner(LEARNER, **PLAN, oracle=oracle, random_state=0)
    model.fit(X_iris, y_iris)
    assert model.n_labels_.tolist() == [6, 13, 20, 27, 30]
    assert model.termination_condition_ == "budget_spent"
    later = np.concatenate(model.queried_indices_[1:])
    assert (X_iris[later, 0] <= 6).all()
    assert len(set(np.concatenate(model.queried_indices_))) == 30


def test_a_campaign_ends_when_everything_is_refused():
    oracle = CallableOracle(lambda row: None)
    model = BudgetedActiveLearner(LEARNER, **PLAN, oracle=oracle, random_state=0)
    with pytest.warns(UserWarning, match="6 labels are all there are to get, of a budget of 30"):
        model.fit(*IRIS)
    assert model.n_labels_.tolist() == [6]
    assert model.termination_condition_ == "pool_exhausted"


def test_a_person_is_asked_about_rows_whose_label_nobody_knows():
    X_iris, y_iris = IRIS
    y = np.where(np.arange(150) % 5 == 0, y_iris, np.nan)
    truth = {tuple(x): int(label) for x, label in zip(X_iris, y_iris, strict=True)}
    oracle = CallableOracle(lambda row: truth[tuple(row)])
    model = BudgetedActiveLearner(LEARNER, **PLAN, oracle=oracle, random_state=0).fit(X_iris, y)
    later = np.concatenate(model.queried_indices_[1:])
    assert (later % 5 != 0).any()
    assert model.n_labels_[-1] == 30


def test_the_noise_can_be_searched():
    model = BudgetedActiveLearner(LEARNER, **PLAN, oracle=NoisyOracle(), random_state=0)
    search = GridSearchCV(model, {"oracle__noise": [0.0, 0.8]}, cv=2).fit(*IRIS)
    assert search.best_params_ == {"oracle__noise": 0.0}


def test_regression_is_answered_by_a_function():
    y = IRIS[0] @ [1.0, 2.0, 3.0, 4.0]
    oracle = CallableOracle(lambda row: float(row @ [1.0, 2.0, 3.0, 4.0]))
    curve = active_learning_curve(
        ActiveLearner(Ridge()), IRIS[0], y, oracle=oracle, n_instances=5, budget=20, cv=2
    )
    assert curve["score"].iloc[-1] > 0.9


@pytest.mark.parametrize("oracle", [NoisyOracle, "ask me", 3])
def test_other_oracles_are_refused(oracle):
    with pytest.raises(TypeError, match="'oracle' parameter of compare_strategies"):
        _compare(oracle)
    with pytest.raises(TypeError, match="'oracle' parameter of BudgetedActiveLearner"):
        BudgetedActiveLearner(LEARNER, oracle=oracle).fit(*IRIS)


def test_an_oracle_that_answers_too_little_is_named():
    class Short(PerfectOracle):
        def label(self, X, rows):
            return super().label(X, rows)[:-1]

    with pytest.raises(RuntimeError, match=r"Short\(\).*Got 6 instead"):
        _compare(Short())


def test_the_answer_does_not_depend_on_how_many_rows_follow():
    few = NoisyOracle(0.5, random_state=0).fit(X[:400], Y[:400])
    many = NoisyOracle(0.5, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(few.y_noisy_, many.y_noisy_[:400])


@pytest.mark.parametrize("row", [-1, 6000])
def test_rows_that_are_not_there_are_refused(row):
    with pytest.raises(ValueError, match="positions in the X of fit, from 0 to 5999"):
        NoisyOracle().fit(X, Y).label(X[:1], [row])


def test_another_row_at_a_known_position_is_noticed():
    oracle = CallableOracle(lambda row: float(row[0]))
    oracle.label(X[[3, 4]], [0, 1])
    with pytest.raises(ValueError, match="Position 1 held another row"):
        oracle.label(X[[3, 5]], [0, 1])
    assert oracle.fit(X).label(X[[3, 5]], [0, 1]).tolist() == [6.0, 10.0]


def test_only_labels_that_exist_are_accepted():
    typed, shown = iter(["1O", "cow", "cat"]), []
    label = ask([1], choices=["cat", "dog"], read=lambda _: next(typed), write=shown.append)
    assert label == "cat"
    assert len(shown) == 3
    assert "none of" in shown[-1]


def test_class_noise_is_refused_in_regression():
    y = np.round(IRIS[0][:, 0])
    model = BudgetedActiveLearner(ActiveLearner(Ridge()), oracle=NoisyOracle(), budget=20)
    with pytest.raises(ValueError, match="answers with classes"):
        model.fit(IRIS[0], y)
