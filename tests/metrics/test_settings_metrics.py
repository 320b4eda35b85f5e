"""Comparisons over settings: hand-computed cases, invariances, and a second implementation."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from skal import ActiveLearner
from skal.metrics import (
    average_rank,
    normalized_error_cdf,
    pairwise_penalty_matrix,
    rounds_below_baseline,
)
from skal.metrics._settings import Setting, budget_rounds
from skal.model_selection import compare_strategies
from skal.strategies import MarginSampling, RandomSampling


def frame(curves, n_labels=None, score="accuracy"):
    """A tidy frame from scores of shape (n_repeats, n_rounds) by strategy."""
    return pd.DataFrame(
        {
            "strategy": name,
            "repeat": i,
            "round": t,
            "n_labels": 10 * (t + 1) if n_labels is None else n_labels[t],
            score: value,
        }
        for name, runs in curves.items()
        for i, run in enumerate(np.atleast_2d(runs))
        for t, value in enumerate(run)
    )


def random_settings(seed, names=("random", "a", "b", "c"), n_settings=4, n_repeats=5):
    rng = np.random.default_rng(seed)
    settings = []
    for _ in range(n_settings):
        n_rounds = rng.integers(8, 20)
        learning = 1 - np.exp(-np.arange(n_rounds) / 6)
        settings.append(
            frame(
                {
                    name: 0.3
                    + 0.5 * learning * (1 + 0.04 * place)
                    + rng.normal(scale=0.02, size=(n_repeats, n_rounds))
                    for place, name in enumerate(names)
                }
            )
        )
    return settings


def reference_matrix(frames, names, test, threshold=1.96):
    """The definition, spelled out on errors with explicit budgets; no shared code."""
    penalty = pd.DataFrame(0.0, index=names, columns=names)
    for table in frames:
        wide = table.pivot_table(
            index="n_labels", columns=["strategy", "repeat"], values="accuracy"
        )
        budgets = wide.index.to_numpy()
        first, batch = budgets[0], budgets[1] - budgets[0]
        mean = wide["random"].mean(axis=1)
        n0 = budgets[(mean >= 0.99 * mean.iloc[-1]).to_numpy()].min()
        chosen, step = [], batch
        while first + 2 * step <= n0:
            chosen.append(first + step)
            step *= 2
        for n in chosen:
            for i, j in itertools.permutations(names, 2):
                delta = (1 - wide.loc[n, i]) - (1 - wide.loc[n, j])
                z = np.sqrt(len(delta)) * delta.mean() / delta.std(ddof=1)
                p = stats.ttest_1samp(delta, 0, alternative="less").pvalue
                if p < stats.norm.sf(threshold) if test == "t" else z < -threshold:
                    penalty.loc[i, j] += 1 / len(chosen)
    return penalty


# Rounds 0..9; random reaches 99 % of its final score at round 8, so that budgets are rounds 1, 2
# and 4 (8 batches: three doublings).
RANDOM = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9])


def two_strategies():
    noise = np.array([[0.01], [0.0], [-0.01]])
    better = RANDOM.copy()
    better[1] += 0.05  # wins
    better[2] -= 0.05  # loses
    better[3] += 0.05  # no budget
    return {"random": RANDOM + 0 * noise, "margin": better + noise * (np.arange(10) != 4)}


def test_matrix_by_hand():
    matrix = pairwise_penalty_matrix(frame(two_strategies()))
    # Round 1: z = sqrt(3) 0.05 / 0.01 > 1.96; round 2: as much below; round 4: equal, no spread.
    np.testing.assert_allclose(matrix.loc["margin", "random"], 1 / 3)
    np.testing.assert_allclose(matrix.loc["random", "margin"], 1 / 3)
    assert np.diag(matrix).tolist() == [0, 0]
    assert list(matrix.index) == list(matrix.columns) == ["random", "margin"]
    everywhere = pairwise_penalty_matrix(frame(two_strategies()), label_budgets="all")
    np.testing.assert_allclose(everywhere.loc["margin", "random"], 2 / 9)
    with_first = pairwise_penalty_matrix(frame(two_strategies()), include_initial=True)
    np.testing.assert_allclose(with_first.loc["margin", "random"], 1 / 4)
    # The beginning of a name is enough for the baseline.
    renamed = frame(two_strategies()).replace("random", "RandomSampling")
    np.testing.assert_array_equal(pairwise_penalty_matrix(renamed), matrix)


@pytest.mark.parametrize("seed", range(3))
def test_matrix_is_the_definition(seed):
    settings = random_settings(seed)
    names = ["random", "a", "b", "c"]
    for test in ("t", "z"):
        expected = reference_matrix(settings, names, test)
        matrix = pairwise_penalty_matrix(settings, test=test)
        np.testing.assert_allclose(matrix, expected)
    matrix, expected = pairwise_penalty_matrix(settings), reference_matrix(settings, names, "t")
    np.testing.assert_allclose(matrix, expected)
    assert matrix.to_numpy().max() > 0.5, "the case decides nothing"
    # No pair takes more than the settings there are.
    assert (matrix + matrix.T).to_numpy().max() <= len(settings) + 1e-12
    # Losses instead of scores; the rule of budgets needs the accuracies, hence "all".
    losses = [s.assign(accuracy=1 - s["accuracy"]) for s in settings]
    np.testing.assert_array_equal(
        pairwise_penalty_matrix(losses, greater_is_better=False, label_budgets="all"),
        pairwise_penalty_matrix(settings, label_budgets="all"),
    )
    # Settings add up, and a dict is as good as a list.
    parts = sum(pairwise_penalty_matrix(s) for s in settings)
    np.testing.assert_allclose(matrix, parts)
    pd.testing.assert_frame_equal(matrix, pairwise_penalty_matrix(dict(enumerate(settings))))


def test_relabelling_permutes_rows_and_columns():
    settings = random_settings(1)
    new = {"random": "random", "a": "c", "b": "a", "c": "b"}
    renamed = [s.assign(strategy=s["strategy"].map(new)) for s in settings]
    matrix, other = pairwise_penalty_matrix(settings), pairwise_penalty_matrix(renamed)
    for i, j in itertools.product(new, new):
        assert other.loc[new[i], new[j]] == matrix.loc[i, j]
    # The order of the rows of a frame is the order of the names, and nothing else.
    turned = [s.iloc[::-1] for s in settings]
    shuffled = pairwise_penalty_matrix(turned)
    assert list(shuffled.index) == ["c", "b", "a", "random"]
    pd.testing.assert_frame_equal(
        shuffled.loc[matrix.index, matrix.columns], matrix, check_names=False
    )


def test_identical_strategies_never_beat_each_other():
    curves = two_strategies()["margin"] + 0.1 * RANDOM
    same = frame({"random": curves, "a": curves, "b": curves})
    assert not pairwise_penalty_matrix(same, label_budgets="all").to_numpy().any()


def test_no_spread_is_a_win_or_a_tie():
    shifted = RANDOM + 0.1 * (np.arange(10) == 1)
    curves = {"random": np.tile(RANDOM, (2, 1)), "a": np.tile(shifted, (2, 1))}
    matrix = pairwise_penalty_matrix(frame(curves))
    np.testing.assert_allclose(matrix, [[0, 0], [1 / 3, 0]])


def test_t_test_asks_for_more_than_z():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(5, 200))
    curves = {"random": np.zeros((5, 200)), "a": noise}
    results = frame(curves)
    p = stats.ttest_1samp(noise[:, 1:], 0).pvalue
    t_wins = pairwise_penalty_matrix(results, test="t", label_budgets="all").to_numpy().sum()
    z_wins = pairwise_penalty_matrix(results, test="z", label_budgets="all").to_numpy().sum()
    assert t_wins == pytest.approx(np.mean(p < 2 * stats.norm.sf(1.96)))
    statistic = np.abs(stats.ttest_1samp(noise[:, 1:], 0).statistic)
    assert z_wins == pytest.approx(np.mean(statistic > 1.96))
    assert 0 < t_wins < z_wins
    default = pairwise_penalty_matrix(results, label_budgets="all")
    assert default.to_numpy().sum() == t_wins
    stricter = pairwise_penalty_matrix(results, label_budgets="all", threshold=4.0, test="z")
    assert stricter.to_numpy().sum() == pytest.approx(np.mean(statistic > 4))


@pytest.mark.parametrize("batches", range(0, 34))
def test_doubling_budgets_are_the_papers(batches):
    # Random reaches its final score after so many batches of 7, from 5 initial labels.
    curve = np.where(np.arange(40) >= batches, 1.0, 0.5)
    n_labels = 5.0 + 7 * np.arange(40)
    n_labels[-1] -= 3  # the last batch is cut
    setting = Setting("s", "accuracy", n_labels, {"random": curve[None]})
    rounds = budget_rounds(
        setting, "doubling", baseline="random", greater_is_better=True, include_initial=False
    )
    n_doublings = int(np.floor(np.log2(batches))) if batches else 0
    expected = [5 + 2 ** (i - 1) * 7 for i in range(1, n_doublings + 1)]
    assert n_labels[rounds].tolist() == expected
    # A loss, and a negated loss, whose final value is 99 % of the one at that round.
    for sign, greater in [(1.0, False), (-1.0, True)]:
        loss = sign * np.where(np.arange(40) >= batches, 1 / 0.995, 2.0)
        loss[-1] = sign
        turned = setting._replace(curves={"random": loss[None]})
        again = budget_rounds(
            turned, "doubling", baseline="random", greater_is_better=greater, include_initial=True
        )
        assert again.tolist() == [0, *rounds]


def test_settings_without_budgets():
    fast = frame({"random": np.ones((2, 5)), "margin": np.ones((2, 5))})
    with pytest.raises(ValueError, match="No setting has a label budget.*label_budgets='all'"):
        pairwise_penalty_matrix(fast)
    with pytest.warns(UserWarning, match=r"Settings \['fast'\] do not count"):
        matrix = pairwise_penalty_matrix({"fast": fast, "slow": frame(two_strategies())})
    np.testing.assert_array_equal(matrix, pairwise_penalty_matrix(frame(two_strategies())))


def test_budgets_without_a_score_are_left_out_for_everyone():
    curves = two_strategies() | {"other": RANDOM + np.zeros((3, 1))}
    curves["other"] = curves["other"].copy()
    curves["other"][0, 1] = np.nan
    with pytest.warns(UserWarning, match=r"1 of 3 label budgets are left out.*\['other'\]") as seen:
        matrix = pairwise_penalty_matrix(frame(curves))
    assert seen[0].filename == __file__
    assert matrix.loc["margin", "random"] == 0
    assert matrix.loc["random", "margin"] == pytest.approx(1 / 3)
    # Absent from a setting altogether.
    del curves["other"]
    more = curves | {"other": RANDOM + np.zeros((3, 1))}
    with pytest.warns(UserWarning, match=r"3 of 6 .*\['other'\] have no score.*\['first'\]"):
        matrix = pairwise_penalty_matrix({"first": frame(curves), "second": frame(more)})
    assert matrix.loc["margin", "random"] == pytest.approx(1 / 3)


def test_matrix_errors():
    results = frame(two_strategies())
    with pytest.raises(ValueError, match="at least 2 repeats. Got 1 in setting 'one'"):
        pairwise_penalty_matrix({"one": results[results["repeat"] == 0]})
    with pytest.raises(ValueError, match="test must be one of .*Got 'wilcoxon'"):
        pairwise_penalty_matrix(results, test="wilcoxon")
    with pytest.raises(ValueError, match="label_budgets must be one of .*Got 'half'"):
        pairwise_penalty_matrix(results, label_budgets="half")
    with pytest.raises(ValueError, match="threshold must be a number above 0. Got -1"):
        pairwise_penalty_matrix(results, threshold=-1)
    with pytest.raises(ValueError, match="must be one of the strategies.*Got 'BADGE'"):
        pairwise_penalty_matrix(results, baseline="BADGE")
    with pytest.raises(ValueError, match="at least one setting"):
        pairwise_penalty_matrix([])
    with pytest.raises(TypeError, match="list or dict of them, one per setting. Got ndarray"):
        pairwise_penalty_matrix([np.zeros(3)])
    uneven = frame(two_strategies(), n_labels=[10, 20, 40, 50, 60, 70, 80, 90, 100, 110])
    with pytest.raises(ValueError, match="batches of one size.*label_budgets='all'"):
        pairwise_penalty_matrix(uneven)
    assert pairwise_penalty_matrix(uneven, label_budgets="all").shape == (2, 2)
    lost = frame(two_strategies())
    lost.loc[(lost["strategy"] == "random") & (lost["n_labels"] == 100), "accuracy"] = np.nan
    with pytest.raises(ValueError, match="baseline's final score"):
        pairwise_penalty_matrix(lost)


def test_cdf_by_hand():
    # Errors of random 0.5 and 0.25 in one setting, 1.0 in the other (weight 1/2, 1/2 and 1).
    one = frame({"random": [[9, 0.5, 0.25]], "a": [[9, 0.25, 0.5]]}, score="error")
    two = frame({"random": [[9, 0.75], [9, 1.25]], "a": [[9, 0.0], [9, 1.0]]}, score="error")
    cdf = normalized_error_cdf([one, two], greater_is_better=False, label_budgets="all")
    assert cdf.index.tolist() == [0.5, 1.0, 2.0]
    assert cdf.index.name == "normalized_error"
    np.testing.assert_allclose(cdf["a"], [0.75, 0.75, 1.0])
    np.testing.assert_array_equal(cdf["random"], [0, 1, 1])


@pytest.mark.parametrize("seed", range(3))
def test_cdf_is_monotone_and_the_baseline_one_step(seed):
    settings = random_settings(seed, n_repeats=1)
    cdf = normalized_error_cdf(settings)
    assert (np.diff(cdf, axis=0) >= 0).all() and (np.diff(cdf.index) > 0).all()
    np.testing.assert_array_equal(cdf.iloc[-1], 1.0)
    np.testing.assert_array_equal(cdf["random"], cdf.index >= 1)
    # The weighted mean of the ratios is the integral of 1 - CDF, computed otherwise.
    x = np.concatenate([[0.0], cdf.index])
    height = np.concatenate([[0.0], cdf["c"]])[:-1]
    ratios = []
    for table in settings:
        wide = 1 - table.pivot(index="round", columns="strategy", values="accuracy")
        setting = Setting("s", "accuracy", 10.0 * (wide.index + 1), {"random": 1 - wide["random"]})
        setting = setting._replace(curves={"random": 1 - wide["random"].to_numpy()[None]})
        rounds = budget_rounds(
            setting, "doubling", baseline="random", greater_is_better=True, include_initial=False
        )
        ratios.append((wide["c"] / wide["random"]).iloc[rounds].mean())
    assert np.diff(x) @ (1 - height) == pytest.approx(np.mean(ratios))


def test_cdf_of_perfect_baselines_and_missing_scores():
    one = frame({"random": [[1, 1, 1, 0.5]], "a": [[1, 1, 0.5, 0.5]], "b": [[1, 1, 1, np.nan]]})
    with pytest.warns(UserWarning, match=r"1 of 3 .*\['b'\]"):
        cdf = normalized_error_cdf(one, label_budgets="all")
    # Random makes no error in rounds 1 and 2; a makes none in the first, some in the second.
    assert cdf.index.tolist() == [1.0, np.inf]
    np.testing.assert_allclose(cdf, [[1, 0.5, 1], [1, 1, 1]])
    with pytest.raises(ValueError, match="no label budget at which all strategies"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gone = one.assign(accuracy=one["accuracy"].where(one["strategy"] != "b"))
            normalized_error_cdf(gone, label_budgets="all")


def test_cdf_measures_errors_from_the_best_score():
    negated = frame({"random": [[-9, -4, -2]], "a": [[-9, -2, -3]]}, score="neg_loss")
    cdf = normalized_error_cdf(negated, label_budgets="all")
    assert cdf.index.tolist() == [0.5, 1.0, 1.5]
    per_cent = frame({"random": [[0, 50, 60]], "a": [[0, 75, 80]]})
    with pytest.raises(ValueError, match="better than best_score=1. Pass the best_score"):
        normalized_error_cdf(per_cent, label_budgets="all")
    cdf = normalized_error_cdf(per_cent, label_budgets="all", best_score=100)
    np.testing.assert_array_equal(cdf.index, [0.5, 1.0])
    np.testing.assert_array_equal(cdf["a"], [1, 1])


def test_rounds_below_by_hand():
    steps = np.array([0.0, 1.0, -1.0, -0.05, 0.0, np.nan])
    noise = np.array([[0.1], [-0.1], [0.0]])
    curves = {"random": np.zeros((3, 6)), "a": steps + noise, "b": np.ones((3, 6))}
    curves["a"][:, 4] = 0
    table = rounds_below_baseline([frame(curves)] * 2, test="z")
    # Of rounds 1..5: the last is unknown; rounds 2 and 3 are below, the second of them by little.
    assert table.loc["a"].tolist() == [8, 4, 2]
    assert table.loc["b"].tolist() == [10, 0, 0]
    assert list(table.index) == ["a", "b"]
    assert (table.dtypes == "int64").all()
    losses = rounds_below_baseline(frame(curves), greater_is_better=False, test="z")
    assert losses.loc["a"].tolist() == [4, 1, 1] and losses.loc["b"].tolist() == [5, 5, 5]
    assert rounds_below_baseline(frame(curves), include_initial=True).loc["b", "n_rounds"] == 6
    # z of -10 / (0.1 / sqrt(3)) = -17.3 is beyond 10, and t of two degrees asks for far more.
    strict = rounds_below_baseline(frame(curves), test="z", threshold=18)
    assert strict.loc["a"].tolist() == [4, 2, 0]
    assert rounds_below_baseline(frame(curves)).loc["a"].tolist() == [4, 2, 1]
    assert rounds_below_baseline(frame(curves), threshold=3).loc["a"].tolist() == [
        4,
        2,
        0,
    ]
    with pytest.raises(ValueError, match="at least 2 repeats"):
        rounds_below_baseline(frame({"random": [[1, 2]], "a": [[1, 2]]}))


def test_rounds_below_takes_the_settings_that_have_the_strategy():
    with_b = frame({"random": np.ones((2, 3)), "a": np.zeros((2, 3)), "b": np.zeros((2, 3))})
    without = with_b[with_b["strategy"] != "b"]
    table = rounds_below_baseline({"x": with_b, "y": without})
    assert table["n_rounds"].to_dict() == {"a": 4, "b": 2}
    assert (table["n_significantly_below"] == table["n_rounds"]).all()


def test_average_rank_by_hand():
    # Ranks in round 1: 3, 1.5, 1.5; in round 2: 1, 2, 3. The second setting: 1, 2, 3.
    one = frame({"random": [[0, 0.1, 3]], "a": [[0, 0.5, 2]], "b": [[0, 0.5, 1]]})
    two = frame({"b": [[0, 1]], "a": [[0, 2]], "random": [[0, 3]]})
    ranks = average_rank([one, two])
    assert ranks.name == "average_rank"
    np.testing.assert_allclose(ranks[["random", "a", "b"]], [1.5, 1.875, 2.625])
    turned = average_rank([one, two], greater_is_better=False)
    np.testing.assert_allclose(turned, 4 - ranks)
    first = average_rank(two, include_initial=True)
    np.testing.assert_allclose(first, [2.5, 2.0, 1.5])


def test_average_rank_uses_the_mean_over_repeats_and_adds_up():
    settings = random_settings(4)
    ranks = average_rank(settings)
    assert ranks.sum() == pytest.approx(4 * 5 / 2)
    means = settings[0].groupby(["strategy", "round"])["accuracy"].mean().unstack("strategy")
    expected = means.iloc[1:].rank(axis=1, ascending=False).mean()
    pd.testing.assert_series_equal(
        average_rank(settings[0]), expected[ranks.index], check_names=False
    )


def test_average_rank_without_common_rounds():
    one, two = frame({"random": [[0, 1]], "a": [[0, 2]]}), frame({"random": [[0, 1]]})
    with pytest.warns(UserWarning, match=r"1 of 2 .*\['a'\]"):
        assert average_rank([one, two]).to_dict() == {"random": 2.0, "a": 1.0}
    with pytest.raises(ValueError, match="no round after the first"):
        average_rank(frame({"random": [[1]], "a": [[2]]}))


def test_metrics_take_what_compare_strategies_returns():
    X, y = load_iris(return_X_y=True)
    settings = {
        n: compare_strategies(
            ActiveLearner(LogisticRegression(max_iter=500)),
            [RandomSampling(), MarginSampling()],
            X,
            y,
            n_initial=5,
            n_instances=n,
            budget=50,
            n_repeats=3,
            random_state=n,
        )
        for n in (3, 5)
    }
    names = ["RandomSampling", "MarginSampling"]
    matrix = pairwise_penalty_matrix(settings, label_budgets="all")
    assert list(matrix.index) == names and 0 <= matrix.to_numpy().min()
    assert list(normalized_error_cdf(settings, label_budgets="all").columns) == names
    table = rounds_below_baseline(settings)
    assert table.loc["MarginSampling", "n_rounds"] == 15 + 9
    assert average_rank(settings).sum() == pytest.approx(3)
