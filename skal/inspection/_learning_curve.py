"""Learning curves over a labelling budget, with error bands."""

import numpy as np

from skal.metrics._paired import ENOUGH_RUNS, half_width
from skal.utils._results import curves_of, find_strategy, score_column

# Colours of Okabe and Ito (2008), told apart by colour-blind readers; yellow is lost on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", (0, (3, 1)), (0, (1, 1)))
_GREY = "#5a5a5a"
_ERRORS = ("ci95", "se", "std", None)
_LEGENDS = ("direct", "box", None)


class LearningCurveDisplay:
    """Learning curves of one or several query strategies: mean over repeats, with error bands.

    Make it with :meth:`from_results`. `plot` draws it again with other options.

    Parameters
    ----------
    n_labels : ndarray of shape (n_rounds,)
        Number of labels at each round.

    scores : dict of str to ndarray of shape (n_repeats, n_rounds)
        The scores of each strategy; row i of one strategy is paired with row i of the others.

    score_name : str, default="score"
        What is measured; the label of the vertical axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curves.

    figure_ : matplotlib Figure
        Figure that holds them.

    lines_ : list of matplotlib Line2D
        The mean curves, in the order of `scores`.

    bands_ : list of matplotlib PolyCollection
        The error bands, in the same order; empty where there are none.

    See Also
    --------
    skal.model_selection.compare_strategies : Makes the results.
    skal.model_selection.summarize_comparison : The same in numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> from skal.inspection import LearningCurveDisplay
    >>> results = pd.DataFrame({
    ...     "strategy": ["random"] * 4 + ["margin"] * 4,
    ...     "repeat": [0, 0, 1, 1] * 2,
    ...     "n_labels": [10, 20] * 4,
    ...     "accuracy": [0.5, 0.75, 0.5, 0.75, 0.5, 1.0, 0.75, 1.0],
    ... })
    >>> display = LearningCurveDisplay.from_results(results, baseline="random")
    >>> [line.get_label() for line in display.lines_]
    ['random', 'margin']
    """

    def __init__(self, n_labels, scores, *, score_name="score"):
        self.n_labels = n_labels
        self.scores = scores
        self.score_name = score_name

    @classmethod
    def from_results(
        cls,
        results,
        *,
        score=None,
        baseline=None,
        relative_to=None,
        error="ci95",
        score_name=None,
        legend="direct",
        ax=None,
        line_kw=None,
        fill_kw=None,
    ):
        """Draw the frame of a simulation.

        Parameters
        ----------
        results : pandas.DataFrame
            From :func:`~skal.model_selection.compare_strategies` or
            :func:`~skal.model_selection.active_learning_curve`.

        score : str or None, default=None
            The column to draw. None is the only score there is.

        baseline : str or None, default=None
            Strategy drawn in dashed grey, as in :meth:`plot`.

        relative_to : str or None, default=None
            Strategy whose score is subtracted from everyone's, as in :meth:`plot`.

        error : {"ci95", "se", "std"} or None, default="ci95"
            Half-width of the bands, as in :meth:`plot`.

        score_name : str or None, default=None
            Label of the vertical axis; None is the name of the column, in words.

        legend : {"direct", "box"} or None, default="direct"
            Where the names are written, as in :meth:`plot`.

        ax : matplotlib Axes or None, default=None
            Where to draw. None makes a new figure.

        line_kw : dict or None, default=None
            Passed to ``Axes.plot`` for every curve.

        fill_kw : dict or None, default=None
            Passed to ``Axes.fill_between`` for every band.

        Returns
        -------
        display : LearningCurveDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the frame lacks columns, or strategies have different repeats or budgets.
        """
        score = score_column(results, score)
        n_labels, scores = curves_of(results, score)
        if score_name is None:
            score_name = str(score).replace("_", " ")
            score_name = score_name[:1].upper() + score_name[1:]
        return cls(n_labels, scores, score_name=score_name).plot(
            ax,
            baseline=baseline,
            relative_to=relative_to,
            error=error,
            legend=legend,
            line_kw=line_kw,
            fill_kw=fill_kw,
        )

    def plot(
        self,
        ax=None,
        *,
        baseline=None,
        relative_to=None,
        error="ci95",
        legend="direct",
        line_kw=None,
        fill_kw=None,
    ):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None makes a new figure.

        baseline : str or None, default=None
            Strategy drawn in dashed grey, as the one to beat.

        relative_to : str or None, default=None
            Strategy whose score is subtracted from everyone's, repeat by repeat: what the splits
            and first labels have in common goes away, and the bands are those of the paired
            differences. It becomes the zero line.

        error : {"ci95", "se", "std"} or None, default="ci95"
            Half-width of the bands: half the 95 % confidence interval of the mean over repeats
            (Student's t), one standard error of that mean, or one standard deviation (n - 1 in
            the denominator). A single repeat has no band; nor has the interval of two repeats,
            which is 12.7 standard errors wide on either side. Fewer than five are said to be too
            few, in the title on the right.

        legend : {"direct", "box"} or None, default="direct"
            "direct" writes each name at the end of its line. "box" is matplotlib's legend, for
            small axes.

        line_kw : dict or None, default=None
            Passed to ``Axes.plot`` for every curve.

        fill_kw : dict or None, default=None
            Passed to ``Axes.fill_between`` for every band.

        Returns
        -------
        display : LearningCurveDisplay
            This display.

        Raises
        ------
        ValueError
            If a strategy or an option is unknown.
        """
        _check_option("error", error, _ERRORS)
        _check_option("legend", legend, _LEGENDS)
        reference = None if relative_to is None else find_strategy(self.scores, relative_to)
        grey = reference if baseline is None else find_strategy(self.scores, baseline)
        self.ax_ = _new_axes() if ax is None else ax
        self.figure_ = self.ax_.figure
        self.lines_, self.bands_ = [], []

        for name, style in _styles(self.scores, grey, len(self.n_labels)).items():
            curves = self.scores[name]
            if reference is not None:
                curves = curves - self.scores[reference]
            mean, half = curves.mean(axis=0), _half_width(curves, error)
            style |= {"label": name, **(line_kw or {})}
            (line,) = self.ax_.plot(self.n_labels, mean, **style)
            self.lines_.append(line)
            if half is not None and name != reference:
                band = {"color": line.get_color(), "alpha": 0.16, "linewidth": 0} | (fill_kw or {})
                band = self.ax_.fill_between(
                    self.n_labels, mean - half, mean + half, zorder=line.get_zorder() - 1, **band
                )
                self.bands_.append(band)

        what = self.score_name
        if reference is not None:
            what = f"{what}, difference to {reference}"
        self.ax_.set(xlabel="Number of labels", ylabel=what)
        if ax is None and len(self.n_labels) <= 10:
            self.ax_.set_xticks(self.n_labels)
        n_repeats = len(next(iter(self.scores.values())))
        if error == "ci95" and 1 < n_repeats < ENOUGH_RUNS:
            note = {"loc": "right", "fontsize": "small", "fontstyle": "italic", "color": _GREY}
            self.ax_.set_title(f"{n_repeats} repeats: too few", **note)
        if legend == "direct":
            _label_lines(self.ax_, self.lines_)
        elif legend == "box":
            self.ax_.legend(frameon=False)
        return self


def _check_option(name, value, allowed):
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}. Got {value!r} instead.")


def _new_axes():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def _styles(names, grey, n_rounds):
    """One look per strategy: colour, marker and dashes, and a dashed grey one in the back."""
    others = [name for name in names if name != grey]
    # A dozen markers tell lines apart; more hide them.
    common = {"linewidth": 1.8, "markersize": 4.5, "markeredgecolor": "white"}
    common["markevery"] = 1 + (n_rounds - 1) // 12
    styles = {}
    for name in names:
        if name == grey:
            styles[name] = {"color": _GREY, "linestyle": (0, (5, 2)), "zorder": 2.5} | common
            continue
        place = others.index(name)
        styles[name] = {
            "color": _COLOURS[place % len(_COLOURS)],
            "marker": _MARKERS[place % len(_MARKERS)],
            "linestyle": _DASHES[place // len(_COLOURS) % len(_DASHES)],
            "zorder": 3.5,
        } | common
    return styles


def _half_width(curves, error):
    """Half-width of the band at each round, or None where there is none."""
    n = len(curves)
    if error is None or n < (3 if error == "ci95" else 2):
        return None
    spread = curves.std(axis=0, ddof=1)
    if error == "std":
        return spread
    standard_error = spread / np.sqrt(n)
    return standard_error if error == "se" else half_width(standard_error, n)


def _label_lines(ax, lines):
    """Write each name to the right of its line's end, moved apart where names would overlap."""
    import matplotlib.pyplot as plt

    ax.autoscale_view()
    engine = ax.figure.get_layout_engine()
    if engine is not None:
        engine.execute(ax.figure)
    points = 72 / ax.figure.dpi
    gap = 1.25 * plt.rcParams["font.size"]
    ends = [(line, *end) for line in lines if (end := _last_known(line)) is not None]
    heights = [ax.transData.transform(end)[1] * points for _, *end in ends]
    moved = _spread(heights, gap, ax.bbox.y0 * points, ax.bbox.y1 * points)
    # One column of names; a thin line leads to those that had to move.
    column = 20 if np.abs(np.subtract(moved, heights)).max(initial=0) > gap / 4 else 8
    for (line, x, y), shift in zip(ends, np.subtract(moved, heights), strict=True):
        colour = line.get_color()
        leader = {
            "arrowstyle": "-",
            "color": colour,
            "linewidth": 0.8,
            "relpos": (0, 0.5),
            "shrinkA": 1,
            "shrinkB": 4,
        }
        ax.annotate(
            line.get_label(),
            xy=(x, y),
            xytext=(column, shift),
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops=leader if column > 8 else None,
        )


def _last_known(line):
    x, y = (np.asarray(values, dtype=np.float64) for values in line.get_data())
    known = np.flatnonzero(np.isfinite(y))
    return (x[known[-1]], y[known[-1]]) if len(known) else None


def _spread(heights, gap, low, high):
    """Move heights as little as needed to be `gap` apart and, if they fit, between two bounds.

    With the heights sorted and i gaps taken off the i-th, being apart is being monotone, and the
    nearest monotone sequence is the isotonic regression.
    """
    from sklearn.isotonic import isotonic_regression

    if len(heights) == 0:
        return []
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    fits = low <= high - steps[-1]
    bounds = {"y_min": low, "y_max": high - steps[-1]} if fits else {}
    moved = isotonic_regression(np.asarray(heights)[order] - steps, **bounds) + steps
    result = np.empty(len(heights))
    result[order] = moved
    return result.tolist()
