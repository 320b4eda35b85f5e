"""What becomes of one column of each kind: numbers, levels in order, dates, categories, texts.

An encoder learns from a column in `fit`; `transform` gives float64 of shape (n, width), NaN where
something is missing. `suffixes` name the outputs. Those of a `scaled` encoder are centred, scaled
and cut afterwards; the others are taken as they are.
"""

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from skal.preprocessing._columns import as_dates, as_numbers, as_text, date_format, is_missing

# Length of each period in seconds; a week begins on a Monday, the epoch on a Thursday.
_DAY = 86_400.0
_PERIODS = {"year": 365.2425 * _DAY, "week": 7 * _DAY, "day": _DAY}
_FIRST_MONDAY = 4 * _DAY

_WORDS = {
    "analyzer": "char_wb",
    "ngram_range": (2, 4),
    "sublinear_tf": True,
    "max_features": 20_000,
}


def choose_encoder(column, *, min_frequency, max_levels, n_text_components):
    """Return the fitted encoder for a :class:`~skal.preprocessing._columns.Column`."""
    values = column.values
    if values.dtype.kind == "f":
        return NumberEncoder()
    if values.dtype.kind == "M":
        return DateEncoder().fit(values)
    if column.declared == "ordinal":
        return OrdinalEncoder(column.levels)
    if column.declared is None:
        name = date_format(values)
        if name is not None:
            return DateEncoder(name).fit(values)
        if len(set(as_text(values)) - {None}) > max_levels:
            return TextEncoder(n_text_components).fit(values)
    return CategoryEncoder(min_frequency, max_levels).fit(values)


class NumberEncoder:
    """Numbers, True and False among them, as they are."""

    kind, scaled, suffixes = "number", True, ("",)

    def transform(self, values):
        """Return (n, 1) numbers."""
        return as_numbers(values)[:, None]


class OrdinalEncoder:
    """Levels that the container declares in order, as their positions 0, 1, 2, ..."""

    kind, scaled, suffixes = "ordinal", True, ("",)

    def __init__(self, levels):
        texts = as_text(np.array([*levels, None], dtype=object))[:-1]
        self.positions = {text: float(position) for position, text in enumerate(texts)}

    def transform(self, values):
        """Return (n, 1) positions."""
        texts = as_text(values)
        return np.array([self.positions.get(text, np.nan) for text in texts], dtype=float)[:, None]


class DateEncoder:
    """Seconds since 1970, and sine and cosine of each period that varies: year, week, day."""

    kind, scaled = "date", True

    def __init__(self, format=None):
        self.format = format

    def fit(self, values):
        """Keep the periods in which the dates differ."""
        seconds = self._seconds(values)
        known = seconds[np.isfinite(seconds)]
        self.periods = [
            name
            for name in _PERIODS
            if len(known) and np.ptp(self._waves(known, name), axis=0).max() > 1e-9
        ]
        waves = [f"_{name}_{wave}" for name in self.periods for wave in ("sin", "cos")]
        self.suffixes = ("_time", *waves)
        return self

    def transform(self, values):
        """Return (n, 1 + 2 periods) numbers."""
        seconds = self._seconds(values)
        waves = [self._waves(seconds, name) for name in self.periods]
        return np.hstack([seconds[:, None], *waves])

    def _seconds(self, values):
        dates = as_dates(values, self.format)
        seconds = dates.astype(np.int64) / 1e6
        return np.where(np.isnat(dates), np.nan, seconds)

    def _waves(self, seconds, name):
        if name != "day":
            # Whole days: the hour has a wave of its own.
            seconds = np.floor(seconds / _DAY) * _DAY - _FIRST_MONDAY * (name == "week")
        angle = 2 * np.pi * ((seconds / _PERIODS[name]) % 1.0)
        return np.stack([np.sin(angle), np.cos(angle)], axis=1)


class CategoryEncoder:
    """One output per level; rare levels and those never seen share one, missing ones another.

    The share of the rare exists where a level of the training rows was rare; without it, levels
    never seen are 0 everywhere. Likewise for missing values, which then count as never seen.
    """

    kind, scaled = "category", False

    def __init__(self, min_frequency, max_levels):
        self.min_frequency = min_frequency
        self.max_levels = max_levels

    def fit(self, values):
        """Find the levels and which of them are rare."""
        texts = as_text(values)
        missing = is_missing(texts)
        levels, counts = np.unique(texts[~missing].astype(str), return_counts=True)
        frequent = counts >= self.min_frequency
        if frequent.sum() > self.max_levels:
            last = np.sort(counts)[-self.max_levels]
            frequent &= counts >= last
        self.levels = levels[frequent].tolist()
        names, n = [f"_{level}" for level in self.levels], len(self.levels)
        self._other = self._missing = None
        if not frequent.all():
            self._other, n = n, n + 1
            names.append("_other")
        if missing.any():
            self._missing = n
            names.append("_missing")
        self.suffixes = tuple(names)
        return self

    def transform(self, values):
        """Return (n, n_outputs) zeros and ones, a CSR matrix."""
        nowhere = len(self.suffixes)
        other = nowhere if self._other is None else self._other
        places = {level: place for place, level in enumerate(self.levels)}
        places[None] = other if self._missing is None else self._missing
        found = np.array([places.get(text, other) for text in as_text(values)], dtype=np.intp)
        rows = np.flatnonzero(found < nowhere)
        ones = (np.ones(len(rows)), (rows, found[rows]))
        return sparse.csr_matrix(ones, shape=(len(found), nowhere))


class TextEncoder:
    """Texts by the letters they share: tf-idf of character n-grams, then a truncated SVD.

    All components together have the variance of one standardised number.
    """

    kind, scaled = "text", False

    def __init__(self, n_components):
        self.n_components = n_components

    def fit(self, values):
        """Learn the n-grams and the components."""
        self._grams = TfidfVectorizer(**_WORDS)
        table = self._grams.fit_transform(self._texts(values))
        n_components = max(1, min(self.n_components, min(table.shape) - 1))
        self._components = TruncatedSVD(n_components, random_state=0)
        coordinates = self._components.fit_transform(table)
        self._center = coordinates.mean(axis=0)
        self._scale = np.sqrt(coordinates.var(axis=0).sum()) or 1.0
        self.suffixes = tuple(f"_text{i}" for i in range(n_components))
        return self

    def transform(self, values):
        """Return (n, n_components) coordinates; a missing text has the mean ones."""
        coordinates = self._components.transform(self._grams.transform(self._texts(values)))
        coordinates = (coordinates - self._center) / self._scale
        coordinates[is_missing(as_text(values))] = 0.0
        return coordinates

    def _texts(self, values):
        return ["" if text is None else text for text in as_text(values)]
