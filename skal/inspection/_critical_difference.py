"""Mean ranks on a line, with bars over strategies that cannot be told apart."""

import numpy as np

from skal.metrics import critical_difference

# Heights, in lines of text.
_LINE, _BAR = 1.0, 0.45


class CriticalDifferenceDisplay:
    """Critical-difference diagram: mean ranks, and who cannot be told apart.

    Each strategy hangs from its mean rank over the settings, the best on the left. A thick bar
    joins strategies no two of which differ significantly. Make it with :meth:`from_results`.

    Parameters
    ----------
    result : CriticalDifference
        From :func:`skal.metrics.critical_difference`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the diagram.

    figure_ : matplotlib Figure
        Figure that holds them.

    labels_ : list of matplotlib Annotation
        The names with their mean ranks, in order of rank.

    bars_ : list of matplotlib Line2D
        One per group in ``result.groups``, in the same order.

    See Also
    --------
    skal.metrics.critical_difference : The numbers, and the tests.
    PenaltyMatrixDisplay : Who beats whom.

    References
    ----------
    Demsar (2006). Statistical comparisons of classifiers over multiple data sets. Journal of
    Machine Learning Research, 7, 1-30, figure 1.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skal.inspection import CriticalDifferenceDisplay
    >>> rng = np.random.default_rng(0)
    >>> results = pd.DataFrame({
    ...     "strategy": np.repeat(["random", "margin", "entropy"], 10),
    ...     "repeat": np.tile(range(10), 3),
    ...     "n_labels": 50,
    ...     "accuracy": np.repeat([0.7, 0.8, 0.8], 10) + rng.normal(0, 0.01, 30),
    ... })
    >>> display = CriticalDifferenceDisplay.from_results(results)
    >>> len(display.bars_)
    1
    """

    def __init__(self, result):
        self.result = result

    @classmethod
    def from_results(
        cls,
        results,
        *,
        score=None,
        greater_is_better=True,
        post_hoc="nemenyi",
        alpha=0.05,
        ax=None,
        line_kw=None,
        text_kw=None,
    ):
        """Rank the strategies of one or several simulations, and draw the diagram.

        Parameters
        ----------
        results : pandas.DataFrame, or list or dict of pandas.DataFrame
            From :func:`~skal.model_selection.compare_strategies`; one frame per setting.

        score, greater_is_better, post_hoc, alpha
            As in :func:`skal.metrics.critical_difference`.

        ax, line_kw, text_kw
            As in :meth:`plot`.

        Returns
        -------
        display : CriticalDifferenceDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            As :func:`skal.metrics.critical_difference`.
        """
        result = critical_difference(
            results,
            score=score,
            greater_is_better=greater_is_better,
            post_hoc=post_hoc,
            alpha=alpha,
        )
        return cls(result).plot(ax, line_kw=line_kw, text_kw=text_kw)

    def plot(self, ax=None, *, line_kw=None, text_kw=None):
        """Draw the diagram.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None makes a new figure, as high as the names need.

        line_kw : dict or None, default=None
            Passed to ``Axes.plot`` for the bars.

        text_kw : dict or None, default=None
            Passed to ``Axes.annotate`` for the names.

        Returns
        -------
        display : CriticalDifferenceDisplay
            This display.
        """
        ranks = self.result.ranks
        k = len(ranks)
        depth = 0.6 + _BAR * len(self.result.groups)
        bottom = depth + _LINE * ((k + 1) // 2)
        self.ax_ = _new_axes(bottom) if ax is None else ax
        self.figure_ = self.ax_.figure
        _scale(self.ax_, k, bottom, self._caption())
        self.labels_ = [
            self._hang(place, name, rank, depth, text_kw)
            for place, (name, rank) in enumerate(ranks.items())
        ]
        kw = {"color": "#0072B2", "linewidth": 4, "solid_capstyle": "round"} | (line_kw or {})
        self.bars_ = []
        for level, group in enumerate(self.result.groups):
            ends = np.array([ranks[group[0]], ranks[group[-1]]]) + [-0.03, 0.03]
            height = 0.45 + _BAR * level
            (bar,) = self.ax_.plot(ends, [height, height], zorder=3, **kw)
            self.bars_.append(bar)
        if np.isfinite(self.result.critical_difference):
            self._draw_critical_difference()
        return self

    def _hang(self, place, name, rank, depth, text_kw):
        """Draw a line from a rank down and out to its name: the better half to the left."""
        k = len(self.result.ranks)
        left = place < (k + 1) // 2
        line = place if left else k - 1 - place
        height = depth + _LINE * (line + 0.5)
        edge = 1 - 0.04 * (k - 1) if left else k + 0.04 * (k - 1)
        self.ax_.plot([rank, rank, edge], [0, height, height], color="0.35", linewidth=1)
        kw = {"ha": "right" if left else "left", "va": "center", "annotation_clip": False}
        return self.ax_.annotate(
            f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}",
            xy=(edge, height),
            xytext=(-4 if left else 4, 0),
            textcoords="offset points",
            **kw | (text_kw or {}),
        )

    def _draw_critical_difference(self):
        """Draw the significant distance of ranks as a ruler above the scale."""
        width, height = self.result.critical_difference, -1.3
        k = len(self.result.ranks)
        self.ax_.plot(
            [1, 1 + min(width, k - 1)], [height, height], color="black", linewidth=1.2, marker="|"
        )
        self.ax_.annotate(
            f"critical difference {width:.2f}",
            xy=(1, height),
            xytext=(0, 5),
            textcoords="offset points",
            fontsize="small",
            va="bottom",
        )

    def _caption(self):
        result = self.result
        caption = f"Mean rank over {result.n_blocks} settings or repeats, 1 is best"
        if np.isfinite(result.pvalue):
            small = f"{result.pvalue:.2g}" if result.pvalue >= 1e-4 else "< 0.0001"
            caption += f" (Friedman's test: p {'= ' if small[0] != '<' else ''}{small})"
        return caption


def _new_axes(bottom):
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(7.2, 1.2 + 0.26 * bottom), layout="constrained")
    return ax


def _scale(ax, k, bottom, caption):
    """The line of ranks on top, and no other frame."""
    ax.set_xlim(1 - 0.04 * (k - 1), k + 0.04 * (k - 1))
    ax.set_ylim(bottom, -2.2)
    ax.plot([1, k], [0, 0], color="black", linewidth=1.2)
    for rank in range(1, k + 1):
        ax.plot([rank, rank], [0, -0.25], color="black", linewidth=1.2)
        ax.annotate(
            str(rank),
            xy=(rank, -0.25),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize="small",
        )
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.set_xlabel(caption, fontsize="small")
