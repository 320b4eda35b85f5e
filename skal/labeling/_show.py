"""A row of the pool as something to look at: cells, a text or a picture, never markup.

An item is a dict of JSON values: ``{"kind": "row", "cells": [[name, text or None], ...]}``,
``{"kind": "text", "text": ...}`` or ``{"kind": "image", "src": PNG data URL, "alt": ...}``. The
front end puts texts into text nodes, and no picture comes from anywhere but this module, so that
nothing in the data runs as code.
"""

import base64
import io
from collections.abc import Mapping

import numpy as np
from scipy import sparse

from skal.utils._tables import is_collection, is_frame, is_mapping, is_tensor, n_rows, one_row

MOST_CHARACTERS = 2000
# Sides of pictures, in pixels: smaller ones are repeated pixel by pixel, larger ones averaged.
_SMALL, _LARGE = 240, 1600
# Rows looked at for the range of values that is shown from black to white.
_SAMPLE = 1000
WAYS = ("row", "text", "image")


class Shower:
    """Turns positions of a pool into items.

    Parameters
    ----------
    X : array-like
        The pool.

    show : {"row", "text", "image"} or callable, default="row"
        "row": the cells, by name. "text": the cells as running text. "image": the numbers as
        pixels, (height, width) or (height, width, 3 or 4), channels first too; a flat row must be
        a square. A callable gets the row as it lies in its container and returns a str, a dict, an
        array, a PIL image or a matplotlib figure.

    columns : list or None, default=None
        The columns of a frame to show, in this order; None shows all.
    """

    def __init__(self, X, show="row", columns=None):
        if not callable(show) and show not in WAYS:
            raise ValueError(
                f"'show' must be 'row', 'text', 'image' or a function of a row. Got {show!r} "
                "instead."
            )
        self._X, self._show = X, show
        self._columns = _check_columns(X, columns)
        self._range = _range(X) if show == "image" else None

    def __call__(self, position):
        """Return the item of the row at `position`."""
        alt = f"Picture of row {position}"
        if callable(self._show):
            return as_item(self._show(one_row(self._X, position)), alt)
        if self._show == "image":
            return image_item(_to_pixels(self._values(position), self._range), alt)
        row = self._cells(position)
        if isinstance(row, str):
            return text_item(row)
        if self._show == "row":
            return row_item(row)
        texts = {name: text for name, text in row_item(row)["cells"] if text is not None}
        if len(texts) <= 1:
            return text_item("".join(texts.values()))
        return text_item("\n\n".join(f"{name}: {text}" for name, text in texts.items()))

    def _cells(self, position):
        """The cells of a row by name, or the row itself where it is a text."""
        X = self._X
        if is_frame(X):
            names = self._columns if self._columns is not None else list(X.columns)
            return {name: _cell(X, name, position) for name in names}
        row = one_row(X, position)
        if isinstance(row, bytes):
            return row.decode(errors="replace")
        if isinstance(row, (str, Mapping)):
            return row
        if sparse.issparse(row):
            row = row.tocoo()
            return {int(j): value for j, value in zip(row.col, row.data, strict=True)}
        values = np.asarray(row).ravel()
        return dict(enumerate(values))

    def _values(self, position):
        if is_frame(self._X):
            return np.asarray(list(self._cells(position).values()), dtype=np.float64)
        row = one_row(self._X, position)
        return row.toarray().ravel() if sparse.issparse(row) else _as_array(row)


def as_item(value, alt):
    """Return what a user's function made of a row as an item.

    Raises
    ------
    TypeError
        If it is nothing that can be shown.
    """
    if isinstance(value, str):
        return text_item(value)
    if isinstance(value, Mapping):
        return row_item(value)
    if hasattr(value, "savefig"):
        return _png_item(_figure_bytes(value), alt)
    if hasattr(value, "convert") and hasattr(value, "resize"):  # a PIL image
        return image_item(value, alt)
    if isinstance(value, np.ndarray) or is_tensor(value):
        value = _as_array(value)
        return image_item(_to_pixels(value, _limits(value)), alt)
    raise TypeError(
        "'show' must return a str, a dict of cells, an array of pixels, a PIL image or a "
        f"matplotlib figure. Got {type(value).__name__} instead."
    )


def text_item(text):
    """Return a text as an item."""
    return {"kind": "text", "text": cut(text)}


def row_item(cells):
    """Return named cells as an item; None stands for a missing value."""
    return {"kind": "row", "cells": [[cut(str(k)), as_text(value)] for k, value in cells.items()]}


def image_item(image, alt):
    """Return a PIL image as an item."""
    from PIL import Image

    image = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    longest = max(image.size)
    if longest < _SMALL:
        factor = -(-_SMALL // longest)
        image = image.resize([side * factor for side in image.size], Image.Resampling.NEAREST)
    elif longest > _LARGE:
        image.thumbnail((_LARGE, _LARGE))
    file = io.BytesIO()
    image.save(file, format="PNG")
    return _png_item(file.getvalue(), alt)


def as_text(value):
    """Return a cell as text of at most 2,000 characters, or None where it is missing."""
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_, str)):
        return cut(str(value))
    if isinstance(value, (float, np.floating)):
        if np.isnan(value):
            return None
        digits = 7 if isinstance(value, (np.float32, np.float16)) else 12
        return f"{float(value):.{digits}g}" if abs(value) < 1e15 else repr(float(value))
    if getattr(value, "shape", None) == () and value != value:  # NaT of numpy
        return None
    text = str(value)
    return None if text in ("NaT", "<NA>") and not isinstance(value, str) else cut(text)


def cut(text):
    """Return at most 2,000 characters of `text`, saying how many there were."""
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no JSON
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]} … ({len(text):,} characters in all)"


# ---------------------------------------------------------------------------------- plumbing


def _check_columns(X, columns):
    if columns is None:
        return None
    if not is_frame(X):
        raise ValueError(
            f"'columns' names the columns of a frame to show. Got columns={columns!r} with a pool "
            f"of type {type(X).__name__}. Pass a function as 'show' instead."
        )
    columns = [columns] if isinstance(columns, str) else list(columns)
    missing = [name for name in columns if name not in list(X.columns)]
    if missing or not columns:
        raise ValueError(
            f"'columns' must name columns of the pool, {list(X.columns)[:10]}. Got {columns!r} "
            "instead."
        )
    return columns


def _cell(X, name, position):
    column = X[name]
    return column.iloc[position] if hasattr(column, "iloc") else column[position]


def _as_array(row):
    if is_tensor(row):
        row = row.detach().cpu().numpy()
    return np.asarray(row)


def _range(X):
    """The values shown as black and white, of rows spread over the pool."""
    if is_frame(X) or is_mapping(X) or is_collection(X):
        return None
    length = n_rows(X)
    places = np.unique(np.linspace(0, length - 1, min(_SAMPLE, length)).astype(int))
    rows = (one_row(X, place) for place in places)
    limits = [_limits(row.toarray() if sparse.issparse(row) else _as_array(row)) for row in rows]
    return min(low for low, _ in limits), max(high for _, high in limits)


def _limits(values):
    """The lowest and the highest finite value; those of the type for bytes and truth values."""
    if values.dtype == np.uint8:
        return 0, 255
    if values.dtype == bool:
        return 0, 1
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Pixels must be numbers. Got an array of dtype {values.dtype} instead."
        ) from error
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _to_pixels(values, limits):
    """Return an array as a PIL image, its range stretched from black to white."""
    from PIL import Image

    values = _as_image_shape(values)
    low, high = limits if limits is not None else _limits(values)
    span = high - low or 1.0
    values = np.nan_to_num((values.astype(np.float64) - low) / span, nan=0.0)
    return Image.fromarray((np.clip(values, 0, 1) * 255).round().astype(np.uint8))


def _as_image_shape(values):
    """Return (height, width) or (height, width, 3 or 4) from the shapes that pictures come in."""
    shape = values.shape
    if values.ndim == 1 and round(shape[0] ** 0.5) ** 2 == shape[0] and shape[0]:
        return values.reshape(round(shape[0] ** 0.5), -1)
    if values.ndim == 3 and shape[2] not in (1, 3, 4) and shape[0] in (1, 3, 4):
        values = np.moveaxis(values, 0, 2)  # channels first, as torch has them
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if not values.size or not (
        values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))
    ):
        raise ValueError(
            "A picture must have the shape (height, width), with 1, 3 or 4 channels last or first, "
            f"or be a flat square. Got {shape} instead. Pass a function that returns a picture as "
            "'show'."
        )
    return values


def _figure_bytes(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    canvas = figure.canvas if hasattr(figure, "canvas") else None
    FigureCanvasAgg(figure).print_png(file)
    if canvas is not None:
        figure.set_canvas(canvas)  # the caller's window, if any, stays its own
    return file.getvalue()


def _png_item(png, alt):
    return {
        "kind": "image",
        "alt": alt,
        "src": f"data:image/png;base64,{base64.b64encode(png).decode()}",
    }
