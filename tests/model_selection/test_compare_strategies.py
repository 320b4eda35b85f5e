"""compare_strategies: pairing, order, failures; and the summary against hand computation."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPRegressor

from skal.learner import ActiveLearner
from skal.model_selection import active_learning_curve, compare_strategies, summarize_comparison
from skal.strategies import CoreSet, MarginSampling, RandomSampling, SelectingStrategy

TIMES = ["fit_time", "query_time"]
THREE = {
    "random": RandomSampling(),
    "margin": MarginSampling(),
    "core-set": CoreSet(space="inputs"),
}


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def _learner():
    return ActiveLearner(LogisticRegression(max_iter=1000))


@pytest.fixture(scope="module")
def results(iris):
    return compare_strategies(
        _learner(),
        THREE,
        *iris,
        n_instances=5,
        budget=32,
        n_repeats=3,
        random_state=0,
        return_queried=True,
    )


def test_frame(results):
    assert list(results.columns) == [
        "strategy",
        "repeat",
        "split",
        "round",
        "n_labels",
        "score",
        *TIMES,
        "queried",
    ]
    assert results["strategy"].unique().tolist() == list(THREE)
    assert len(results) == 3 * 3 * 6
    for _, part in results.groupby(["strategy", "repeat"]):
        assert part["n_labels"].tolist() == [10, 15, 20, 25, 30, 32]
    assert results.index.equals(pd.RangeIndex(len(results)))


def test_repeats_are_paired(results):
    starts = results[results["round"] == 0]
    for _, part in starts.groupby("repeat"):
        assert len(part) == 3
        assert part["score"].nunique() == 1
        assert len({tuple(rows) for rows in part["queried"]}) == 1
    # And repeats differ among themselves.
    assert len({tuple(rows) for rows in starts["queried"]}) == 3
    # Strategies then go their own ways.
    seconds = results[(results["round"] == 1) & (results["repeat"] == 0)]
    assert len({frozenset(rows) for rows in seconds["queried"]}) == 3


def test_networks_start_from_the_same_weights():
    X, y = load_diabetes(return_X_y=True)
    net = MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, early_stopping=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = compare_strategies(
            ActiveLearner(net),
            [RandomSampling(), CoreSet(space="inputs")],
            X,
            y,
            n_instances=10,
            budget=20,
            n_repeats=2,
            random_state=0,
        )
    starts = results[results["round"] == 0].groupby("repeat")["score"]
    assert (starts.nunique() == 1).all()
    assert results[results["round"] == 0]["score"].nunique() == 2


def test_n_jobs_and_progress_bar_change_nothing(iris, results, capsys):
    again = compare_strategies(
        _learner(),
        THREE,
        *iris,
        n_instances=5,
        budget=32,
        n_repeats=3,
        random_state=0,
        return_queried=True,
        n_jobs=2,
        progress_bar=True,
    )
    pd.testing.assert_frame_equal(results.drop(columns=TIMES), again.drop(columns=TIMES))
    assert "9/9" in capsys.readouterr().err


def test_one_strategy_is_active_learning_curve(iris, results):
    learner = _learner().set_params(query_strategy=MarginSampling())
    curve = active_learning_curve(
        learner, *iris, n_instances=5, budget=32, random_state=0, return_queried=True
    )
    five = compare_strategies(
        _learner(),
        {"margin": MarginSampling()},
        *iris,
        n_instances=5,
        budget=32,
        random_state=0,
        return_queried=True,
    )
    pd.testing.assert_frame_equal(
        five.drop(columns=["strategy", "repeat", *TIMES]), curve.drop(columns=TIMES)
    )


def test_cv_is_gone_through_n_repeats_times(iris):
    results = compare_strategies(
        _learner(),
        [RandomSampling()],
        *iris,
        budget=11,
        cv=3,
        n_repeats=2,
        random_state=0,
        return_queried=True,
    )
    starts = results[results["round"] == 0]
    assert starts["repeat"].tolist() == [0, 1, 2, 3, 4, 5]
    assert starts["split"].tolist() == [0, 1, 2, 0, 1, 2]
    assert len({tuple(rows) for rows in starts["queried"]}) == 6


def test_names_of_a_list(iris):
    results = compare_strategies(
        _learner(),
        [RandomSampling(), CoreSet(space="inputs"), CoreSet(space="inputs")],
        *iris,
        budget=11,
        n_repeats=1,
        random_state=0,
    )
    assert results["strategy"].unique().tolist() == ["RandomSampling", "CoreSet-1", "CoreSet-2"]


class Breaks(SelectingStrategy):
    """Fails as soon as 20 rows are labelled."""

    def fit(self, X, y=None):
        if len(X) >= 20:
            raise ZeroDivisionError("out of luck")
        return super().fit(X, y)

    def _represent(self, X):
        return np.zeros(len(X))


def test_failure_names_strategy_repeat_and_budget(iris):
    strategies = {"random": RandomSampling(), "unlucky": Breaks()}
    with pytest.raises(RuntimeError, match=r"strategy 'unlucky', repeat 0 \(at 25 labels\).*luck"):
        compare_strategies(
            _learner(), strategies, *iris, n_instances=5, budget=30, n_repeats=2, random_state=0
        )


def test_failure_with_error_score_keeps_the_rest(iris):
    strategies = {"random": RandomSampling(), "unlucky": Breaks()}
    with pytest.warns(UserWarning, match=r"strategy 'unlucky', repeat \d.*ZeroDivisionError"):
        results = compare_strategies(
            _learner(),
            strategies,
            *iris,
            n_instances=5,
            budget=30,
            n_repeats=2,
            random_state=0,
            error_score=np.nan,
            return_queried=True,
        )
    unlucky = results[results["strategy"] == "unlucky"]
    assert unlucky["n_labels"].tolist() == [10, 15, 20, 25, 30] * 2
    assert unlucky["score"].isna().tolist() == [False, False, False, True, True] * 2
    assert results[results["strategy"] == "random"]["score"].notna().all()
    summary = summarize_comparison(results)
    assert summary.loc["unlucky"].drop(["n_repeats", "too_few_repeats"]).isna().all()
    assert summary.loc["random"].notna().all()


def test_errors_before_any_training(iris):
    with pytest.raises(TypeError, match="of compare_strategies must be an ActiveLearner"):
        compare_strategies(Ridge(), THREE, *iris)
    with pytest.raises(TypeError, match="must be a dict of names to strategies, or a list"):
        compare_strategies(_learner(), RandomSampling(), *iris)
    with pytest.raises(TypeError, match=r"strategies\['a'\] must be an instance.*RandomSampling"):
        compare_strategies(_learner(), {"a": RandomSampling}, *iris)
    with pytest.raises(ValueError, match="at least one strategy"):
        compare_strategies(_learner(), {}, *iris)
    with pytest.raises(ValueError, match="labelled training rows, 112 in split 0. Got 150"):
        compare_strategies(_learner(), THREE, *iris, budget=150)
    with pytest.raises(ValueError, match="'n_repeats' parameter of compare_strategies must"):
        compare_strategies(_learner(), THREE, *iris, n_repeats=0)


def _table(**curves):
    """A comparison of two rounds, at 10 and 30 labels: name=[(first, last) per repeat]."""
    return pd.DataFrame(
        {"strategy": name, "repeat": repeat, "round": t, "n_labels": (10, 30)[t], "loss": value}
        for name, runs in curves.items()
        for repeat, run in enumerate(runs)
        for t, value in enumerate(run)
    )


def test_summary_by_hand():
    table = _table(
        random=[(4.0, 2.0), (6.0, 2.0), (5.0, 2.0)], clever=[(4.0, 1.0), (6.0, 1.0), (5.0, 0.0)]
    )
    summary = summarize_comparison(table, greater_is_better=False)
    random, clever = np.array([3.0, 4.0, 3.5]), np.array([2.5, 3.5, 2.5])
    assert summary.index.tolist() == ["random", "clever"]
    line = summary.loc["clever"]
    assert line["n_repeats"] == 3
    assert line["area"] == pytest.approx(clever.mean())
    assert line["area_se"] == pytest.approx(stats.sem(clever))
    assert line["ratio"] == pytest.approx((random / clever).mean())
    assert line["ratio_se"] == pytest.approx(stats.sem(random / clever))
    assert line["z"] == pytest.approx(stats.ttest_rel(random, clever).statistic)
    # The mean curve falls from 5 to 2/3 and passes 2 on its way.
    assert line["labels_to_baseline"] == pytest.approx(10 + 20 * (5 - 2) / (5 - 2 / 3))
    assert summary.loc["random", ["ratio", "ratio_se", "z"]].tolist() == [1, 0, 0]
    assert summary.loc["random", "labels_to_baseline"] == 30
    turned = summarize_comparison(table.assign(loss=-table["loss"]))
    pd.testing.assert_frame_equal(turned.drop(columns="area"), summary.drop(columns="area"))


def test_summary_tests_and_intervals_are_scipys():
    rng = np.random.default_rng(0)
    table = _table(
        random=rng.uniform(2, 3, (6, 2)), a=rng.uniform(1, 3, (6, 2)), b=rng.uniform(1, 2, (6, 2))
    )
    summary = summarize_comparison(table, greater_is_better=False, confidence=0.9)
    areas = table.groupby(["strategy", "repeat"])["loss"].mean().unstack(0)
    pvalues = []
    for name in "ab":
        line = summary.loc[name]
        expected = stats.ttest_rel(areas["random"], areas[name])
        assert line["z"] == pytest.approx(expected.statistic)
        assert line["pvalue"] == pytest.approx(expected.pvalue)
        interval = expected.confidence_interval(0.9)
        assert line["difference_low"] == pytest.approx(interval.low)
        assert line["difference_high"] == pytest.approx(interval.high)
        ratios = areas["random"] / areas[name]
        low, high = stats.t.interval(0.9, 5, loc=ratios.mean(), scale=stats.sem(ratios))
        assert (line["ratio_low"], line["ratio_high"]) == pytest.approx((low, high))
        assert 1 - line["labels_to_baseline"] / 30 == pytest.approx(line["labels_saved"])
        assert line["labels_saved_low"] <= line["labels_saved"] <= line["labels_saved_high"]
        pvalues.append(expected.pvalue)
    # Two comparisons, not three: the baseline is none.
    expected = [min(2 * min(pvalues), 1), max(2 * min(pvalues), max(pvalues))]
    assert sorted(summary.loc[["a", "b"], "pvalue_holm"]) == pytest.approx(expected)
    assert summary.loc["random", ["pvalue", "pvalue_holm", "labels_saved"]].tolist() == [1, 1, 0]
    assert not summary["too_few_repeats"].any()
    few = summarize_comparison(table[table["repeat"] < 4])
    assert few["too_few_repeats"].all()
    with pytest.raises(ValueError, match="confidence must be a number between 0 and 1. Got 95"):
        summarize_comparison(table, confidence=95)


def test_summary_pairs_by_repeat_not_by_order():
    table = _table(random=[(1, 1), (2, 2), (4, 4)], clever=[(2, 2), (4, 4), (8, 8)])
    shuffled = table.sample(frac=1, random_state=1)
    summary = summarize_comparison(shuffled)
    assert summary.loc["clever", "ratio"] == 2 and summary.loc["clever", "ratio_se"] == 0


def test_summary_without_a_meaningful_ratio_or_spread():
    table = _table(random=[(-1.0, 0.5), (0.5, 1.0)], clever=[(0.0, 0.5), (0.5, 1.0)])
    summary = summarize_comparison(table)
    assert summary["ratio"].isna().all() and summary["z"].notna().all()
    single = summarize_comparison(_table(random=[(1.0, 2.0)], clever=[(1.0, 1.5)]))
    assert single[["area_se", "ratio_se", "z"]].isna().all(axis=None)
    assert single.loc["clever", "ratio"] == pytest.approx(1.25 / 1.5)
    assert single.loc["clever", "labels_to_baseline"] == np.inf


def test_summary_finds_the_baseline(results):
    assert summarize_comparison(results, baseline="mar").loc["margin", "ratio"] == 1
    with pytest.raises(ValueError, match="must be one of the strategies.*Got 'nobody'"):
        summarize_comparison(results, baseline="nobody")


def test_summary_errors(results):
    with pytest.raises(ValueError, match="2 score columns"):
        summarize_comparison(results.assign(other=1.0))
    with pytest.raises(ValueError, match=r"score must be one of \['score'\]. Got 'f1'"):
        summarize_comparison(results, score="f1")
    with pytest.raises(ValueError, match="'margin' differs from 'random'|'core-set' differs"):
        summarize_comparison(results[(results["strategy"] != "margin") | (results["repeat"] > 0)])
    with pytest.raises(ValueError, match="lacks some rounds"):
        summarize_comparison(results.drop(index=1))
    with pytest.raises(ValueError, match="Got several for 'random'"):
        summarize_comparison(pd.concat([results, results]))
    with pytest.raises(ValueError, match="has no column 'n_labels'"):
        summarize_comparison(results.drop(columns="n_labels"), score="score")
    with pytest.raises(ValueError, match="at least one row"):
        summarize_comparison(results.iloc[:0])
