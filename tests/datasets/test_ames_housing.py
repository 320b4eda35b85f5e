"""Ames Housing from OpenML and from files, and what is said when there is neither."""

from http.client import IncompleteRead
from urllib.error import HTTPError, URLError

import numpy as np
import pandas as pd
import pytest
from sklearn.utils import Bunch

from skal.datasets import _ames, fetch_ames_housing

HOUSE_PRICES = """\
Id,MSSubClass,LotFrontage,Alley,Neighborhood,MasVnrType,GrLivArea,SaleType,SalePrice
1,60,65,NA,CollgCr,BrkFace,1710,WD,208500
2,20,NA,Pave,Veenker,None,1262,WD,181500
3,60,68,NA,CollgCr,NA,1786,New,223500
"""
# As De Cock published it: byte order mark, spaces in names, codes with zeros, blanks in values.
DE_COCK = """\
\ufeffOrder,PID,MS SubClass,Lot Frontage,Alley,Neighborhood,Mas Vnr Type,Gr Liv Area,\
Year Remod/Add,Sale Type,SalePrice
1,0526301100,020,141,NA,NAmes,Stone,1656,1960,WD ,215000
2,0526350040,020,,Grvl,NAmes,,896,1961,New,105000
"""


def write(folder, text, name="houses.csv"):
    path = folder / name
    path.write_bytes(text.encode("utf-8"))
    return path


def test_house_prices_layout(tmp_path):
    bunch = fetch_ames_housing(path=write(tmp_path, HOUSE_PRICES))
    assert bunch.feature_names == list(bunch.data.columns)
    assert bunch.feature_names == [
        "MSSubClass",
        "LotFrontage",
        "Alley",
        "Neighborhood",
        "MasVnrType",
        "GrLivArea",
        "SaleType",
    ]
    assert bunch.data["MSSubClass"].dtype == np.int64
    assert bunch.data["LotFrontage"].dtype == np.float64
    assert bunch.data["LotFrontage"].isna().tolist() == [False, True, False]
    assert bunch.data["Alley"].isna().tolist() == [True, False, True]
    # No veneer is a category, an unknown veneer is a gap.
    assert bunch.categories["MasVnrType"] == ["BrkFace", "None"]
    assert bunch.data["MasVnrType"].isna().tolist() == [False, False, True]
    assert bunch.target.name == "SalePrice"
    assert bunch.target.dtype == np.float64
    assert bunch.target.tolist() == [208500, 181500, 223500]
    assert bunch.target_names == ["SalePrice"]
    pd.testing.assert_frame_equal(bunch.frame.drop(columns="SalePrice"), bunch.data)
    assert "3 rows, 3 numeric columns, 4 categorical columns" in bunch.DESCR
    assert bunch.url is None


def test_de_cock_layout_gets_the_same_names(tmp_path):
    data, target = fetch_ames_housing(path=str(write(tmp_path, DE_COCK)), return_X_y=True)
    assert list(data.columns) == [
        "MSSubClass",
        "LotFrontage",
        "Alley",
        "Neighborhood",
        "MasVnrType",
        "GrLivArea",
        "YearRemodAdd",
        "SaleType",
    ]
    assert data["SaleType"].tolist() == ["WD", "New"]
    assert data["MasVnrType"].isna().tolist() == [False, True]
    assert data["MSSubClass"].tolist() == [20, 20]
    assert target.tolist() == [215000, 105000]


def test_the_real_files(shared_data):
    small = fetch_ames_housing(path=shared_data / "house_prices.csv")
    assert small.data.shape == (1460, 79)
    assert (small.data.dtypes == "category").sum() == 43
    assert not {"Id", "SalePrice"} & set(small.data.columns)
    assert small.target.isna().sum() == 0
    assert small.data["LotFrontage"].isna().sum() == 259
    assert small.data["Alley"].isna().sum() == 1369
    assert (small.data["MasVnrType"] == "None").sum() == 864

    # What the papers use: columns without gaps, one-hot encoded, are 215 inputs.
    whole = small.data.loc[:, small.data.notna().all()]
    assert pd.get_dummies(whole).shape == (1460, 215)

    full = fetch_ames_housing(path=shared_data / "ames_housing.csv")
    assert full.data.shape == (2930, 79)
    assert set(full.data.columns) == set(small.data.columns)
    assert (full.data.dtypes == "category").sum() == 43
    assert full.data["Alley"].isna().sum() == 2732
    assert full.target.isna().sum() == 0


def openml_answer(**_):
    """What OpenML gives: text as objects, gaps as None or "NA", row numbers among the columns."""
    frame = pd.DataFrame(
        {
            "Id": [1, 2, 3],
            "LotFrontage": [65.0, np.nan, 68.0],
            "Alley": pd.Series([None, "Pave", None], dtype=object),
            "MasVnrType": pd.Series(["None", "NA", np.nan], dtype=object),
            "Street": pd.Categorical(["Pave", "Grvl", "Pave"], categories=["Pave", "Grvl"]),
            "GrLivArea": [1710, 1262, 1786],
            "SalePrice": [208500, 181500, 223500],
        }
    )
    return Bunch(
        data=frame.drop(columns="SalePrice"),
        target=frame["SalePrice"],
        frame=frame,
        categories=None,
        target_names=["SalePrice"],
        DESCR="...",
        details={"id": "42165"},
        url="https://www.openml.org/d/42165",
    )


def test_openml(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(_ames, "fetch_openml", lambda **kw: asked.append(kw) or openml_answer())
    bunch = fetch_ames_housing(data_home=tmp_path, n_retries=1, delay=0.5)
    assert asked[0]["data_id"] == 42165
    assert (asked[0]["data_home"], asked[0]["n_retries"], asked[0]["delay"]) == (tmp_path, 1, 0.5)
    assert list(bunch.data.columns) == ["LotFrontage", "Alley", "MasVnrType", "Street", "GrLivArea"]
    assert bunch.categories == {
        "Alley": ["Pave"],
        "MasVnrType": ["None"],
        "Street": ["Grvl", "Pave"],
    }
    assert bunch.data["MasVnrType"].isna().tolist() == [False, True, True]
    assert bunch.data["Street"].tolist() == ["Pave", "Grvl", "Pave"]
    assert bunch.target.dtype == np.float64
    assert bunch.url == "https://www.openml.org/d/42165"
    assert "OpenML, id 42165" in bunch.DESCR


@pytest.mark.parametrize(
    "failure",
    [
        URLError("Temporary failure in name resolution"),
        HTTPError("https://api.openml.org", 503, "Service Unavailable", {}, None),
        TimeoutError("timed out"),
        IncompleteRead(b""),
    ],
    ids=lambda e: type(e).__name__,
)
def test_offline_says_what_to_do(monkeypatch, failure):
    def fetch_openml(**_):
        raise failure

    monkeypatch.setattr(_ames, "fetch_openml", fetch_openml)
    with pytest.raises(ConnectionError, match=r"pass path='house_prices.csv'.*openml.org/d/42165"):
        fetch_ames_housing()


def test_other_failures_are_not_called_a_network_error(monkeypatch):
    def fetch_openml(**_):
        raise PermissionError("data_home")

    monkeypatch.setattr(_ames, "fetch_openml", fetch_openml)
    with pytest.raises(PermissionError, match="data_home"):
        fetch_ames_housing()


@pytest.mark.parametrize(
    "content, error, message",
    [
        (None, FileNotFoundError, "There is no such file"),
        ("", ValueError, "as a CSV file"),
        ("Id,SalePrice\n1,2\n", ValueError, "no column 'GrLivArea'"),
        (HOUSE_PRICES.replace("SalePrice", "Price"), ValueError, "no column 'SalePrice'"),
        (HOUSE_PRICES.replace("208500", "dear"), ValueError, "'SalePrice' of .* must hold numbers"),
        (HOUSE_PRICES.splitlines()[0] + "\n", ValueError, "has a header and no rows"),
    ],
)
def test_wrong_files(tmp_path, content, error, message):
    path = tmp_path / "houses.csv" if content is None else write(tmp_path, content)
    with pytest.raises(error, match=message):
        fetch_ames_housing(path=path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="It is a folder"):
        fetch_ames_housing(path=tmp_path)
