"""The public checks find what they are meant to find."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from skal.neural_network import NeuralNetClassifier
from skal.strategies import MarginSampling, RandomSampling, SelectingStrategy
from skal.testing import check_query_strategy, query_strategy_checks
from skal.utils._tags import QueryStrategyTags
from skal.views import find_net


class Broken(SelectingStrategy):
    """Base of strategies that break one rule each."""

    _query_tags = QueryStrategyTags(needs=("probabilities",), tasks=("classifier",))

    def _represent(self, X):
        return self.view.probabilities(X)[:, 0]


class Repeats(Broken):
    def query(self, X, n_instances=1, *, return_scores=False):
        rows = super().query(X, n_instances, return_scores=return_scores)
        return rows if return_scores else np.zeros_like(rows)


class ByLabel(Broken):
    def query(self, X, n_instances=1, *, return_scores=False):
        rows = super().query(X, n_instances, return_scores=return_scores)
        return rows if return_scores else rows.astype(float)


class LooksAtOthers(Broken):
    def _represent(self, X):
        return self.view.probabilities(X)[:, 0] - self.view.probabilities(X)[:, 0].mean()


class GlobalNoise(Broken):
    def _represent(self, X):
        return self.view.probabilities(X)[:, 0] + torch.rand(len(X))


class LeavesTrainMode(Broken):
    def _represent(self, X):
        find_net(self.estimator_)[1].module_.train()
        return self.view.probabilities(X)[:, 0]


class ChangesWeights(Broken):
    def _represent(self, X):
        with torch.no_grad():
            find_net(self.estimator_)[1].module_.head.bias.add_(1e-3)
        return self.view.probabilities(X)[:, 0]


class ChangesThePool(Broken):
    def _represent(self, X):
        scores = self.view.probabilities(X)[:, 0]
        if isinstance(X, np.ndarray):
            X += 0.5
        return scores


class Remembers(Broken):
    def _represent(self, X):
        self.last_pool_ = X
        return self.view.probabilities(X)[:, 0]


class SwallowsBadNumbers(Broken):
    def query(self, X, n_instances=1, *, return_scores=False):
        n_instances = min(max(int(n_instances), 1), len(X))
        return super().query(X, n_instances, return_scores=return_scores)


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        (Repeats, "repeats a position"),
        (ByLabel, "must return an int64 ndarray"),
        (LooksAtOthers, "must treat every row on its own"),
        (ChangesThePool, "changed the pool|answers otherwise|another answer"),
        (Remembers, "left attributes behind"),
        (SwallowsBadNumbers, "should raise .*ValueError"),
    ],
)
def test_a_broken_strategy_is_found(broken, match):
    with pytest.raises(AssertionError, match=match):
        check_query_strategy(broken(LogisticRegression()))


@pytest.mark.parametrize(
    ("broken", "check", "match"),
    [
        (GlobalNoise, "check_nothing_touched", "torch's global state"),
        (ChangesWeights, "check_nothing_touched", "changed the weights"),
        (LeavesTrainMode, "check_nothing_touched", "changed the weights, train flags"),
    ],
)
def test_a_strategy_that_touches_the_net_is_found(broken, check, match):
    checks = {
        c.__name__: c for c in query_strategy_checks(broken(NeuralNetClassifier(max_epochs=2)))
    }
    with pytest.raises(AssertionError, match=match):
        checks[check]()


def test_a_sound_strategy_passes():
    check_query_strategy(MarginSampling(LogisticRegression()))
    check_query_strategy(RandomSampling())
