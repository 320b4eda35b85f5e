import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags

from skal import ActiveLearner
from skal.model_selection import BudgetedActiveLearner
from skal.neural_network import NeuralNetClassifier
from skal.strategies import LHD, CoreSet, MarginSampling, RandomSampling, Staged, TypiClust

X, Y = load_iris(return_X_y=True)
STAGES = [(0, TypiClust(space="inputs")), (30, MarginSampling())]


def learner(stages=STAGES):
    return ActiveLearner(LogisticRegression(max_iter=500), Staged(stages), random_state=0)


def test_each_stage_asks_what_its_strategy_asks():
    few, many = learner().fit(X[::10], Y[::10]), learner().fit(X[::3], Y[::3])
    assert isinstance(few._bound_strategy(X).strategy_, TypiClust)
    margin = ActiveLearner(LogisticRegression(max_iter=500), MarginSampling(), random_state=0)
    scores = many.query(X, 5, return_scores=True)[1]
    assert np.array_equal(scores, margin.fit(X[::3], Y[::3]).query(X, 5, return_scores=True)[1])


def test_the_first_stage_answers_before_any_label():
    assert len(set(learner().query(X, 10))) == 10


def test_tags_are_those_of_all_stages():
    tags = get_tags(Staged(STAGES)).query_strategy_tags
    assert tags.tasks == ("classifier",) and tags.needs == ("probabilities",)
    assert not tags.requires_fitted_estimator and tags.conditioned_on_labeled
    with pytest.raises(ValueError, match="Staged serves classification"):
        ActiveLearner(Ridge(), Staged(STAGES)).fit(X, Y).query(X)


def test_nested_parameters_clone_pickle_and_search():
    strategy = Staged(STAGES)
    strategy.set_params(stage0__n_neighbors=7, stage1=RandomSampling())
    assert strategy.stages[0][1].n_neighbors == 7
    assert [type(s).__name__ for _, s in clone(strategy).stages] == ["TypiClust", "RandomSampling"]
    assert repr(pickle.loads(pickle.dumps(strategy))) == repr(strategy)
    search = GridSearchCV(
        BudgetedActiveLearner(learner(), n_initial=6, n_instances=6, budget=18, random_state=0),
        {"learner__query_strategy__stage1": [MarginSampling(), CoreSet(space="inputs")]},
        cv=2,
    )
    assert len(search.fit(X, Y).cv_results_["mean_test_score"]) == 2


def test_what_a_later_stage_needs_is_recorded_from_the_start():
    stages = [(0, RandomSampling()), (20, LHD())]
    net = NeuralNetClassifier(max_epochs=2)
    model = ActiveLearner(net, Staged(stages), random_state=0).fit(X[::5], Y[::5])
    assert model.query(X, 3).shape == (3,)


@pytest.mark.parametrize("numbers", [(), (5,), (0, 0), (0, 9, 3), (0, 2.5), (False, 4)])
def test_numbers_must_rise_from_zero(numbers):
    stages = [(n, RandomSampling()) for n in numbers]
    with pytest.raises(ValueError, match="'stages' of Staged must be pairs"):
        learner(stages).fit(X, Y).query(X)
