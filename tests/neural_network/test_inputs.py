"""What nets take: dicts of inputs, float64, a target for each position, class weights."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils import compute_sample_weight
from torch import nn

from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor, NoisyChannelClassifier
from skal.views import NetView

_rng = np.random.RandomState(0)
X = _rng.randn(60, 6)
Y = np.arange(60) % 3


def _quick(cls=NeuralNetClassifier, **params):
    return cls(**{"max_epochs": 3, "random_state": 0, **params})


# ---------------------------------------------------------------------- dicts


class Two(nn.Module):
    """Takes numbers and token positions; `mask` says which tokens there are."""

    def __init__(self, n_outputs, n_features=None):
        super().__init__()
        self.numbers = nn.Linear(6, 8)
        self.tokens = nn.Embedding(10, 4)
        self.head = nn.Linear(12, n_outputs)
        self.n_features = n_features

    def forward(self, num, ids, mask):
        assert ids.dtype == torch.int64 and mask.dtype == torch.bool
        tokens = self.tokens(ids) * mask[..., None]
        return self.head(torch.cat([self.numbers(num).relu(), tokens.mean(1)], 1))


def _dict(n=60):
    rng = np.random.RandomState(1)
    ids = rng.randint(0, 10, (60, 5)).astype(np.int32)
    return {"num": X[:n], "ids": ids[:n], "mask": (ids > 2)[:n]}


@pytest.mark.parametrize("cls", [NeuralNetClassifier, NeuralNetRegressor, NoisyChannelClassifier])
def test_dicts_of_inputs(cls):
    y = X[:, 0] if cls is NeuralNetRegressor else Y
    net = _quick(cls, module=Two, batch_size=16).fit(_dict(), y)
    assert net.predict(_dict(7)).shape == (7,)
    assert not hasattr(net, "n_features_in_") and net.module_.n_features == 6 + 5 + 5
    tensors = {name: torch.as_tensor(part) for name, part in _dict().items()}
    assert_array_equal(net.predict(tensors), net.predict(_dict()))
    again = _quick(cls, module=Two, batch_size=16).fit({**_dict(), "num": X.tolist()}, y)
    assert_array_equal(again.predict(_dict()), net.predict(_dict()))


def test_repeated_rows_of_dicts_are_weights():
    twice = {name: np.concatenate([part, part[:10]]) for name, part in _dict().items()}
    net = _quick(module=Two, batch_size=-1).fit(twice, np.append(Y, Y[:10]))
    weighted = _quick(module=Two, batch_size=-1)
    weighted.fit(_dict(), Y, sample_weight=np.where(np.arange(60) < 10, 2.0, 1.0))
    assert_array_equal(net.predict_proba(_dict()), weighted.predict_proba(_dict()))


def test_sparse_parts_of_dicts():
    class_ = _quick(module=Two).fit(_dict(), Y)
    spread = {**_dict(), "num": sparse.csr_matrix(X)}
    assert_array_equal(_quick(module=Two).fit(spread, Y).predict(spread), class_.predict(_dict()))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num": X[:5]}, "same length"),
        (
            {"num": np.array(["a"] * 60)},
            r"X\['num'\] of NeuralNetClassifier must be an array of num",
        ),
        ({"num": np.where(X > 0, X, np.nan)}, r"X\['num'\] contains NaN"),
        ({"num": np.float64(3.0)}, "has no len|must be an array of numbers"),
    ],
)
def test_bad_dicts(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        _quick(module=Two).fit({**_dict(), **change}, Y)


def test_dicts_are_checked_like_tables():
    net = _quick(module=Two).fit(_dict(), Y)
    with pytest.raises(ValueError, match="was fitted on a dict of arrays. Got an array instead"):
        net.predict(X)
    with pytest.raises(ValueError, match="expecting rows of shape"):
        net.predict({"num": X, "ids": _dict()["ids"]})
    with pytest.raises(TypeError, match="which must be str. Got 3 instead"):
        net.predict({3: X})
    with pytest.raises(ValueError, match="was fitted on an array. Got a dict of arrays"):
        _quick().fit(X, Y).predict({"X": X})
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        _quick(module=Two).fit(_dict(), Y[:5])


# ---------------------------------------------------------------------- float64


class Double(nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.head = nn.Linear(n_features, n_outputs)
        self.double()

    def forward(self, X):
        assert X.dtype == torch.float64
        return self.head(X)


@pytest.mark.parametrize("weight", [None, np.arange(60.0)])
def test_modules_that_compute_in_float64(weight):
    net = _quick(NeuralNetRegressor, module=Double).fit(X, X[:, 0], sample_weight=weight)
    by_hand = net.module_(torch.as_tensor(X)).detach().numpy().ravel()
    assert_allclose(net.predict(X), by_hand, rtol=1e-14)
    classifier = _quick(module=Double, criterion__weight=[1.0, 2.0, 3.0]).fit(X, Y)
    assert classifier.predict_proba(X).dtype == np.float64
    expected = torch.softmax(classifier.module_(torch.as_tensor(X)), 1).detach().numpy()
    assert_allclose(classifier.predict_proba(X), expected, rtol=1e-12)
    assert NetView(classifier).logits(X).dtype == torch.float64
    assert_allclose(NetView(net).outputs(X).ravel(), by_hand, rtol=1e-14)


def test_default_dtype_of_float64():
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        net = _quick(NeuralNetRegressor, standardize_y=True).fit(X, X[:, 0])
        assert net.module_.head.weight.dtype == torch.float64
        assert NetView(net).features(X).dtype == torch.float64
    finally:
        torch.set_default_dtype(before)
    # What it computes in is the module's, whatever the default is now.
    assert np.isfinite(net.predict(X)).all()
    assert _quick().fit(X, Y).predict_proba(X).dtype == np.float32


# ---------------------------------------------------------------------- a target per position


class Pixels(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.body = nn.Conv2d(1, 8, 3, padding=1)
        self.out = nn.Conv2d(8, n_outputs, 1)

    def forward(self, X):
        return self.out(torch.relu(self.body(X)))


class Depth(Pixels):
    def __init__(self):
        super().__init__(1)


class Tagger(nn.Module):
    """A label for each token: logits (n, n_classes, n_tokens)."""

    def __init__(self, n_outputs):
        super().__init__()
        self.head = nn.Linear(3, n_outputs)

    def forward(self, X):
        return self.head(X).transpose(1, 2)


IMAGES = _rng.rand(40, 1, 6, 6).astype(np.float32)
MASKS = np.where(IMAGES[:, 0] > 0.5, "wet", "dry")


def test_a_class_per_pixel():
    net = _quick(module=Pixels, max_epochs=60, lr=0.01, batch_size=8).fit(IMAGES, MASKS)
    P = net.predict_proba(IMAGES)
    assert P.shape == (40, 2, 6, 6)
    assert_allclose(P.sum(1), 1, rtol=1e-5)
    assert_array_equal(net.predict(IMAGES), net.classes_[P.argmax(1)])
    right = (net.predict(IMAGES) == MASKS).mean((1, 2))
    assert net.score(IMAGES, MASKS) == pytest.approx(right.mean()) and right.mean() > 0.8
    weight = np.arange(40.0)
    assert net.score(IMAGES, MASKS, weight) == pytest.approx(np.average(right, weights=weight))
    net.fit(IMAGES, MASKS, sample_weight=weight)
    with pytest.raises(ValueError, match=r"labels of shape \(5, 6\) per row.*expecting \(6, 6\)"):
        net.partial_fit(IMAGES, MASKS[:, :5])
    with pytest.raises(ValueError, match="class_weight.*Use criterion__weight"):
        _quick(module=Pixels, class_weight="balanced").fit(IMAGES, MASKS)
    with pytest.raises(
        ValueError, match=r"2 values per row and position, in the shape \(n_samples"
    ):
        _quick().fit(IMAGES, MASKS)


def test_a_class_per_token_and_a_number_per_pixel():
    tokens, tags = _rng.randn(40, 5, 3), _rng.randint(0, 3, (40, 5))
    net = _quick(module=Tagger).fit(tokens, tags)
    assert net.predict(tokens).shape == (40, 5)
    depth = IMAGES[:, 0] * 300 + 1000
    net = _quick(NeuralNetRegressor, module=Depth, standardize_y=True, max_epochs=40, lr=0.02)
    assert net.fit(IMAGES, depth).predict(IMAGES).shape == (40, 6, 6)
    assert np.abs(net.predict(IMAGES) - depth).mean() < np.abs(depth - depth.mean()).mean() / 2
    # Of tables, several labels per row are no positions.
    with pytest.raises(ValueError, match="1d array"):
        _quick().fit(X, np.column_stack([Y, Y]))


# ---------------------------------------------------------------------- classes and weights


@pytest.mark.parametrize("weights", ["balanced", {0: 1.0, 1: 5.0, 2: 0.5}])
def test_class_weights_are_weights_of_rows(weights):
    y, own = np.minimum(np.arange(60) // 25, 2), np.linspace(1, 2, 60)
    net = _quick(class_weight=weights).fit(X, y, sample_weight=own)
    expected = _quick().fit(X, y, sample_weight=own * compute_sample_weight(weights, y))
    assert_array_equal(net.predict_proba(X), expected.predict_proba(X))
    alone = _quick(class_weight=weights).fit(X, y)
    expected = _quick().fit(X, y, sample_weight=compute_sample_weight(weights, y))
    assert_array_equal(alone.predict_proba(X), expected.predict_proba(X))


def test_weights_of_the_criterion_come_as_any_array():
    expected = _quick(criterion__weight=torch.tensor([1.0, 2.0, 3.0])).fit(X, Y).predict_proba(X)
    for weight in ([1, 2, 3], np.array([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 3.0]).double()):
        assert_array_equal(_quick(criterion__weight=weight).fit(X, Y).predict_proba(X), expected)
    with pytest.raises(ValueError, match=r"for each of the 3 classes. Got shape \(2,\)"):
        _quick(criterion__weight=[1.0, 2.0]).fit(X, Y)
    with pytest.raises(ValueError, match="Use class_weight='balanced'"):
        _quick(criterion__weight="balanced").fit(X, Y)


# ---------------------------------------------------------------------- weights from a file


def test_load_params_gives_a_net_that_predicts(tmp_path):
    file = tmp_path / "weights.pt"
    net = _quick().fit(X, Y)
    net.save_params(file)
    sizes = {"module__n_features": 6, "module__n_outputs": 3}
    other = NeuralNetClassifier(classes=[0, 1, 2], **sizes).initialize()
    with pytest.raises(NotFittedError):
        other.predict(X)
    other.load_params(file)
    assert_array_equal(other.predict_proba(X), net.predict_proba(X))
    with pytest.raises(ValueError, match="pass classes= to NeuralNetClassifier before load_params"):
        NeuralNetClassifier(**sizes).initialize().load_params(file)
    net = _quick(NeuralNetRegressor).fit(X, X[:, 0])
    net.save_params(file)
    sizes["module__n_outputs"] = 1
    other = NeuralNetRegressor(**sizes).initialize()
    other.load_params(file)
    assert_array_equal(other.predict(X), net.predict(X))
    with pytest.raises(ValueError, match="the scale of y.*pickle or joblib"):
        NeuralNetRegressor(standardize_y=True, **sizes).initialize().load_params(file)
