"""A table in memory, and a loader that slices whole batches out of it.

A ``DataLoader`` fetches row after row and collates them; for tables in memory, taking a batch at
once is about twice as fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import skorch.dataset
import torch
from scipy import sparse
from skorch.utils import data_from_dataset
from torch.utils.data import Subset

from skal.utils._tables import n_rows

# Rows of a batch are kept on the GPU for the whole training if they need less than this.
_RESIDENT_BYTES = 2**31

_CPU = torch.device("cpu")

# Batches are padded to a multiple of this: for fewer rows BLAS sums in another order, and a row's
# output would depend on how many rows are beside it.
ROWS_ALIKE = 16


class TableDataset(skorch.dataset.Dataset):
    """Rows, what the user calls their targets, and what the loss compares with.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, ...), or dict of them
        The rows.

    y : ndarray of shape (n,) or (n, n_outputs), default=None
        The targets as the user gave them: what scoring callbacks compare predictions with.

    target : ndarray of shape (n, ...), default=None
        The targets as the criterion takes them.

    weight : ndarray of shape (n,), dtype float32, default=None
        Weights of the rows in the loss, of mean 1.
    """

    def __init__(self, X, y=None, target=None, weight=None):
        super().__init__(X, y, length=n_rows(X))
        self.target = target
        self.weight = weight

    def __getitem__(self, index):
        X, target = take(self, np.atleast_1d(index))
        X = {name: part[0] for name, part in X.items()} if isinstance(X, Mapping) else X[0]
        return X, (torch.zeros(1) if target is None else _first(target))


class TensorLoader:
    """Iterate over batches ``(X, target)`` or ``(X, (target, weight))`` of tensors.

    X of a batch is a dict of tensors where the rows are a dict of arrays.

    Parameters
    ----------
    dataset : TableDataset or Subset of one
        The rows.

    batch_size : int
        Rows in a batch; a last batch of a single row joins the batch before it, since batch
        normalisation cannot train on one row.

    shuffle : bool, default=False
        Whether to draw a new order in each pass. A single batch is never shuffled.

    device : torch.device, default=torch.device("cpu")
        On a GPU, tables that fit are moved there once.
    """

    def __init__(self, dataset, batch_size, *, shuffle=False, device=_CPU):
        table, rows = _resolve(dataset)
        if device.type != "cpu" and isinstance(table.X, np.ndarray):
            if table.X.nbytes <= _RESIDENT_BYTES:
                table = _resident(table, device)
        self.table, self.rows = table, rows
        self.batch_size, self.shuffle = batch_size, shuffle
        self.n_rows = len(table) if rows is None else len(rows)

    def __len__(self):
        return len(batch_bounds(self.n_rows, self.batch_size))

    def __iter__(self):
        bounds = batch_bounds(self.n_rows, self.batch_size)
        order = self.rows
        if self.shuffle and len(bounds) > 1:
            drawn = torch.randperm(self.n_rows).numpy()
            order = drawn if order is None else order[drawn]
        for start, stop in bounds:
            yield take(self.table, slice(start, stop) if order is None else order[start:stop])


@dataclass
class PreparedRows:
    """Rows after all preprocessing, for several passes over them.

    Parameters
    ----------
    X : ndarray, tensor, sparse matrix or dict of tensors
        The rows.

    check : callable
        Gets a chunk of rows and returns it as the net wants it, or raises. For the first pass.

    cast : callable
        The same for chunks that have been checked.
    """

    X: object
    check: object
    cast: object


def as_table(dataset, table_of):
    """Return a dataset, or a subset of one, that the loader can take batches from.

    Parameters
    ----------
    dataset : Dataset or None
        What a `train_split` returned: a table, a subset of one, or a data set of the user's own.

    table_of : callable
        Makes a table of rows and targets.

    Returns
    -------
    table : TableDataset, Subset of one or None
        None for None.
    """
    if dataset is None or isinstance(_resolve(dataset)[0], TableDataset):
        return dataset
    try:
        X, y = data_from_dataset(dataset)
    except AttributeError:
        X, y = zip(*(dataset[k] for k in range(len(dataset))), strict=True)
        X, y = (np.stack([np.asarray(value) for value in values]) for values in (X, y))
    return table_of(X, y)


def batch_bounds(n_rows, batch_size):
    """List the (start, stop) of consecutive batches, none of a single row if that can be."""
    starts = list(range(0, n_rows, batch_size))
    if len(starts) > 1 and n_rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n_rows], strict=True))


def take(table, rows):
    """Return the rows (slice or positions) of a table as ``(X, target)`` tensors."""
    if isinstance(table.X, Mapping):
        X = {name: take_tensor(part, rows) for name, part in table.X.items()}
    else:
        X = take_tensor(table.X, rows)
    if table.target is None:
        return X, None
    target = take_tensor(table.target, rows)
    return X, target if table.weight is None else (target, take_tensor(table.weight, rows))


def take_tensor(values, rows):
    """Return rows of an array, CSR matrix or tensor as a dense tensor."""
    if isinstance(values, torch.Tensor):
        if isinstance(rows, slice):
            return values[rows]
        return values.index_select(0, torch.as_tensor(rows, device=values.device))
    part = values[rows]
    if sparse.issparse(part):
        part = part.toarray()
    if not part.flags.writeable:
        # torch warns about read-only memory, of memory maps for instance.
        part = part.copy()
    return torch.from_numpy(np.ascontiguousarray(part))


def padded(X):
    """Repeat the last row up to a multiple of 16 rows, so that each comes out alike in any batch.

    Predictions of a row alone and among others then agree to the last bit. Only for tables: rows of
    images are too dear.
    """
    if isinstance(X, Mapping):
        tables = all(part.ndim == 2 for part in X.values())
        return {name: padded(part) for name, part in X.items()} if tables else X
    missing = -len(X) % ROWS_ALIKE
    if X.ndim != 2 or len(X) == 0 or missing == 0:
        return X
    return torch.cat([X, X[-1:].expand(missing, -1)])


def _resolve(dataset):
    """See through (nested) subsets: the table, and the rows taken from it or None for all."""
    if not isinstance(dataset, Subset):
        return dataset, None
    table, rows = _resolve(dataset.dataset)
    indices = np.asarray(dataset.indices, dtype=np.int64)
    return table, indices if rows is None else rows[indices]


def _resident(table, device):
    def moved(values):
        return None if values is None else take_tensor(values, slice(None)).to(device)

    return TableDataset(moved(table.X), None, moved(table.target), moved(table.weight))


def _first(target):
    return tuple(part[0] for part in target) if isinstance(target, tuple) else target[0]
