"""Fine-tuning on pseudo-labels, against plain computations of its parts."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import ValidSplit

from skal import ActiveLearner
from skal.model_selection import BudgetedActiveLearner, compare_strategies
from skal.neural_network import (
    EMACallback,
    ImageAugment,
    NeuralNetClassifier,
    NeuralNetRegressor,
    NoisyChannelClassifier,
    PseudoLabelFineTuner,
    TabularAugment,
)
from skal.neural_network._averaging import find_average
from skal.strategies import BADGE, LHD, MarginSampling, RandomSampling
from skal.utils._tags import accepts_unlabeled
from skal.views import NetView, find_net
from tests._instances import STRATEGIES

X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X = (X_DIGITS[:300] / 16).astype(np.float32)
Y = Y_DIGITS[:300]
N_LABELED = 60
Y_PARTLY = np.where(np.arange(300) < N_LABELED, Y, np.nan)
X_TEST, Y_TEST = X_DIGITS[1000:] / 16, Y_DIGITS[1000:]


def small_net(**params):
    defaults = {
        "module__hidden": (16,),
        "max_epochs": 30,
        "lr": 0.01,
        "batch_size": 16,
        "random_state": 0,
    }
    return NeuralNetClassifier(**defaults | params)


def tuner(net=None, **params):
    defaults = {"epochs": 2, "lr": 1e-3, "threshold": 0.6, "random_state": 0}
    return PseudoLabelFineTuner(small_net() if net is None else net, **defaults | params)


def unchanged(X):
    return X


def weights_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def plain_softmax(module, X):
    with torch.no_grad():
        outputs = module(torch.as_tensor(X)).double().numpy()
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def trained():
    """The net and its average as they are before any fine-tuning."""
    return tuner(epochs=0).fit(X, Y_PARTLY)


# ---------------------------------------------------------------------- Algorithm 2, lines 1-9


def test_no_epochs_leave_both_nets_as_training_made_them(trained):
    net = small_net(callbacks=[EMACallback(snapshot="end")]).fit(X[:60], Y_PARTLY[:60])
    assert_same_weights(weights_of(trained.estimator_.module_), weights_of(net.module_))
    averages = [weights_of(find_average(n).averaged_) for n in (trained.estimator_, net)]
    assert_same_weights(*averages)
    assert trained.history_ == [] and trained.n_selected_ > 32


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.8, 0.95])
def test_selected_are_exactly_the_confident_rows(trained, threshold):
    P = plain_softmax(trained.estimator_.module_, X[N_LABELED:])
    expected = N_LABELED + np.flatnonzero(P.max(axis=1) > threshold)
    model = tuner(epochs=0, threshold=threshold, min_samples=1).fit(X, Y_PARTLY)
    np.testing.assert_array_equal(model.selected_, expected)
    assert model.n_selected_ == len(expected)
    assert threshold > 0 or len(expected) == 240


def test_the_threshold_is_strict(trained):
    P = plain_softmax(trained.estimator_.module_, X[N_LABELED:])
    log_P = trained.estimator_._log_probabilities(trained.estimator_._outputs(X[N_LABELED:]))
    middle = float(np.sort(log_P.amax(1).exp().numpy())[100])
    model = tuner(epochs=0, threshold=middle, min_samples=1).fit(X, Y_PARTLY)
    assert model.n_selected_ == 240 - 101
    assert abs(np.sort(P.max(axis=1))[100] - middle) < 1e-6


def test_pseudo_labels_are_those_of_the_average_or_of_the_net():
    # Few steps and a slow average: the two disagree.
    net = small_net(max_epochs=8, callbacks=[EMACallback(0.97, warmup=False)])
    for source in ("ema", "main"):
        model = tuner(net, epochs=0, threshold=0.3, pseudo_label_source=source).fit(X, Y_PARTLY)
        main = plain_softmax(model.estimator_.module_, X).argmax(1)
        ema = plain_softmax(find_average(model.estimator_).averaged_, X).argmax(1)
        assert (main != ema).sum() > 20
        expected = ema if source == "ema" else main
        np.testing.assert_array_equal(model.pseudo_labels_, expected[model.selected_])


def test_labelled_rows_join_with_their_labels_or_with_predictions(trained):
    y = Y_PARTLY.copy()
    y[:30] = (y[:30] + 1) % 10  # wrong labels that the net does not learn in few epochs
    net = small_net(max_epochs=10)
    without = tuner(net, epochs=0, threshold=0.3).fit(X, y)
    for include in (True, "predicted"):
        model = tuner(net, epochs=0, threshold=0.3, include_labeled=include).fit(X, y)
        n = without.n_selected_
        np.testing.assert_array_equal(model.selected_[:n], without.selected_)
        np.testing.assert_array_equal(model.selected_[n:], np.arange(N_LABELED))
        average = find_average(model.estimator_).averaged_
        predicted = plain_softmax(average, X[:N_LABELED]).argmax(1)
        assert (predicted != y[:N_LABELED]).sum() > 5
        labels = y[:N_LABELED] if include is True else predicted
        np.testing.assert_array_equal(model.pseudo_labels_[n:], labels)


def test_max_samples_is_a_random_part_of_the_confident_rows(trained):
    parts = [
        tuner(epochs=0, max_samples=50, random_state=seed).fit(X, Y_PARTLY).selected_
        for seed in (0, 1, 1)
    ]
    for part in parts:
        assert len(part) == 50 == len(np.unique(part))
        assert np.isin(part, trained.selected_).all()
    assert (parts[0] != parts[1]).any() and (parts[1] == parts[2]).all()


# ---------------------------------------------------------------------- Algorithm 2, lines 10-12


@pytest.mark.parametrize("batch_norm", [False, True])
def test_training_against_a_plain_loop(batch_norm):
    net = small_net(
        batch_size=-1, lr=0.05, module__batch_norm=batch_norm, callbacks=[EMACallback(0.9)]
    )
    params = {"optimizer": torch.optim.SGD, "lr": 0.1, "augmentation": unchanged}
    before = tuner(net, epochs=0, **params).fit(X, Y_PARTLY)
    after = tuner(net, epochs=7, early_stopping=None, **params).fit(X, Y_PARTLY)

    rows = torch.as_tensor(X[before.selected_])
    labels = torch.as_tensor(before.pseudo_labels_.astype(int))
    module, callback = before.estimator_.module_, find_average(before.estimator_)
    theta = dict(module.named_parameters())
    beta = weights_of(callback.averaged_)
    t = callback.n_updates_
    assert t == 30
    losses = []
    module.train()
    for _ in range(7):
        loss = torch.nn.functional.cross_entropy(module(rows), labels)
        gradients = torch.autograd.grad(loss, list(theta.values()))
        with torch.no_grad():
            for weight, gradient in zip(theta.values(), gradients, strict=True):
                weight -= 0.1 * gradient
        t += 1
        a = min(1 - 1 / (t + 1), 0.9)
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                beta[name] = a * beta[name] + (1 - a) * value
        losses.append(float(loss.detach()))
    average = find_average(after.estimator_)
    assert average.n_updates_ == t
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            found = after.estimator_.module_.state_dict()[name]
            torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-5)
            found = average.averaged_.state_dict()[name]
            torch.testing.assert_close(found, beta[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose([r["loss"] for r in after.history_], losses, rtol=1e-4)
    assert not after.estimator_.module_.training


def test_the_remembered_pair_becomes_the_fine_tuned_one():
    model = tuner().fit(X, Y_PARTLY)
    average = find_average(model.estimator_)
    assert_same_weights(dict(average.snapshot_[0]), weights_of(model.estimator_.module_))
    assert_same_weights(dict(average.snapshot_[1]), weights_of(average.averaged_))
    n_steps = 30 * 4 + 2 * -(-model.n_selected_ // 16)
    assert average.n_updates_ in (n_steps, n_steps - 2)  # a rest of one row joins another batch


class Recorder(TabularAugment):
    """Leaves rows alone and remembers them."""

    def fit(self, X, y=None):
        type(self).fitted, type(self).visits = X, []
        return self

    def augment(self, X, generator=None):
        self.visits.append(X.clone())
        return X


def test_every_row_is_augmented_afresh_at_every_visit():
    model = tuner(epochs=3, augmentation=Recorder(), early_stopping=None).fit(X, Y_PARTLY)
    assert torch.equal(Recorder.fitted, torch.as_tensor(X))
    visits = torch.cat(Recorder.visits)
    assert len(visits) == 3 * model.n_selected_
    orders = visits.reshape(3, model.n_selected_, -1)
    assert (orders[0] != orders[1]).any()
    expected = torch.as_tensor(X[model.selected_]).unique(dim=0)
    for order in orders:
        assert torch.equal(order.unique(dim=0), expected)


def test_early_stopping_needs_both_accuracies():
    params = {"augmentation": unchanged, "epochs": 30, "lr": 0.01}
    model = tuner(early_stopping=(0.95, 0.5), **params).fit(X, Y_PARTLY)
    assert 1 <= len(model.history_) < 30
    *others, last = model.history_
    assert all(record["accuracy"] < 0.95 for record in others)
    assert last["accuracy"] >= 0.95 and last["ema_accuracy"] >= 0.5
    average = find_average(model.estimator_).averaged_
    right = plain_softmax(average, X[model.selected_]).argmax(1) == model.pseudo_labels_
    assert last["ema_accuracy"] == pytest.approx(right.mean())
    # The averaged net never gets there; then nothing ends it early.
    slow = small_net(callbacks=[EMACallback(1.0, warmup=False)])
    params |= {"pseudo_label_source": "main", "epochs": 8}
    model = tuner(slow, early_stopping=(0.5, 0.99), **params).fit(X, Y_PARTLY)
    assert len(model.history_) == 8 and model.history_[-1]["ema_accuracy"] < 0.99
    model = tuner(early_stopping=None, **params).fit(X, Y_PARTLY)
    assert len(model.history_) == 8


def test_pseudo_labels_pass_no_channel():
    channel = np.full((10, 10), 0.2 / 9) + (0.8 - 0.2 / 9) * np.eye(10)
    net = NoisyChannelClassifier(
        module__hidden=(16,), max_epochs=60, lr=0.03, batch_size=-1, channel=channel
    )
    params = {"optimizer": torch.optim.SGD, "lr": 0.1, "augmentation": unchanged, "threshold": 0.3}
    before = tuner(net, epochs=0, **params).fit(X, Y_PARTLY)
    after = tuner(net, epochs=1, **params).fit(X, Y_PARTLY)
    module = before.estimator_.module_
    labels = torch.as_tensor(before.pseudo_labels_.astype(int))
    loss = torch.nn.functional.cross_entropy(module(torch.as_tensor(X[before.selected_])), labels)
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    found = after.estimator_.module_.parameters()
    for new, old, gradient in zip(found, module.parameters(), gradients, strict=True):
        torch.testing.assert_close(new, old - 0.1 * gradient, rtol=1e-4, atol=1e-6)
    channels = [model.estimator_.noise_channel_ for model in (before, after)]
    np.testing.assert_array_equal(*channels)


def test_fine_tuning_learns():
    net = small_net(module__hidden=(64,), max_epochs=50)
    y = np.where(np.arange(900) < 60, Y_DIGITS[:900], np.nan)
    model = tuner(net, epochs=20, threshold=0.8).fit(X_DIGITS[:900] / 16, y)
    before = tuner(net, epochs=0).fit(X_DIGITS[:900] / 16, y)
    assert model.score(X_TEST, Y_TEST) > before.score(X_TEST, Y_TEST) + 0.01


# ---------------------------------------------------------------------- degenerate cases


def test_fully_labelled_rows_simply_train_the_net():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = tuner(include_labeled=True).fit(X[:60], Y[:60])
    net = small_net(callbacks=[EMACallback()]).fit(X[:60], Y[:60])
    assert_same_weights(weights_of(model.estimator_.module_), weights_of(net.module_))
    assert model.n_selected_ == 0 and model.history_ == []
    assert model.predict(X).dtype == Y.dtype


@pytest.mark.parametrize("params", [{"threshold": 1.0}, {"min_samples": 241, "threshold": 0.0}])
def test_too_few_rows_leave_the_net_with_a_warning(params, trained):
    with pytest.warns(UserWarning, match=r"selected \d+ rows, fewer than min_samples=\d+, at"):
        model = tuner(**params).fit(X, Y_PARTLY)
    assert_same_weights(*[weights_of(m.estimator_.module_) for m in (model, trained)])
    assert model.n_selected_ == (0 if "min_samples" not in params else 240)


def test_the_least_number_of_rows_is_two_batches(trained):
    n = trained.n_selected_
    tuner(epochs=0, min_samples=n).fit(X, Y_PARTLY)
    with pytest.warns(UserWarning, match=f"selected {n} rows, fewer than min_samples={n + 1}"):
        tuner(min_samples=n + 1).fit(X, Y_PARTLY)
    with pytest.warns(UserWarning, match="fewer than min_samples=32, at threshold=0.9999999"):
        tuner(threshold=0.9999999).fit(X, Y_PARTLY)


def test_one_class_alone_is_trained_on_with_a_warning():
    far = np.r_[X[:60], np.repeat(X[:1], 80, axis=0)]
    y = np.r_[Y[:60].astype(float), np.full(80, np.nan)]
    with pytest.warns(UserWarning, match=r"All 80 rows .* have the pseudo-label .*0\.0"):
        model = tuner(early_stopping=None).fit(far, y)
    assert len(model.history_) == 2


# ---------------------------------------------------------------------- containers


def test_labels_and_rows_of_every_kind(trained):
    expected = tuner().fit(X, Y_PARTLY)
    words = np.array([f"digit {k}" for k in range(10)])
    frame = pd.DataFrame(X, columns=[f"pixel {j}" for j in range(64)], index=np.arange(300)[::-1])
    answers = [words[k] if i < 60 else None for i, k in enumerate(Y)]
    none = pd.Series(answers, index=frame.index, dtype=object)
    cases = [
        (X.tolist(), [float(k) if i < 60 else None for i, k in enumerate(Y)]),
        (frame, none),
        (frame, pd.Series(Y_PARTLY, index=frame.index)),
        (X.astype(np.float64), none.to_numpy()),
    ]
    for rows, y in cases:
        model = tuner().fit(rows, y)
        np.testing.assert_array_equal(model.selected_, expected.selected_)
        assert_same_weights(*[weights_of(m.estimator_.module_) for m in (model, expected)])
        assert model.score(rows, y) == expected.score(X, Y_PARTLY)
    named = tuner().fit(frame, none)
    assert set(named.pseudo_labels_) <= set(words) and named.classes_.tolist() == words.tolist()
    assert named.feature_names_in_[0] == "pixel 0" and named.n_features_in_ == 64
    same = tuner(augmentation=unchanged).fit(sparse.csr_matrix(X), Y_PARTLY)
    dense = tuner(augmentation=unchanged).fit(X, Y_PARTLY)
    assert_same_weights(*[weights_of(m.estimator_.module_) for m in (same, dense)])
    assert len(tuner().fit(sparse.csr_matrix(X), Y_PARTLY).history_) == 2


class Convolution(torch.nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten()
        )
        self.head = torch.nn.Linear(4 * 36, n_outputs)

    def forward(self, X):
        return self.head(self.body(X))


def test_images_get_image_augmentation(monkeypatch):
    calls = []
    original = ImageAugment.augment

    def augment(self, X, generator=None):
        calls.append(tuple(X.shape[1:]))
        return original(self, X, generator)

    monkeypatch.setattr(ImageAugment, "augment", augment)
    images = X.reshape(-1, 1, 8, 8)
    net = NeuralNetClassifier(Convolution, max_epochs=15, lr=0.01, batch_size=16, random_state=0)
    model = tuner(net, threshold=0.4).fit(images, Y_PARTLY)
    assert len(model.history_) == 2 and set(calls) == {(1, 8, 8)}
    assert model.predict_proba(images).shape == (300, 10)


def test_weights_of_all_rows_or_of_the_labelled_ones():
    weight = np.linspace(0.5, 2, 300)
    models = [
        tuner().fit(X, Y_PARTLY, sample_weight=w) for w in (weight, weight[:60], weight[:60] * 2)
    ]
    assert_same_weights(*[weights_of(m.estimator_.module_) for m in models[:2]])
    plain = tuner().fit(X, Y_PARTLY)
    assert (models[0].predict_proba(X) != plain.predict_proba(X)).any()
    with pytest.raises(ValueError, match="X and sample_weight must have the same number of rows"):
        tuner().fit(X, Y_PARTLY, sample_weight=weight[:70])
    scores = [plain.score(X, Y_PARTLY, sample_weight=w) for w in (weight, weight[:60])]
    assert scores[0] == scores[1]


# ---------------------------------------------------------------------- scikit-learn, learners


def test_same_seed_same_net_and_global_generators_untouched():
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(1), np.random.random()
    torch.manual_seed(5)
    np.random.seed(5)
    models = [tuner(random_state=seed).fit(X, Y_PARTLY) for seed in (3, 3, 4)]
    assert torch.rand(1) == expected[0] and np.random.random() == expected[1]
    same, other = models[1], models[2]
    assert_same_weights(*[weights_of(m.estimator_.module_) for m in (models[0], same)])
    assert (same.predict_proba(X) != other.predict_proba(X)).any()


def test_clone_and_pickle():
    model = tuner(augmentation=TabularAugment(jitter=0.1)).fit(X, Y_PARTLY)
    copied = clone(model)
    assert not hasattr(copied, "estimator_") and copied.augmentation.jitter == 0.1
    assert copied.get_params()["estimator__max_epochs"] == 30
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert not hasattr(model.augmentation, "reference_")
    again = clone(model).fit(X, Y_PARTLY)
    assert_same_weights(*[weights_of(m.estimator_.module_) for m in (again, model)])


def test_net_and_its_callbacks_are_left_alone():
    callback = EMACallback(0.9)
    net = small_net(callbacks=[callback])
    model = tuner(net).fit(X, Y_PARTLY)
    assert net.callbacks == [callback] and not hasattr(callback, "model_")
    assert not hasattr(net, "module_")
    found = [cb for _, cb in model.estimator_.callbacks_ if isinstance(cb, EMACallback)]
    assert [cb.alpha for cb in found] == [0.9]
    assert small_net().callbacks is None


def test_strategies_see_the_fine_tuned_net():
    model = make_pipeline(StandardScaler(), tuner()).fit(X, Y_PARTLY)
    transformers, net = find_net(model)
    assert net is model[-1].estimator_ and len(transformers) == 1
    scaler = StandardScaler().fit(X)
    np.testing.assert_allclose(model[0].mean_, scaler.mean_)  # of all rows
    scaled = torch.as_tensor(scaler.transform(X)).float()
    with torch.no_grad():
        expected = net.module_.body(scaled)
    torch.testing.assert_close(NetView(model).features(X), expected, rtol=1e-4, atol=1e-4)
    learner = ActiveLearner(make_pipeline(StandardScaler(), tuner()), BADGE(), random_state=0)
    rows = learner.fit(X, Y_PARTLY).query(n_instances=5)
    assert len(np.unique(rows)) == 5 and rows.min() >= N_LABELED
    inner = learner.estimator_[-1]
    assert inner.n_selected_ > 0 and len(inner.history_) == 2


def _strategies_for_a_single_classifier():
    by_class = {type(strategy): strategy for strategy in STRATEGIES}
    for cls, strategy in by_class.items():
        tags = cls._query_tags
        if "classifier" in tags.tasks and "committee" not in tags.needs:
            yield pytest.param(clone(strategy).set_params(estimator=None), id=cls.__name__)


@pytest.mark.parametrize("strategy", list(_strategies_for_a_single_classifier()))
def test_every_strategy_works_on_the_fine_tuned_net(strategy):
    net = small_net(module__dropout=0.1)
    model = make_pipeline(StandardScaler(), tuner(net, threshold=0.5, epochs=1))
    learner = ActiveLearner(model, strategy, random_state=0).fit(X, Y_PARTLY)
    assert len(learner.estimator_[-1].history_) == 1
    rows = learner.query(n_instances=6)
    assert len(np.unique(rows)) == 6 and rows.min() >= N_LABELED
    np.testing.assert_array_equal(learner.query(n_instances=6), rows)


def test_lhd_compares_the_fine_tuned_pair():
    learner = ActiveLearner(tuner(), LHD(alpha=0.9), random_state=0).fit(X, Y_PARTLY)
    net = learner.estimator_.estimator_
    averages = [cb for _, cb in net.callbacks_ if isinstance(cb, EMACallback)]
    assert [cb.alpha for cb in averages] == [0.9]
    main, average = net.module_, averages[0].averaged_
    rows = torch.as_tensor(X[:40])
    with torch.no_grad():
        log_P, log_P_average = (torch.log_softmax(m(rows).double(), 1) for m in (main, average))
        difference = average.body(rows) - main.body(rows)
    predicted = log_P_average.argmax(1, keepdim=True)
    losses = (log_P_average.gather(1, predicted) - log_P.gather(1, predicted)).abs()
    strategy = learner._bound_strategy(X)
    np.testing.assert_allclose(
        strategy.transform(X[:40]), (losses * difference).numpy(), rtol=1e-3, atol=1e-6
    )
    rows = learner.query(n_instances=10)
    assert len(np.unique(rows)) == 10 and rows.min() >= N_LABELED


def test_a_learner_shows_it_the_pool_round_by_round():
    assert accepts_unlabeled(make_pipeline(StandardScaler(), tuner()))
    learner = ActiveLearner(tuner(), MarginSampling(), random_state=0).fit(X, Y_PARTLY)
    first = weights_of(learner.estimator_.estimator_.module_)
    rows = learner.query(n_instances=20)
    learner.teach(None, Y[rows], rows=rows)
    assert learner.n_labeled_ == 80
    model = learner.estimator_
    selected = model.selected_ - 80  # the learner puts the labelled rows first
    assert selected.min() >= 0 and selected.max() < 220
    # From scratch: the same labels again give the same net.
    again = clone(learner).fit(X, np.where(np.arange(300) < 60, Y, np.nan))
    assert_same_weights(first, weights_of(again.estimator_.estimator_.module_))


def test_a_search_over_budgets_shows_it_the_pool():
    learner = ActiveLearner(tuner(threshold=0.5, min_samples=1), RandomSampling())
    model = BudgetedActiveLearner(learner, n_initial=60, n_instances=20, budget=80, random_state=0)
    model.fit(X, Y)
    assert model.learner_.estimator_.n_selected_ > 0


@pytest.mark.filterwarnings("ignore:PseudoLabelFineTuner selected:UserWarning")
def test_strategies_are_compared_with_fine_tuning():
    model = make_pipeline(StandardScaler(), tuner(threshold=0.8))
    results = compare_strategies(
        ActiveLearner(model),
        {"random": RandomSampling(), "badge": BADGE()},
        X_DIGITS[:400],
        Y_DIGITS[:400],
        n_initial=40,
        n_instances=20,
        budget=80,
        n_repeats=1,
        random_state=0,
    )
    assert len(results) == 6 and results["score"].between(0.4, 1).all()
    last = results[results["n_labels"] == 80]["score"]
    assert (last > 0.65).all()


def test_grid_search_over_the_threshold():
    words = np.array([f"digit {k}" for k in range(10)], dtype=object)
    y = np.where(np.arange(300) % 4 == 0, words[Y], None)
    folds = [(np.arange(0, 200), np.arange(200, 300))]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), tuner(epochs=1)),
        {"pseudolabelfinetuner__threshold": [0.5, 0.7]},
        cv=folds,
        error_score="raise",
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert find_net(search)[1] is search.best_estimator_[-1].estimator_


# ---------------------------------------------------------------------- errors, nothing lost


class Failing(TabularAugment):
    """Raises at the n-th call."""

    error, calls = ValueError("broken"), 0

    def augment(self, X, generator=None):
        type(self).calls += 1
        if self.calls > 3:
            raise self.error
        return super().augment(X, generator)


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_interrupted_fine_tuning_loses_nothing(monkeypatch, error):
    model = tuner().fit(X, Y_PARTLY)
    before = {**vars(model)}
    monkeypatch.setattr(Failing, "error", error)
    monkeypatch.setattr(Failing, "calls", 0)
    model.set_params(augmentation=Failing(), epochs=50, early_stopping=None)
    with pytest.raises(type(error)):
        model.fit(X[:, :40], Y_PARTLY)
    fitted = [name for name in before if name.endswith("_")]
    assert all(vars(model)[name] is before[name] for name in fitted)
    assert model.predict(X).shape == (300,)
    # In a learner the labels stay, and the previous model.
    learner = ActiveLearner(tuner(augmentation=Failing()), RandomSampling(), random_state=0)
    monkeypatch.setattr(Failing, "calls", -100)
    learner.fit(X, Y_PARTLY)
    previous, rows = learner.estimator_, learner.query(n_instances=10)
    monkeypatch.setattr(Failing, "calls", 100)
    with pytest.raises(type(error)):
        learner.teach(None, Y[rows], rows=rows)
    assert learner.n_labeled_ == 70 and learner.estimator_ is previous
    monkeypatch.setattr(Failing, "calls", -100)
    assert learner.refit().estimator_ is not previous


@pytest.mark.parametrize("lr, epochs", [(1e30, 20), (3e38, 1)])
def test_divergence_is_reported(lr, epochs):
    # After a single step the weights alone tell.
    net = small_net(batch_size=-1)
    with pytest.raises(ValueError, match=r"diverged in epoch \d+: its loss is .* Lower lr \(now "):
        tuner(net, lr=lr, optimizer=torch.optim.SGD, epochs=20, early_stopping=None).fit(
            X, Y_PARTLY
        )


@pytest.mark.parametrize(
    "estimator, message",
    [
        (NeuralNetRegressor(), r"serves classifiers.*Got NeuralNetRegressor instead.*CoreSet"),
        (LogisticRegression(), r"must be a NeuralNetClassifier.*Got LogisticRegression instead"),
        (
            make_pipeline(StandardScaler(), NeuralNetClassifier()),
            r"Got Pipeline\(StandardScaler, NeuralNetClassifier\).*make_pipeline\(",
        ),
    ],
)
def test_other_estimators_are_refused(estimator, message):
    with pytest.raises(TypeError, match=message):
        PseudoLabelFineTuner(estimator).fit(X, Y_PARTLY)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"threshold": -0.1}, "'threshold' parameter of PseudoLabelFineTuner"),
        (
            {"pseudo_label_source": "both"},
            "'pseudo_label_source' parameter of PseudoLabelFineTuner",
        ),
        ({"include_labeled": "true"}, "'include_labeled' parameter of PseudoLabelFineTuner"),
        ({"early_stopping": (0.9,)}, r"'early_stopping' of PseudoLabelFineTuner.*Got \(0.9,\)"),
        ({"augmentation": 3}, "'augmentation' parameter of PseudoLabelFineTuner"),
    ],
)
def test_parameters_are_checked(params, message):
    with pytest.raises(ValueError, match=message):
        tuner(**params).fit(X, Y_PARTLY)


def test_callbacks_must_not_be_switched_off():
    with pytest.raises(ValueError, match="PseudoLabelFineTuner needs a callback that averages"):
        tuner(small_net(callbacks="disable")).fit(X, Y_PARTLY)


def test_labels_are_needed():
    with pytest.raises(ValueError, match="y has no labelled row"):
        tuner().fit(X, np.full(300, np.nan))
    with pytest.raises(ValueError, match="requires y to be passed"):
        tuner().fit(X, None)
    model = tuner(epochs=0).fit(X, Y_PARTLY)
    with pytest.raises(ValueError, match="score needs at least one labelled row"):
        model.score(X, np.full(300, np.nan))


def test_fine_tunes_where_the_net_is(device):
    model = tuner(small_net(device=device)).fit(X, Y_PARTLY)
    assert next(model.estimator_.module_.parameters()).device.type == device
    assert len(model.history_) == 2 and model.score(X, Y_PARTLY) > 0.5


# ---------------------------------------------------------------------- the end, and who watches


class Seen(Callback):
    """Counts what is called, and remembers what it was called with."""

    def initialize(self):
        self.calls_, self.rates_, self.batches_ = [], [], []
        return self

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.calls_.append(("train", len(y)))

    def on_batch_end(self, net, batch=None, training=None, y_pred=None, **kwargs):
        self.batches_.append((training, len(batch[0]), y_pred.shape))

    def on_epoch_end(self, net, **kwargs):
        self.rates_.append(net.optimizer_.param_groups[0]["lr"])
        assert np.isfinite(net.history[-1, "train_loss"])


def test_callbacks_watch_the_fine_tuning():
    net = NeuralNetClassifier(
        module__hidden=(16,), max_epochs=30, lr=0.03, callbacks=[("seen", Seen())], random_state=0
    )
    model = tuner(net, epochs=3, lr=0.002, early_stopping=None).fit(X, Y_PARTLY)
    seen = dict(model.estimator_.callbacks_)["seen"]
    assert seen.calls_ == [("train", (~np.isnan(Y_PARTLY)).sum()), ("train", model.n_selected_)]
    assert seen.rates_ == [0.03] * 30 + [0.002] * 3
    assert len(model.estimator_.history) == 33
    assert model.estimator_.optimizer_.param_groups[0]["lr"] == 0.03
    bare = net.set_params(callbacks=None)
    expected = tuner(bare, epochs=3, lr=0.002, early_stopping=None).fit(X, Y_PARTLY)
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


@pytest.mark.filterwarnings("ignore:All .* rows that PseudoLabelFineTuner:UserWarning")
def test_callbacks_end_the_fine_tuning_and_see_rows_held_back():
    net = NeuralNetClassifier(
        module__hidden=(16,),
        max_epochs=30,
        lr=0.03,
        random_state=0,
        train_split=ValidSplit(4),
        callbacks=[EarlyStopping(patience=2, threshold=10.0, threshold_mode="abs")],
    )
    model = tuner(net, epochs=20, threshold=0.0, early_stopping=None).fit(X, Y_PARTLY)
    assert len(model.history_) == 3
    assert np.isfinite(model.estimator_.history[-1, "valid_loss"])


def test_finish_trains_on_the_labels_once_more():
    net = NeuralNetClassifier(module__hidden=(16,), max_epochs=30, lr=0.03, random_state=0)
    labeled = ~np.isnan(Y_PARTLY)
    params = {"epochs": 2, "early_stopping": None}
    plain = tuner(net, **params).fit(X, Y_PARTLY)
    finished = tuner(net, finish="labeled", **params).fit(X, Y_PARTLY)
    expected = plain.estimator_.partial_fit(X[labeled], Y_PARTLY[labeled])
    np.testing.assert_array_equal(finished.predict_proba(X), expected.predict_proba(X))
    assert len(finished.estimator_.history) == 62
    # Without a fine-tuning there is nothing to come back from.
    none = tuner(net, epochs=0, finish="labeled").fit(X, Y_PARTLY)
    assert len(none.estimator_.history) == 30
    with pytest.raises(ValueError, match="The 'finish' parameter of PseudoLabelFineTuner"):
        tuner(net, finish="all").fit(X, Y_PARTLY)
