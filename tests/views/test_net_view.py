"""NetView against computations by hand, through every wrapper, and without a trace."""

import copy

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import skorch
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skorch.helper import SliceDict
from torch import nn

from skal import ActiveLearner
from skal.neural_network import MLP, NeuralNetClassifier, NeuralNetRegressor
from skal.views import NetView, find_net, has_net, predictor_inputs, unwrap

_rng = np.random.RandomState(0)
X = _rng.randn(50, 4)
X32 = X.astype(np.float32)
Y = X @ np.array([1.0, -2.0, 0.5, 0.0])
C = (Y > 0).astype(np.int64) + (Y > 1)


def _net(cls=NeuralNetRegressor, **params):
    return cls(**{"max_epochs": 3, "random_state": 0, "module__hidden": (7, 5), **params})


def _bare(cls=skorch.NeuralNetClassifier, module=MLP, **params):
    defaults = {"train_split": None, "verbose": 0, "max_epochs": 2}
    if module is MLP:
        defaults |= {"module__n_features": 4, "module__n_outputs": 3}
    if cls is skorch.NeuralNetClassifier:
        defaults["criterion"] = nn.CrossEntropyLoss
    return cls(module, **{**defaults, **params})


def _by_hand(module, X):
    """Features and logits of an MLP with ReLU, in NumPy and float64."""
    H = np.asarray(X, dtype=np.float64)
    for layer in module.body:
        if isinstance(layer, nn.Linear):
            W, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            H = np.maximum(H @ W.T.astype(np.float64) + b, 0.0)
    head = module.head
    return H, H @ head.weight.detach().numpy().T.astype(np.float64) + head.bias.detach().numpy()


def _agrees(estimator, net, X_raw, X_seen):
    view = NetView(estimator)
    assert view.net is net and view.module is not net.module_
    H, Z = _by_hand(net.module_, X_seen)
    features, logits = view.features_and_logits(X_raw)
    assert features.dtype == logits.dtype == torch.float32
    assert_allclose(features, H, atol=1e-5)
    assert_allclose(logits, Z, atol=1e-5)
    assert torch.equal(view.features(X_raw), features)
    assert torch.equal(view.logits(X_raw), logits)
    assert torch.equal(view.outputs(X_raw), logits)
    assert view.head is view.module.head
    assert (view.n_features_, view.n_outputs) == (H.shape[1], Z.shape[1])


# ---------------------------------------------------------------------- through wrappers


def test_plain_net():
    net = _net().fit(X, Y)
    _agrees(net, net, X, X)
    _agrees(FrozenEstimator(net), net, X, X)
    _agrees(net, net, sp.csr_array(X), X)


def test_table_in_a_transformed_target_regressor():
    frame = pd.DataFrame({"area": X[:, 0], "quarter": np.where(X[:, 1] > 0, "lake", "hill")})
    columns = make_column_transformer((StandardScaler(), ["area"]), (OneHotEncoder(), ["quarter"]))
    model = TransformedTargetRegressor(
        make_pipeline(columns, _net()), func=np.positive, inverse_func=np.positive
    ).fit(frame, Y)
    fitted, net = model.regressor_[0], model.regressor_[1]
    seen = fitted.transform(frame)
    _agrees(model, net, frame, seen)
    assert unwrap(model) is net
    assert_array_equal(predictor_inputs(model, frame), seen)


def test_search_threshold_and_nested_pipelines():
    inner = make_pipeline(StandardScaler(), _net(NeuralNetClassifier))
    pipeline = Pipeline(
        [
            ("negative", FunctionTransformer(np.negative)),
            ("nothing", "passthrough"),
            ("inner", inner),
        ]
    )
    search = GridSearchCV(pipeline, {"inner__neuralnetclassifier__lr": [0.01]}, cv=2).fit(X, C)
    net = search.best_estimator_[-1][-1]
    seen = search.best_estimator_[-1][0].transform(-X)
    _agrees(search, net, X, seen)
    _agrees(FrozenEstimator(search), net, X, seen)
    transformers, found = find_net(search)
    assert found is net and len(transformers) == 2
    threshold = FixedThresholdClassifier(_net(NeuralNetClassifier)).fit(X, C > 0)
    _agrees(threshold, threshold.estimator_, X, X)


def test_active_learner():
    learner = ActiveLearner(make_pipeline(StandardScaler(), _net())).fit(X, Y)
    net = learner.estimator_[-1]
    _agrees(learner, net, X, learner.estimator_[0].transform(X))


def test_bare_skorch_nets():
    net = _bare().fit(X32, C)
    _agrees(net, net, X32, X32)
    cast = make_pipeline(StandardScaler(), FunctionTransformer(np.float32), _bare())
    cast.fit(X, C)
    _agrees(cast, cast[-1], X, cast[:-1].transform(X))
    assert NetView(net).features(X).dtype == torch.float32
    before = NetView(net)
    assert before.n_features_ == 100, "the size of a row is that of the first linear layer"


def test_predictor_inputs_of_any_estimator():
    model = make_pipeline(StandardScaler(), Ridge()).fit(X, Y)
    assert_array_equal(predictor_inputs(model, X), model[0].transform(X))
    assert predictor_inputs(Ridge().fit(X, Y), X) is X
    one_step = make_pipeline(Ridge()).fit(X, Y)
    assert predictor_inputs(one_step, X) is X
    encoder = make_pipeline(OneHotEncoder(), Ridge()).fit(np.round(X), Y)
    assert sp.issparse(predictor_inputs(encoder, np.round(X)))


# ---------------------------------------------------------------------- what is no net


def test_other_predictors_are_named():
    model = make_pipeline(StandardScaler(), Ridge()).fit(X, Y)
    message = (
        r"BADGE needs a fitted torch net but found Ridge at the end of "
        r"Pipeline\(StandardScaler, Ridge\). Use a net from skal.neural_network, or a strategy "
        r"that needs only predictions."
    )
    with pytest.raises(TypeError, match=message):
        find_net(model, needed_by="BADGE")
    with pytest.raises(TypeError, match=message):
        NetView(FrozenEstimator(model), needed_by="BADGE")
    with pytest.raises(TypeError, match="but found Ridge. Use a net"):
        find_net(Ridge().fit(X, Y))
    wrapped = TransformedTargetRegressor(model).fit(X, Y)
    with pytest.raises(TypeError, match=r"TransformedTargetRegressor\(Pipeline\(StandardScaler, "):
        find_net(wrapped)
    with pytest.raises(TypeError, match="found NoneType"):
        find_net(None)
    with pytest.raises(TypeError, match="found passthrough at the end of"):
        find_net(Pipeline([("scale", StandardScaler()), ("end", "passthrough")]).fit(X))


@pytest.mark.parametrize(
    "estimator",
    [_net(), _bare(), make_pipeline(StandardScaler(), _net()), GridSearchCV(_net(), {})],
)
def test_nets_that_are_not_fitted(estimator):
    with pytest.raises(NotFittedError, match="LHD needs a fitted torch net but .* is not fitted"):
        find_net(estimator, needed_by="LHD")
    assert not has_net(estimator)


def test_has_net():
    assert has_net(make_pipeline(StandardScaler(), _net()).fit(X, Y))
    assert has_net(_bare().fit(X32, C))
    assert not has_net(LogisticRegression().fit(X, C))
    assert not has_net(None)


# ---------------------------------------------------------------------- probabilities


class Softmax(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.scale = scale

    def forward(self, X):
        return torch.softmax(self.head(X) * self.scale, 1)


class Sigmoid(nn.Module):
    def __init__(self, probability=False, n_outputs=1):
        super().__init__()
        self.head = nn.Linear(4, n_outputs)
        self.probability = probability

    def forward(self, X):
        z = self.head(X).squeeze(-1)
        return torch.sigmoid(z) if self.probability else z


class LogSoftmax(Softmax):
    def forward(self, X):
        return torch.log_softmax(self.head(X), 1)


def _sharpen(net, factor=50.0):
    """Make the probabilities saturate in float32."""
    with torch.no_grad():
        net.module_.head.weight.mul_(factor)
    return net


@pytest.mark.parametrize("own", [True, False])
def test_probabilities_of_logits_keep_their_digits(own):
    net = _net(NeuralNetClassifier).fit(X, C) if own else _bare().fit(X32, C)
    _sharpen(net, 1000.0)
    log_P = NetView(net).log_probabilities(X32)
    Z = NetView(net).logits(X32).double()
    assert log_P.dtype == torch.float64
    assert_allclose(log_P, Z - torch.logsumexp(Z, 1, keepdim=True), atol=1e-12)
    assert log_P.min() < -100.0
    P = NetView(net).probabilities(X32)
    assert_allclose(P.sum(1), 1.0, rtol=1e-12)
    assert_allclose(P, net.predict_proba(X32), atol=1e-6)


def test_modules_that_end_in_softmax():
    net = _sharpen(_bare(module=Softmax, criterion=nn.NLLLoss).fit(X32, C))
    log_P = NetView(net).log_probabilities(X32)
    Z = NetView(net).logits(X32).double()
    assert_allclose(log_P, torch.log_softmax(Z, 1))
    assert torch.isfinite(log_P).all() and log_P.min() < -50.0
    scaled = _bare(module=Softmax, criterion=nn.NLLLoss, module__scale=3.0).fit(X32, C)
    assert_allclose(NetView(scaled).probabilities(X32), scaled.predict_proba(X32), atol=1e-6)
    own = NeuralNetClassifier(Softmax, criterion=nn.NLLLoss, max_epochs=2).fit(X, C)
    _sharpen(own)
    Z = NetView(own).logits(X).double()
    assert_allclose(NetView(own).log_probabilities(X), torch.log_softmax(Z, 1))


def test_modules_that_end_in_log_softmax():
    net = _bare(skorch.NeuralNet, module=LogSoftmax, criterion=nn.NLLLoss).fit(X32, C)
    Z = NetView(net).logits(X32).double()
    assert_allclose(NetView(net).log_probabilities(X32), torch.log_softmax(Z, 1), atol=1e-6)


@pytest.mark.parametrize("probability", [False, True])
def test_one_sigmoid_gives_two_columns(probability):
    criterion = nn.BCELoss if probability else nn.BCEWithLogitsLoss
    net = _bare(
        skorch.NeuralNetBinaryClassifier,
        module=Sigmoid,
        module__probability=probability,
        criterion=criterion,
    ).fit(X32, (C > 0).astype(np.float32))
    _sharpen(net)
    z = NetView(net).logits(X32).double()[:, 0].numpy()
    log_P = NetView(net).log_probabilities(X32)
    assert_allclose(log_P[:, 1], -np.logaddexp(0, -z))
    assert_allclose(log_P[:, 0], -np.logaddexp(0, z))
    assert_allclose(NetView(net).probabilities(X32), net.predict_proba(X32), atol=1e-6)


def _squared_share(outputs):
    return outputs**2 / (outputs**2).sum(1, keepdim=True)


def test_other_criteria():
    net = _bare(criterion=nn.MultiMarginLoss).fit(X32, C)
    with pytest.raises(ValueError, match="the outputs of NeuralNetClassifier are none"):
        NetView(net, needed_by="Margin").log_probabilities(X32)
    net = _bare(criterion=nn.MultiMarginLoss, predict_nonlinearity=_squared_share).fit(X32, C)
    assert_allclose(NetView(net).probabilities(X32), net.predict_proba(X32), atol=1e-6)
    with pytest.raises(ValueError, match="Margin needs class probabilities, and .* is a regressor"):
        NetView(_net().fit(X, Y), needed_by="Margin").probabilities(X)
    many = _bare(
        skorch.NeuralNet,
        module=Sigmoid,
        module__n_outputs=2,
        criterion=nn.BCEWithLogitsLoss,
    ).fit(X32, np.c_[C > 0, C > 1].astype(np.float32))
    with pytest.raises(ValueError, match="2 independent ones"):
        NetView(many).probabilities(X32)


# ---------------------------------------------------------------------- the head


class Conv(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(27, n_outputs)

    def forward(self, X):
        return self.head(torch.relu(self.norm(self.conv(X))).flatten(1))


class Reordered(nn.Module):
    """Defines the head first, and an unused layer last; calls the head by keyword."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.head = nn.Linear(6, n_outputs)
        self.body = nn.Linear(n_features, 6)
        self.unused = nn.Linear(6, n_outputs)

    def forward(self, X):
        return self.head(input=torch.tanh(self.body(X))), self.body.weight.sum()


class Auxiliary(nn.Module):
    """A second linear layer runs after the head and does not lead to the output."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.body = nn.Linear(n_features, 6)
        self.head = nn.Linear(6, n_outputs)
        self.aux = nn.Linear(6, 9)

    def forward(self, X):
        H = torch.tanh(self.body(X))
        outputs = self.head(H)
        return outputs, self.aux(H)


class NoLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 4)

    def forward(self, X):
        return self.conv(X[:, None]).flatten(1)


def test_convolutional_net():
    images = _rng.randn(30, 1, 5, 5)
    net = NeuralNetClassifier(Conv, max_epochs=2, random_state=0).fit(images, C[:30])
    view = NetView(net, batch_size=7)
    assert view.n_features_ == 27
    module = net.module_
    with torch.no_grad():
        x = torch.tensor(images, dtype=torch.float32)
        expected = torch.relu(module.norm(module.conv(x))).flatten(1)
    assert_allclose(view.features(images), expected, atol=1e-6)
    maps = NetView(net, layer="norm").features(images)
    assert maps.shape == (30, 27)
    assert_allclose(maps, module.conv(x).detach().flatten(1), atol=1e-6)


def test_the_head_is_the_last_linear_that_runs():
    net = NeuralNetRegressor(Reordered, max_epochs=2, random_state=0).fit(X, Y)
    view = NetView(net)
    assert view.head is view.module.head
    body = net.module_.body
    assert_allclose(view.features(X), torch.tanh(body(torch.tensor(X32))).detach(), atol=1e-6)


def test_a_head_that_does_not_lead_to_the_output():
    net = NeuralNetRegressor(Auxiliary, max_epochs=2, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match=r"is 'aux', .* \(50, 9\), .*layer=<name>, one of.*'head'"):
        NetView(net).features(X)
    view = NetView(net, layer="head")
    assert_allclose(view.logits(X), view.outputs(X))
    assert NetView(net, layer="aux").logits(X).shape == (50, 9)
    with pytest.raises(ValueError, match="'layer' of CoreSet must name a layer .* Got 'neck'"):
        NetView(net, layer="neck", needed_by="CoreSet")


def test_modules_without_linear_layers():
    net = NeuralNetRegressor(NoLinear, max_epochs=2, random_state=0).fit(X, Y)
    assert NetView(net).outputs(X).shape == (50, 1)
    with pytest.raises(ValueError, match="CoreSet found no nn.Linear that runs in NoLinear"):
        NetView(net, needed_by="CoreSet").features(X)
    assert NetView(net, layer="conv").features(X).shape == (50, 4)


# ---------------------------------------------------------------------- without a trace


class Restless(nn.Module):
    """Counts its calls, draws random numbers and can fail, whatever the mode."""

    fail = False

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_features)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(n_features, n_outputs)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, X):
        self.calls += 1
        self.head.bias.data += 1.0
        torch.rand(3)
        if self.fail:
            raise RuntimeError("out of memory")
        return self.head(self.drop(self.norm(X)))


@pytest.mark.parametrize("fail", [False, True])
def test_everything_is_put_back(fail, monkeypatch):
    net = NeuralNetRegressor(Restless, max_epochs=2, random_state=0).fit(X, Y)
    module = net.module_
    module.train()
    module.norm.eval()
    before = copy.deepcopy(module.state_dict())
    flags = [part.training for part in module.modules()]
    generator = torch.get_rng_state()
    monkeypatch.setattr(Restless, "fail", fail)
    for method in ("features", "logits", "outputs", "features_and_logits"):
        if fail:
            with pytest.raises(RuntimeError, match="out of memory"):
                getattr(NetView(net), method)(X)
        else:
            getattr(NetView(net), method)(X)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert flags == [part.training for part in module.modules()]
    assert not any(p._forward_hooks or p._forward_pre_hooks for p in module.modules())
    assert torch.equal(generator, torch.get_rng_state())
    assert not any(p.grad_fn for p in module.parameters())


def test_evaluation_mode():
    net = _net(module__dropout=0.5, module__batch_norm=True).fit(X, Y)
    net.module_.train()
    first = NetView(net).outputs(X)
    assert torch.equal(first, NetView(net).outputs(X))
    assert_allclose(NetView(net).outputs(X[:3]), first[:3], atol=1e-6)
    assert net.module_.training


def test_chunks_agree_with_one_pass(tmp_path):
    net = _net().fit(X, Y)
    whole = NetView(net).features(X)
    assert_allclose(NetView(net, batch_size=7).features(X), whole, atol=1e-6)
    assert_allclose(NetView(net, batch_size=1).features(X), whole, atol=1e-6)
    stored = np.memmap(tmp_path / "x.dat", dtype=np.float64, mode="w+", shape=X.shape)
    stored[:] = X
    stored.flush()
    stored = np.memmap(tmp_path / "x.dat", dtype=np.float64, mode="r", shape=X.shape)
    chunks = list(NetView(net, batch_size=20).batches(stored))
    assert [rows for rows, _ in chunks] == [slice(0, 20), slice(20, 40), slice(40, 50)]
    assert_allclose(torch.cat([chunk for _, chunk in chunks]), X32)


@pytest.mark.parametrize("n", [1, 2, 17])
def test_a_row_is_seen_alike_alone_and_among_others(n):
    view = NetView(_net().fit(X, Y))
    for method in (view.features, view.logits, view.outputs):
        assert torch.equal(method(X[:n]), method(X)[:n])


def test_broken_outputs_name_the_rows():
    net = _net().fit(X, Y)
    rows = np.full((50, 4), 1e38)
    rows[:44] = X[:44]
    with torch.no_grad():
        net.module_.body[0].weight.fill_(10.0)
    message = (
        r"The features of NeuralNetRegressor are NaN or infinite for 6 of 50 rows "
        r"\(rows 44, 45, 46, 47, 48, ...\)"
    )
    with pytest.raises(ValueError, match=message):
        NetView(net, batch_size=16, needed_by="CoreSet").features(rows)
    with pytest.raises(ValueError, match="outputs of NeuralNetRegressor are NaN or infinite for 6"):
        NetView(net).outputs(rows)
    with pytest.raises(ValueError, match="contains NaN"):
        NetView(net).outputs(np.full((3, 4), np.nan))
    with pytest.raises(ValueError, match="X has 3 features, but NeuralNetRegressor is expecting 4"):
        NetView(net).outputs(X[:, :3])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        NetView(net).outputs(X[:0])


# ---------------------------------------------------------------------- parameters, maps, devices


def test_functional_call_with_other_parameters():
    net = _net(module__dropout=0.5).fit(X, Y)
    net.module_.train()
    view = NetView(net)
    parameters = view.parameters()
    assert set(parameters) == {name for name, _ in net.module_.named_parameters()}
    x = torch.tensor(X32)
    assert_allclose(view.functional(parameters, x), view.outputs(X), atol=1e-6)
    doubled = {**parameters, "head.weight": 2 * parameters["head.weight"]}
    H, _ = _by_hand(net.module_, X)
    W, b = parameters["head.weight"].numpy(), parameters["head.bias"].numpy()
    assert_allclose(view.functional(doubled, x), H @ (2 * W.T) + b, atol=1e-5)
    assert_allclose(view.functional({}, x).detach(), view.outputs(X), atol=1e-6)
    assert net.module_.training


def test_gradients_inside_map():
    net = _net().fit(X, Y)
    view = NetView(net, batch_size=16)

    def row(parameters, x):
        return view.functional(parameters, x[None])[0, 0]

    def head_gradients(chunk):
        gradients = torch.func.vmap(torch.func.grad(row), (None, 0))(view.parameters(), chunk)
        return gradients["head.weight"].flatten(1), chunk.sum(1)

    gradients, sums = view.map(head_gradients, X)
    assert_allclose(gradients, view.features(X), atol=1e-6)
    assert_allclose(sums, X.sum(1), atol=1e-5)
    assert_allclose(view.map(lambda chunk: chunk, X), X32)


def test_modules_called_with_dicts():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.head = nn.Linear(4, 3), nn.Linear(5, 1)

        def forward(self, a, b):
            return self.head(torch.cat([torch.relu(self.left(a)), b], 1))

    data = SliceDict(a=X32, b=X32[:, :2].copy())
    net = _bare(skorch.NeuralNetRegressor, module=Two).fit(data, Y[:, None].astype(np.float32))
    view = NetView(net, batch_size=8)
    H = view.features(data)
    assert H.shape == (50, 5)
    assert_allclose(H[:, 3:], X32[:, :2])
    assert_allclose(view.outputs(data), net.predict(data), atol=1e-6)
    chunk = {name: torch.tensor(value) for name, value in data.items()}
    assert_allclose(view.functional({}, chunk).detach(), view.outputs(data), atol=1e-6)


def test_foreign_net_whose_rows_are_unknown():
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 3)

        def forward(self, X):
            return self.head(self.norm(X))

    net = _bare(module=Normalised).fit(X32, C)
    view = NetView(net)
    with pytest.raises(AttributeError, match=r"known after the first pass .* features\(X\) first"):
        view.head  # noqa: B018
    view.features(X32)
    assert view.head is view.module.head and view.n_outputs == 3


def test_devices(device):
    net = _net().fit(X, Y)
    view = NetView(net, device=device)
    assert view.device.type == torch.device(device).type
    assert_allclose(view.features(X).cpu(), NetView(net).features(X), atol=1e-4)
    assert next(net.module_.parameters()).device.type == "cpu"
    with pytest.raises(ValueError, match="The 'device' parameter of CoreSet"):
        NetView(net, device="tpu", needed_by="CoreSet")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="CoreSet.device='cuda'. was asked to compute on CUDA"):
            NetView(net, device="cuda", needed_by="CoreSet")


# ---------------------------------------------------------------------- other parameters


class _OneByOne(torch.autograd.Function):
    """The hyperbolic tangent, with a derivative that torch cannot do for several at once."""

    @staticmethod
    def forward(values):
        return values.tanh()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_forward(output)
        ctx.save_for_backward(output)

    @staticmethod
    def jvp(ctx, tangent):
        (output,) = ctx.saved_tensors
        return tangent * (1 - output**2)

    @staticmethod
    def backward(ctx, gradient):
        (output,) = ctx.saved_tensors
        return gradient * (1 - output**2)


class _OneByOneLayer(nn.Module):
    def forward(self, X):
        return _OneByOne.apply(X)


@pytest.mark.parametrize("activation", ["tanh", _OneByOneLayer])
@pytest.mark.parametrize("quantity", ["features", "logits", "outputs", "probabilities"])
def test_directional_derivatives_are_those_of_central_differences(quantity, activation):
    net = NeuralNetClassifier(
        module__hidden=(8,), module__activation=activation, max_epochs=3, random_state=0
    )
    view = NetView(make_pipeline(StandardScaler(), net).fit(X, Y > 0))
    view.module.double()
    generator = torch.Generator().manual_seed(0)
    directions = [
        {
            name: torch.randn(value.shape, generator=generator, dtype=torch.float64)
            for name, value in view.parameters().items()
        }
        for _ in range(8)  # more than share a pass
    ]
    derivatives = list(view.directional_derivatives(X, quantity, iter(directions)))
    for direction, derivative in zip(directions, derivatives, strict=True):
        moved = {}
        for sign in (1, -1):
            with view.shifted({name: sign * 1e-4 * step for name, step in direction.items()}):
                moved[sign] = view.observe(X, quantity).double()
        expected = (moved[1] - moved[-1]) / 2e-4
        assert derivative.shape == expected.shape
        assert_allclose(derivative, expected, atol=2e-3 * expected.abs().max())


def test_shifted_parameters_are_put_back_bitwise():
    view = NetView(_net().fit(X, Y))
    before = {name: value.clone() for name, value in view.parameters().items()}
    clean = view.outputs(X)
    with pytest.raises(RuntimeError, match="stop"), view.shifted({"head.bias": torch.ones(1)}):
        assert_allclose(view.outputs(X), clean + 1, rtol=1e-6)
        raise RuntimeError("stop")
    assert all(torch.equal(before[name], value) for name, value in view.parameters().items())


def test_prepared_rows_serve_several_passes():
    model = make_pipeline(StandardScaler(), _net()).fit(X, Y)
    view = NetView(model)
    prepared = view.prepare(pd.DataFrame(X).to_numpy())
    assert view.prepare(prepared) is prepared
    assert torch.equal(view.outputs(prepared), view.outputs(X))


class _Images(nn.Sequential):
    def __init__(self, n_features, n_outputs):
        super().__init__(
            nn.Conv2d(1, 5, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(5, 7, 3),
            nn.BatchNorm2d(7),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(7, n_outputs),
        )


def test_weights_of_convolutions_lie_by_channels_during_a_pass_only():
    images = _rng.randn(300, 1, 6, 6).astype(np.float32)
    labels = np.arange(300) % 3
    net = NeuralNetClassifier(_Images, max_epochs=1, batch_size=16, random_state=0)
    net.fit(images, labels)
    view = NetView(net, batch_size=32)
    convolutions = [view.module[0], view.module[3]]
    before = [(layer.weight, layer.weight.data_ptr()) for layer in convolutions]
    values = [layer.weight.detach().clone() for layer in convolutions]
    with view.evaluating():
        assert [layer.weight.stride()[1] for layer in convolutions] == [1, 1]
        assert all(map(torch.equal, (layer.weight for layer in convolutions), values))
        convolutions[1].weight.data += 1.0
    for layer, (weight, address), value in zip(convolutions, before, values, strict=True):
        assert layer.weight is weight and weight.data_ptr() == address
        assert weight.is_contiguous() and torch.equal(weight, value)
    with torch.no_grad():
        expected = net.module_.eval()(torch.from_numpy(images))
    assert_allclose(view.logits(images), expected, atol=1e-5)
    # The weights in use are those of the moment.
    with view.shifted({"0.weight": torch.ones_like(values[0])}), torch.no_grad():
        shifted = view.module.eval()(torch.from_numpy(images))
        assert_allclose(view.logits(images), shifted, atol=1e-5)
    assert_allclose(view.logits(images), expected, atol=1e-5)


class Recurrent(torch.nn.Module):
    """Reads the columns of a row one after another."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.LSTM(1, 3, batch_first=True)
        self.head = torch.nn.Linear(3, 1)

    def forward(self, X):
        return self.head(self.body(X[..., None])[0][:, -1])


def test_derivatives_of_recurrent_nets_are_refused():
    view = NetView(NeuralNetRegressor(Recurrent, max_epochs=1, random_state=0).fit(X, Y))
    direction = {name: torch.ones_like(value) for name, value in view.parameters().items()}
    before = view.outputs(X)
    with pytest.raises(ValueError, match="has recurrent layers.*finite_difference"):
        next(view.directional_derivatives(X, "outputs", [direction]))
    assert torch.equal(view.outputs(X), before)


class _Bag(nn.Module):
    """Looks columns up, by an operation that torch has no forward-mode derivative for."""

    def __init__(self):
        super().__init__()
        self.body = nn.EmbeddingBag(50, 3)
        self.head = nn.Linear(3, 1)

    def forward(self, X):
        return self.head(self.body(X.abs().long().clamp(max=49)))


def test_a_net_that_torch_cannot_differentiate_is_told_what_to_do():
    view = NetView(NeuralNetRegressor(_Bag, max_epochs=1, random_state=0).fit(X, Y))
    direction = {name: torch.ones_like(value) for name, value in view.parameters().items()}
    with pytest.raises(ValueError, match="cannot differentiate _Bag .*finite_difference"):
        next(view.directional_derivatives(X, "outputs", [direction, direction]))
