"""The nets keep scikit-learn's contract: its checks, and every habit of skorch that breaks it."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
import skorch
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.callbacks import Callback, EarlyStopping, EpochScoring
from skorch.dataset import ValidSplit
from torch import nn

from skal.neural_network import MLP, NeuralNetClassifier, NeuralNetRegressor
from skal.neural_network._loader import TableDataset, TensorLoader, batch_bounds
from skal.neural_network._seed import torch_seed

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
_rng = np.random.RandomState(0)
X = _rng.randn(60, 4)
Y = X @ np.array([1.0, -2.0, 0.5, 0.0]) + 3.0

FAILURES = {
    "check_no_attributes_set_in_init": (
        "skorch's constructor sets history_, initialized_ and virtual_params_"
    )
}


@parametrize_with_checks(
    [NeuralNetRegressor(), NeuralNetRegressor(standardize_y=True), NeuralNetClassifier()],
    expected_failed_checks=lambda estimator: FAILURES,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


class Squeezed(nn.Module):
    """Returns a vector, as many regression modules do."""

    def __init__(self, n_features):
        super().__init__()
        self.linear = nn.Linear(n_features, 1)

    def forward(self, X):
        return self.linear(X).squeeze(-1)


class Conv(nn.Module):
    def __init__(self, n_outputs, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3)
        self.head = nn.Linear(channels * 9, n_outputs)

    def forward(self, X):
        return self.head(torch.relu(self.conv(X)).flatten(1))


class Interrupted(nn.Module):
    """The user presses Ctrl-C in the third batch."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)
        self.calls = 0

    def forward(self, X):
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return self.linear(X)


class StopAfterThree(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 3:
            raise KeyboardInterrupt


class InterruptedScoring(EpochScoring):
    """Ctrl-C that lands while a callback of skorch's computes a score."""

    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


InterruptedScoring.__module__ = "skorch.callbacks.scoring"


class Softmax(nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)

    def forward(self, X):
        return torch.softmax(self.linear(X), 1)


def _quick(cls=NeuralNetRegressor, **params):
    return cls(**{"max_epochs": 5, "random_state": 0, **params})


# ---------------------------------------------------------------------- data in


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_targets_of_any_dtype_and_shape(dtype):
    y = (10 * Y).astype(dtype)
    flat = _quick().fit(X, y).predict(X)
    column = _quick().fit(X, y[:, None]).predict(X)
    pair = _quick().fit(X, np.c_[y, -y]).predict(X)
    assert flat.shape == (60,) and column.shape == (60, 1) and pair.shape == (60, 2)
    assert_array_equal(flat, column[:, 0])


def test_one_dimensional_target_is_not_broadcast():
    # skorch's own regressor compares every prediction with every target and learns the mean.
    net = NeuralNetRegressor(standardize_y=True, lr=0.01, random_state=0)
    assert net.fit(X, Y).score(X, Y) > 0.95
    inside = TransformedTargetRegressor(clone(net), func=np.positive, inverse_func=np.positive)
    assert inside.fit(X, Y).score(X, Y) > 0.95
    squeezed = clone(net).set_params(module=Squeezed, batch_size=8)
    assert squeezed.fit(X, Y).score(X, Y) > 0.95


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X.astype(np.float32),
        lambda X: X.tolist(),
        lambda X: pd.DataFrame(X, columns=list("abcd")),
        lambda X: pl.DataFrame(X, schema=list("abcd")),
        sp.csr_array,
        sp.csc_matrix,
        sp.coo_array,
        torch.tensor,
        np.asfortranarray,
    ],
    ids=["float32", "list", "pandas", "polars", "csr", "csc", "coo", "torch", "fortran"],
)
@pytest.mark.parametrize("cls", [NeuralNetRegressor, NeuralNetClassifier])
def test_containers_give_the_same_net(convert, cls):
    y = Y if cls is NeuralNetRegressor else (Y > 3).astype(int)
    method = "predict" if cls is NeuralNetRegressor else "predict_proba"
    expected = getattr(_quick(cls, batch_size=16).fit(X, y), method)(X)
    data = convert(X)
    net = _quick(cls, batch_size=16).fit(data, y)
    assert_allclose(getattr(net, method)(data), expected, rtol=1e-5, atol=1e-6)
    target = y.tolist() if isinstance(data, list) else pd.Series(y, index=np.arange(60)[::-1])
    again = _quick(cls, batch_size=16).fit(data, target)
    assert_allclose(getattr(again, method)(data), expected, rtol=1e-5, atol=1e-6)


def test_frames_are_checked_by_name():
    frame = pd.DataFrame(X, columns=list("abcd"))
    net = _quick().fit(frame, Y)
    assert net.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names should match"):
        net.predict(frame[list("abdc")])
    with pytest.raises(ValueError, match="X has 3 features, but NeuralNetRegressor is expecting 4"):
        _quick().fit(X, Y).predict(X[:, :3])


def test_read_only_memory_is_no_warning(tmp_path):
    path = tmp_path / "x.dat"
    stored = np.memmap(path, dtype=np.float32, mode="w+", shape=X.shape)
    stored[:] = X
    stored.flush()
    stored = np.memmap(path, dtype=np.float32, mode="r", shape=X.shape)
    expected = _quick().fit(X, Y).predict(X)
    assert_allclose(_quick().fit(stored, Y).predict(stored), expected, rtol=1e-6)


def test_pipeline_of_a_table_with_pandas_output():
    frame = pd.DataFrame({"area": X[:, 0], "quarter": np.where(X[:, 1] > 0, "lake", "hill")})
    columns = make_column_transformer(
        (StandardScaler(), ["area"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["quarter"]),
    )
    model = TransformedTargetRegressor(
        make_pipeline(columns, _quick(standardize_y=True)), func=np.exp, inverse_func=np.log
    )
    expected = model.fit(frame, Y).predict(frame)
    assert expected.shape == (60,)
    with sklearn.config_context(transform_output="pandas"):
        assert_allclose(clone(model).fit(frame, Y).predict(frame), expected, rtol=1e-6)


def test_images_reach_the_module_as_they_are():
    images = _rng.randn(30, 1, 5, 5)
    labels = images.mean((1, 2, 3)) > 0
    net = NeuralNetClassifier(Conv, module__channels=4, max_epochs=3, random_state=0)
    assert net.fit(images, labels).predict_proba(images).shape == (30, 2)
    assert net.module_.conv.out_channels == 4
    with pytest.raises(ValueError, match=r"rows of shape \(1, 5, 6\)"):
        net.predict(np.zeros((2, 1, 5, 6)))
    assert _quick(NeuralNetClassifier).fit(images, labels).module_.body[0].in_features == 25


def test_nan_and_infinity_are_refused():
    bad = X.copy()
    bad[3, 2] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        _quick().fit(bad, Y)
    with pytest.raises(ValueError, match="infinity"):
        _quick().fit(X, np.where(Y == Y[5], np.inf, Y))


# ---------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["setosa", "versicolor", "virginica"]),
        np.array(["setosa", "versicolor", "virginica"], dtype=object),
        np.array([10, 20, 40], dtype=np.int32),
        np.array([-1, 0, 1]),
        np.array([0.0, 1.0, 2.0]),
    ],
)
def test_labels_of_any_kind(labels):
    net = NeuralNetClassifier(random_state=0).fit(X_IRIS, labels[Y_IRIS])
    assert_array_equal(net.classes_, labels)
    assert net.predict(X_IRIS).dtype == labels.dtype
    assert net.score(X_IRIS, labels[Y_IRIS]) > 0.9
    P = net.predict_proba(X_IRIS)
    assert_allclose(P.sum(1), 1.0, atol=1e-6)
    assert_array_equal(net.classes_[P.argmax(1)], net.predict(X_IRIS))


def test_classes_fix_the_columns():
    net = _quick(NeuralNetClassifier, classes=["c", "b", "a"])
    net.fit(X_IRIS[:100], np.array(["a", "c"])[Y_IRIS[:100]])
    assert net.classes_.tolist() == ["a", "b", "c"]
    assert net.predict_proba(X_IRIS).shape == (150, 3)
    with pytest.raises(ValueError, match=r"not among the classes .*'d'.*'classes'"):
        _quick(NeuralNetClassifier, classes=["a", "b"]).fit(X[:4], ["a", "b", "a", "d"])


def test_saturated_probabilities_stay_probabilities():
    net = NeuralNetClassifier(random_state=0).fit(1e4 * X_IRIS, Y_IRIS)
    P = net.predict_proba(1e6 * X_IRIS)
    assert np.isfinite(P).all()
    assert_allclose(P.sum(1), 1.0)


def test_module_of_probabilities():
    net = NeuralNetClassifier(Softmax, criterion=nn.NLLLoss, max_epochs=60, lr=0.05, random_state=0)
    net.fit(X_IRIS, Y_IRIS)
    assert net.score(X_IRIS, Y_IRIS) > 0.9
    with torch.no_grad():
        expected = net.module_(torch.tensor(X_IRIS, dtype=torch.float32)).numpy()
    assert_allclose(net.predict_proba(X_IRIS), expected, atol=1e-6)


def test_scoring_callbacks_see_the_users_labels():
    callback = EpochScoring("accuracy", on_train=True, lower_is_better=False, name="accuracy")
    net = _quick(NeuralNetClassifier, callbacks=[callback], max_epochs=20, lr=0.01)
    labels = np.array(["x", "y", "z"])[Y_IRIS]
    net.fit(X_IRIS, labels)
    assert net.history[-1, "accuracy"] == pytest.approx(net.score(X_IRIS, labels))
    r2 = EpochScoring("r2", on_train=True, name="r2")
    net = _quick(callbacks=[r2], standardize_y=True).fit(X, Y)
    assert net.history[-1, "r2"] == pytest.approx(net.score(X, Y))


@pytest.mark.parametrize("weighted", [False, True])
def test_callbacks_get_targets_whether_or_not_rows_have_weights(weighted):
    seen = []

    class Spy(Callback):
        def on_batch_begin(self, net, batch=None, **kwargs):
            seen.append(batch)

        def on_batch_end(self, net, batch=None, y_pred=None, **kwargs):
            assert (y_pred.argmax(1) == batch[1]).shape == (len(y_pred),)

    # Equal rows in a single batch are merged, and have weights then.
    X, y = np.vstack([X_IRIS, X_IRIS[:5]]), np.append(Y_IRIS, Y_IRIS[:5])
    scoring = EpochScoring("accuracy", on_train=True, lower_is_better=False, name="accuracy")
    net = _quick(NeuralNetClassifier, callbacks=[Spy(), scoring], batch_size=200, max_epochs=3)
    net.fit(X, y, sample_weight=np.arange(1.0, len(X) + 1) if weighted else None)
    assert len(seen) == 3
    assert all(torch.is_tensor(target) and len(target) == len(rows) for rows, target in seen)
    assert 0 <= net.history[-1, "accuracy"] <= 1


# ---------------------------------------------------------------------- random numbers


def test_random_state_decides_the_result():
    torch.manual_seed(1)
    first = _quick(batch_size=8).fit(X, Y).predict(X)
    torch.manual_seed(2)
    assert_array_equal(first, _quick(batch_size=8).fit(X, Y).predict(X))
    assert not np.allclose(first, _quick(batch_size=8, random_state=1).fit(X, Y).predict(X))


@pytest.mark.parametrize("n", [1, 2, 3, 15, 17, 33])
def test_a_row_is_predicted_alike_alone_and_among_others(n):
    # To the last bit: scikit-learn's checks compare with a tolerance of 1e-7.
    net = _quick(module__hidden=(100, 30)).fit(X, Y)
    assert_array_equal(net.predict(X[:n]), net.predict(X)[:n])
    assert net.forward(X[:n]).shape == (n, 1)


def test_global_generators_are_left_alone():
    before = torch.get_rng_state()
    np_before = np.random.get_state()[1].copy()
    net = _quick(module__dropout=0.5).fit(X, Y)
    net.predict(X)
    net.partial_fit(X, Y)
    assert torch.equal(before, torch.get_rng_state())
    assert_array_equal(np_before, np.random.get_state()[1])


def test_result_does_not_depend_on_n_jobs():
    net = _quick(batch_size=16, module__dropout=0.2)
    serial = cross_val_score(net, X, Y, cv=3)
    assert_array_equal(serial, cross_val_score(net, X, Y, cv=3, n_jobs=2))


def test_number_of_threads_is_put_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        seen = []

        class Spy(Callback):
            def on_batch_end(self, net, **kwargs):
                seen.append(torch.get_num_threads())

        _quick(callbacks=[Spy()]).fit(X, Y)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
        with pytest.raises(KeyboardInterrupt):
            _quick(module=Interrupted).fit(X, Y)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_torch_seed_restores_the_generator():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), torch_seed(3):
        first = torch.rand(2)
        raise ZeroDivisionError
    assert torch.equal(before, torch.get_rng_state())
    with torch_seed(3):
        assert torch.equal(first, torch.rand(2))


# ---------------------------------------------------------------------- training


def test_prediction_changes_nothing_and_fit_leaves_evaluation_mode():
    net = _quick(module__dropout=0.5).fit(X, Y)
    assert not any(module.training for module in net.module_.modules())
    before = pickle.dumps(net)
    assert_array_equal(net.predict(X), net.predict(X))
    assert pickle.dumps(net) == before
    net.module_.train()
    net.predict(X)
    assert net.module_.training


def test_forward_keeps_order_and_flags():
    net = _quick(module__dropout=0.9, module__hidden=(50,), batch_size=16).fit(X, Y)
    expected = net.forward(X)
    assert_allclose(expected[:, 0], net.predict(X), rtol=1e-6)
    assert not torch.allclose(net.forward(X, training=True).detach(), expected)
    assert not net.module_.training
    net.set_params(module__dropout=0.0).fit(X, Y)
    assert torch.equal(net.forward(X, training=True).detach(), net.forward(X))


def test_ctrl_c_is_passed_on():
    net = _quick(module=Interrupted, batch_size=16)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y)
    with pytest.raises(NotFittedError):
        net.predict(X)
    with pytest.raises(KeyboardInterrupt):
        _quick(callbacks=[InterruptedScoring("r2")]).fit(X, Y)


def test_callbacks_may_end_the_training():
    net = _quick(callbacks=[StopAfterThree()], max_epochs=10).fit(X, Y)
    assert len(net.history) == 3
    stopping = EarlyStopping(monitor="train_loss", patience=2, threshold=10.0, sink=lambda _: None)
    net = _quick(callbacks=[stopping], max_epochs=10).fit(X, Y)
    assert len(net.history) == 3
    assert stopping.misses_ == 0, "the user's callback was trained with"


def test_every_label_is_trained_on_unless_asked():
    net = _quick(batch_size=-1, max_epochs=1).fit(X[:3], Y[:3])
    assert net.get_params()["train_split"] is None
    split = _quick(train_split=ValidSplit(3), callbacks=[EarlyStopping(sink=lambda _: None)])
    assert "valid_loss" in split.fit(X, Y).history[-1]


def test_a_last_batch_of_one_row_joins_the_one_before():
    assert batch_bounds(9, 4) == [(0, 4), (4, 9)]
    assert batch_bounds(8, 4) == [(0, 4), (4, 8)]
    assert batch_bounds(1, 4) == [(0, 1)]
    assert batch_bounds(3, 1) == [(0, 1), (1, 3)]
    net = _quick(module__batch_norm=True, batch_size=16).fit(X[:33], Y[:33])
    assert np.isfinite(net.predict(X)).all()


def test_loader_gives_every_row_once_with_its_target():
    data = _rng.randn(25, 3).astype(np.float32)
    table = TableDataset(data, None, np.arange(25), np.arange(25, dtype=np.float32))
    subset = torch.utils.data.Subset(torch.utils.data.Subset(table, range(5, 25)), [3, 1, 2, 9, 8])
    for dataset, rows in [(table, np.arange(25)), (subset, np.array([8, 6, 7, 14, 13]))]:
        for shuffle in (False, True):
            batches = list(TensorLoader(dataset, 4, shuffle=shuffle))
            seen = np.concatenate([target.numpy() for _, (target, _) in batches])
            if not shuffle:
                assert_array_equal(seen, rows)
            assert_array_equal(np.sort(seen), np.sort(rows))
            assert_array_equal(np.concatenate([x.numpy() for x, _ in batches]), data[seen])
            assert_array_equal(np.concatenate([w.numpy() for _, (_, w) in batches]), seen)
    assert_array_equal(table[4][0], data[4])


def test_history_stays_small():
    net = _quick(batch_size=4, max_epochs=10).fit(X, Y)
    for _ in range(5):
        net.partial_fit(X, Y)
    assert len(net.history) == 60
    assert all(epoch["batches"] == [] for epoch in net.history)
    assert np.isfinite(net.history[:, "train_loss"]).all()


def test_diverged_training_is_an_error_with_a_remedy():
    net = _quick(optimizer=torch.optim.SGD, lr=1e6, max_epochs=30)
    message = r"Training loss became (inf|nan) in epoch \d+ of NeuralNetRegressor. Scale X and y "
    with pytest.raises(ValueError, match=message + r"\(standardize_y=True\) or lower lr"):
        net.fit(X, Y)
    with pytest.raises(NotFittedError):
        net.predict(X)
    with pytest.raises(ValueError, match="of NeuralNetClassifier. Scale X or lower lr"):
        _quick(NeuralNetClassifier, optimizer=torch.optim.SGD, lr=1e38).fit(X_IRIS, Y_IRIS)


def test_standardize_y_is_the_same_fit_in_other_units():
    plain = NeuralNetRegressor(random_state=0).fit(X, (Y - Y.mean()) / Y.std())
    own = NeuralNetRegressor(random_state=0, standardize_y=True).fit(X, 1e4 * Y)
    assert_allclose(own.predict(X), 1e4 * (plain.predict(X) * Y.std() + Y.mean()), rtol=1e-4)
    assert_allclose([own.y_mean_[0], own.y_scale_[0]], [1e4 * Y.mean(), 1e4 * Y.std()])
    constant = _quick(standardize_y=True).fit(X, np.full(60, 0.1))
    assert constant.y_scale_[0] == 1.0
    assert not hasattr(constant.set_params(standardize_y=False).fit(X, Y), "y_mean_")


# ---------------------------------------------------------------------- weights


@pytest.mark.parametrize("standardize_y", [False, True])
def test_weights_equal_repetitions(standardize_y):
    weight = _rng.randint(0, 4, 20)
    repeated = np.repeat(np.arange(20), weight)
    _rng.shuffle(repeated)
    net = _quick(standardize_y=standardize_y, batch_size=-1, max_epochs=50)
    weighted = clone(net).fit(X[:20], Y[:20], sample_weight=weight)
    again = clone(net).fit(X[repeated], Y[repeated])
    assert_allclose(weighted.predict(X), again.predict(X), rtol=1e-12)
    assert not np.allclose(weighted.predict(X), clone(net).fit(X[:20], Y[:20]).predict(X))
    scaled = clone(net).fit(X[:20], Y[:20], sample_weight=7.0 * weight)
    assert_allclose(scaled.predict(X), weighted.predict(X), rtol=1e-4)


def test_constant_weights_are_none():
    net = _quick(batch_size=16)
    plain = clone(net).fit(X, Y).predict(X)
    assert_array_equal(plain, clone(net).fit(X, Y, sample_weight=np.full(60, 3.0)).predict(X))
    assert_array_equal(plain, clone(net).fit(X, Y, sample_weight=2).predict(X))


@pytest.mark.parametrize("with_class_weight", [False, True])
def test_weighted_loss_of_a_batch_by_hand(with_class_weight):
    params = {"criterion__weight": torch.tensor([1.0, 2.0, 4.0])} if with_class_weight else {}
    net = _quick(NeuralNetClassifier, **params).fit(X_IRIS, Y_IRIS)
    logits, target = torch.randn(8, 3), torch.tensor([0, 1, 2, 0, 1, 2, 2, 2])
    weight = torch.rand(8) + 0.5
    rows = -torch.log_softmax(logits, 1)[torch.arange(8), target]
    c = params.get("criterion__weight", torch.ones(3))[target]
    expected = (weight * c * rows).sum() / ((weight * c).sum() if with_class_weight else 8)
    assert_allclose(net.get_loss(logits, (target, weight)), expected, rtol=1e-6)
    assert_allclose(
        net.get_loss(logits, (target, torch.ones(8))), net.get_loss(logits, target), rtol=1e-6
    )
    assert net.criterion_.reduction == "mean"


def test_merging_repeated_rows_is_left_out_where_it_would_count():
    doubled = np.r_[np.arange(20), np.arange(20)]
    plain = _quick(module__batch_norm=True, batch_size=-1)
    torch_loss = []

    class Spy(Callback):
        def on_batch_begin(self, net, batch=None, **kwargs):
            torch_loss.append(len(batch[0]))

    plain.set_params(callbacks=[Spy()]).fit(X[doubled], Y[doubled])
    assert set(torch_loss) == {40}
    torch_loss.clear()
    _quick(batch_size=-1, callbacks=[Spy()]).fit(X[doubled], Y[doubled])
    assert set(torch_loss) == {20}


def test_bad_weights():
    for weight, message in [
        (np.zeros(60), "at least one non-zero"),
        (-np.ones(60), "Negative values"),
        (np.ones(59), r"expected \(60,\)"),
        (np.ones((60, 2)), "1D array or scalar"),
    ]:
        with pytest.raises(ValueError, match=message):
            _quick().fit(X, Y, sample_weight=weight)


def test_weights_are_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        net = _quick().set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, net)
        weighted = pipeline.fit(X, Y, sample_weight=np.arange(60.0)).predict(X)
        plain = clone(pipeline).fit(X, Y).predict(X)
    assert not np.allclose(weighted, plain)


# ---------------------------------------------------------------------- parameters


def test_kinds_and_repr():
    assert is_regressor(NeuralNetRegressor()) and is_classifier(NeuralNetClassifier())
    assert isinstance(NeuralNetRegressor(), skorch.NeuralNetRegressor)
    assert isinstance(NeuralNetClassifier(), skorch.NeuralNetClassifier)
    net = NeuralNetRegressor(max_epochs=7, module__hidden=(5,))
    assert repr(net) == "NeuralNetRegressor(max_epochs=7, module__hidden=(5,))"
    assert repr(net.fit(X, Y)) == repr(clone(net))
    assert "NeuralNetRegressor" in net._repr_html_()


def test_get_set_and_clone_of_nested_parameters():
    net = NeuralNetRegressor(module__hidden=(5,), optimizer__weight_decay=0.1)
    params = clone(net).get_params()
    assert params["module__hidden"] == (5,) and params["optimizer__weight_decay"] == 0.1
    net.set_params(module__hidden=(6, 7), module__activation="tanh").fit(X, Y)
    assert [layer.out_features for layer in net.module_.body if hasattr(layer, "weight")] == [6, 7]
    assert set(net.get_params(deep=False)) == set(clone(net).get_params(deep=False))
    search = GridSearchCV(_quick(), {"module__hidden": [(3,), (4,)]}, cv=2).fit(X, Y)
    assert search.best_estimator_.module_.head.in_features in (3, 4)


def test_set_params_leaves_a_fitted_net_alone():
    net = _quick().fit(X, Y)
    before = net.predict(X)
    net.set_params(module__hidden=(3,), device="cuda:7", lr=0.5, batch_size=7, max_epochs=1)
    assert_array_equal(before, net.predict(X))
    assert net.optimizer_.param_groups[0]["lr"] == 0.5
    net.set_params(device="cpu")
    assert net.fit(X, Y).module_.head.in_features == 3


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="unexpected argument 'max_epoch'. Did you mean 'max_epoc"):
        NeuralNetRegressor(max_epoch=3).fit(X, Y)
    with pytest.raises(TypeError, match="iterator_train__num_workers"):
        NeuralNetRegressor(iterator_train__num_workers=2).fit(X, Y)
    with pytest.raises(ValueError, match="Invalid parameter 'hidden' for estimator"):
        NeuralNetRegressor().set_params(hidden=3)
    with pytest.raises(TypeError, match="hiden"):
        NeuralNetRegressor(module__hiden=(3,)).fit(X, Y)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"lr": 0.0}, "The 'lr' parameter of NeuralNetRegressor"),
        ({"batch_size": 0}, "The 'batch_size' parameter of NeuralNetRegressor"),
        ({"max_epochs": -1}, "The 'max_epochs' parameter of NeuralNetRegressor"),
        ({"module": "MLP"}, "The 'module' parameter of NeuralNetRegressor must be a callable"),
    ],
)
def test_parameters_are_checked_in_fit(params, message):
    with pytest.raises(ValueError, match=message):
        NeuralNetRegressor(**params).fit(X, Y)


def test_module_instances_are_refused():
    net = NeuralNetRegressor(MLP(4, 1))
    with pytest.raises(TypeError, match=r"instance of MLP .*NeuralNetRegressor\(MLP, module__"):
        net.fit(X, Y)
    assert clone(net.set_params(module=MLP)).fit(X, Y)


def test_criterion_instances_are_copied():
    criterion = nn.SmoothL1Loss(beta=0.3)
    net = _quick(criterion=criterion).fit(X, Y, sample_weight=np.arange(60.0))
    assert net.criterion_ is not criterion and net.criterion_.beta == 0.3
    assert criterion.reduction == "mean"


def test_stray_attributes_are_no_parameters():
    net = NeuralNetRegressor()
    net._parent_callback_ctx = object()
    net.note = "mine"
    assert "_parent_callback_ctx" not in net.get_params() and "note" not in net.get_params()
    assert not hasattr(clone(net), "_parent_callback_ctx")
    pipeline = Pipeline([("net", _quick())]).fit(X, Y)
    assert set(pipeline.get_params()["net"].get_params()) >= {"lr", "module"}
    assert not any(name.startswith("_") for name in pipeline["net"].get_params())


def test_sizes_that_the_user_sets_win():
    net = _quick(NeuralNetClassifier, module__n_outputs=3, classes=range(3))
    assert net.fit(X_IRIS[:100], Y_IRIS[:100]).module_.head.out_features == 3
    with pytest.raises(ValueError, match=r"must return 2 values per row, one logit per class"):
        _quick(NeuralNetClassifier, module__n_outputs=3).fit(X_IRIS[:100], Y_IRIS[:100])
    with pytest.raises(ValueError, match=r"must return 2 values per row, one per column of y"):
        _quick(module=Squeezed).fit(X, np.c_[Y, Y])


@pytest.mark.parametrize(
    "device, message",
    [
        ("auto", "must be 'cpu', 'cuda' or a numbered CUDA device .* Got 'auto' instead"),
        ("gpu:0", "Got 'gpu:0' instead"),
        ("cuda:x", "Got 'cuda:x' instead"),
        ("cuda:", "Got 'cuda:' instead"),
    ],
)
def test_unknown_devices(device, message):
    with pytest.raises(ValueError, match=message):
        NeuralNetRegressor(device=device).fit(X, Y)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_where_there_is_none():
    message = (
        r"NeuralNetRegressor\(device='cuda'\) was asked to train on CUDA but torch finds no CUDA "
        r"device. Use device='cpu' or skal.utils.best_device\(\)."
    )
    with pytest.raises(ValueError, match=message):
        NeuralNetRegressor(device="cuda").fit(X, Y)


def test_trains_and_predicts_on_any_device(device):
    net = NeuralNetRegressor(device=device, random_state=0, standardize_y=True, batch_size=16)
    net.fit(X, Y, sample_weight=np.linspace(1, 2, 60))
    assert next(net.module_.parameters()).device.type == torch.device(device).type
    assert net.score(X, Y) > 0.7
    assert pickle.loads(pickle.dumps(net)).predict(X).shape == (60,)


# ---------------------------------------------------------------------- going on


def test_warm_start_goes_on():
    net = _quick(warm_start=True, standardize_y=True, max_epochs=20).fit(X, Y)
    first, scale = net.history[-1, "train_loss"], net.y_scale_.copy()
    net.fit(X, 2 * Y)
    assert len(net.history) == 40
    assert_array_equal(net.y_scale_, scale)
    net.fit(X, Y)
    assert net.history[-1, "train_loss"] < first
    with pytest.raises(ValueError, match="X has 3 features, but NeuralNetRegressor is expecting 4"):
        net.fit(X[:, :3], Y)
    with pytest.raises(ValueError, match="y has 2 columns"):
        net.fit(X, np.c_[Y, Y])
    cold = _quick(max_epochs=20).fit(X, Y)
    assert len(cold.fit(X, Y).history) == 20


def test_partial_fit_starts_like_fit_and_goes_on():
    net = _quick(NeuralNetClassifier, max_epochs=10, batch_size=16)
    fitted = clone(net).fit(X_IRIS, Y_IRIS)
    net.partial_fit(X_IRIS, Y_IRIS)
    assert_array_equal(net.predict_proba(X_IRIS), fitted.predict_proba(X_IRIS))
    net.partial_fit(X_IRIS[:50], Y_IRIS[:50])
    assert len(net.history) == 20 and net.classes_.tolist() == [0, 1, 2]
    first = clone(net).partial_fit(X_IRIS[:50], Y_IRIS[:50], classes=[0, 1, 2])
    assert first.predict_proba(X_IRIS).shape == (150, 3)
    with pytest.raises(ValueError, match="not among the classes"):
        first.partial_fit(X_IRIS[:2], [0, 7])


def test_interrupted_partial_fit_keeps_a_net_that_works():
    net = _quick(module=Interrupted, batch_size=-1, max_epochs=2).fit(X, Y)
    with pytest.raises(KeyboardInterrupt):
        net.partial_fit(X, Y)
    assert net.predict(X).shape == (60,)


def test_initialize_does_not_count_as_fitted():
    net = NeuralNetRegressor(module__n_features=4, module__n_outputs=1).initialize()
    with pytest.raises(NotFittedError):
        net.predict(X)
    with pytest.raises(ValueError, match="does not know n_features of its module"):
        NeuralNetRegressor().initialize()


def test_pickle_and_clone():
    net = _quick(NeuralNetClassifier, callbacks=[StopAfterThree()]).fit(X_IRIS, Y_IRIS)
    copy = pickle.loads(pickle.dumps(net))
    assert_array_equal(copy.predict_proba(X_IRIS), net.predict_proba(X_IRIS))
    with pytest.raises(NotFittedError):
        clone(net).predict(X_IRIS)
    with pytest.raises(AttributeError, match="classes_"):
        clone(net).classes_  # noqa: B018
    assert not hasattr(NeuralNetRegressor(), "predict_proba")


def test_verbose_prints_a_line_per_epoch(capsys):
    _quick().fit(X, Y)
    assert capsys.readouterr().out == ""
    _quick(verbose=1).fit(X, Y)
    assert capsys.readouterr().out.count("\n") >= 5


def test_no_warnings_in_ordinary_use():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = make_pipeline(StandardScaler(), _quick(NeuralNetClassifier))
        model.fit(X_IRIS, Y_IRIS).predict_proba(X_IRIS)


class Tuned(NeuralNetRegressor):
    """A net with one parameter more, as a user would derive it."""

    def __init__(self, module=MLP, *, strength=1.0, **kwargs):
        super().__init__(module, **kwargs)
        self.strength = strength


def test_derived_nets_inherit_the_parameters():
    net = Tuned(strength=2.0, lr=0.01, module__hidden=(3,))
    assert clone(net).get_params(deep=False) == net.get_params(deep=False)
    assert {"strength", "lr", "standardize_y"} <= set(net.get_params())
    assert net.fit(X, Y).module_.head.in_features == 3
