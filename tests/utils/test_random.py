"""Seeds depend on a place in the tree, never on what was drawn before."""

import numpy as np
from sklearn.ensemble import BaggingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline

from skal.utils._random import child_seed, draw_seed, set_random_states


def test_child_seeds_differ_and_repeat():
    seeds = {child_seed(*place) for place in [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]}
    assert len(seeds) == 6
    assert child_seed(3, 4) == child_seed(3, 4)
    assert 0 <= child_seed(2**31 - 1, 5) < 2**31


def test_set_random_states_fills_only_what_is_missing():
    model = make_pipeline(SGDClassifier(random_state=5))
    set_random_states(model, 0, only_missing=True)
    assert model[-1].random_state == 5
    set_random_states(model, 0)
    first = model[-1].random_state
    assert first != 5
    set_random_states(model.set_params(sgdclassifier__random_state=5), 1)
    assert model[-1].random_state != first


def test_nested_estimators_get_seeds_of_their_own():
    bagging = BaggingClassifier(SGDClassifier())
    set_random_states(bagging, 0, only_missing=True)
    assert bagging.random_state != bagging.estimator.random_state
    inner = LogisticRegression()
    frozen = BaggingClassifier(FrozenEstimator(inner))
    set_random_states(frozen, 0)
    assert inner.random_state is None


def test_a_random_state_instance_is_not_advanced():
    state = np.random.RandomState(0)
    expected = np.random.RandomState(0).randint(100, size=3)
    set_random_states(SGDClassifier(random_state=state), 0)
    assert (state.randint(100, size=3) == expected).all()
    assert draw_seed(0) == draw_seed(0)
