"""PenaltyMatrixDisplay and ErrorCDFDisplay: what is drawn is what was computed."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from skal.inspection import ErrorCDFDisplay, PenaltyMatrixDisplay
from skal.metrics import normalized_error_cdf, pairwise_penalty_matrix


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


NAMES = ["RandomSampling", "margin", "core-set"]


@pytest.fixture
def settings():
    rng = np.random.default_rng(0)
    return {
        place: pd.DataFrame(
            {
                "strategy": name,
                "repeat": i,
                "n_labels": 10 * (t + 1),
                "accuracy": 0.2 + 0.04 * t + gain + rng.normal(scale=0.02),
            }
            for name, gain in zip(NAMES, [0, 0.03, -0.03], strict=True)
            for i in range(4)
            for t in range(12)
        )
        for place in "abc"
    }


def drawn(display):
    """The numbers written into the matrix."""
    return np.array(
        [[0.0 if t is None else float(t.get_text()) for t in row] for row in display.text_]
    )


def test_matrix_shows_the_numbers(settings):
    matrix = pairwise_penalty_matrix(settings)
    display = PenaltyMatrixDisplay.from_results(settings, values_format=".6f")
    np.testing.assert_allclose(drawn(display), matrix, atol=1e-6)
    assert matrix.to_numpy().any()
    averages = [float(text.get_text()) for text in display.average_text_]
    np.testing.assert_allclose(averages, matrix.mean(), atol=1e-6)
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == NAMES
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == [*NAMES, "column average"]
    assert display.im_.get_clim() == display.average_im_.get_clim() == (0, 3)
    # Numbers stand where the image has their value: column j, row i from the top.
    image = display.im_.get_array()
    assert display.text_[0, 2].get_position() == (2, 0)
    assert image[0, 2] == matrix.iloc[0, 2] and image.mask.diagonal().all()
    assert display.ax_.get_ylim()[0] > display.ax_.get_ylim()[1]
    assert display.text_[1, 1] is None
    display.figure_.canvas.draw()


def test_matrix_from_a_frame_is_the_same(settings):
    matrix = pairwise_penalty_matrix(settings)
    display = PenaltyMatrixDisplay.from_matrix(matrix, n_settings=3)
    other = PenaltyMatrixDisplay.from_results(settings)
    np.testing.assert_array_equal(drawn(display), drawn(other))
    assert display.im_.get_clim() == other.im_.get_clim()
    top = PenaltyMatrixDisplay.from_matrix(matrix).im_.get_clim()[1]
    assert top == matrix.to_numpy().max()
    assert PenaltyMatrixDisplay.from_matrix(0 * matrix).im_.get_clim() == (0, 1)


def test_matrix_sorted_by_average(settings):
    matrix = pairwise_penalty_matrix(settings)
    display = PenaltyMatrixDisplay.from_results(settings, order="average", values_format=".6f")
    names = matrix.mean().sort_values(kind="stable").index.tolist()
    assert names == ["margin", "RandomSampling", "core-set"]
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == names
    assert display.order_.tolist() == [1, 0, 2]
    np.testing.assert_allclose(drawn(display), matrix.loc[names, names], atol=1e-6)
    weights = [text.get_fontweight() for text in display.average_text_]
    assert weights == ["bold", "normal", "normal"]


def test_numbers_are_readable_on_every_colour():
    n = 12
    values = np.add.outer(np.arange(n), np.arange(n)) / (2 * n - 2)
    frame = pd.DataFrame(values, index=range(n), columns=range(n))
    for cmap in ("Blues", "viridis", "Reds"):
        display = PenaltyMatrixDisplay.from_matrix(frame, cmap=cmap, n_settings=1)

        def luminance(colour):
            c = np.array(to_rgb(colour))
            return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [
                0.2126,
                0.7152,
                0.0722,
            ]

        for (i, j), text in np.ndenumerate(display.text_):
            if text is None:
                continue
            cell = luminance(display.im_.cmap(display.im_.norm(values[i, j]))[:3])
            low, high = sorted([cell, luminance(text.get_color())])
            # Contrast ratio of WCAG 2: 4.5 for small text.
            assert (high + 0.05) / (low + 0.05) >= 4.5


def test_matrix_on_given_axes(settings):
    display = PenaltyMatrixDisplay.from_results(settings, colorbar=False)
    assert len(display.figure_.axes) == 1
    _, ax = plt.subplots()
    again = display.plot(ax, text_kw={"fontsize": 5}, im_kw={"vmax": 7}, cmap="Greens")
    assert again is display and display.ax_ is ax and len(display.figure_.axes) == 2
    assert display.im_.get_clim() == (0, 7) and display.im_.cmap.name == "Greens"
    assert display.text_[0, 1].get_fontsize() == 5


def test_options_reach_the_matrix(settings):
    options = {"test": "t", "threshold": 3.0, "label_budgets": "all", "include_initial": True}
    matrix = pairwise_penalty_matrix(settings, baseline="margin", **options)
    display = PenaltyMatrixDisplay.from_results(
        settings, baseline="margin", values_format=".6f", **options
    )
    np.testing.assert_allclose(drawn(display), matrix, atol=1e-6)
    losses = PenaltyMatrixDisplay.from_results(
        settings, greater_is_better=False, label_budgets="all", score="accuracy"
    )
    gains = PenaltyMatrixDisplay.from_results(settings, label_budgets="all")
    np.testing.assert_array_equal(drawn(losses), drawn(gains).T)


def test_matrix_errors(settings):
    with pytest.raises(ValueError, match="order must be one of .*Got 'name'"):
        PenaltyMatrixDisplay.from_results(settings, order="name")
    with pytest.raises(ValueError, match=r"same strategies as rows and columns. Got ndarray"):
        PenaltyMatrixDisplay.from_matrix(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="same strategies as rows and columns"):
        PenaltyMatrixDisplay.from_matrix(pd.DataFrame([[0, 1], [1, 0]], ["a", "b"], ["b", "a"]))


def height(line, x):
    """Value of a right-continuous step line."""
    xs, ys = (np.asarray(values) for values in line.get_data())
    assert line.get_drawstyle() == "steps-post"
    return ys[np.searchsorted(xs, x, side="right") - 1]


def test_cdf_lines_are_the_numbers(settings):
    cdf = normalized_error_cdf(settings)
    display = ErrorCDFDisplay.from_results(settings)
    assert [line.get_label() for line in display.lines_] == NAMES
    for line in display.lines_:
        np.testing.assert_array_equal(height(line, cdf.index), cdf[line.get_label()])
        assert height(line, cdf.index[0] - 1e-9) == 0
        assert height(line, display.ax_.get_xlim()[1]) == 1
    grey, *others = display.lines_
    assert grey.is_dashed() and not any(line.is_dashed() for line in others)
    low, high = display.ax_.get_xlim()
    assert low < cdf.index[0] and high > cdf.index[-1]
    assert display.ax_.get_xlabel() == "Error relative to RandomSampling"
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["margin", "RandomSampling", "core-set"]


def test_cdf_never_reaches_infinity():
    index = pd.Index([0.5, 1.0, np.inf], name="normalized_error")
    cdf = pd.DataFrame({"random": [0, 1.0, 1.0], "a": [0.5, 0.75, 1.0]}, index=index)
    display = ErrorCDFDisplay(cdf).plot()
    assert np.isfinite(display.ax_.get_xlim()).all()
    assert height(display.lines_[1], display.ax_.get_xlim()[1]) == 0.75
    display.figure_.canvas.draw()


def test_cdf_on_given_axes(settings):
    display = ErrorCDFDisplay.from_results(settings, x_range=(0.3, 1.2))
    assert display.ax_.get_xlim() == (0.3, 1.2)
    _, ax = plt.subplots()
    assert display.plot(ax, legend=None, line_kw={"linewidth": 4}) is display
    assert display.ax_ is ax and ax.get_legend() is None
    assert all(line.get_linewidth() == 4 for line in display.lines_)
    other = ErrorCDFDisplay.from_results(settings, baseline="margin", label_budgets="all")
    assert other.lines_[1].is_dashed()


def test_cdf_errors(settings):
    with pytest.raises(ValueError, match="legend must be one of .*Got 'direct'"):
        ErrorCDFDisplay.from_results(settings, legend="direct")
    with pytest.raises(ValueError, match="must be one of the strategies.*Got 'BADGE'"):
        ErrorCDFDisplay(normalized_error_cdf(settings), baseline="BADGE").plot()
