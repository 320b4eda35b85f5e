"""Ames Housing: what houses sold for, from mixed columns with gaps."""

from http.client import HTTPException
from urllib.error import URLError

import numpy as np
from sklearn.datasets import fetch_openml
from sklearn.utils import Bunch

from skal.datasets._tables import is_numeric, read_csv, with_categories

OPENML_ID, TARGET = 42165, "SalePrice"
# Row numbers and parcel numbers: they name a house and say nothing about it.
IDENTIFIERS = ("Id", "Order", "PID")
# "None" is no gap: it is the masonry veneer that a house without one has.
MISSING = ("NA", "")

DESCRIPTION = """\
House sales in Ames, Iowa, 2006 to 2010 (De Cock, 2011).

{n_rows} rows, {n_numeric} numeric columns, {n_categories} categorical columns.
Target: SalePrice, in USD. Source: {source}.

Names of columns are those of OpenML's `house_prices`, whatever the source. Columns that only name
a house (Id, Order, PID) are left out. Everything else is as published: MSSubClass is a number but
a code for the type of dwelling, a garage was built in 2207, and a missing value often means that
the house has no such thing (Alley, Fence, PoolQC, FireplaceQu, columns that begin with Bsmt or
Garage), in LotFrontage that nobody knows.
"""


def fetch_ames_housing(*, path=None, data_home=None, n_retries=3, delay=1.0, return_X_y=False):
    """Load the Ames Housing data set (regression, mixed columns, missing values).

    ==============   ============================================
    Samples          1460 (OpenML), or as many as the file has
    Columns          79: 36 numeric and 43 categorical
    Target           sale price in USD, positive and skewed
    ==============   ============================================

    The first call downloads it from OpenML (`house_prices`, id 42165) and keeps a copy, which
    later calls read without a network.

    Parameters
    ----------
    path : str, path-like or None, default=None
        A local CSV file, read instead of OpenML: `house_prices.csv` as on OpenML and Kaggle (the
        part with prices, `train.csv`), or De Cock's complete file of 2930 sales, whose column
        names are turned into those of OpenML (``"Lot Area"`` into ``"LotArea"``).

    data_home : str, path-like or None, default=None
        Folder of downloaded data sets. None is that of scikit-learn, ``~/scikit_learn_data``.

    n_retries : int, default=3
        How often a download is tried again after a network error.

    delay : float, default=1.0
        Seconds between two tries.

    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    bunch : Bunch
        With the attributes

        - `data`: DataFrame of shape (n_samples, 79); text columns are pandas categories (strings in
          alphabetical order), numeric ones int64, or float64 where values are missing;
        - `target`: Series of shape (n_samples,), float64, USD;
        - `frame`: DataFrame of shape (n_samples, 80), `data` and `target` together;
        - `feature_names`: list of 79 str; `target_names`: ``["SalePrice"]``;
        - `categories`: dict of the categorical columns' names to their lists of categories;
        - `DESCR`: description; `url`: where the data come from (None for a local file).

    (data, target) : tuple of DataFrame and Series
        With ``return_X_y=True``.

    Raises
    ------
    ConnectionError
        If OpenML cannot be reached and there is no copy in `data_home`.
    FileNotFoundError
        If there is no file at `path`.
    ValueError
        If the file at `path` is not one of the two.

    Notes
    -----
    The strings "NA" and "" are missing values, in all sources. "None" in `MasVnrType` is a
    category (no masonry veneer), as it is on OpenML.

    De Cock advises to leave out the houses of more than 4000 square feet (`GrLivArea`), five in
    the complete file, three of which are partial sales far below the value of the house. They are
    kept here.

    References
    ----------
    D. De Cock (2011). Ames, Iowa: alternative to the Boston Housing data as an end of semester
    regression project. Journal of Statistics Education 19(3), doi:10.1080/10691898.2011.11889627.

    Examples
    --------
    >>> from skal.datasets import fetch_ames_housing
    >>> X, y = fetch_ames_housing(return_X_y=True)  # doctest: +SKIP
    >>> X.shape, y.shape  # doctest: +SKIP
    ((1460, 79), (1460,))
    """
    if path is not None:
        frame, url, source = _read_local(path), None, f"the file {path}"
    else:
        frame, url = _download(data_home, n_retries, delay)
        source = f"OpenML, id {OPENML_ID}"

    frame = frame.drop(columns=[name for name in IDENTIFIERS if name in frame.columns])
    frame = with_categories(frame, missing=MISSING)
    data = frame.drop(columns=TARGET)
    target = frame[TARGET].astype(np.float64)
    if return_X_y:
        return data, target

    categories = {name: list(data[name].cat.categories) for name in data.select_dtypes("category")}
    description = DESCRIPTION.format(
        n_rows=len(data),
        n_numeric=data.shape[1] - len(categories),
        n_categories=len(categories),
        source=source,
    )
    return Bunch(
        data=data,
        target=target,
        frame=data.assign(**{TARGET: target}),
        feature_names=list(data.columns),
        target_names=[TARGET],
        categories=categories,
        DESCR=description,
        url=url,
    )


def _read_local(path):
    """Return the table at `path`, with the column names of OpenML."""
    frame = read_csv(path, missing=MISSING)
    frame = frame.rename(columns=lambda name: str(name).replace(" ", "").replace("/", ""))
    absent = [name for name in (TARGET, "GrLivArea", "Neighborhood") if name not in frame.columns]
    if absent:
        raise ValueError(
            f"{str(path)!r} is not an Ames Housing table: it has no column {absent[0]!r}. Pass the "
            "path of house_prices.csv (OpenML, or Kaggle's train.csv) or of De Cock's complete "
            "file."
        )
    if not is_numeric(frame[TARGET]):
        raise ValueError(f"The column {TARGET!r} of {str(path)!r} must hold numbers.")
    return frame


def _download(data_home, n_retries, delay):
    """Return OpenML's table and its address, from the copy in `data_home` if there is one."""
    try:
        bunch = fetch_openml(
            data_id=OPENML_ID,
            as_frame=True,
            parser="auto",
            data_home=data_home,
            n_retries=n_retries,
            delay=delay,
        )
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ConnectionError(
            f"fetch_ames_housing could not download the data set from OpenML ({reason}). On a "
            "machine without a network, pass path='house_prices.csv', a local copy: get it "
            f"elsewhere from https://www.openml.org/d/{OPENML_ID} (CSV), or copy the folder "
            "~/scikit_learn_data from a machine that has downloaded it."
        ) from error
    return bunch.frame, bunch.get("url")
