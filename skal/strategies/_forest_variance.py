"""ForestVariance: the rows whose labels tell most about all other rows, as a forest sees them."""

from numbers import Integral

import numpy as np
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomTreesEmbedding
from sklearn.utils import assert_all_finite, get_tags
from sklearn.utils.multiclass import type_of_target

from skal.preprocessing import TablePreprocessor
from skal.selection._engines.variance import (
    Posterior,
    TreeRows,
    fit_matern,
    median_scales,
    medoid,
    variance_greedy,
)
from skal.strategies._base import QueryStrategy
from skal.utils._compat import HasMethods, Interval
from skal.utils._nesting import predictor_targets, take_apart
from skal.utils._random import child_seed
from skal.utils._tables import is_collection, is_frame, is_mapping, is_polars, n_rows, take_rows
from skal.utils._tags import QueryStrategyTags
from skal.utils.validation import is_labeled, target_values

_CHUNK_ROWS = 8192  # rows that are preprocessed at once
_MAX_BYTES = 2**30  # of sparse rows made dense at once
_GROWING_ROWS = 10_000  # of a pool, that trees without labels are grown on
_COLD_TREES, _COLD_DEPTH = 50, 5
_TUNING_ROWS = 1000  # labelled rows that scales and noise are chosen on
_MOST_LABELED = 5000  # labelled rows that the posterior is given


class ForestVariance(QueryStrategy):
    r"""Query the rows whose labels tell most about all other rows, as a forest sees them.

    A forest of extremely randomised trees is grown on the labelled rows. Two rows are alike,
    :math:`k_F(x, x')`, as often as trees put them into one leaf: in the columns that matter for the
    target, at the scale that matters. With this kernel a Gaussian process says how uncertain each
    row of the pool is, and how much less so once another row is labelled, whatever its label. Rows
    are added to the batch one by one, each time the one that lowers the mean variance of the pool
    most:

    .. math:: c^* = \arg\max_c \frac{\sum_{a \in A} u(a)\, C(a, c)^2}{v(c) + s^2} ,
        \qquad C(a, a') \leftarrow C(a, a') - \frac{C(a, c^*)\, C(c^*, a')}{v(c^*) + s^2} ,

    C being the posterior covariance, :math:`v(c) = C(c, c)`, s the noise, and A random rows of the
    pool. For classification, rows count by how undecided the forest is between their two most
    likely classes, :math:`u = 1 - (p_{(1)} - p_{(2)})`.

    Any estimator is served, for it is the strategy's own forest that asks.

    Parameters
    ----------
    estimator : estimator or None, default=None
        Any estimator. It says which task it is, which transformation of the target to follow and,
        from `margin_from` on, how sure it is. None means the estimator of the learner the strategy
        is plugged into.

    n_estimators : int, default=100
        Number of trees.

    n_targets : int, default=250
        Size of A, drawn anew for every query; all rows where the pool has no more. More targets are
        less noise, more memory and time.

    margin_from : int or None, default=200
        Classification only: with at least so many labels, the rows of smallest margin between the
        two most likely classes are queried instead, those of the estimator where it has
        probabilities, else those of the forest. None never changes over.

    preprocessor : transformer or None, default=None
        Makes numbers of the rows as the estimator takes them; fitted on the labelled rows. None
        takes the rows as the predictor at the end of the estimator sees them, which need not be
        numbers, and makes them with :class:`~skal.preprocessing.TablePreprocessor`; columns of 0
        and 1 in tables of numbers stay as they are.

    device : str or None, default=None
        Where covariances are computed ("cpu", "cuda:1"). None is the CPU. Trees grow on the CPU.

    random_state : int, RandomState or None, default=None
        Seeds the trees, the targets and the breaking of ties.

    Attributes
    ----------
    estimator_ : estimator or None
        The fitted estimator. None before any label is known.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    Raises
    ------
    TypeError
        If the rows are no table (texts, dicts) and nothing in front of the predictor makes one of
        them.
    ValueError
        If the labels are missing, or sparse rows are too wide to be made dense.

    See Also
    --------
    BAIT : The same aim with the features of a net's last layer.
    MarginSampling : For classification with many labels.
    TypiClust : Does without a forest.

    Notes
    -----
    Regression: :math:`K = (k_F + k_M) / 2`, with a Matern kernel :math:`k_M` of smoothness 3/2 on
    the preprocessed inputs, whose length scales (all alike, or by the forest's importances) and
    noise :math:`s^2`, cut to [0.02, 1], are chosen by marginal likelihood of the standardised
    labels. Classification: :math:`K = k_F` and :math:`s^2 = 0.1`. Labels are those the predictor
    is trained on: where it sees logarithms, so does the forest.

    Before any label is known (`fit_pool`), and while all labels are equal, trees are grown without
    labels, 50 random ones of depth 5, K is the mean of both kernels with the median distance for
    scale, and :math:`s^2 = 0.1`. The first row is then the medoid of the pool.

    Images, and other arrays of more than two dimensions, are taken pixel by pixel; sparse rows are
    made dense; texts and dicts need preprocessing in front of the predictor. `transform` returns
    the posterior variance v of each row, in units of its variance before any label, or minus the
    margin once that decides. The scores of `query` are what a label of each row alone takes off the
    targets' weighted mean variance, or minus the margin.

    Cost for n rows, m labelled ones, T trees, k targets and b queries: O(n T (k + m + b)) additions
    and O(n m (k + m + b)) multiplications; 4 n (k + T + 64) bytes, and at most 64 MiB for what is
    kept of labelled rows. Scales and noise are chosen on at most 1000 labelled rows, the posterior
    is given at most 5000, drawn at random where there are more.

    References
    ----------
    D. A. Cohn, Z. Ghahramani and M. I. Jordan (1996). Active learning with statistical models. JAIR
    4, for the integrated variance. A. Davies and Z. Ghahramani (2014). The random forest kernel and
    other kernels for big data from random partitions. arXiv:1402.4293. J. Hubotter et al. (2024).
    Transductive active learning: theory and applications. NeurIPS, arXiv:2402.15898. The same gain
    with other features: J. T. Ash et al. (2021). Gone fishing: neural active learning with Fisher
    embeddings. NeurIPS, arXiv:2106.09675. Their combination, and the weights by margin, are ours.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal import ActiveLearner
    >>> from skal.strategies import ForestVariance
    >>> X, y = load_iris(return_X_y=True)
    >>> learner = ActiveLearner(LogisticRegression(max_iter=500), ForestVariance(), random_state=0)
    >>> first = learner.query(X, n_instances=5)
    >>> learner.fit(X[first], y[first]).query(X, n_instances=5).shape
    (5,)
    """

    _parameter_constraints = {
        **QueryStrategy._parameter_constraints,
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "n_targets": [Interval(Integral, 1, None, closed="left")],
        "margin_from": [Interval(Integral, 1, None, closed="left"), None],
        "preprocessor": [HasMethods(["fit", "transform"]), None],
    }
    _query_tags = QueryStrategyTags(requires_fitted_estimator=False, conditioned_on_labeled=True)

    def __init__(
        self,
        estimator=None,
        *,
        n_estimators=100,
        n_targets=250,
        margin_from=200,
        preprocessor=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, device=device, random_state=random_state)
        self.n_estimators = n_estimators
        self.n_targets = n_targets
        self.margin_from = margin_from
        self.preprocessor = preprocessor

    def _represent(self, X):
        if self._by_margin:
            return -self._margins(X)
        return self._posterior.variance(self._rows(X))

    def _choose(self, X, n_instances, seed, return_scores):
        rng = np.random.RandomState(seed)
        if self._by_margin:
            scores = self._represent(X)
            best_first = np.lexsort((rng.permutation(len(scores)), -scores))
            return best_first[:n_instances], scores
        pool = self._rows(X)
        targets = rng.permutation(len(pool))[: self.n_targets]
        weights = torch.from_numpy(self._weights(take_rows(X, targets))).to(pool.device)
        first = medoid(pool, targets, rng) if self._posterior.labeled is None else None
        return variance_greedy(self._posterior, pool, targets, weights, n_instances, rng, first)

    def _weights(self, X):
        """How much the variance of each row counts: ndarray (n,), not all 0."""
        if self._is_classifier and self._informed:
            weights = 1.0 - self._forest_margins(X)
            if weights.sum() > 0:
                return weights
        return np.ones(n_rows(X))

    def _margins(self, X):
        """Margins of the estimator where it has probabilities, else of the forest: ndarray (n,)."""
        answers = self.estimator_ is not None and (
            self.view.has_net or hasattr(self.estimator_, "predict_proba")
        )
        if answers and self._n_outputs == 1:
            return _margins(self.view.probabilities(X).cpu().numpy())
        return self._forest_margins(X)

    def _forest_margins(self, X):
        margins = []
        for piece in _pieces(n_rows(X)):
            P = self._forest.predict_proba(self._inputs(take_rows(X, piece)))
            margins.append(np.mean([_margins(p) for p in (P if isinstance(P, list) else [P])], 0))
        return np.concatenate(margins)

    # ------------------------------------------------------------------ the forest

    def _fit_labeled(self, X, y):
        y = _labels(y)
        self._is_classifier = self._find_task(y)
        y = _codes(y) if self._is_classifier else self._standardized(y)
        self._n_outputs = y.shape[1]
        self._informed = bool((y != y[0]).any())
        self._fit_inputs(X)
        Z = self._inputs(X)
        if not self._informed:
            self._grow(RandomTreesEmbedding(_COLD_TREES, max_depth=_COLD_DEPTH), Z)
        elif self._is_classifier:
            self._grow(ExtraTreesClassifier(self.n_estimators), Z, y)
        else:
            self._grow(ExtraTreesRegressor(self.n_estimators), Z, y)
        rng = np.random.RandomState(child_seed(self._seed, 2))
        self._scales, noise = self._fit_scales(Z, y, rng)
        may_change_over = self._is_classifier and self._informed and self.margin_from is not None
        self._by_margin = bool(may_change_over and len(Z) >= self.margin_from)
        self._posterior = None
        if not self._by_margin:
            given = rng.permutation(len(Z))[:_MOST_LABELED]
            self._posterior = Posterior(self._tree_rows(Z[given]), noise)

    def _fit_unlabeled(self, X_pool, estimator):
        super()._fit_unlabeled(X_pool, estimator if self.preprocessor is None else None)
        self._is_classifier = self._informed = self._by_margin = False
        self._fit_inputs(X_pool)
        rng = np.random.RandomState(child_seed(self._seed, 2))
        some = rng.permutation(n_rows(X_pool))[:_GROWING_ROWS]
        Z = self._inputs(take_rows(X_pool, some))
        self._grow(RandomTreesEmbedding(_COLD_TREES, max_depth=_COLD_DEPTH), Z)
        self._scales, noise = self._fit_scales(Z, None, rng)
        self._posterior = Posterior(None, noise)

    def _grow(self, forest, Z, y=None):
        """Fit the forest, and number the leaves of its trees."""
        forest.set_params(random_state=child_seed(self._seed, 3))
        self._forest = forest.fit(Z, y[:, 0] if y is not None and y.shape[1] == 1 else y)
        is_leaf = [tree.tree_.children_left == -1 for tree in forest.estimators_]
        self._n_leaves = sum(int(tree.sum()) for tree in is_leaf)
        numbers = np.cumsum(np.concatenate(is_leaf), dtype=np.int32) - 1
        self._numbers = np.split(numbers, np.cumsum([len(tree) for tree in is_leaf])[:-1])

    def _fit_scales(self, Z, y, rng):
        """Scales of the inputs for the Matern kernel, or None without one, and the noise."""
        if self._informed and self._is_classifier:
            return None, 0.1
        some = rng.permutation(len(Z))[:_TUNING_ROWS]
        inputs = torch.from_numpy(Z[some]).double()
        if not self._informed:
            return median_scales(inputs).float(), 0.1
        importances = torch.from_numpy(self._forest.feature_importances_)
        scales, noise = fit_matern(inputs, torch.from_numpy(y[some]), importances)
        return scales.float(), min(max(noise, 0.02), 1.0)

    def _find_task(self, y):
        """Whether to classify: what the estimator does, or what the labels are made for."""
        task = None if self.estimator_ is None else get_tags(self.estimator_).estimator_type
        if task is None:
            return not type_of_target(y, input_name="y").startswith("continuous")
        return task == "classifier"

    def _standardized(self, y):
        """Labels as the predictor is trained on, each output of mean 0 and variance 1."""
        y = np.asarray(predictor_targets(self.estimator_, y), dtype=np.float64)
        assert_all_finite(y, input_name="y")
        y = y.reshape(len(y), -1)
        y = y - y.mean(axis=0)
        scale = y.std(axis=0)
        return y / np.where(scale > 0, scale, 1.0)

    # ------------------------------------------------------------------ rows

    def _rows(self, X):
        """The rows of `X` as the kernel sees them, preprocessed piece by piece."""
        rows = None
        for piece in _pieces(n_rows(X)):
            part = self._tree_rows(self._inputs(take_rows(X, piece)))
            if rows is None:
                rows = part.emptied(n_rows(X))
            rows[piece] = part
        return rows

    def _tree_rows(self, Z):
        device = self.view.torch_device
        leaves = np.empty((len(Z), len(self._numbers)), dtype=np.int32)
        for tree, fitted in enumerate(self._forest.estimators_):
            leaves[:, tree] = self._numbers[tree][fitted.tree_.apply(Z)]
        inputs = None
        if self._scales is not None:
            inputs = (torch.from_numpy(Z) * self._scales).to(device)
        return TreeRows(torch.from_numpy(leaves).to(device), inputs, self._n_leaves)

    def _fit_inputs(self, X):
        prepare = self.preprocessor
        prepare = TablePreprocessor(dtype="float32") if prepare is None else clone(prepare)
        table = self._table(X)
        self._prepare = prepare.fit(table)
        self._indicators = None
        if self.preprocessor is None and not is_frame(table) and table.dtype.kind in "biuf":
            self._indicators = np.isin(table, (0, 1)).all(axis=0) & (table != table[0]).any(axis=0)

    def _inputs(self, X):
        """Preprocessed rows: float32 (n, d), row after row in memory."""
        table = self._table(X)
        Z = self._prepare.transform(table)
        Z = np.require(_dense(Z) if sparse.issparse(Z) else Z, np.float32, ["C", "W"])
        if self._indicators is not None:
            # Encoded by somebody else: as they are, as those that we encode.
            Z[:, self._indicators] = np.nan_to_num(table[:, self._indicators])
        assert_all_finite(Z, input_name="preprocessed X")
        return Z

    def _table(self, X):
        """Rows as the predictor sees them, as a table for the preprocessor."""
        if self.preprocessor is not None:
            return X
        X = self.view.predictor_inputs(X)
        if not _is_table(X):
            raise TypeError(
                "ForestVariance grows a forest on a table of numbers and categories. Got "
                f"{type(X).__name__} instead. Put what makes a table of them in front of the "
                "predictor (make_pipeline(vectorizer, TruncatedSVD(50), predictor)), or pass it as "
                "'preprocessor'."
            )
        if sparse.issparse(X):
            return _dense(X)
        if is_frame(X) and not _is_numeric(X):
            return X
        X = X.detach().cpu().numpy() if isinstance(X, torch.Tensor) else np.asarray(X)
        self._check_missing(X)
        return X.reshape(len(X), -1) if X.ndim != 2 else X

    def _check_missing(self, X):
        """Refuse missing values where nothing in front of the predictor fills them."""
        if self.estimator_ is not None and X.dtype.kind == "f":
            transformers, predictor = take_apart(self.estimator_)
            if not transformers and not get_tags(predictor).input_tags.allow_nan:
                assert_all_finite(X, input_name="X")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        if self.preprocessor is None and self.estimator is None:
            tags.input_tags.allow_nan = True
            tags.input_tags.string = tags.input_tags.categorical = True
        return tags


def _labels(y):
    """The labels as an array, none of them missing."""
    if y is None:
        raise ValueError(
            "ForestVariance requires y to be passed, but the target y is None. Before any label is "
            "known, use fit_pool."
        )
    y = target_values(y)
    if not is_labeled(y).all():
        raise ValueError(
            f"Input y contains NaN or None: ForestVariance learns from labelled rows. Got "
            f"{int((~is_labeled(y)).sum())} of {len(y)} rows without a label instead. Leave them "
            "out."
        )
    return y


def _codes(y):
    """Classes as numbers from 0, output by output: float64 (n, n_outputs)."""
    columns = y.reshape(len(y), -1).T
    return np.column_stack([np.unique(column, return_inverse=True)[1] for column in columns]) * 1.0


def _margins(P):
    """Difference of the two largest probabilities of each row; 1 where there is one class."""
    if P.shape[1] < 2:
        return np.ones(len(P))
    top = np.partition(P, P.shape[1] - 2, axis=1)[:, -2:]
    return top[:, 1] - top[:, 0]


def _pieces(n):
    """Positions of n rows, so many at a time as are preprocessed at once."""
    return (np.arange(a, min(a + _CHUNK_ROWS, n)) for a in range(0, n, _CHUNK_ROWS))


def _is_table(X):
    return not (is_collection(X) or is_mapping(X))


def _is_numeric(frame):
    """Whether all columns of a frame are of plain numbers."""
    dtypes = list(frame.dtypes)
    if is_polars(frame):
        return all(dtype.is_numeric() for dtype in dtypes)
    return all(isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in dtypes)


def _dense(X):
    """Sparse rows made dense, if they are not too wide for it."""
    n_bytes = 8 * X.shape[0] * X.shape[1]
    if n_bytes > _MAX_BYTES:
        raise ValueError(
            f"ForestVariance makes sparse rows dense, {_CHUNK_ROWS} of the pool at once, which "
            f"must take at most {_MAX_BYTES} bytes. Got {X.shape[0]} rows of {X.shape[1]} columns, "
            f"{n_bytes} bytes, instead. Pass preprocessor=TruncatedSVD(50), or use a strategy that "
            "reads the model alone."
        )
    return X.toarray()
