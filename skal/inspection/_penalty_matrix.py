"""The pairwise penalty matrix as a heat map."""

import numpy as np

from skal.metrics._penalty import count_wins

_ORDERS = ("given", "average")
# Rows between the matrix and the line of column averages.
_GAP = 0.35


class PenaltyMatrixDisplay:
    """Pairwise penalty matrix: who beats whom, in how many settings, with column averages.

    Make it with :meth:`from_results` or :meth:`from_matrix`. `plot` draws it again with other
    options.

    Parameters
    ----------
    matrix : ndarray of shape (n_strategies, n_strategies)
        Entry (i, j): number of settings in which strategy i beats strategy j.

    names : list of str
        The strategies, in the order of rows and columns.

    n_settings : int or None, default=None
        Number of settings, the largest entry there can be: the end of the colour scale. None ends
        it at the largest entry.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the matrix.

    figure_ : matplotlib Figure
        Figure that holds them.

    im_ : matplotlib AxesImage
        The matrix.

    average_im_ : matplotlib AxesImage
        The line of column averages below it, on the same colour scale.

    text_ : ndarray of shape (n_strategies, n_strategies) of matplotlib Text
        The numbers in the matrix; None on the diagonal.

    average_text_ : ndarray of shape (n_strategies,) of matplotlib Text
        The column averages; the lowest is in bold.

    order_ : ndarray of shape (n_strategies,), dtype int64
        Positions in `names` of the rows and columns drawn.

    See Also
    --------
    skal.metrics.pairwise_penalty_matrix : The numbers, and what they mean.
    ErrorCDFDisplay : How large the differences are.

    References
    ----------
    Ash, Zhang, Krishnamurthy, Langford, Agarwal (2020). Deep batch active learning by diverse,
    uncertain gradient lower bounds. ICLR, arXiv:1906.03671, figure 4.

    Examples
    --------
    >>> import pandas as pd
    >>> from skal.inspection import PenaltyMatrixDisplay
    >>> results = pd.DataFrame({
    ...     "strategy": ["random"] * 6 + ["margin"] * 6,
    ...     "repeat": [0, 0, 0, 1, 1, 1] * 2,
    ...     "n_labels": [10, 20, 30] * 4,
    ...     "accuracy": [0.5, 0.7, 0.9, 0.5, 0.6, 0.9, 0.5, 0.8, 0.9, 0.5, 0.7, 0.9],
    ... })
    >>> display = PenaltyMatrixDisplay.from_results(results)
    >>> [text.get_text() for text in display.average_text_]
    ['0.50', '0.00']
    """

    def __init__(self, matrix, names, *, n_settings=None):
        self.matrix = matrix
        self.names = names
        self.n_settings = n_settings

    @classmethod
    def from_results(
        cls,
        results,
        *,
        score=None,
        greater_is_better=True,
        threshold=1.96,
        test="t",
        label_budgets="doubling",
        include_initial=False,
        baseline="random",
        order="given",
        cmap="Blues",
        values_format=".2f",
        colorbar=True,
        ax=None,
        im_kw=None,
        text_kw=None,
    ):
        """Compare the strategies of one or several simulations, and draw the matrix.

        Parameters
        ----------
        results : pandas.DataFrame, or list or dict of pandas.DataFrame
            From :func:`~skal.model_selection.compare_strategies`; one frame per setting.

        score, greater_is_better, threshold, test, label_budgets, include_initial, baseline
            As in :func:`skal.metrics.pairwise_penalty_matrix`.

        order, cmap, values_format, colorbar, ax, im_kw, text_kw
            As in :meth:`plot`.

        Returns
        -------
        display : PenaltyMatrixDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            As :func:`skal.metrics.pairwise_penalty_matrix`.
        """
        matrix, names, n_settings = count_wins(
            results,
            score=score,
            greater_is_better=greater_is_better,
            threshold=threshold,
            test=test,
            label_budgets=label_budgets,
            include_initial=include_initial,
            baseline=baseline,
        )
        return cls(matrix, names, n_settings=n_settings).plot(
            ax,
            order=order,
            cmap=cmap,
            values_format=values_format,
            colorbar=colorbar,
            im_kw=im_kw,
            text_kw=text_kw,
        )

    @classmethod
    def from_matrix(
        cls,
        matrix,
        *,
        n_settings=None,
        order="given",
        cmap="Blues",
        values_format=".2f",
        colorbar=True,
        ax=None,
        im_kw=None,
        text_kw=None,
    ):
        """Draw a matrix that was computed before.

        Parameters
        ----------
        matrix : pandas.DataFrame of shape (n_strategies, n_strategies)
            From :func:`skal.metrics.pairwise_penalty_matrix`: row i wins, column j loses.

        n_settings : int or None, default=None
            Number of settings, which ends the colour scale; None ends it at the largest entry.

        order, cmap, values_format, colorbar, ax, im_kw, text_kw
            As in :meth:`plot`.

        Returns
        -------
        display : PenaltyMatrixDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If rows and columns are not the same strategies in the same order.
        """
        if not hasattr(matrix, "columns") or list(matrix.index) != list(matrix.columns):
            raise ValueError(
                "matrix must be a frame with the same strategies as rows and columns. "
                f"Got {type(matrix).__name__} of shape {np.shape(matrix)} instead."
            )
        values, names = matrix.to_numpy(dtype=np.float64), list(matrix.columns)
        return cls(values, names, n_settings=n_settings).plot(
            ax,
            order=order,
            cmap=cmap,
            values_format=values_format,
            colorbar=colorbar,
            im_kw=im_kw,
            text_kw=text_kw,
        )

    def plot(
        self,
        ax=None,
        *,
        order="given",
        cmap="Blues",
        values_format=".2f",
        colorbar=True,
        im_kw=None,
        text_kw=None,
    ):
        """Draw the matrix.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None makes a new figure, whose size grows with the strategies.

        order : {"given", "average"}, default="given"
            "average" sorts by column average, the least beaten strategy first.

        cmap : str or matplotlib Colormap, default="Blues"
            Colours from no win to a win in every setting. Numbers are black or white, whichever
            is easier to read on them.

        values_format : str, default=".2f"
            Format of the numbers.

        colorbar : bool, default=True
            Whether to draw the scale.

        im_kw : dict or None, default=None
            Passed to ``Axes.imshow``, for the matrix and the averages.

        text_kw : dict or None, default=None
            Passed to ``Axes.text`` for every number.

        Returns
        -------
        display : PenaltyMatrixDisplay
            This display.

        Raises
        ------
        ValueError
            If `order` is unknown.
        """
        if order not in _ORDERS:
            raise ValueError(f"order must be one of {_ORDERS}. Got {order!r} instead.")
        matrix = np.asarray(self.matrix, dtype=np.float64)
        averages, n = matrix.mean(axis=0), len(matrix)
        by_average = np.argsort(averages, kind="stable")
        self.order_ = by_average if order == "average" else np.arange(n)
        matrix, averages = matrix[np.ix_(self.order_, self.order_)], averages[self.order_]
        names = [self.names[i] for i in self.order_]
        self.ax_ = _new_axes(n, colorbar) if ax is None else ax
        self.figure_ = self.ax_.figure

        top = self.n_settings if self.n_settings is not None else max(matrix.max(), averages.max())
        kw = {"cmap": cmap, "vmin": 0, "vmax": top or 1, "aspect": "equal"} | (im_kw or {})
        kw["cmap"] = _with_grey(kw["cmap"])
        # A strategy does not play against itself.
        shown = np.ma.masked_array(matrix, np.eye(n, dtype=bool))
        bottom = n - 0.5 + _GAP
        self.im_ = self.ax_.imshow(shown, **kw)
        self.average_im_ = self.ax_.imshow(
            averages[None], **kw | {"extent": (-0.5, n - 0.5, bottom + 1, bottom)}
        )
        self.text_ = np.full((n, n), None, dtype=object)
        for i, j in zip(*np.nonzero(~np.eye(n, dtype=bool)), strict=True):
            self.text_[i, j] = _write(self.im_, j, i, matrix[i, j], values_format, text_kw)
        best = averages == averages.min()
        self.average_text_ = np.array(
            [
                _write(
                    self.average_im_,
                    j,
                    bottom + 0.5,
                    averages[j],
                    values_format,
                    ({"fontweight": "bold"} if best[j] else {}) | (text_kw or {}),
                )
                for j in range(n)
            ],
            dtype=object,
        )
        _finish(self.ax_, names, bottom)
        if colorbar:
            bar = self.figure_.colorbar(self.im_, ax=self.ax_, fraction=0.046, pad=0.03)
            bar.set_label("Settings won by the row's strategy")
            bar.outline.set_visible(False)
        return self


def _new_axes(n, colorbar):
    import matplotlib.pyplot as plt

    side = max(2.6 + 0.52 * n, 3.4)
    _, ax = plt.subplots(figsize=(side + 0.9 * bool(colorbar), side), layout="constrained")
    return ax


def _with_grey(cmap):
    """The colours, with a light grey for masked cells."""
    import matplotlib.pyplot as plt

    return plt.get_cmap(cmap).with_extremes(bad="0.94")


def _write(image, x, y, value, values_format, text_kw):
    """Write a number into a cell, in black or white: whichever stands out more."""
    rgb = np.array(image.cmap(image.norm(value))[:3])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    # Black and white have the same contrast (WCAG 2) where (L + 0.05)^2 = 0.05 * 1.05.
    bright = linear @ [0.2126, 0.7152, 0.0722] > 0.179
    kw = {"ha": "center", "va": "center", "color": "black" if bright else "white", "fontsize": 9}
    return image.axes.text(x, y, format(value, values_format), **kw | (text_kw or {}))


def _finish(ax, names, bottom):
    """Names, white lines between cells, and room for the averages."""
    n = len(names)
    ax.set_xlim(-0.5, n - 0.5)
    ax.set_ylim(bottom + 1, -0.5)
    ax.set_xticks(range(n), names, rotation=40, ha="left", rotation_mode="anchor")
    ax.set_yticks([*range(n), bottom + 0.5], [*names, "column average"])
    ax.get_yticklabels()[-1].set_fontstyle("italic")
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.xaxis.set_label_position("top")
    ax.set_xlabel("Loser")
    # Beside the middle of the matrix, not of matrix and averages.
    ax.set_ylabel("Winner", y=1 - n / 2 / (bottom + 1.5))
    ax.spines[:].set_visible(False)
    ax.set_facecolor("white")
    for line in np.arange(n + 1) - 0.5:
        ax.plot([line, line], [-0.5, n - 0.5], color="white", linewidth=1.5, zorder=2)
        ax.plot([line, line], [bottom, bottom + 1], color="white", linewidth=1.5, zorder=2)
        ax.plot([-0.5, n - 0.5], [line, line], color="white", linewidth=1.5, zorder=2)
