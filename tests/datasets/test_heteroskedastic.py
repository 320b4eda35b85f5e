"""Pools with noisy places: how many rows, which labels, and what is said about them."""

import numpy as np
import pytest
from scipy.stats import chisquare
from sklearn.datasets import load_digits

from skal.datasets import (
    make_four_moons,
    make_noisy_blank,
    make_noisy_class,
    make_noisy_diverse,
)
from skal.metrics import clean_fraction

X, Y = load_digits(return_X_y=True)
IMAGES = X.reshape(-1, 1, 8, 8)
MAKERS = [make_noisy_blank, make_noisy_diverse, make_noisy_class]


def test_four_moons_are_as_published():
    moons = make_four_moons(random_state=123)
    assert moons.data.shape == (30_000, 2)
    assert moons.is_noisy.sum() == 21_000
    assert moons.data_test.shape == (12_000, 2)
    np.testing.assert_array_equal(np.bincount(moons.target_test), 3000)
    # Every noisy point stands there seven times, with one label.
    _, place, times = np.unique(
        moons.data[moons.is_noisy], axis=0, return_inverse=True, return_counts=True
    )
    assert (times == 7).all()
    labels = moons.target[moons.is_noisy]
    for label in range(4):
        own = np.bincount(place.ravel(), weights=labels == label)
        assert set(own) <= {0.0, 7.0}
    assert chisquare(np.bincount(labels)[:4] / 7).pvalue > 1e-3
    clean = moons.target[~moons.is_noisy]
    np.testing.assert_array_equal(np.bincount(clean), [0, 3000, 3000, 3000])


def test_the_right_moons_are_the_left_ones_moved():
    moons = make_four_moons(n_samples=400, shuffle=False, random_state=0)
    np.testing.assert_allclose(moons.data_test[200:], moons.data_test[:200] + [4, 0])
    np.testing.assert_array_equal(moons.data[:400], moons.data_test)
    again = make_four_moons(n_samples=400, shuffle=False, test_seed=5, random_state=0)
    np.testing.assert_array_equal(again.data, moons.data)
    assert (again.data_test != moons.data_test).any()


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("fraction", "n_noisy"), [(0.8, 7188), (0.2, 449), (0.4, 1198), (0, 0)])
def test_the_number_of_noisy_rows_follows_the_formula(make, fraction, n_noisy):
    X_all, y_all, is_noisy, info = make(X, Y, noise_fraction=fraction, random_state=0)
    assert info.n_noisy == n_noisy == is_noisy.sum()
    assert len(X_all) == len(y_all) == len(is_noisy)
    if make is not make_noisy_class:
        assert len(X_all) == 1797 + n_noisy


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("rows", [X, IMAGES], ids=["table", "images"])
def test_clean_rows_are_untouched(make, rows):
    X_all, y_all, is_noisy, _ = make(rows, Y, shuffle=False, random_state=0)
    n_clean = (~is_noisy).sum()
    assert not is_noisy[:n_clean].any()
    originals = {(row.tobytes(), label) for row, label in zip(rows, Y, strict=True)}
    clean = zip(X_all[:n_clean], y_all[:n_clean], strict=True)
    assert all((row.tobytes(), label) in originals for row, label in clean)


@pytest.mark.parametrize("make", MAKERS)
def test_a_seed_settles_everything_and_the_order_is_random(make):
    first, again = make(X, Y, random_state=3), make(X, Y, random_state=3)
    for a, b in zip(first[:3], again[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    other = make(X, Y, random_state=4)
    assert (other[1] != first[1]).any()
    assert 0.7 < first[2][: len(first[2]) // 2].mean() < 0.9


def test_blank_rows_are_alike_with_labels_of_all_classes():
    X_all, y_all, is_noisy, info = make_noisy_blank(IMAGES, Y, random_state=0)
    assert not X_all[is_noisy].any()
    assert info.n_unique_noisy == 1
    assert chisquare(np.bincount(y_all[is_noisy])).pvalue > 1e-3
    X_all, _, is_noisy, _ = make_noisy_blank(X - 3, Y, random_state=0)
    np.testing.assert_array_equal(X_all[is_noisy][0], X.min(axis=0) - 3)
    X_all, _, is_noisy, _ = make_noisy_blank(X, Y, value=-1.0, random_state=0)
    assert (X_all[is_noisy] == -1).all()


@pytest.mark.parametrize("rows", [X, np.repeat(IMAGES, 3, axis=1)], ids=["table", "colours"])
def test_each_of_a_hundred_kinds_has_three_labels(rows):
    X_all, y_all, is_noisy, info = make_noisy_diverse(rows, Y, random_state=0)
    noisy = X_all[is_noisy].reshape(is_noisy.sum(), -1)
    _, kind = np.unique(noisy, axis=0, return_inverse=True)
    kind = kind.ravel()
    assert kind.max() + 1 == info.n_unique_noisy == 100
    sets = {frozenset(row) for row in info.kind_labels}
    for k in range(100):
        labels = y_all[is_noisy][kind == k]
        assert frozenset(labels) in sets
        assert len(set(labels)) == 3
    assert noisy.min() >= rows.min()
    assert noisy.max() <= rows.max()
    if rows.ndim > 2:
        images = X_all[is_noisy]
        assert (images == images[:, :, :1, :1]).all()


def test_kinds_of_two_classes_have_two_labels():
    two = Y < 2
    _, _, _, info = make_noisy_diverse(X[two], Y[two], random_state=0)
    assert info.kind_labels.shape == (100, 2)


def test_selected_rows_of_the_class_leave_the_clean_part():
    X_all, y_all, is_noisy, info = make_noisy_class(X, Y, random_state=0)
    assert len(np.unique(X_all[is_noisy], axis=0)) == info.n_unique_noisy == 100
    assert (~is_noisy).sum() == 1697
    assert (y_all[~is_noisy] == 1).sum() == (Y == 1).sum() - 100
    assert info.accuracy_ceiling == 1.0
    copied = {row.tobytes() for row in X_all[is_noisy]}
    assert copied <= {row.tobytes() for row in X[Y == 1]}
    assert chisquare(np.bincount(y_all[is_noisy])).pvalue > 1e-3


def test_all_rows_of_the_class_may_be_corrupt():
    X_all, y_all, is_noisy, info = make_noisy_class(X, Y, corrupt="all", random_state=0)
    members = (Y == 1).sum()
    assert info.n_noisy == 7188 + members == is_noisy.sum()
    assert not (y_all[~is_noisy] == 1).any()
    assert info.accuracy_ceiling == pytest.approx(1 - members / 1797)
    assert len(X_all) == 1797 + 7188


def test_another_class_by_name():
    names = Y.astype(str)
    X_all, y_all, is_noisy, _ = make_noisy_class(X, names, noisy_class="7", random_state=0)
    assert y_all.dtype.kind == "U"
    assert {row.tobytes() for row in X_all[is_noisy]} <= {row.tobytes() for row in X[Y == 7]}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((X, Y[:5]), {}, "inconsistent numbers"),
        ((X, Y), {"noise_fraction": 1.0}, "noise_fraction"),
        ((X[:, 0], Y), {}, "X must hold numeric rows"),
        ((X, np.c_[Y, Y]), {}, "y must be 1-D"),
    ],
)
def test_makers_refuse(make, arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        make(*arguments, **settings)


def test_an_unknown_class_is_refused():
    with pytest.raises(ValueError, match="noisy_class must be one of"):
        make_noisy_class(X, Y, noisy_class=12)
    with pytest.raises(ValueError, match="multiple of 4"):
        make_four_moons(n_samples=10)


def test_clean_fraction_counts_what_was_asked():
    is_noisy = np.array([True, False, False, True])
    assert clean_fraction([0, 1], is_noisy) == 0.5
    assert clean_fraction([[0], [1, 2]], is_noisy) == pytest.approx(2 / 3)
    assert clean_fraction([np.array([0, 3])], is_noisy) == 0
    assert np.isnan(clean_fraction([], is_noisy))


@pytest.mark.parametrize(
    ("queried", "is_noisy", "message"),
    [([4], [True, False], "positions from 0 to 1"), ([0], [1, 0], "booleans")],
)
def test_clean_fraction_refuses(queried, is_noisy, message):
    with pytest.raises(ValueError, match=message):
        clean_fraction(queried, is_noisy)


def test_a_small_class_keeps_clean_rows():
    X, y = np.arange(60.0).reshape(30, 2), np.repeat([0, 1], [24, 6])
    X_all, y_all, is_noisy, info = make_noisy_class(X, y, noisy_class=1, random_state=0)
    assert (y_all[~is_noisy] == 1).sum() == 3 and info.n_unique_noisy == 3
    assert info.accuracy_ceiling == 1.0
    assert not set(X_all[is_noisy][:, 0]) & set(X_all[~is_noisy][:, 0])
    five = make_noisy_class(X, y, noisy_class=1, n_unique=5, random_state=0)[3]
    assert five.n_unique_noisy == 5
    with pytest.raises(ValueError, match="Class 1 has a single row.*corrupt='all'"):
        make_noisy_class(X[:25], y[:25], noisy_class=1)
