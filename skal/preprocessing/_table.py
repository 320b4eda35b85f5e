"""The preprocessor of tables."""

import numbers
import warnings
from collections import Counter

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from skal.preprocessing._columns import columns_of, is_missing
from skal.preprocessing._encoders import choose_encoder
from skal.utils._compat import Interval, StrOptions, _check_feature_names_in, _fit_context
from skal.utils._tables import is_frame
from skal.utils.validation import validate_rows

# The interquartile range of a normal distribution in standard deviations.
_IQR = 1.3489795


class TablePreprocessor(TransformerMixin, BaseEstimator):
    """Make numbers of a table of mixed columns, without being told what its columns are.

    It stands in front of a net, a kernel or a linear model: what comes out is finite, of the scale
    of a standard normal, and cut where a column runs away from the training rows. What becomes of
    a column depends on what it holds in `fit`:

    - numbers, booleans and durations: missing values become the median; centred, scaled and
      cut at +-`clip`;
    - dates, as such or as text: seconds, and sine and cosine of the year, the week and the day as
      far as they vary, treated as numbers are;
    - categories that their container declares ordered: their positions, treated as numbers;
    - other categories and texts of few levels: an output of 0 and 1 for each level, one
      named ``<column>_other`` for the rare levels and those never seen, and one named
      ``<column>_missing``;
    - texts of many levels: the leading components of their character n-grams.

    A column that is constant or empty in `fit` gives 0, whatever it holds later: nothing can be
    learnt from it.

    Parameters
    ----------
    scaling : {"standard", "robust"}, default="standard"
        How numbers are centred and scaled: by mean and standard deviation, or by median and
        interquartile range (divided by 1.349, which makes it the standard deviation of normal
        numbers; where it is 0, by the standard deviation).

    clip : float or None, default=4.0
        Scaled numbers are cut at this many units from 0. A column that hardly varies among few
        labelled rows may be anything elsewhere, and linear models and nets extrapolate wildly.
        None cuts nothing.

    min_frequency : int, default=1
        Levels that occur in fewer rows are rare and share an output.

    max_levels : int, default=40
        A column of text with more levels is a text. Of a declared category with more levels, the
        most frequent ones have an output of their own, the others are rare.

    n_text_components : int, default=10
        Outputs of a column of texts.

    add_indicator : bool, default=False
        Whether a column of numbers or dates with missing values in `fit` gets a further output,
        ``<column>_missing``, of 0 and 1.

    sparse_output : bool, default=False
        Whether `transform` gives a CSR matrix: for tables of many categories.

    dtype : {"float64", "float32"} or NumPy type, default="float64"
        Of the output.

    Attributes
    ----------
    kinds_ : list of str
        What each column was taken for: "number", "ordinal", "date", "category" or "text".

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    sklearn.compose.ColumnTransformer : Transformers of your choice for columns of your choice.

    Notes
    -----
    Frames of pandas and polars, arrays and lists are read, and need not be of the same kind in
    `fit` and `transform`. In an array of strings, a column that can be read as numbers holds
    numbers; in a frame, text is text. Text is a date where every value reads as one, in ISO 8601
    or one common format; of 01/02/2026, the month comes first where the column leaves it open.
    Time zones are dropped: the wall clock counts. Blank text is missing.

    A value that is not of the kind of its column, such as text among numbers, counts as missing,
    with a warning. Infinite numbers are an error.

    The scale of one-hot outputs fits that of numbers: rows that differ in a category are at
    squared distance 2, as two rows are on average in a standardised column.

    Examples
    --------
    >>> import pandas as pd
    >>> from skal.preprocessing import TablePreprocessor
    >>> X = pd.DataFrame(
    ...     {
    ...         "rooms": [3, None, 5, 4],
    ...         "heating": ["gas", "oil", "gas", None],
    ...         "sold": ["2026-01-05", "2026-01-06", "2026-01-06", "2026-01-07"],
    ...     }
    ... )
    >>> prepare = TablePreprocessor().fit(X)
    >>> prepare.kinds_
    ['number', 'category', 'date']
    >>> prepare.get_feature_names_out()[:4].tolist()
    ['rooms', 'heating_gas', 'heating_oil', 'heating_missing']
    >>> prepare.transform(X)[:, 1:4].tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """

    _parameter_constraints = {
        "scaling": [StrOptions({"standard", "robust"})],
        "clip": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "min_frequency": [Interval(numbers.Integral, 1, None, closed="left")],
        "max_levels": [Interval(numbers.Integral, 1, None, closed="left")],
        "n_text_components": [Interval(numbers.Integral, 1, None, closed="left")],
        "add_indicator": ["boolean"],
        "sparse_output": ["boolean"],
        "dtype": "no_validation",
    }

    def __init__(
        self,
        *,
        scaling="standard",
        clip=4.0,
        min_frequency=1,
        max_levels=40,
        n_text_components=10,
        add_indicator=False,
        sparse_output=False,
        dtype="float64",
    ):
        self.scaling = scaling
        self.clip = clip
        self.min_frequency = min_frequency
        self.max_levels = max_levels
        self.n_text_components = n_text_components
        self.add_indicator = add_indicator
        self.sparse_output = sparse_output
        self.dtype = dtype

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Find out what the columns hold, and their centres, scales and levels.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            The table: the labelled rows, or the pool before any label is known.

        y : None
            Ignored; part of scikit-learn's interface.

        Returns
        -------
        self : TablePreprocessor
            The fitted preprocessor.

        Raises
        ------
        ValueError
            If the table has no rows or columns, or holds infinite numbers.
        TypeError
            If a cell holds no single value.
        """
        self._output_dtype()
        X = self._validate(X, reset=True)
        columns = list(columns_of(X))
        self._encoders = [
            choose_encoder(
                column,
                min_frequency=self.min_frequency,
                max_levels=self.max_levels,
                n_text_components=self.n_text_components,
            )
            for column in columns
        ]
        self.kinds_ = [encoder.kind for encoder in self._encoders]
        blocks = [e.transform(c.values) for e, c in zip(self._encoders, columns, strict=True)]
        self._scalers = [
            _Scaler(block, self.scaling, self.clip, self.add_indicator) if encoder.scaled else None
            for encoder, block in zip(self._encoders, blocks, strict=True)
        ]
        self._varies = [_varies(block) for block in self._scaled(columns, blocks)]
        return self

    def transform(self, X):
        """Return the numbers that stand for the rows.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Rows with the columns of `fit`.

        Returns
        -------
        Z : ndarray or CSR matrix of shape (n_samples, n_features_out)
            Finite numbers.

        Raises
        ------
        ValueError
            If the columns are not those of `fit`, or hold infinite numbers.
        """
        check_is_fitted(self)
        columns = list(columns_of(self._validate(X, reset=False)))
        blocks = [e.transform(c.values) for e, c in zip(self._encoders, columns, strict=True)]
        self._warn_of_strangers(columns, blocks)
        blocks = [
            _keep(block, varies)
            for block, varies in zip(self._scaled(columns, blocks), self._varies, strict=True)
        ]
        dtype = self._output_dtype()
        if self.sparse_output:
            blocks = [sparse.csr_matrix(block) for block in blocks]
            return sparse.hstack(blocks, format="csr", dtype=dtype)
        Z = np.empty((blocks[0].shape[0], sum(block.shape[1] for block in blocks)), dtype=dtype)
        end = 0
        for block in blocks:
            start, end = end, end + block.shape[1]
            Z[:, start:end] = block.toarray() if sparse.issparse(block) else block
        return Z

    def get_feature_names_out(self, input_features=None):
        """Name the outputs: the column, and what is seen of it.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns. None takes those of `fit`, or x0, x1, ...

        Returns
        -------
        names : ndarray of shape (n_features_out,), dtype object
            The names, no two alike.
        """
        check_is_fitted(self)
        columns = _check_feature_names_in(self, input_features)
        names, seen = [], Counter()
        for column, encoder, scaler in zip(columns, self._encoders, self._scalers, strict=True):
            indicator = ["_missing"] if scaler is not None and scaler.indicates else []
            for suffix in [*encoder.suffixes, *indicator]:
                name = f"{column}{suffix}"
                seen[name] += 1
                while seen[name] > 1:
                    name = f"{name}_{seen[name]}"
                    seen[name] += 1
                names.append(name)
        return np.array(names, dtype=object)

    # ------------------------------------------------------------------ steps

    def _validate(self, X, *, reset):
        if is_frame(X):
            X = validate_rows(self, X, reset=reset)
            if X.shape[1] == 0:
                raise ValueError(
                    f"Found a frame with 0 feature(s) (shape={X.shape}) while a minimum of 1 is "
                    f"required by {type(self).__name__}."
                )
            return X
        return validate_data(self, X=X, dtype=None, ensure_all_finite=False, reset=reset)

    def _scaled(self, columns, blocks):
        """The blocks of all columns, those of numbers finite, scaled and cut."""
        triples = zip(self._scalers, columns, blocks, strict=True)
        for position, (scaler, column, block) in enumerate(triples):
            if scaler is None:
                yield block
                continue
            if column.values.dtype.kind == "f" and np.isinf(block).any():
                raise ValueError(
                    f"Column {self._name_of(position)} contains infinity: numbers must be finite "
                    "or missing. Replace infinite values by NaN, or by a bound."
                )
            yield scaler.transform(block)

    def _warn_of_strangers(self, columns, blocks):
        strange = []
        for position, (column, block) in enumerate(zip(columns, blocks, strict=True)):
            if self._scalers[position] is None or column.values.dtype.kind == "f":
                continue
            lost = np.isnan(block[:, 0]) & ~is_missing(column.values)
            if lost.any() and np.any(self._varies[position]):
                example = column.values[np.flatnonzero(lost)[0]]
                strange.append(f"{self._name_of(position)} ({self.kinds_[position]}): {example}")
        if strange:
            warnings.warn(
                "Values that are not of the kind their column had in fit count as missing: "
                f"{'; '.join(strange[:5])}.",
                UserWarning,
                stacklevel=3,
            )

    def _name_of(self, position):
        names = getattr(self, "feature_names_in_", None)
        return repr(position if names is None else str(names[position]))

    def _output_dtype(self):
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            dtype = None
        if dtype not in (np.float32, np.float64):
            raise ValueError(
                f"The 'dtype' parameter of {type(self).__name__} must be 'float64' or 'float32'. "
                f"Got {self.dtype!r} instead."
            )
        return dtype

    @property
    def _n_features_out(self):
        return len(self.get_feature_names_out())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = []
        return tags


class _Scaler:
    """Fills, centres, scales and cuts the columns of one block of numbers."""

    def __init__(self, block, scaling, clip, add_indicator):
        missing = np.isnan(block)
        self.indicates = bool(add_indicator and missing[:, 0].any())
        self.clip = clip
        pairs = [_location(column[np.isfinite(column)], scaling) for column in block.T]
        self.fill, self.center, self.scale = np.array(pairs).T

    def transform(self, block):
        missing = np.isnan(block)
        filled = np.where(missing, self.fill, block)
        # Halves: the difference of two large numbers may be infinite, that of their halves is not.
        scaled = (filled / 2 - self.center / 2) / (self.scale / 2)
        if self.clip is not None:
            scaled = scaled.clip(-self.clip, self.clip)
        return np.hstack([scaled, missing[:, :1]]) if self.indicates else scaled


def _location(known, scaling):
    """What missing values become, the centre and the scale of a column's known numbers."""
    if len(known) == 0:
        return 0.0, 0.0, np.inf
    # Numbers near the largest of float64 would overflow when squared.
    unit = np.abs(known).max() or 1.0
    known = known / unit
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75])
    center, scale = known.mean(), known.std()
    if scale <= 10 * np.finfo(np.float64).eps * abs(center):
        return median * unit, center * unit, np.inf
    if scaling == "robust":
        center = median
        scale = (high - low) / _IQR or scale
    return median * unit, center * unit, scale * unit


def _varies(block):
    """Which outputs differ among the rows of `fit`: bool (width,)."""
    if sparse.issparse(block):
        counts = np.asarray(block.sum(axis=0)).ravel()
        return (counts > 0) & (counts < block.shape[0])
    return np.ptp(block, axis=0) > 0


def _keep(block, varies):
    """The block with 0 in the outputs that did not vary in `fit`."""
    if varies.all():
        return block
    if sparse.issparse(block):
        return block @ sparse.diags(varies.astype(np.float64))
    return np.where(varies, block, 0.0)
