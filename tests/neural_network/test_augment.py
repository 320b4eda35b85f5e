"""Augmentations, against the laws they are drawn from and plain versions of each operation."""

import pickle

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from sklearn.base import clone

from skal.neural_network import ImageAugment, TabularAugment
from skal.neural_network import _image_operations as operations
from skal.neural_network._seed import torch_seed

# ---------------------------------------------------------------------- tables


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 10)).astype(np.float32)
    X[:, 3] = rng.integers(0, 2, 200)
    X[:, 4] = 7.5
    X[:, 5] = rng.integers(0, 6, 200)
    return X


def augmented(augment, X, seed=0):
    with torch_seed(seed):
        return augment.augment(torch.as_tensor(X)).numpy()


def test_nothing_asked_for_is_the_identity(table):
    augment = TabularAugment(corruption=0, jitter=0, cutout=False).fit(table)
    np.testing.assert_array_equal(augmented(augment, table), table)


def test_constant_columns_never_change(table):
    augment = TabularAugment(corruption=1.0, jitter=3.0).fit(table)
    for seed in range(5):
        assert (augmented(augment, table, seed)[:, 4] == np.float32(7.5)).all()


def test_jitter_is_gaussian_in_units_of_each_column(table):
    augment = TabularAugment(corruption=0, jitter=0.5, cutout=False).fit(table)
    rows = np.tile(table, (20, 1))
    noise = augmented(augment, rows) - rows
    numeric = [0, 1, 2, 5, 6, 7, 8, 9]
    standard = noise[:, numeric] / (0.5 * table[:, numeric].std(axis=0))
    assert stats.kstest(standard.ravel()[::7], "norm").pvalue > 1e-3
    np.testing.assert_allclose(standard.std(axis=0), 1, rtol=0.05)
    assert (noise[:, [3, 4]] == 0).all()


def test_resampling_draws_columns_rows_and_their_number_uniformly():
    # Every value tells which row and column it comes from.
    n, p, most = 50, 10, 4
    X = (np.arange(n)[:, None] + 1000.0 * np.arange(p)).astype(np.float32)
    augment = TabularAugment(corruption=0.35, jitter=0, cutout=False).fit(X)
    rows = np.full((20000, p), -1.0, dtype=np.float32)
    new = augmented(augment, rows)
    changed = new >= 0
    counts = np.bincount(changed.sum(axis=1), minlength=p + 1)
    assert counts[most + 1 :].sum() == 0
    assert stats.chisquare(counts[: most + 1]).pvalue > 1e-3
    assert stats.chisquare(changed.sum(axis=0)).pvalue > 1e-3
    column, donor = np.divmod(new[changed], 1000)
    assert (column == changed.nonzero()[1]).all()
    assert stats.chisquare(np.bincount(donor.astype(int), minlength=n)).pvalue > 1e-3
    # The values of one row come from independent rows: a pair agrees once in n.
    pairs = new[changed.sum(axis=1) >= 2]
    first_two = np.array([row[row >= 0][:2] % 1000 for row in pairs])
    assert abs((first_two[:, 0] == first_two[:, 1]).mean() - 1 / n) < 0.01


def test_resampling_preserves_marginals(table):
    augment = TabularAugment(corruption=1.0, jitter=0, cutout=False).fit(table)
    new = augmented(augment, np.tile(table, (20, 1)))
    for j in (0, 3, 5):
        assert np.isin(new[:, j], table[:, j]).all()
        assert stats.ks_2samp(new[:, j], table[:, j]).pvalue > 0.05


def test_cutout_sets_median_and_mode(table):
    X = np.hstack([table, table])
    X[:, 3] = np.r_[np.zeros(80), np.ones(120)]
    augment = TabularAugment(corruption=0, jitter=0, cutout=True, categorical=[3, 5]).fit(X)
    rows = np.full((5000, 20), -99.0, dtype=np.float32)
    new = augmented(augment, rows)
    blank = new != -99
    assert stats.chisquare(np.bincount(blank.sum(axis=1), minlength=4)).pvalue > 1e-3
    center = np.median(X, axis=0)
    center[3] = 1.0
    center[5] = stats.mode(X[:, 5]).mode
    np.testing.assert_allclose(new[blank], np.tile(center, (5000, 1))[blank], rtol=1e-6)


def test_table_dtype_shape_seed_and_copies(table):
    augment = TabularAugment().fit(table)
    X = torch.as_tensor(table[:6]).reshape(6, 2, 5)
    before = X.clone()
    with torch_seed(0):
        first, second = augment.augment(X), augment.augment(X)
    assert first.shape == X.shape and first.dtype == X.dtype
    assert (X == before).all() and (first != second).any()
    with torch_seed(0):
        assert (pickle.loads(pickle.dumps(augment)).augment(X) == first).all()
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    given = [augment.augment(X, generator) for generator in generators]
    assert (given[0] == given[1]).all()
    assert clone(augment).get_params() == augment.get_params()
    assert augment.augment(X.double()).dtype == torch.float64


def test_sparse_reference_gives_the_same_rows(table):
    table[table < 0] = 0
    dense, csr = TabularAugment().fit(table), TabularAugment().fit(sparse.csr_matrix(table))
    np.testing.assert_allclose(augmented(csr, table), augmented(dense, table))


@pytest.mark.parametrize("categorical", [[11], [-1], [0.5], [[0]]])
def test_categorical_must_be_columns(table, categorical):
    with pytest.raises(ValueError, match=r"'categorical' of TabularAugment must hold column"):
        TabularAugment(categorical=categorical).fit(table)


def test_table_refuses_other_columns_and_parameters(table):
    with pytest.raises(ValueError, match="X has 9 features, but TabularAugment is expecting 10"):
        TabularAugment().fit(table).augment(torch.zeros(2, 9))
    with pytest.raises(ValueError, match="'corruption' parameter of TabularAugment"):
        TabularAugment(corruption=1.5).fit(table)


# ---------------------------------------------------------------------- images


@pytest.fixture
def images():
    return torch.as_tensor(np.random.default_rng(1).random((6, 3, 12, 10)), dtype=torch.float32)


def each(value, images):
    return torch.full((len(images),), float(value))


def test_geometric_operations_against_whole_turns_and_shifts(images):
    square = images[:, :, :10]
    turned = operations.rotate(square, each(90, square))
    assert (turned == torch.rot90(square, 1, (2, 3))).all()
    moved = operations.translate_x(images, each(0.2, images))
    assert (moved[..., :8] == images[..., 2:]).all() and (moved[..., 8:] == 0).all()
    moved = operations.translate_y(images, each(-0.25, images))
    assert (moved[:, :, 3:] == images[:, :, :9]).all() and (moved[:, :, :3] == 0).all()
    odd = images[:, :, :11]
    sheared = operations.shear_x(odd, each(1.0, odd))
    for i in range(11):
        source = torch.arange(10) + i - 5
        inside = (source >= 0) & (source < 10)
        expected = torch.where(inside, odd[:, :, i, source.clamp(0, 9)], 0.0)
        torch.testing.assert_close(sheared[:, :, i], expected)
    sheared = operations.shear_y(odd.mT, each(1.0, odd))
    assert (sheared == operations.shear_x(odd, each(1.0, odd)).mT).all()


def test_levels_against_loops_over_pixels(images):
    levels = np.rint(255 * images.numpy().astype(np.float64)).astype(int)
    inverted = operations.solarize(images, each(100.5, images)).numpy()
    expected = np.where(levels >= 100.5, 1 - images.numpy(), images.numpy())
    np.testing.assert_allclose(inverted, expected, atol=1e-6)
    few = operations.posterize(images, each(4.9, images)).numpy()
    np.testing.assert_allclose(few, (levels & 0b11110000) / 255, atol=1e-6)


def test_equalize_against_a_loop():
    rng = np.random.default_rng(0)
    levels = np.minimum(rng.integers(0, 256, (2, 1, 40, 40)) // 3 + 60, 140)
    levels[1] = 17  # a flat image stays
    images = torch.as_tensor(levels / 255, dtype=torch.float32)
    result = np.rint(255 * operations.equalize(images, each(0, images)).numpy()).astype(int)
    histogram = np.bincount(levels[0].ravel(), minlength=256)
    step = (histogram.sum() - histogram[histogram.nonzero()[0][-1]]) // 255
    table, total = [], step // 2
    for count in histogram:
        table.append(min(255, total // step))
        total += count
    assert (result[0] == np.array(table)[levels[0]]).all() and (result[1] == 17).all()
    assert result[0].max() - result[0].min() > 200 > levels[0].max() - levels[0].min()


def test_blends_against_plain_formulas(images):
    x, share = images.numpy().astype(np.float64), 0.3
    grey = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    smooth = x.copy()
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    for i in range(1, 11):
        for j in range(1, 9):
            patch = x[:, :, i - 1 : i + 2, j - 1 : j + 2]
            smooth[:, :, i, j] = (patch * kernel).sum((2, 3))
    others = {
        "color": grey,
        "contrast": grey.mean((1, 2, 3), keepdims=True),
        "brightness": 0.0,
        "sharpness": smooth,
    }
    for name, other in others.items():
        result = operations.OPERATIONS[name][0](images, each(share, images)).numpy()
        np.testing.assert_allclose(result, share * x + (1 - share) * other, atol=1e-6)


def test_auto_contrast_stretches_each_channel():
    images = torch.tensor([[[[0.2, 0.4], [0.3, 0.6]], [[0.5, 0.5], [0.5, 0.5]]]])
    stretched = operations.auto_contrast(images, torch.zeros(1))
    expected = torch.tensor([[0.0, 0.5], [0.25, 1.0]])
    torch.testing.assert_close(stretched[0, 0], expected)
    assert (stretched[0, 1] == 0.5).all()


def test_each_image_has_its_own_operation_and_magnitude(monkeypatch):
    seen = []

    def recorded(number):
        def operation(images, magnitude):
            seen.append((number, images[:, 0, 0, 0].clone(), magnitude.clone()))
            return images

        return operation

    table = {name: (recorded(i), i, i + 1.0) for i, name in enumerate(operations.OPERATIONS)}
    monkeypatch.setattr(operations, "OPERATIONS", table)
    monkeypatch.setattr("skal.neural_network._image_augment.OPERATIONS", table)
    n = 4200
    images = (torch.arange(n) / n).reshape(n, 1, 1, 1).expand(n, 1, 2, 2)
    augment = ImageAugment(cutout=0, value_range=(0, 1)).fit(images)
    with torch_seed(0):
        augment.augment(images)
    counts = np.bincount([number for number, rows, _ in seen for _ in rows], minlength=14)
    assert counts.sum() == 4 * n and stats.chisquare(counts).pvalue > 1e-3
    for number in range(14):
        magnitudes = torch.cat([m for k, _, m in seen if k == number]) - number
        assert stats.kstest(magnitudes.numpy(), "uniform").pvalue > 1e-4
    # Drawn with replacement: an image meets the same operation twice now and then.
    first = torch.cat([rows for k, rows, _ in seen if k == 0])
    assert len(first) > len(first.unique())


def test_magnitudes_are_the_published_ones():
    ranges = {name: tuple(bounds) for name, (_, *bounds) in operations.OPERATIONS.items()}
    assert len(ranges) == 14
    assert ranges["rotate"] == (-30, 30) and ranges["solarize"] == (0, 256)
    assert ranges["posterize"] == (4, 8)
    assert {ranges[n] for n in ("color", "contrast", "brightness", "sharpness")} == {(0.05, 0.95)}
    assert {ranges[f"{n}_{d}"] for n in ("shear", "translate") for d in "xy"} == {(-0.1, 0.1)}


@pytest.mark.parametrize("size, longest", [(28, 14), (32, 16), (8, 4)])
def test_cutout_is_one_square_of_even_side_filled_with_the_mean(size, longest):
    n = 3000
    images = torch.zeros(n, 1, size, size)
    images[0] = 1.0
    augment = ImageAugment(0, value_range=(-1, 1)).fit(images)
    with torch_seed(0):
        new = augment.augment(images)[1:]
    hole = new != 0
    np.testing.assert_allclose(new[hole].numpy(), 1 / n, rtol=1e-3)
    rows, columns = hole.any(3)[:, 0], hole.any(2)[:, 0]
    assert (hole[:, 0] == rows[:, :, None] & columns[:, None, :]).all()
    sides = rows.sum(1)
    assert sides.max() == 2 * (longest // 2)
    # No hole for a length of 1; holes inside have an even side.
    assert abs((sides == 0).float().mean() - 1 / longest) < 0.03
    inside = ~rows[:, 0] & ~rows[:, -1]
    assert (sides[inside] % 2 == 0).all()


def test_flip_and_crop():
    images = torch.arange(2 * 5 * 5.0).reshape(1, 2, 5, 5).expand(400, 2, 5, 5)
    with torch_seed(0):
        flipped = ImageAugment(0, cutout=0, flip=True).fit(images).augment(images)
        moved = ImageAugment(0, cutout=0, crop_padding=2, value_range=(0, 50)).fit(images)
        moved = moved.augment(images)
    same = torch.isclose(flipped, images, atol=1e-4).all(dim=(1, 2, 3))
    mirrored = torch.isclose(flipped, images.flip(3), atol=1e-4).all(dim=(1, 2, 3))
    assert (same | mirrored).all() and 150 < same.sum() < 250
    padded = torch.nn.functional.pad(images[0], (2, 2, 2, 2))
    found = set()
    for image in moved:
        places = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if torch.allclose(image, padded[:, i : i + 5, j : j + 5], atol=1e-4)
        ]
        assert len(places) == 1
        found.update(places)
    assert len(found) == 25


def test_images_keep_their_scale_shape_and_seed(images):
    # As standardised channels would come: other black and white in each.
    shifted = images * torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1) - 1
    flat = shifted.flatten(1)
    augment = ImageAugment().fit(shifted)
    low, high = shifted.amin((0, 2, 3)), shifted.amax((0, 2, 3))
    flattened = ImageAugment(image_shape=(3, 12, 10)).fit(flat.numpy())
    for seed in range(5):
        with torch_seed(seed):
            new = augment.augment(shifted)
        assert new.shape == shifted.shape and new.dtype == torch.float32
        inside = new.amin((0, 2, 3)) >= low - 1e-5, new.amax((0, 2, 3)) <= high + 1e-5
        assert all(part.all() for part in inside)
        with torch_seed(seed):
            same = pickle.loads(pickle.dumps(flattened)).augment(flat)
        torch.testing.assert_close(same.reshape(new.shape), new)
    sparse_fit = clone(flattened).fit(sparse.csr_matrix(flat.numpy()))
    torch.testing.assert_close(sparse_fit.low_, flattened.low_)
    torch.testing.assert_close(sparse_fit.mean_, flattened.mean_)


def test_nothing_asked_for_leaves_images_alone(images):
    new = ImageAugment(0, cutout=0).fit(images).augment(images)
    torch.testing.assert_close(new, images)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"operations": ("rotate", "warp")}, r"'operations' of ImageAugment must be names among"),
        ({"operations": ()}, r"'operations' of ImageAugment must be names among"),
        ({"image_shape": (5, 5)}, r"rows have shape \(3, 12, 10\) and 'image_shape' is \(5, 5\)"),
        ({"value_range": (1, 0)}, r"'value_range' of ImageAugment must be two numbers"),
        ({"cutout": 2.0}, r"'cutout' parameter of ImageAugment"),
    ],
)
def test_image_parameters_are_checked(images, params, message):
    with pytest.raises(ValueError, match=message):
        ImageAugment(**params).fit(images)


def test_flat_rows_need_an_image_shape():
    with pytest.raises(ValueError, match=r"rows have shape \(64,\).*image_shape"):
        ImageAugment().fit(np.zeros((3, 64)))


def test_augmentations_run_where_the_rows_are(device, images, table):
    for augment, X in [(ImageAugment(), images), (TabularAugment(), torch.as_tensor(table))]:
        moved = X.to(device)
        assert augment.fit(moved).augment(moved).device == moved.device
        assert augment.fit(X.numpy()).augment(moved).device == moved.device
