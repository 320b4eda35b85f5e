"""Cumulative distributions of errors relative to a baseline's."""

import numpy as np

from skal.inspection._learning_curve import _check_option, _new_axes, _styles
from skal.metrics import normalized_error_cdf
from skal.utils._results import find_strategy

_LEGENDS = ("box", None)


class ErrorCDFDisplay:
    """Distributions of errors over many settings, relative to a baseline: higher is better.

    Make it with :meth:`from_results`. `plot` draws it again with other options.

    Parameters
    ----------
    cdf : pandas.DataFrame of shape (n_values, n_strategies)
        From :func:`skal.metrics.normalized_error_cdf`.

    baseline : str, default="random"
        The strategy that errors were divided by: its name, or the beginning of its name in any
        case. Drawn in dashed grey.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curves.

    figure_ : matplotlib Figure
        Figure that holds them.

    lines_ : list of matplotlib Line2D
        The step functions, in the order of the columns of `cdf`.

    See Also
    --------
    skal.metrics.normalized_error_cdf : The numbers, and what they mean.
    PenaltyMatrixDisplay : Which differences are significant.

    References
    ----------
    Ash, Zhang, Krishnamurthy, Langford, Agarwal (2020). Deep batch active learning by diverse,
    uncertain gradient lower bounds. ICLR, arXiv:1906.03671, figure 5.

    Examples
    --------
    >>> import pandas as pd
    >>> from skal.inspection import ErrorCDFDisplay
    >>> results = pd.DataFrame({
    ...     "strategy": ["random"] * 3 + ["margin"] * 3,
    ...     "repeat": 0,
    ...     "n_labels": [10, 20, 30] * 2,
    ...     "error": [0.5, 0.5, 0.25, 0.5, 0.25, 0.25],
    ... })
    >>> display = ErrorCDFDisplay.from_results(
    ...     results, greater_is_better=False, label_budgets="all"
    ... )
    >>> [line.get_label() for line in display.lines_]
    ['random', 'margin']
    """

    def __init__(self, cdf, *, baseline="random"):
        self.cdf = cdf
        self.baseline = baseline

    @classmethod
    def from_results(
        cls,
        results,
        *,
        score=None,
        greater_is_better=True,
        best_score=None,
        label_budgets="doubling",
        include_initial=False,
        baseline="random",
        x_range=None,
        legend="box",
        ax=None,
        line_kw=None,
    ):
        """Compare the strategies of one or several simulations, and draw the distributions.

        Parameters
        ----------
        results : pandas.DataFrame, or list or dict of pandas.DataFrame
            From :func:`~skal.model_selection.compare_strategies`; one frame per setting.

        score, greater_is_better, best_score, label_budgets, include_initial, baseline
            As in :func:`skal.metrics.normalized_error_cdf`.

        x_range, legend, ax, line_kw
            As in :meth:`plot`.

        Returns
        -------
        display : ErrorCDFDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            As :func:`skal.metrics.normalized_error_cdf`.
        """
        cdf = normalized_error_cdf(
            results,
            score=score,
            greater_is_better=greater_is_better,
            best_score=best_score,
            label_budgets=label_budgets,
            include_initial=include_initial,
            baseline=baseline,
        )
        return cls(cdf, baseline=baseline).plot(ax, x_range=x_range, legend=legend, line_kw=line_kw)

    def plot(self, ax=None, *, x_range=None, legend="box", line_kw=None):
        """Draw the distributions.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None makes a new figure.

        x_range : tuple of two floats or None, default=None
            Limits of the horizontal axis (relative error, no unit); the publication has
            ``(0.3, 1.2)``. None shows all finite errors.

        legend : {"box"} or None, default="box"
            Whether to draw a legend, best strategy first (by the area under its distribution in
            the range shown).

        line_kw : dict or None, default=None
            Passed to ``Axes.step`` for every curve.

        Returns
        -------
        display : ErrorCDFDisplay
            This display.

        Raises
        ------
        ValueError
            If the baseline or `legend` is unknown.
        """
        _check_option("legend", legend, _LEGENDS)
        grey = find_strategy(self.cdf.columns, self.baseline)
        x = self.cdf.index.to_numpy(dtype=np.float64)
        left, right = _finite_range(x) if x_range is None else x_range
        self.ax_ = _new_axes() if ax is None else ax
        self.figure_ = self.ax_.figure
        self.lines_, areas = [], []

        # Lines begin at 0 left of the axes and go on to the right; infinity is never reached.
        finite = np.isfinite(x)
        steps = np.concatenate(
            [[min(left, x[0]) - 1], x[finite], [max(right, x[finite].max()) + 1]]
        )
        for name, style in _styles(list(self.cdf.columns), grey, len(x)).items():
            heights = self.cdf[name].to_numpy()[finite]
            heights = np.concatenate([[0.0], heights, heights[-1:]])
            style = {key: style[key] for key in ("color", "linestyle", "zorder", "linewidth")}
            style |= {"label": name, **(line_kw or {})}
            (line,) = self.ax_.step(steps, heights, where="post", **style)
            self.lines_.append(line)
            areas.append(np.diff(np.clip(steps, left, right)) @ heights[:-1])

        self.ax_.set(
            xlim=(left, right),
            ylim=(-0.02, 1.02),
            xlabel=f"Error relative to {grey}",
            ylabel="Share of settings with at most this error",
        )
        if legend == "box":
            best_first = [self.lines_[i] for i in np.argsort(areas, kind="stable")[::-1]]
            self.ax_.legend(handles=best_first, frameon=False, loc="upper left")
        return self


def _finite_range(x):
    x = x[np.isfinite(x)]
    low, high = min(x.min(), 1.0), max(x.max(), 1.0)
    margin = 0.08 * max(high - low, 0.1)
    return low - margin, high + margin
