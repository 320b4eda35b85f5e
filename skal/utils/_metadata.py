"""Per-row arguments of `fit`, such as sample weights: cut and extended along with the rows."""

import numpy as np

from skal.utils._tables import concat_rows, n_rows, take_rows


def take_params(params, mask):
    """Cut the per-row values among `params` to the rows in `mask`."""
    per_row = _per_row(params, len(mask))
    return {k: take_rows(v, mask) if k in per_row else v for k, v in params.items()}


def append_params(old, new, n_old):
    """Append per-row metadata of new rows to that of the rows before them."""
    per_row = _per_row(old, n_old)
    missing = sorted(per_row - new.keys())
    unknown = sorted(new.keys() - old.keys())
    if missing or unknown:
        raise ValueError(
            "teach must be given the same per-row arguments as fit, for the new rows: "
            f"{sorted(per_row)}. Got {sorted(new)} instead."
        )
    return {
        k: concat_rows(np.asarray(v), np.asarray(new[k])) if k in per_row else new.get(k, v)
        for k, v in old.items()
    }


def _per_row(params, n_samples):
    """Names of the parameters that hold one value per row."""
    return {
        name
        for name, value in params.items()
        if hasattr(value, "__len__")
        and not isinstance(value, (str, bytes, dict))
        and n_rows(value) == n_samples
    }
