"""CriticalDifferenceDisplay: what hangs where, and which bars there are."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from skal.inspection import CriticalDifferenceDisplay
from skal.metrics import critical_difference


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def settings():
    areas = np.random.default_rng(0).normal([0.0, 0.1, 0.12, 0.02, 0.1], 0.03, (12, 5))
    names = ["random", "margin", "entropy", "coreset", "badge"]
    return [
        pd.DataFrame({"strategy": names, "repeat": 0, "n_labels": 10, "accuracy": row})
        for row in areas
    ]


@pytest.mark.parametrize("post_hoc", ["nemenyi", "wilcoxon-holm"])
def test_what_is_drawn_is_what_was_computed(settings, post_hoc):
    expected = critical_difference(settings, post_hoc=post_hoc)
    display = CriticalDifferenceDisplay.from_results(settings, post_hoc=post_hoc)
    ranks = expected.ranks
    for label, (name, rank) in zip(display.labels_, ranks.items(), strict=True):
        assert name in label.get_text() and f"{rank:.2f}" in label.get_text()
    assert len(display.bars_) == len(expected.groups)
    for bar, group in zip(display.bars_, expected.groups, strict=True):
        left, right = bar.get_xdata()
        assert left <= ranks[group[0]] <= ranks[group[-1]] <= right
        assert right - left == pytest.approx(ranks[group[-1]] - ranks[group[0]], abs=0.1)
    texts = [text.get_text() for text in display.ax_.texts]
    ruler = any("critical difference" in text for text in texts)
    assert ruler == (post_hoc == "nemenyi")
    assert "Friedman" in display.ax_.get_xlabel()


def test_given_axes_and_two_strategies(settings):
    _, ax = plt.subplots()
    two = [frame[:2] for frame in settings]
    display = CriticalDifferenceDisplay.from_results(two, ax=ax, text_kw={"color": "red"})
    assert display.ax_ is ax and display.figure_ is ax.figure
    assert display.labels_[0].get_color() == "red"
    assert "Friedman" not in ax.get_xlabel()
