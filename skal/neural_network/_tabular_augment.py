"""Random changes of tabular rows that leave their class alone, as far as one can tell."""

from numbers import Real

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skal.neural_network._loader import take_tensor
from skal.utils._compat import Interval, _fit_context

# Values of a dense block of columns while the statistics are computed.
_BLOCK_VALUES = 2**24


class TabularAugment(BaseEstimator):
    """Strong augmentation of tabular rows: jitter, values of other rows, columns blanked out.

    What random distortions and a hole are to an image, applied to a row of numbers. Every call
    draws afresh for every row:

    1. numeric columns get Gaussian noise of `jitter` times their standard deviation;
    2. some columns, as many as a draw from 0 to ``ceil(corruption * p)`` says, take the value that
       this column has in a random row each;
    3. some columns, from 0 to ``ceil(p / 8)`` of them, are set to their median (numeric) or most
       frequent value.

    Parameters
    ----------
    corruption : float, default=0.2
        Largest share of the columns that take the value of another row, in [0, 1]. 0 turns this
        off.

    jitter : float, default=0.05
        Standard deviation of the noise, in standard deviations of the column. 0 turns this off.

    cutout : bool, default=True
        Whether to blank out columns.

    categorical : array-like of int or None, default=None
        Positions of the columns that are categories: never jittered, blanked out by their most
        frequent value. None takes those with at most two distinct values, indicators for instance.

    Attributes
    ----------
    reference_ : tensor or CSR matrix of shape (n_samples, n_features)
        The rows given to `fit`, where values are taken from.

    scale_ : tensor of shape (n_features,), dtype float32
        Standard deviation of each column; 0 for categories.

    center_ : tensor of shape (n_features,), dtype float32
        Median, or most frequent value, of each column.

    See Also
    --------
    ImageAugment : The same for images.
    PseudoLabelFineTuner : Trains on augmented rows.

    Notes
    -----
    Replacing the value of each drawn column by that of an independent random row keeps every
    feature in its own support and its marginal distribution, so it serves categories, too. The
    columns of one one-hot encoded feature are columns like others here: a corrupted row may have
    two of them set, or none. A constant column never changes.

    The random numbers are torch's: seed them with :func:`torch_seed`, or pass a generator.

    Examples
    --------
    >>> import torch
    >>> from skal.neural_network import TabularAugment
    >>> X = torch.arange(12.0).reshape(4, 3)
    >>> augment = TabularAugment(corruption=1.0, jitter=0.0, cutout=False).fit(X)
    >>> _ = torch.manual_seed(0)
    >>> X_new = augment.augment(X)
    >>> [bool(torch.isin(X_new[:, j], X[:, j]).all()) for j in range(3)]
    [True, True, True]
    """

    _parameter_constraints: dict = {
        "corruption": [Interval(Real, 0, 1, closed="both")],
        "jitter": [Interval(Real, 0, None, closed="left")],
        "cutout": ["boolean"],
        "categorical": ["array-like", None],
    }

    def __init__(self, corruption=0.2, jitter=0.05, *, cutout=True, categorical=None):
        self.corruption = corruption
        self.jitter = jitter
        self.cutout = cutout
        self.categorical = categorical

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the columns: their spread, their middle, and the rows to take values from.

        Parameters
        ----------
        X : array, tensor or sparse matrix of shape (n_samples, ...)
            All rows there are, labelled or not. A tensor stays where it is; give it on the device
            of the rows to augment.

        y : None
            Ignored.

        Returns
        -------
        self : TabularAugment
            The fitted augmentation.
        """
        rows = X.tocsr() if sparse.issparse(X) else take_tensor(X, slice(None)).flatten(1)
        columns = rows if sparse.issparse(rows) else rows.cpu().numpy()
        p = columns.shape[1]
        scale, center = np.empty(p), np.empty(p)
        given = None if self.categorical is None else _marked(self.categorical, p)
        width = max(1, _BLOCK_VALUES // max(1, columns.shape[0]))
        for start in range(0, p, width):
            block = columns[:, start : start + width]
            block = (block.toarray() if sparse.issparse(block) else block).astype(np.float64)
            here = slice(start, start + block.shape[1])
            chosen = None if given is None else given[here]
            scale[here], center[here] = _spread_and_middle(block, chosen)
        device = "cpu" if sparse.issparse(rows) else rows.device
        self.reference_ = rows
        self.scale_ = torch.as_tensor(scale, dtype=torch.float32, device=device)
        self.center_ = torch.as_tensor(center, dtype=torch.float32, device=device)
        return self

    def augment(self, X, generator=None):
        """Change rows at random.

        Parameters
        ----------
        X : tensor of shape (n, ...)
            Rows with the columns seen in `fit`. Left as it is.

        generator : torch.Generator or None, default=None
            Source of the random numbers, on the device of `X`. None is torch's own.

        Returns
        -------
        X_new : tensor of shape (n, ...)
            The changed rows, of the dtype and on the device of `X`.
        """
        check_is_fitted(self)
        rows = X.flatten(1)
        n, p = rows.shape
        if p != len(self.center_):
            raise ValueError(
                f"X has {p} features, but {type(self).__name__} is expecting "
                f"{len(self.center_)} features as input."
            )
        draw = {"device": X.device, "generator": generator}
        if self.jitter:
            noise = torch.randn((n, p), **draw)
            rows = (rows + self.jitter * self.scale_.to(X.device) * noise).to(X.dtype)
        if self.corruption:
            chosen = _random_columns(n, p, int(np.ceil(self.corruption * p)), draw)
            donors = torch.randint(self.reference_.shape[0], (int(chosen.sum()),), **draw)
            rows = rows.masked_scatter(chosen, self._values_of(donors, chosen).to(X))
        if self.cutout:
            blank = _random_columns(n, p, int(np.ceil(p / 8)), draw)
            rows = torch.where(blank, self.center_.to(X), rows)
        return rows.reshape(X.shape)

    def _values_of(self, donors, chosen):
        """The value of each chosen column in the donor row drawn for it: (n_chosen,)."""
        columns = chosen.nonzero()[:, 1]
        if not sparse.issparse(self.reference_):
            home = self.reference_.device
            return self.reference_[donors.to(home), columns.to(home)]
        # As lists: scipy wants arrays that own their memory.
        donors, columns = (np.array(part.tolist()) for part in (donors, columns))
        values = self.reference_[donors, columns]
        return torch.as_tensor(np.asarray(values).ravel())


def _random_columns(n, p, most, draw):
    """Mark r random columns of each row, r uniform on 0, ..., `most`: bool (n, p)."""
    how_many = torch.randint(most + 1, (n, 1), **draw)
    columns = torch.rand((n, p), **draw).topk(most, dim=1).indices
    among = torch.arange(most, device=draw["device"]) < how_many
    return torch.zeros((n, p), dtype=torch.bool, device=draw["device"]).scatter(1, columns, among)


def _spread_and_middle(block, categorical):
    """Standard deviation and median of each column; of a category 0 and the most frequent value."""
    low, high = block.min(axis=0), block.max(axis=0)
    if categorical is None:
        categorical = ((block == low) | (block == high)).all(axis=0)
    # Rounding would give a constant column a spread.
    scale = np.where(categorical | (low == high), 0.0, block.std(axis=0))
    center = np.median(block, axis=0)
    for j in np.flatnonzero(categorical):
        values, counts = np.unique(block[:, j], return_counts=True)
        center[j] = values[counts.argmax()]
    return scale, center


def _marked(categorical, p):
    """Which of the columns are among the positions given: bool (p,)."""
    positions = np.asarray(categorical)
    if positions.size and (
        positions.ndim != 1
        or positions.dtype.kind not in "iu"
        or not ((positions >= 0) & (positions < p)).all()
    ):
        raise ValueError(
            f"'categorical' of TabularAugment must hold column positions in [0, {p - 1}]. "
            f"Got {categorical!r} instead."
        )
    return np.isin(np.arange(p), positions)
