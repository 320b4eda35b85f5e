"""LearningCurveDisplay: what is drawn is what was measured."""

from itertools import pairwise

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from scipy import stats

from skal.inspection import LearningCurveDisplay
from skal.inspection._learning_curve import _spread


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(4, 5)) for name in ("random", "margin", "core-set")}


@pytest.fixture
def results(scores):
    return pd.DataFrame(
        {"strategy": name, "repeat": i, "round": t, "n_labels": 10 * (t + 1), "mean_error": v}
        for name, runs in scores.items()
        for i, run in enumerate(runs)
        for t, v in enumerate(run)
    )


def _edges(band):
    """Lower and upper edge of a band at each number of labels."""
    vertices = band.get_paths()[0].vertices
    xs = np.unique(vertices[:, 0])
    ys = [vertices[vertices[:, 0] == x, 1] for x in xs]
    return np.array([y.min() for y in ys]), np.array([y.max() for y in ys])


def test_lines_are_means(results, scores):
    display = LearningCurveDisplay.from_results(results)
    assert [line.get_label() for line in display.lines_] == list(scores)
    for line, runs in zip(display.lines_, scores.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [10, 20, 30, 40, 50])
        np.testing.assert_allclose(line.get_ydata(), runs.mean(axis=0))
    assert display.ax_.get_xlabel() == "Number of labels"
    assert display.ax_.get_ylabel() == "Mean error"
    assert display.figure_ is display.ax_.figure
    assert [text.get_text() for text in display.ax_.texts] == list(scores)


@pytest.mark.parametrize("error", ["se", "std", "ci95"])
def test_bands(results, scores, error):
    display = LearningCurveDisplay.from_results(results, error=error)
    for band, runs in zip(display.bands_, scores.values(), strict=True):
        low, high = _edges(band)
        if error == "ci95":
            expected = stats.t.interval(
                0.95, len(runs) - 1, loc=runs.mean(axis=0), scale=stats.sem(runs, axis=0)
            )
            np.testing.assert_allclose([low, high], expected)
        else:
            half = stats.sem(runs, axis=0) if error == "se" else runs.std(axis=0, ddof=1)
            np.testing.assert_allclose((high - low) / 2, half)


def test_no_band_without_error_or_with_one_repeat(results):
    assert LearningCurveDisplay.from_results(results, error=None).bands_ == []
    single = results[results["repeat"] == 0]
    assert LearningCurveDisplay.from_results(single).bands_ == []


def test_relative_to_draws_paired_differences(results, scores):
    display = LearningCurveDisplay.from_results(results, relative_to="random")
    zero, margin, _ = display.lines_
    np.testing.assert_array_equal(zero.get_ydata(), np.zeros(5))
    gains = scores["margin"] - scores["random"]
    np.testing.assert_allclose(margin.get_ydata(), gains.mean(axis=0))
    assert len(display.bands_) == 2
    low, high = _edges(display.bands_[0])
    half = stats.t.ppf(0.975, 3) * stats.sem(gains, axis=0)
    np.testing.assert_allclose((high - low) / 2, half)
    assert display.ax_.get_ylabel() == "Mean error, difference to random"


def test_baseline_is_grey_and_dashed(results):
    display = LearningCurveDisplay.from_results(results, baseline="random")
    grey, *others = display.lines_
    assert grey.is_dashed() and not any(line.is_dashed() for line in others)
    assert len({line.get_color() for line in display.lines_}) == 3


def test_plot_again_on_given_axes(results):
    display = LearningCurveDisplay.from_results(results)
    _, ax = plt.subplots()
    assert display.plot(ax, legend="box", line_kw={"linewidth": 5}) is display
    assert display.ax_ is ax and len(ax.texts) == 0
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["random", "margin", "core-set"]
    assert all(line.get_linewidth() == 5 for line in display.lines_)
    assert display.plot(legend=None).ax_.get_legend() is None


def test_many_strategies_look_different():
    scores = {f"strategy {i}": np.full((2, 3), float(i)) for i in range(20)}
    display = LearningCurveDisplay(np.array([1, 2, 3]), scores).plot()
    looks = {(line.get_color(), line.get_marker()) for line in display.lines_}
    assert len(looks) == 20


def test_curve_of_one_learner():
    curve = pd.DataFrame({"split": [0, 0, 1, 1], "n_labels": [10, 20] * 2, "r2": [0, 1, 2, 3.0]})
    display = LearningCurveDisplay.from_results(curve, score_name="R²")
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), [1, 2])
    assert display.ax_.get_ylabel() == "R²"


def test_names_do_not_overlap(results):
    results["mean_error"] = 0.5
    display = LearningCurveDisplay.from_results(results)
    display.figure_.canvas.draw()
    # Of the words alone: an annotation's own extent includes its leader line.
    boxes = [Text.get_window_extent(text) for text in display.ax_.texts]
    boxes.sort(key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))


def test_spread_moves_no_more_than_needed():
    assert _spread([0.0, 50.0, 100.0], 10, 0, 100) == [0, 50, 100]
    np.testing.assert_allclose(_spread([50.0, 50.0, 50.0], 10, 0, 100), [40, 50, 60])
    np.testing.assert_allclose(_spread([98.0, 99.0], 10, 0, 100), [90, 100])
    np.testing.assert_allclose(_spread([52.0, 48.0], 10, 0, 100), [55, 45])
    # More names than the axes are high: apart comes first.
    np.testing.assert_allclose(_spread([5.0, 5.0], 10, 0, 6), [0, 10])
    assert _spread([], 10, 0, 100) == []


def test_missing_scores_leave_gaps(results):
    last = (results["strategy"] == "margin") & (results["n_labels"] == 50)
    results.loc[last, "mean_error"] = np.nan
    display = LearningCurveDisplay.from_results(results)
    assert np.isnan(display.lines_[1].get_ydata()).tolist() == [False] * 4 + [True]
    display.figure_.canvas.draw()


def test_errors(results):
    with pytest.raises(ValueError, match="error must be one of .*Got 'sd'"):
        LearningCurveDisplay.from_results(results, error="sd")
    with pytest.raises(ValueError, match="legend must be one of .*Got 'left'"):
        LearningCurveDisplay.from_results(results, legend="left")
    with pytest.raises(ValueError, match="must be one of the strategies.*Got 'BADGE'"):
        LearningCurveDisplay.from_results(results, relative_to="BADGE")
    with pytest.raises(ValueError, match="score must be one of"):
        LearningCurveDisplay.from_results(results, score="r2")


def test_few_repeats_are_said_to_be_too_few(results):
    assert "4 repeats: too few" in LearningCurveDisplay.from_results(results).ax_.get_title("right")
    two = LearningCurveDisplay.from_results(results[results["repeat"] < 2])
    assert two.bands_ == []  # 12.7 standard errors wide
    five = pd.concat([results, results.assign(repeat=9)[results["repeat"] == 0]])
    assert LearningCurveDisplay.from_results(five).ax_.get_title("right") == ""
    assert LearningCurveDisplay.from_results(results, error="se").ax_.get_title("right") == ""
