"""NoiseStability against Jacobians from autograd, and a plain loop over copies of the net."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist, pdist, squareform
from sklearn.datasets import load_diabetes, load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor
from skal.strategies import NoiseStability
from skal.views import NetView

X_CLASS, Y_CLASS = load_iris(return_X_y=True)
X_REG, Y_REG = load_diabetes(return_X_y=True)


@pytest.fixture(scope="module")
def classifier():
    net = NeuralNetClassifier(
        module__hidden=(6,), module__activation="tanh", max_epochs=10, random_state=0
    )
    return make_pipeline(StandardScaler(), net).fit(X_CLASS, Y_CLASS)


@pytest.fixture(scope="module")
def regressor():
    net = NeuralNetRegressor(
        module__hidden=(8, 5),
        module__activation="tanh",
        max_epochs=10,
        standardize_y=True,
        random_state=0,
    )
    return make_pipeline(StandardScaler(), net).fit(X_REG, Y_REG)


def _strategy(model, **params):
    return NoiseStability(FrozenEstimator(model), random_state=0, **params).fit(_rows(model)[:1])


def _rows(model):
    return X_CLASS[::5] if hasattr(model, "classes_") else X_REG[::15]


def _jacobians(model, X, target, names=None):
    """Jacobian of the observed quantity in the parameters, a row at a time: (n, q, n_par)."""
    view = NetView(model)
    parameters = {k: v for k, v in view.parameters().items() if names is None or k in names}
    rows = torch.tensor(model[0].transform(X), dtype=torch.float32)

    def observed(moved, row):
        def run(module_input):
            return torch.func.functional_call(view.module, moved, (module_input,))

        if target == "features":
            captured = []
            hook = view.head.register_forward_hook(lambda m, args, out: captured.append(args[0]))
            run(row[None])
            hook.remove()
            return captured[0][0]
        return torch.softmax(run(row[None])[0], 0)

    blocks = []
    for row in rows:
        jacobian = torch.func.jacrev(observed)(parameters, row)
        blocks.append(torch.cat([part.flatten(1) for part in jacobian.values()], dim=1))
    return torch.stack(blocks).double().numpy()


def _cases(request, name):
    model = request.getfixturevalue(name)
    target = "probabilities" if name == "classifier" else "features"
    view = NetView(model)
    names = [n for n in view.parameters() if target != "features" or not n.startswith("head.")]
    return model, target, names


@pytest.mark.parametrize("name", ["classifier", "regressor"])
@pytest.mark.parametrize("method", ["finite_difference", "jvp"])
def test_norms_and_distances_are_those_of_jacobians_in_expectation(request, name, method):
    model, target, names = _cases(request, name)
    X = _rows(model)
    strategy = _strategy(model, n_perturbations=1500, normalize="paper", method=method)
    Z = strategy.transform(X).astype(np.float64)
    J = _jacobians(model, X, target, names).reshape(len(X), -1)
    assert_allclose((Z**2).sum(1), (J**2).sum(1), rtol=0.2)
    far = squareform(pdist(J)) > 0.2 * pdist(J).max()
    assert_allclose(cdist(Z, Z)[far] ** 2, cdist(J, J)[far] ** 2, rtol=0.25)
    assert abs(np.log((Z**2).sum() / (J**2).sum())) < 0.08


def test_an_orthonormal_basis_needs_no_expectation(request, classifier, monkeypatch):
    model, target, names = _cases(request, "classifier")
    X = _rows(model)
    n_par = sum(value.numel() for value in NetView(model).parameters().values())
    basis, _ = np.linalg.qr(np.random.RandomState(0).randn(n_par, n_par))

    def basis_vector(self, shaken, k):
        flat = torch.tensor(basis[:, k], dtype=torch.float32)
        parts = flat.split([value.numel() for _, value in shaken])
        return {n: p.reshape(v.shape) for (n, v), p in zip(shaken, parts, strict=True)}

    monkeypatch.setattr(NoiseStability, "_direction", basis_vector)
    monkeypatch.setattr(NoiseStability, "_scale", lambda self, shaken: 1.0)
    strategy = _strategy(model, n_perturbations=n_par, normalize="paper", method="jvp")
    Z = strategy.transform(X).astype(np.float64)
    J = _jacobians(model, X, target, names)
    assert_allclose((Z**2).sum(1), (J**2).sum((1, 2)), rtol=1e-4)
    flat = J.transpose(0, 2, 1).reshape(len(X), -1)
    assert_allclose(Z @ Z.T, flat @ flat.T, rtol=1e-3, atol=1e-3 * (J**2).sum((1, 2)).max())


def _published(model, X, preset, seed_noise, zeta, target):
    """A copy of the net per perturbation, a row at a time, as research code does it."""
    view = NetView(model)
    rows = torch.tensor(model[0].transform(X), dtype=torch.float32)

    def observe(module):
        captured = []
        hook = module.head.register_forward_hook(
            lambda m, args, out: captured.append((args[0], out))
        )
        with torch.no_grad():
            module.eval()(rows)
        hook.remove()
        features, logits = captured[0]
        return features if target == "features" else torch.softmax(logits.double(), 1)

    clean, blocks = observe(deepcopy(view.module)), []
    for noise in seed_noise:
        module = deepcopy(view.module)
        with torch.no_grad():
            for name, value in module.named_parameters():
                if name in noise:
                    value += noise[name]
        blocks.append(observe(module) - clean)
    Z = torch.cat(blocks, dim=1).double()
    if preset == "official":
        Z = Z / clean.double().norm(dim=1, keepdim=True)
    return Z.numpy()


@pytest.mark.parametrize("name", ["classifier", "regressor"])
@pytest.mark.parametrize("preset", ["paper", "official"])
def test_presets_are_the_published_forms(request, name, preset):
    model, target, _ = _cases(request, name)
    X, zeta = _rows(model), 1e-2
    strategy = _strategy(model, n_perturbations=4, preset=preset, zeta=zeta)
    shaken = strategy._parameters(NetView(model), target)
    names = [n for n, _ in shaken]
    if preset == "official":
        assert all(n.endswith("weight") for n in names) and "head.weight" in names
    else:
        assert ("head.weight" in names) == (target == "probabilities")
        assert any(n.endswith("bias") for n in names)
    noise = []
    for k in range(4):
        direction = strategy._direction(shaken, k)
        noise.append({n: zeta * step for n, step in direction.items()})
        parts = [(noise[-1][n].norm(), value.norm()) for n, value in shaken]
        if preset == "official":
            assert_allclose([a / b for a, b in parts], zeta, rtol=1e-5)
        else:
            total = [torch.stack(column).norm() for column in zip(*parts, strict=True)]
            assert_allclose(total[0] / total[1], zeta, rtol=1e-5)
    expected = _published(model, X, preset, noise, zeta, target)
    Z = strategy.transform(X)
    ratio = np.linalg.norm(Z) / np.linalg.norm(expected)
    assert_allclose(Z, ratio * expected, atol=2e-3 * np.abs(Z).max())
    pool_order = strategy.query(X, 5)
    again = _farthest_from_the_origin(expected, 5)
    assert_array_equal(pool_order, again)


def _farthest_from_the_origin(Z, n):
    """Farthest-first traversal from the origin, by the textbook."""
    nearest, picks = np.linalg.norm(Z, axis=1), []
    for _ in range(n):
        picks.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(Z - Z[picks[-1]], axis=1))
        nearest[picks] = -np.inf
    return picks


def test_finite_differences_approach_the_derivative(classifier):
    X = _rows(classifier)
    limit = _strategy(classifier, n_perturbations=6, method="jvp").transform(X)
    errors = []
    for zeta in (1e-1, 1e-2):
        Z = _strategy(classifier, n_perturbations=6, zeta=zeta).transform(X)
        errors.append(np.abs(Z - limit).max() / np.abs(limit).max())
    assert errors[1] < 0.3 * errors[0] and errors[1] < 0.05


def test_softmax_deviations_sum_to_zero(classifier):
    Z = _strategy(classifier, n_perturbations=7).transform(X_CLASS)
    assert_allclose(Z.reshape(150, 7, 3).sum(2), 0, atol=1e-4 * np.abs(Z).max())
    assert np.linalg.matrix_rank(Z.astype(np.float64), tol=1e-3) <= 14


def test_relative_rows_are_divided_by_their_clean_output(regressor):
    H = NetView(regressor).features(X_REG).norm(dim=1).numpy()
    paper, relative = (
        _strategy(regressor, n_perturbations=3, normalize=n).transform(X_REG)
        for n in ("paper", "relative")
    )
    assert_allclose(relative, paper / H[:, None], rtol=1e-4)


def test_variants_keep_magnitude_or_direction(classifier):
    full = _strategy(classifier, n_perturbations=5)
    norms = np.linalg.norm(full.transform(X_CLASS), axis=1)
    magnitude = _strategy(classifier, n_perturbations=5, variant="M")
    assert_allclose(magnitude.transform(X_CLASS).ravel(), norms, rtol=1e-5)
    assert_array_equal(magnitude.query(X_CLASS, 10), np.argsort(-norms)[:10])
    assert full.query(X_CLASS, 1)[0] == magnitude.query(X_CLASS, 1)[0]
    direction = _strategy(classifier, n_perturbations=5, variant="D").transform(X_CLASS)
    assert_allclose(np.linalg.norm(direction, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("target", ["probabilities", "logits", "features", "outputs"])
def test_every_target_can_be_observed(classifier, target):
    Z = _strategy(classifier, n_perturbations=2, target=target).transform(X_CLASS)
    assert Z.shape == (150, 2 * (6 if target == "features" else 3))


def test_one_noise_per_round_shared_by_all_rows(regressor):
    learner = ActiveLearner(FrozenEstimator(regressor), NoiseStability(n_perturbations=5))
    learner.fit(X_REG[:50], Y_REG[:50])
    first = learner.query(X_REG[50:], 10)
    assert_array_equal(first, learner.query(X_REG[50:], 10))
    learner.teach(X_REG[50:][first], Y_REG[50:][first])
    assert not np.array_equal(first, learner.query(X_REG[50:], 10))


def test_constant_nets_and_bad_noise_are_explained(classifier):
    zero = deepcopy(classifier)
    with torch.no_grad():
        for value in zero[-1].module_.parameters():
            value.zero_()
    with pytest.raises(ValueError, match="are all zero"):
        _strategy(zero).transform(X_CLASS)
    with pytest.raises(ValueError, match="shaken by zeta=1e\\+39.*Use a smaller zeta"):
        _strategy(classifier, zeta=1e39, target="logits").transform(X_CLASS)
    with pytest.raises(TypeError, match="NoiseStability needs a fitted torch net but found Ridge"):
        NoiseStability(Ridge()).fit(X_REG, Y_REG).transform(X_REG)
