"""A picture of a query: the pool in a plane, what is labelled, and which rows are asked for."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.utils.validation import check_is_fitted

from skal.inspection._learning_curve import _COLOURS, _check_option, _new_axes
from skal.utils._tables import is_frame
from skal.utils.validation import check_same_length
from skal.views import ModelView

_ANSWERS = ("auto", "predict", None)
_SPACES = ("auto", "inputs", "features")


class QueryDisplay:
    """The rows of a pool in a plane: their scores, the labelled rows, and the picks in order.

    Make it with :meth:`from_estimator` or :meth:`from_predictions`. `plot` draws it again with
    other options.

    Parameters
    ----------
    points : ndarray of shape (n_pool, 2)
        Where the rows of the pool lie.

    picks : ndarray of shape (n_instances,)
        Positions of the rows that are asked for, in order of choice.

    scores : ndarray of shape (n_pool,) or None, default=None
        Colours of the rows: what the strategy saw in them, larger asked first.

    labeled : ndarray of shape (n_labeled, 2) or None, default=None
        Where the labelled rows lie.

    labels : array-like of shape (n_labeled,) or None, default=None
        Their labels: a colour and a marker for each class, one look for numbers.

    axis_names : tuple of two str, default=("", "")
        What the axes show.

    background : estimator or None, default=None
        Its predictions over the plane are drawn behind the rows. It takes the two columns.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the rows.

    figure_ : matplotlib Figure
        Figure that holds them.

    pool_ : matplotlib PathCollection
        The rows of the pool.

    picks_ : matplotlib PathCollection
        The rings around the picks.

    See Also
    --------
    LearningCurveDisplay : What the queries were worth.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal import ActiveLearner
    >>> from skal.inspection import QueryDisplay
    >>> from skal.strategies import MarginSampling
    >>> X, y = make_moons(60, noise=0.2, random_state=0)
    >>> learner = ActiveLearner(LogisticRegression(), MarginSampling()).fit(X[:10], y[:10])
    >>> display = QueryDisplay.from_estimator(learner, X[10:], n_instances=3)
    >>> display.picks.shape
    (3,)
    """

    def __init__(
        self,
        points,
        picks,
        *,
        scores=None,
        labeled=None,
        labels=None,
        axis_names=("", ""),
        background=None,
    ):
        self.points = points
        self.picks = picks
        self.scores = scores
        self.labeled = labeled
        self.labels = labels
        self.axis_names = axis_names
        self.background = background

    @classmethod
    def from_estimator(
        cls, learner, X_pool, n_instances=5, *, space="auto", response="auto", ax=None, **options
    ):
        """Ask a fitted learner about a pool, and draw its answer.

        Parameters
        ----------
        learner : ActiveLearner
            Fitted. Asking does not change it.

        X_pool : array-like of shape (n_pool, n_features)
            The pool.

        n_instances : int, default=5
            How many rows to ask for.

        space : {"auto", "inputs", "features"}, default="auto"
            "inputs" shows two columns as they are, and more by the two principal components of what
            the predictor sees. "features" shows those of the net's last hidden layer. "auto" is
            "inputs".

        response : {"auto", "predict"} or None, default="auto"
            What is drawn behind the rows, where they have two columns: the learner's predictions,
            or nothing. "auto" is "predict" where that can be drawn.

        ax : matplotlib Axes, default=None
            Where to draw. None makes a figure.

        **options : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : QueryDisplay
            With the picks and scores of the learner's strategy.

        Raises
        ------
        ValueError
            If an option is none of those above, or ``space="features"`` finds no net.
        """
        _check_option("space", space, _SPACES)
        _check_option("response", response, _ANSWERS)
        check_is_fitted(learner)
        picks, scores = learner.query(X_pool, n_instances, return_scores=True)
        points, labeled, names = _plane(learner, X_pool, space)
        two_columns = space != "features" and _n_columns(X_pool) == 2 and not is_frame(X_pool)
        if response == "predict" and not two_columns:
            raise ValueError(
                "response='predict' is drawn over an array of two columns. Got rows with "
                f"{_n_columns(X_pool)} columns instead. Use response=None."
            )
        return cls(
            points,
            picks,
            scores=scores,
            labeled=labeled,
            labels=learner.y_labeled_,
            axis_names=names,
            background=learner if response is not None and two_columns else None,
        ).plot(ax=ax, **options)

    @classmethod
    def from_predictions(
        cls,
        X_pool,
        picks,
        *,
        scores=None,
        X_labeled=None,
        y_labeled=None,
        axis_names=("", ""),
        ax=None,
        **options,
    ):
        """Draw a query that is known.

        Parameters
        ----------
        X_pool : array-like of shape (n_pool, n_columns)
            The pool, numbers: two columns as they are, more by two principal components.

        picks : array-like of int of shape (n_instances,)
            Positions of the rows that are asked for, in order.

        scores : array-like of shape (n_pool,), default=None
            What the strategy saw in them.

        X_labeled : array-like of shape (n_labeled, n_columns), default=None
            The labelled rows.

        y_labeled : array-like of shape (n_labeled,), default=None
            Their labels.

        axis_names : tuple of two str, default=("", "")
            What the axes show.

        ax : matplotlib Axes, default=None
            Where to draw. None makes a figure.

        **options : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : QueryDisplay
            What was given, drawn.
        """
        X_pool = np.asarray(X_pool, dtype=np.float64)
        picks = np.asarray(picks)
        if picks.ndim != 1 or picks.dtype.kind not in "iu" or (picks >= len(X_pool)).any():
            raise ValueError(
                f"picks must be positions in X_pool, ints below {len(X_pool)}. Got {picks!r} "
                "instead."
            )
        if scores is not None:
            scores = np.asarray(scores, dtype=np.float64)
            check_same_length(X_pool, scores, "scores")
        labeled = None if X_labeled is None else np.asarray(X_labeled, dtype=np.float64)
        points, labeled, names = _flat(X_pool, labeled)
        return cls(
            points,
            picks,
            scores=scores,
            labeled=labeled,
            labels=y_labeled,
            axis_names=axis_names if any(axis_names) else names,
        ).plot(ax=ax, **options)

    def plot(self, ax=None, *, numbers=True, cmap="viridis", marker_size=22.0, legend=True):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a figure.

        numbers : bool, default=True
            Whether the picks are numbered from 1.

        cmap : str or Colormap, default="viridis"
            Colours of the scores.

        marker_size : float, default=22.0
            Area of the markers of the pool, in squared points.

        legend : bool, default=True
            Whether to say what the markers are.

        Returns
        -------
        self : QueryDisplay
            This object, drawn.
        """
        ax = _new_axes() if ax is None else ax
        ax.grid(False)
        self.ax_, self.figure_ = ax, ax.figure
        if self.background is not None:
            self._draw_background(ax)
        self._draw_pool(ax, cmap, marker_size)
        if self.labeled is not None:
            self._draw_labeled(ax, marker_size)
        self._draw_picks(ax, numbers, marker_size)
        ax.set_xlabel(self.axis_names[0])
        ax.set_ylabel(self.axis_names[1])
        if legend:
            ax.legend(loc="best", fontsize="small", framealpha=0.85)
        return self

    def _draw_background(self, ax):
        from matplotlib.colors import ListedColormap

        everything = self.points
        if self.labeled is not None:
            everything = np.vstack([self.points, self.labeled])
        shades = {"alpha": 0.18, "ax": ax, "eps": 0.3}
        n_classes = len(getattr(self.background, "classes_", ()))
        if n_classes == 2:
            shades |= {"cmap": ListedColormap(_COLOURS[:2])}
        elif n_classes:
            few = n_classes <= len(_COLOURS)
            shades |= {"multiclass_colors": list(_COLOURS[:n_classes]) if few else "tab20"}
        DecisionBoundaryDisplay.from_estimator(
            self.background, everything, response_method="predict", **shades
        )

    def _draw_pool(self, ax, cmap, marker_size):
        colour = {"color": "0.6"} if self.scores is None else {"c": self.scores, "cmap": cmap}
        self.pool_ = ax.scatter(
            *self.points.T, s=marker_size, linewidths=0, alpha=0.8, label="pool", **colour
        )
        if self.scores is not None and np.ptp(self.scores) > 0:
            bar = ax.figure.colorbar(self.pool_, ax=ax, pad=0.02)
            bar.set_label("score (larger is asked first)")

    def _draw_labeled(self, ax, marker_size):
        look = {"s": 2.2 * marker_size, "edgecolors": "black", "linewidths": 0.8, "zorder": 3}
        labels = None if self.labels is None else np.asarray(self.labels)
        classes = [] if labels is None else np.unique(labels)
        if labels is None or labels.dtype.kind == "f" or len(classes) > len(_COLOURS):
            ax.scatter(*self.labeled.T, marker="s", color="white", label="labelled", **look)
            return
        for place, name in enumerate(classes):
            rows, shape = self.labeled[labels == name], "sD^vPX"[place]
            ax.scatter(
                *rows.T, marker=shape, color=_COLOURS[place], label=f"labelled: {name}", **look
            )

    def _draw_picks(self, ax, numbers, marker_size):
        chosen = self.points[self.picks]
        self.picks_ = ax.scatter(
            *chosen.T,
            s=5 * marker_size,
            facecolors="none",
            edgecolors="black",
            linewidths=1.6,
            zorder=4,
            label="asked for",
        )
        for place, (x, y) in enumerate(chosen if numbers else (), start=1):
            ax.annotate(
                str(place),
                (x, y),
                xytext=(6, 5),
                textcoords="offset points",
                fontsize="small",
                fontweight="bold",
                zorder=5,
            )


def _n_columns(X):
    shape = getattr(X, "shape", ())
    return shape[1] if len(shape) == 2 else 1


def _plane(learner, X_pool, space):
    """Pool and labelled rows in two columns, and the names of these."""
    if space == "features":
        view = ModelView(learner.estimator_, needed_by="QueryDisplay(space='features')")
        both = [view.net.features(rows).cpu().numpy() for rows in (X_pool, learner.X_labeled_)]
        return _flat(*both, "features")
    if _n_columns(X_pool) == 2 and not hasattr(X_pool, "toarray"):
        names = tuple(map(str, X_pool.columns)) if is_frame(X_pool) else None
        both = [np.asarray(rows, dtype=np.float64) for rows in (X_pool, learner.X_labeled_)]
        return *both, names or ("column 0", "column 1")
    view = ModelView(learner.estimator_, needed_by="QueryDisplay")
    both = [
        view.inputs(rows).gather(slice(None)).parts()[0].numpy()
        for rows in (X_pool, learner.X_labeled_)
    ]
    return _flat(*both)


def _flat(pool, labeled, what="inputs"):
    """Two columns as they are, more by the two principal components of the pool."""
    if pool.shape[1] == 2:
        return pool, labeled, ("column 0", "column 1")
    if pool.shape[1] == 1:
        pool, labeled = (
            None if rows is None else np.hstack([rows, np.zeros_like(rows)])
            for rows in (pool, labeled)
        )
        return pool, labeled, ("column 0", "")
    pca = PCA(2, random_state=0).fit(pool)
    names = tuple(f"component {k} of the {what}" for k in (1, 2))
    return pca.transform(pool), None if labeled is None else pca.transform(labeled), names
