"""The 10,000 digits of the MNIST test set, for the scripts of this folder."""

import gzip

import numpy as np


def read_digits(folder):
    """Images, uint8 (10000, 28, 28), and digits, int64 (10000,), from the two IDX files."""
    arrays = []
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        if not (folder / name).exists():
            raise SystemExit(f"{name} of MNIST is not in {folder}. Put it there, or name another.")
        raw = gzip.decompress((folder / name).read_bytes())
        shape = np.frombuffer(raw, ">i4", raw[3], offset=4)
        arrays.append(np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape))
    return arrays[0], arrays[1].astype(np.int64)
