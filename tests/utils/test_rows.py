"""Rows against the matrices they stand for."""

import pickle

import numpy as np
import pytest
import torch

import skal.utils._rows as rows_module
from skal.utils._rows import Rows, as_rows, full_precision


@pytest.fixture
def rng():
    return np.random.RandomState(0)


def kronecker(features, factors):
    """Every row by np.kron, in float64."""
    pairs = zip(np.asarray(factors, float), np.asarray(features, float), strict=True)
    return np.array([np.kron(factor, feature) for factor, feature in pairs])


@pytest.fixture(params=["dense", "factored", "one factor"])
def pair(request, rng):
    """Rows, and their matrix in float64."""
    features = rng.standard_normal((50, 6))
    if request.param == "dense":
        return Rows(features), features
    factors = rng.standard_normal((50, 1 if request.param == "one factor" else 4))
    return Rows(features, factors), kronecker(features, factors)


def test_shape(pair):
    rows, matrix = pair
    assert rows.shape == matrix.shape and len(rows) == 50 and rows.ndim == 2
    assert str(matrix.shape) in repr(rows)


def test_squared_norms(pair):
    rows, matrix = pair
    assert rows.sq_norms().dtype == np.float64
    np.testing.assert_allclose(rows.sq_norms(), (matrix**2).sum(1), rtol=1e-14)


def test_products_with_a_block(pair):
    rows, matrix = pair
    index = np.array([4, 0, 33])
    found = rows.products(rows.gather(index), 10, 20)
    assert found.dtype == torch.float32 and found.shape == (10, 3)
    np.testing.assert_allclose(found, matrix[10:20] @ matrix[index].T, rtol=1e-4, atol=1e-4)
    exact = rows.products(rows.gather(slice(0, 5)), dtype=torch.float64)
    np.testing.assert_allclose(exact, matrix @ matrix[:5].T, rtol=1e-12, atol=1e-12)


def test_gathered_rows_are_float64_on_the_cpu(pair):
    rows, matrix = pair
    gathered = rows.gather(np.array([7, 7, 1]))
    assert all(part.dtype == torch.float64 and part.is_cpu for part in gathered.parts())
    np.testing.assert_allclose(gathered.dense(), matrix[[7, 7, 1]], rtol=1e-6)


def test_dense_is_class_major(pair):
    rows, matrix = pair
    found = rows.dense()
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, matrix, rtol=1e-5, atol=1e-6)


def test_dense_refuses_what_is_too_large(rng):
    rows = Rows(np.ones((1000, 100)), np.ones((1000, 10)))
    with pytest.raises(ValueError, match=r"1000 x 1000 needs 4000000 bytes.*max_bytes=1000"):
        rows.dense(max_bytes=1000)


def test_normalized_rows_have_length_one_and_zeros_stay(pair):
    rows, matrix = pair
    unit = matrix / np.linalg.norm(matrix, axis=1)[:, None]
    normalized = rows.normalized()
    np.testing.assert_allclose(normalized.dense(), unit, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(normalized.sq_norms(), 1, rtol=1e-12)
    np.testing.assert_allclose(
        normalized.products(normalized.gather(slice(0, 2)), dtype=torch.float64),
        unit @ unit[:2].T,
        atol=1e-12,
    )
    assert not Rows(np.zeros((2, 3))).normalized().sq_norms().any()


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_normalized_rows_of_any_size(rng, scale):
    matrix = rng.standard_normal((5, 3))
    expected = matrix / np.linalg.norm(matrix, axis=1)[:, None]
    found = Rows(matrix * scale).normalized().read(slice(0, 5)).dense()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_centering_keeps_differences_and_digits(rng):
    matrix = rng.standard_normal((200, 3)) + 1e6
    centered = Rows(matrix).centered()
    assert centered.shift is not None
    assert centered.sq_norms().max() < 100
    block = centered.gather(slice(0, 4)).parts()[0].numpy()
    np.testing.assert_allclose(block[0] - block[1], matrix[0] - matrix[1], atol=1e-9)
    # float64 input is shifted before float32 rounds it.
    np.testing.assert_allclose(centered.read(slice(0, 4)).parts()[0], block, rtol=1e-6)


def test_rows_around_the_origin_are_not_centered(pair):
    rows, _ = pair
    assert rows.centered() is rows


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "u1", "bool", ">f4"])
def test_dtypes(dtype, rng):
    matrix = rng.randint(0, 2, (20, 3)).astype(dtype)
    expected = matrix.astype(float)
    np.testing.assert_array_equal(Rows(matrix).sq_norms(), (expected**2).sum(1))
    np.testing.assert_array_equal(Rows(matrix).gather(slice(0, 9)).parts()[0], expected[:9])
    np.testing.assert_array_equal(Rows(matrix).read(slice(0, 20)).parts()[0], expected)


def test_bfloat16_tensor(rng):
    matrix = torch.from_numpy(rng.standard_normal((20, 3))).bfloat16()
    np.testing.assert_array_equal(Rows(matrix).sq_norms(), (matrix.double() ** 2).sum(1))


@pytest.mark.parametrize("order", ["read-only", "reversed", "Fortran", "strided"])
def test_memory_layouts(order, rng):
    matrix = rng.standard_normal((30, 4)).astype(np.float32)
    expected = matrix.astype(np.float64)
    if order == "read-only":
        matrix.setflags(write=False)
    elif order == "reversed":
        matrix, expected = matrix[::-1], expected[::-1]
    elif order == "Fortran":
        matrix = np.asfortranarray(matrix)
    else:
        matrix, expected = matrix[:, ::2], expected[:, ::2]
    rows = Rows(matrix)
    np.testing.assert_allclose(rows.sq_norms(), (expected**2).sum(1), rtol=1e-14)
    np.testing.assert_array_equal(rows.read(slice(3, 9)).parts()[0], expected[3:9])


def test_memory_map_is_read_in_chunks(tmp_path, rng, monkeypatch):
    matrix = rng.standard_normal((100, 4)).astype(np.float32)
    np.save(tmp_path / "pool.npy", matrix)
    rows = as_rows(np.load(tmp_path / "pool.npy", mmap_mode="r"))
    monkeypatch.setattr(rows_module, "_CHUNK_BYTES", 4 * 8 * 20)
    chunks = rows.chunks()
    assert chunks == [(0, 20), (20, 40), (40, 60), (60, 80), (80, 100)]
    np.testing.assert_allclose(rows.sq_norms(), (matrix.astype(float) ** 2).sum(1), rtol=1e-12)
    np.testing.assert_array_equal(rows.dense(), matrix)


def test_tensors_keep_their_device(device, rng):
    matrix = rng.standard_normal((30, 4)).astype(np.float32)
    factors = rng.standard_normal((30, 2)).astype(np.float32)
    there = Rows(torch.from_numpy(matrix).to(device), torch.from_numpy(factors).to(device))
    here = Rows(matrix, factors)
    assert there.device.type == device
    products = there.products(there.gather(np.array([1, 2])))
    assert products.device.type == device
    np.testing.assert_allclose(products.cpu(), here.products(here.gather([1, 2])), rtol=1e-5)
    np.testing.assert_allclose(there.sq_norms(), here.sq_norms(), rtol=1e-13)


def test_tensor_that_requires_grad():
    rows = Rows(torch.ones(3, 2, requires_grad=True))
    assert not rows.dense().requires_grad


def test_inputs_are_neither_copied_nor_changed(rng):
    matrix = rng.standard_normal((30, 4)).astype(np.float32)
    before = matrix.copy()
    rows = as_rows(matrix)
    chunk = rows.read(slice(0, 30)).parts()[0]
    assert chunk.data_ptr() == matrix.ctypes.data
    rows.sq_norms()
    rows.products(rows.gather(slice(0, 3)))
    rows.normalized().dense()
    np.testing.assert_array_equal(matrix, before)


def test_rows_pass_through_as_rows():
    rows = Rows(np.ones((2, 2)))
    assert as_rows(rows) is rows


def test_a_matrix_far_too_large_to_build():
    """2000 rows of 9 million columns: 72 GB if anything built them."""
    rng = np.random.RandomState(0)
    features, factors = (rng.standard_normal((2000, 3000)).astype(np.float32) for _ in range(2))
    rows = Rows(features, factors)
    expected = (features.astype(float) ** 2).sum(1) * (factors.astype(float) ** 2).sum(1)
    np.testing.assert_allclose(rows.sq_norms(), expected, rtol=1e-12)
    assert rows.products(rows.gather(np.arange(5))).shape == (2000, 5)
    with pytest.raises(ValueError, match="max_bytes"):
        rows.dense()


def test_rows_pickle(pair):
    rows, matrix = pair
    rows.sq_norms()
    np.testing.assert_allclose(pickle.loads(pickle.dumps(rows)).dense(), matrix, rtol=1e-5)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_bad_rows_are_named(value, rng):
    matrix = rng.standard_normal((30, 4))
    matrix[[3, 17], 1] = value
    with pytest.raises(ValueError, match=r"Z must be finite. 2 of 30 rows .*first: \[3, 17\]"):
        as_rows(matrix).sq_norms()
    with pytest.raises(ValueError, match=r"2 of 30 rows"):
        as_rows(matrix).dense()
    factored = Rows(np.ones((30, 2)), matrix)
    with pytest.raises(ValueError, match=r"Z_labeled must be finite. 2 of 30 rows"):
        factored.sq_norms("Z_labeled")


def test_zero_times_infinity_is_bad():
    with pytest.raises(ValueError, match="1 of 2 rows"):
        Rows(np.zeros((2, 3)), np.array([[1.0], [np.inf]])).sq_norms()


def test_dense_refuses_what_float32_cannot_hold():
    with pytest.raises(ValueError, match="1 of 2 rows"):
        Rows(np.array([[1.0], [1e100]])).dense()


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2), ()])
def test_other_dimensions(shape):
    with pytest.raises(ValueError, match=r"Z must be 2-D.*Reshape your data"):
        as_rows(np.zeros(shape))


@pytest.mark.parametrize(
    "values", [[["a", "b"]], np.array([[1j]]), torch.zeros(2, 2, dtype=torch.complex64)]
)
def test_what_is_not_real(values):
    with pytest.raises(TypeError, match="Z must hold real numbers"):
        as_rows(values)


def test_sparse_input():
    from scipy.sparse import csr_array

    with pytest.raises(TypeError, match=r"Got a sparse csr_array instead. Use Z.toarray\(\)"):
        as_rows(csr_array(np.eye(3)))
    with pytest.raises(TypeError, match="dense tensor"):
        as_rows(torch.eye(3).to_sparse())


def test_factors_of_another_length():
    with pytest.raises(ValueError, match="same number of rows. Got 3 and 4"):
        Rows(np.ones((3, 2)), np.ones((4, 2)))


# ---------------------------------------------------------------- precision


def test_full_precision_and_back(rng):
    """Reduced products are switched off inside, and on again afterwards."""
    left = torch.from_numpy(rng.standard_normal((64, 64)).astype(np.float32))
    exact = left.double() @ left.double()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), full_precision():
            found = left @ left
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert found.dtype == torch.float32
    assert (found - exact).abs().max() < 1e-4
