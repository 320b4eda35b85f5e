"""Labels and row names as ASCII JSON and back: the same type, the same value."""

import json
import math

import numpy as np

# Decimal digits of longer ints are refused by Python itself (sys.set_int_max_str_digits).
_LONG_INT = 10_000
_PLAIN = (bool, int, float, str)


def is_missing(value):
    """Whether `value` is no label: None, NaN, NaT, pandas' NA, or a list that holds one of them."""
    if isinstance(value, list):
        return any(is_missing(part) for part in value)
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return isinstance(value, (float, np.floating)) and bool(value != value)


def encode(value):
    """Return `value` as ASCII JSON.

    Booleans, ints of any size, finite floats and texts are themselves; infinity, scalars of NumPy,
    times of NumPy and pandas and lists are ``{"type": ..., "value": ...}``.

    Raises
    ------
    TypeError
        If it is missing or of another type.
    """
    return json.dumps(_pack(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def decode(text):
    """Return the value that `encode` made `text` from.

    Raises
    ------
    ValueError
        If `text` is no such JSON.
    """
    return _unpack(json.loads(text))


def _pack(value):
    if is_missing(value):
        raise TypeError(
            f"Expected a label. Got {value!r} instead, which is no label: skip the row."
        )
    kind = type(value)
    if kind is list:
        return _typed("list", [_pack(part) for part in value])
    if kind is int and value.bit_length() > _LONG_INT:
        return _typed("int", hex(value))
    if kind is float and math.isinf(value):
        return _typed("float", str(value))
    if kind in _PLAIN:
        return value
    if isinstance(value, np.generic):
        packed = _pack_scalar(value)
        if packed is not None:
            return packed
    if kind.__name__ == "Timestamp" and hasattr(value, "tz"):
        return _pack_timestamp(value)
    raise TypeError(
        "A label must be a bool, int, float, str, scalar of NumPy, time, or a list of those. "
        f"Got {value!r} ({kind.__module__}.{kind.__qualname__}) instead."
    )


def _pack_scalar(value):
    """Scalars of NumPy: numbers by their digits, times as whole numbers of their unit."""
    kind, name = value.dtype.kind, value.dtype.name
    if kind in "mM":
        return _typed(name, int(value.view(np.int64)))
    if kind == "U":
        return _typed("str_", str(value))
    if kind in "biu":
        return _typed(name, value.item())
    if kind == "f":
        # A longdouble has more digits than JSON's readers keep: all of them, as text.
        return _typed(name, np.format_float_scientific(value, unique=True, trim="0"))
    return None


def _pack_timestamp(value):
    zone = None if value.tz is None else str(value.tz)
    packed = _typed("Timestamp", int(value.asm8.view(np.int64)), unit=value.unit, zone=zone)
    try:
        same = _unpack(packed) == value
    except Exception as error:
        raise TypeError(
            f"A time must have a zone that can be named. Got {value!r} instead: convert it with "
            "tz_convert('UTC')."
        ) from error
    if not same:
        raise TypeError(f"The time {value!r} does not survive being written down.")
    return packed


def _typed(name, value, **more):
    return {"type": name, "value": value, **more}


def _unpack(packed):
    if not isinstance(packed, dict):
        return packed
    name, value = packed["type"], packed["value"]
    if name == "list":
        return [_unpack(part) for part in value]
    if name == "int":
        return int(value, 16)
    if name == "float":
        return float(value)
    if name == "str_":
        return np.str_(value)
    if name == "Timestamp":
        return _unpack_timestamp(value, packed["unit"], packed["zone"])
    try:
        dtype = np.dtype(name)
    except TypeError:
        raise ValueError(
            f"A label of the type {name!r} is unknown to this version of skal."
        ) from None
    if dtype.kind in "mM":
        return np.int64(value).view(dtype)
    return dtype.type(value)


def _unpack_timestamp(value, unit, zone):
    import pandas as pd

    stamp = pd.Timestamp(np.int64(value).view(f"datetime64[{unit}]"))
    return stamp if zone is None else stamp.tz_localize("UTC").tz_convert(zone)
