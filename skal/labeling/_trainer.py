"""The one who touches models: trains them, lets them choose rows, predicts with them."""

from copy import copy
from typing import NamedTuple

import numpy as np
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError

from skal.labeling._codec import decode
from skal.utils._tables import take_rows


class Model(NamedTuple):
    """A trained learner, the training that made it, and the labels it has seen, by name."""

    learner: object
    training: int
    round: int
    labels: dict


class Trainer:
    """Trains clones of a learner on labels of a pool.

    A training follows from the labels, their order, the round and the root seed alone: a session
    that was killed comes to the same model.

    Parameters
    ----------
    learner : ActiveLearner
        Never changed.

    names : RowNames
        The pool.

    root_seed : int
        What all seeds follow from.
    """

    def __init__(self, learner, names, root_seed):
        self.learner = clone(learner)
        self.names, self.root_seed = names, root_seed
        self.is_classifier, self.is_regressor = is_classifier(learner), is_regressor(learner)

    def can_train(self, labels):
        """Whether there is enough to learn from: a classifier needs two classes."""
        if not self.is_classifier:
            return bool(labels)
        distinct = set(labels.values())
        return len(distinct) > 1 or any(isinstance(decode(one), list) for one in distinct)

    def train(self, labels, held_back, round, warm=None):
        """Return a learner trained on labels.

        Parameters
        ----------
        labels : dict
            JSON of the label by name, in the order to learn from.

        held_back : set of str
            Names of rows that are no unlabelled rows either.

        round : int
            How many rounds of labels these are.

        warm : Model or None, default=None
            Where to go on from, if the learner has ``warm_start=True``.
        """
        position = self.names.position
        values = {position(name): decode(text) for name, text in labels.items()}
        values.pop(-1, None)  # rows that were not found again
        others = sorted({position(name) for name in held_back} - values.keys() - {-1})
        rows = np.array([*values, *others], dtype=np.intp)
        goes_on = self.learner.warm_start and warm is not None
        learner = copy(warm.learner) if goes_on else clone(self.learner)
        target = _target(list(values.values()), len(others))
        return learner.restore(self.names.X, rows, target, round, self.root_seed)

    def choose(self, model, plan):
        """Return the positions of a plan's rows, chosen by a model's strategy."""
        if plan.n_chosen == 0:
            return plan.candidates[:0]
        asker = copy(model.learner)
        # The seed of a question is that of its round, also if the model is that of an older one.
        asker.n_rounds_ = plan.round - 1
        pool = take_rows(self.names.X, plan.candidates)
        return plan.candidates[asker.query(pool, plan.n_chosen)]

    def choose_cold(self, plan):
        """Return the positions that the strategy chooses without a model, None if it needs one."""
        learner = clone(self.learner).set_params(random_state=plan.seed)
        pool = take_rows(self.names.X, plan.candidates)
        try:
            return plan.candidates[learner.query(pool, plan.n_chosen)]
        except NotFittedError:
            return None

    def predict(self, learner, positions, method="predict"):
        """Return the predictions for rows of the pool, an array."""
        return getattr(learner, method)(take_rows(self.names.X, np.asarray(positions, np.intp)))

    def strategy_name(self):
        """Return what the strategy is called."""
        strategy = self.learner.query_strategy
        if isinstance(strategy, str):
            return strategy
        return "RandomSampling" if strategy is None else type(strategy).__name__


def _target(values, n_missing):
    """Labels and as many missing ones, as objects: ints stay ints beside a None."""
    width = len(values[0]) if values and isinstance(values[0], list) else None
    shape = (len(values) + n_missing,) if width is None else (len(values) + n_missing, width)
    target = np.full(shape, None, dtype=object)
    for i, value in enumerate(values):
        target[i] = value
    return target
