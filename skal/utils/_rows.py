"""Rows of numbers, dense or factored, wherever they lie: memory, file or accelerator.

Selectors see a pool through three operations only: squared norms, products of a chunk with a block
of rows, and gathering a few rows in float64. None of them makes a copy of the pool.
"""

import contextlib

import numpy as np
import torch

_CHUNK_BYTES = 8 * 2**20  # of one chunk in float64
_MAX_CHUNK = 4096
_SCAN_NUMBERS = 2**18  # of one piece of a pass without products: little enough for the cache
_CUDA_CHUNKS = 8  # an accelerator wants larger products than a core


class Rows:
    """Rows of a matrix that need not exist: dense, or Kronecker products of two short rows.

    Row i is ``features[i]``, or with factors ``kron(factors[i], features[i])``: K blocks of d
    columns, block c being ``factors[i, c] * features[i]`` (class-major).

    Parameters
    ----------
    features : ndarray, memmap or tensor of shape (n, d)
        Real numbers. Kept as they are, on their device; a memory map is read in chunks.

    factors : ndarray, memmap or tensor of shape (n, K) or None, default=None
        The left factor of each row. None means dense rows.

    Attributes
    ----------
    shape : tuple of two ints
        (n, d), or (n, K d) with factors.

    device : torch.device
        Where products are computed: that of the tensors, the CPU for arrays.

    Raises
    ------
    TypeError
        If an argument does not hold real numbers.
    ValueError
        If an argument is not 2-D, or the two differ in length.

    Notes
    -----
    What is given must not change while the object is in use. With factors,
    <row i, row j> = <factors_i, factors_j> <features_i, features_j>: the n x K d matrix is never
    built, except by `dense`.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.utils._rows import Rows
    >>> rows = Rows(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [0.5, -0.5]]))
    >>> rows.shape
    (2, 4)
    >>> rows.sq_norms()
    array([ 5. , 12.5])
    >>> rows.dense()
    tensor([[ 1.0000,  2.0000,  0.0000,  0.0000],
            [ 1.5000,  2.0000, -1.5000, -2.0000]])
    """

    ndim = 2

    def __init__(self, features, factors=None):
        self._features = _matrix(features, "features")
        self._factors = None if factors is None else _matrix(factors, "factors")
        if factors is not None and len(self._factors) != len(self._features):
            raise ValueError(
                "features and factors of Rows must have the same number of rows. Got "
                f"{len(self._features)} and {len(self._factors)} instead."
            )
        self._divisors = None  # per part (n,) float64: row i is divided by divisors[part][i]
        self._shift = None  # (d,) float64, dense only: subtracted from every row
        self._sq_norms = None
        self._max_sq_norms = None
        self._sums = None

    # ------------------------------------------------------------------ what they are

    @property
    def is_factored(self):
        """Whether each row is a Kronecker product of two."""
        return self._factors is not None

    @property
    def widths(self):
        """(d,), or (d, K) with factors."""
        parts = (self._features,) if self._factors is None else (self._features, self._factors)
        return tuple(int(part.shape[1]) for part in parts)

    @property
    def shape(self):
        return len(self), int(np.prod(self.widths))

    def __len__(self):
        return int(self._features.shape[0])

    @property
    def device(self):
        for part in (self._features, self._factors):
            if isinstance(part, torch.Tensor):
                return part.device
        return torch.device("cpu")

    def __repr__(self):
        kind = f"factored {self.widths[1]} x {self.widths[0]}" if self.is_factored else "dense"
        return f"Rows(shape={self.shape}, {kind}, device={str(self.device)!r})"

    # ------------------------------------------------------------------ the three operations

    def sq_norms(self, name="Z"):
        """Squared Euclidean norm of every row, in float64, and the check that all are finite.

        Parameters
        ----------
        name : str, default="Z"
            What the error calls the rows.

        Returns
        -------
        sq_norms : ndarray of shape (n,), dtype float64
            Computed once and kept. Not to be written to.

        Raises
        ------
        ValueError
            If a row holds NaN or infinity, or is too large to have a squared norm.
        """
        if self._sq_norms is None:
            self._scan(name)
        return self._sq_norms

    def products(self, block, a=0, b=None, dtype=torch.float32):
        """Inner products of the rows a..b-1 with every row of `block`: one GEMM, or two.

        Parameters
        ----------
        block : Rows with the same widths
            Few rows. Converted to this device and `dtype` first, free if it has them already.

        a, b : int
            The chunk; all rows by default.

        dtype : torch.dtype, default=torch.float32
            What is multiplied, and returned.

        Returns
        -------
        products : tensor of shape (b - a, len(block))
            On the device of these rows.
        """
        features, factors = self._take(slice(a, b), dtype, self.device)
        others, other_factors = block._take(slice(None), dtype, self.device)
        result = features @ others.T
        return result if factors is None else result.mul_(factors @ other_factors.T)

    def gather(self, index):
        """Few rows, in float64 on the CPU, whatever the pool is.

        Parameters
        ----------
        index : ndarray of ints, or slice
            Positions.

        Returns
        -------
        rows : Rows
            As many as asked for, in the order asked for.
        """
        return Rows(*self._take(index, torch.float64, torch.device("cpu")))

    # ------------------------------------------------------------------ derived rows

    def read(self, index, dtype=torch.float32):
        """Read some rows as tensors on `device`; a slice of tensors makes no copy.

        Parameters
        ----------
        index : ndarray of ints, or slice
            Positions.

        dtype : torch.dtype, default=torch.float32
            What the tensors hold.

        Returns
        -------
        rows : Rows
            As many as asked for, in the order asked for.
        """
        return Rows(*self._take(index, dtype, self.device))

    def times(self, number, dtype, device):
        """Multiply all rows by a number: for blocks.

        Parameters
        ----------
        number : float
            The number.

        dtype : torch.dtype
            What the tensors hold.

        device : torch.device
            Where they are.

        Returns
        -------
        rows : Rows
            New tensors.
        """
        features, factors = self._take(slice(None), dtype, device)
        if factors is None:
            return Rows(features * number)
        return Rows(features, factors * number)

    def normalized(self):
        """Divide rows by their norms, lazily; a row of zeros stays zero.

        Returns
        -------
        rows : Rows
            They hold the same numbers as these, and the norms.
        """
        rows = Rows(self._features, self._factors)
        rows._divisors = []
        for part in self.parts():
            norms = np.sqrt(Rows(part).sq_norms())
            rows._divisors.append(torch.from_numpy(np.where(norms > 0, norms, 1.0)))
        return rows

    def centered(self):
        """Subtract the mean from rows, lazily, where that makes them much shorter.

        Distances do not change, but their float32 products lose fewer digits. Factored rows stay
        as they are: their mean is no Kronecker product.

        Returns
        -------
        rows : Rows
            These rows themselves where centring would not help.
        """
        if self.is_factored or len(self) == 0:
            return self
        sq_norms = self.sq_norms()
        mean = self._sums / len(self)
        if float(mean @ mean) <= 0.75 * float(sq_norms.mean()):
            return self
        # Of 24 binary digits, so that float64 holds its difference from a float32 number exactly.
        digits, exponent = np.frexp(mean.numpy())
        return self.minus(torch.from_numpy(np.ldexp(np.round(digits * 2**24), exponent - 24)))

    def minus(self, shift):
        """Subtract one vector from dense rows, lazily.

        Parameters
        ----------
        shift : tensor of shape (d,), dtype float64, or None
            The vector. None changes nothing.

        Returns
        -------
        rows : Rows
            They hold the same numbers as these, and the vector.
        """
        if shift is None:
            return self
        rows = Rows(self._features)
        rows._divisors, rows._shift = self._divisors, shift
        return rows

    @property
    def shift(self):
        """The vector that `minus` subtracts, or None."""
        return self._shift

    def parts(self):
        """Return what the rows are made of.

        Returns
        -------
        parts : tuple
            (features,) or (features, factors), as given; tensors where the rows were gathered.
        """
        return tuple(part for part in (self._features, self._factors) if part is not None)

    def max_sq_norms(self):
        """Return the largest squared norms.

        Returns
        -------
        largest : tuple of float
            Of the rows, or of the features and of the factors.
        """
        self.sq_norms()
        return self._max_sq_norms

    def leading_factors(self):
        """Return the column of the largest factor, by magnitude, of each row.

        Returns
        -------
        leading : ndarray of shape (n,), dtype int32, or None
            None for dense rows, for one factor, and on accelerators, where many small products take
            longer than a large one.
        """
        if not self.is_factored or self.widths[1] == 1 or self.device.type != "cpu":
            return None
        leading = np.empty(len(self), dtype=np.int32)
        for a, b in self._pieces():
            factors = _to_tensor(self._factors, slice(a, b), torch.float64, self.device)
            leading[a:b] = factors.abs().max(1).indices.numpy()
        return leading

    def dense(self, max_bytes=4 * 2**30):
        """Build the matrix: float32 tensor of shape `shape` on `device`.

        Parameters
        ----------
        max_bytes : int, default=4 * 2**30
            Refuse to build more than this.

        Returns
        -------
        Z : tensor of shape (n, D), dtype float32
            A new tensor.

        Raises
        ------
        ValueError
            If it would take more than `max_bytes`, or holds NaN or infinity.
        """
        n, width = self.shape
        if 4 * n * width > max_bytes:
            raise ValueError(
                f"The dense float32 matrix of {n} x {width} needs {4 * n * width} bytes, more than "
                f"max_bytes={max_bytes}. Take fewer rows at a time, or keep the rows factored: "
                "selectors work on them as they are."
            )
        Z = torch.empty((n, width), dtype=torch.float32, device=self.device)
        for a, b in self.chunks():
            features, factors = self._take(slice(a, b), torch.float32, self.device)
            if factors is not None:
                features = (factors[:, :, None] * features[:, None, :]).reshape(b - a, width)
            Z[a:b] = features
        _raise_if_bad(~torch.isfinite(Z).all(1).cpu().numpy(), "Z")
        return Z

    def chunks(self, n_rows=None):
        """Cut rows into chunks of a few MiB.

        Parameters
        ----------
        n_rows : int or None, default=None
            How many rows; None is all of these.

        Returns
        -------
        chunks : list of tuple of two ints
            Pairs (a, b): the rows a..b-1.
        """
        n_rows = len(self) if n_rows is None else n_rows
        size = _CHUNK_BYTES // (8 * max(1, sum(self.widths)))
        size = min(max(size, 16), _MAX_CHUNK)
        if self.device.type == "cuda":
            size *= _CUDA_CHUNKS
        return [(a, min(a + size, n_rows)) for a in range(0, n_rows, size)]

    # ------------------------------------------------------------------ plumbing

    def _pieces(self):
        """Chunks that temporaries of a pass without products fit into the cache with."""
        if self.device.type == "cuda":
            return self.chunks()
        size = max(16, _SCAN_NUMBERS // max(1, sum(self.widths)))
        return [(a, min(a + size, len(self))) for a in range(0, len(self), size)]

    def _take(self, index, dtype, device):
        """(features, factors) at `index`, divided and shifted, as tensors."""
        if self._divisors is None and self._shift is None and isinstance(index, slice):
            if all(_is_tensor(part, dtype, device) for part in self.parts()):
                factors = None if self._factors is None else self._factors[index]
                return self._features[index], factors
        # What float32 cannot hold must not be rounded before it is divided and shifted.
        wide = self._divisors is not None or (self._shift is not None and not self._is_narrow())
        first = torch.float64 if wide else dtype
        parts = [_to_tensor(part, index, first, device) for part in self.parts()]
        if self._divisors is not None:
            for k, divisors in enumerate(self._divisors):
                parts[k] = parts[k] / divisors[index][:, None].to(device)
        if self._shift is not None:
            parts[0] = parts[0] - self._shift.to(device=device, dtype=first)
        parts = [part.to(dtype) for part in parts]
        return parts[0], parts[1] if len(parts) == 2 else None

    def _is_narrow(self):
        """Whether float32 holds every feature exactly."""
        kind = str(self._features.dtype).removeprefix("torch.")
        return kind in ("float32", "float16", "bfloat16", "bool", "uint8", "int8", "int16")

    def _scan(self, name):
        """One pass: squared norms and, for dense rows, column sums."""
        device = self.device if self.device.type in ("cpu", "cuda") else torch.device("cpu")
        sq_norms = np.empty(len(self))
        sums = torch.zeros(self.widths[0], dtype=torch.float64, device=device)
        largest = [0.0] * len(self.widths)
        for a, b in self._pieces():
            features, factors = self._take(slice(a, b), torch.float64, device)
            if factors is None:
                sums += features.sum(0)
            # In place where the piece is a copy: a new one costs more than the arithmetic.
            squares = [
                (part * part if _is_float64(own) else part.square_()).sum(1)
                for part, own in zip((features, factors), self.parts(), strict=False)
            ]
            for k, square in enumerate(squares):
                largest[k] = max(largest[k], float(square.max()))
            sq_norms[a:b] = squares[0].mul_(squares[1] if len(squares) == 2 else 1.0).cpu().numpy()
        _raise_if_bad(~np.isfinite(sq_norms), name)
        self._sq_norms, self._max_sq_norms, self._sums = sq_norms, tuple(largest), sums.cpu()


def as_rows(Z, name="Z"):
    """Return `Z` as Rows without copying it.

    Parameters
    ----------
    Z : Rows, ndarray, memmap, tensor or array-like of shape (n, d)
        Rows pass as they are.

    name : str, default="Z"
        What errors call it.

    Returns
    -------
    rows : Rows
        Values are checked at the first pass over them (`Rows.sq_norms`).
    """
    return Z if isinstance(Z, Rows) else Rows(_matrix(Z, name))


@contextlib.contextmanager
def full_precision():
    """Switch off what rounds float32 products more than float32 does: TF32, bf16, autocast."""
    with contextlib.ExitStack() as stack:
        if torch.is_autocast_enabled("cpu"):
            stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.is_autocast_enabled("cuda"):
            stack.enter_context(torch.autocast("cuda", enabled=False))
        stack.enter_context(_float32_products())
        stack.enter_context(torch.no_grad())
        yield


@contextlib.contextmanager
def _float32_products():
    switches = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)]
    if not all(hasattr(switch, "fp32_precision") for switch in switches):  # before torch 2.9
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value


def _matrix(values, name):
    """Check that `values` are a real matrix; tensors and arrays pass without a copy."""
    if isinstance(values, torch.Tensor):
        if values.layout != torch.strided:
            raise TypeError(f"{name} must be a dense tensor. Got layout {values.layout} instead.")
        values = values.detach()
        real = not values.is_complex()
    else:
        if hasattr(values, "toarray"):
            raise TypeError(
                f"{name} must be a dense array, tensor or Rows. Got a sparse "
                f"{type(values).__name__} instead. Use {name}.toarray()."
            )
        values = values if isinstance(values, np.memmap) else np.asarray(values)
        if values.dtype.kind == "O":
            with contextlib.suppress(TypeError, ValueError):  # what fails is not real: see below
                values = values.astype(np.float64)
        real = values.dtype.kind in "biuf"
    if values.ndim != 2:
        raise ValueError(
            f"{name} must be 2-D, one row per pool row. Got shape {tuple(values.shape)} instead. "
            f"Reshape your data: {name}.reshape(-1, 1) makes one column of scores."
        )
    if not real:
        raise TypeError(f"{name} must hold real numbers. Got dtype {values.dtype} instead.")
    return values


def _is_tensor(matrix, dtype, device):
    return isinstance(matrix, torch.Tensor) and matrix.dtype == dtype and matrix.device == device


def _is_float64(matrix):
    return str(matrix.dtype).removeprefix("torch.") == "float64"


def _to_tensor(matrix, index, dtype, device):
    """The rows `index` (slice or ints) of an array or tensor as a tensor; no copy if possible."""
    if isinstance(matrix, torch.Tensor):
        if not isinstance(index, slice):
            index = torch.as_tensor(index, device=matrix.device)
            matrix, index = matrix.index_select(0, index), slice(None)  # faster than indexing
        # Moved before it is widened: some devices have no float64.
        return matrix[index].to(device=device).to(dtype=dtype)
    part = np.asarray(matrix[index] if isinstance(index, slice) else matrix.take(index, axis=0))
    wanted = np.float32 if dtype == torch.float32 else np.float64
    if part.dtype != wanted:
        with np.errstate(over="ignore"):  # callers check, or chose a dtype wide enough
            part = part.astype(wanted)
    elif not part.flags.writeable or min(part.strides) < 0:
        part = part.copy()  # torch takes neither read-only arrays nor negative strides
    return torch.from_numpy(part).to(device=device)


def _raise_if_bad(bad, name):
    if bad.any():
        rows = np.flatnonzero(bad)
        raise ValueError(
            f"{name} must be finite. {len(rows)} of {len(bad)} rows hold NaN, infinity, or numbers "
            f"too large to be squared (first: {rows[:5].tolist()}). Check the outputs of the model "
            "at these rows; a diverged training gives such values."
        )
