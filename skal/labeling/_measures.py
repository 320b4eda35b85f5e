"""What is measured of every training: the honest estimate, the change, the advice to stop."""

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from skal.labeling._batches import CHECKS
from skal.labeling._codec import decode
from skal.labeling._estimate import estimate, kappa
from skal.labeling._stop import Round, Stop
from skal.utils._random import child_seed

# Rows on which successive models are compared.
_N_COMPARED = 500


class Measures:
    """Measures models.

    Parameters
    ----------
    trainer, names : Trainer, RowNames
        Who predicts, and the pool.

    root_seed : int
        Draws the rows on which successive models are compared.

    stopping : stopping criterion or None
        Cloned, and looked at after every training.
    """

    def __init__(self, trainer, names, root_seed, stopping):
        self.trainer, self.names = trainer, names
        self.stopping = None if stopping is None else clone(stopping)
        self.compared = _compared(names.n, root_seed)

    def estimate(self, learner, answers, metric=None):
        """Return the estimate of a learner on answered rows that no strategy chose."""
        known, n_skipped = answers
        if metric is None:
            metric = "mean absolute error" if self.trainer.is_regressor else "accuracy"
        truth = [decode(text) for text in known.values()]
        positions = [self.names.position(name) for name in known]
        guesses = self.trainer.predict(learner, positions).tolist() if known else []
        return estimate(truth, guesses, n_skipped, metric)

    def of(self, model, previous, job):
        """Return what is worth keeping of a training: estimate, agreement with the last, advice."""
        audit = self.estimate(model.learner, job.audit)
        result = {"audit": [audit.value, audit.low, audit.high, audit.n]}
        if previous is not None:
            now, then = (
                self.trainer.predict(one.learner, self.compared) for one in (model, previous)
            )
            result["kappa"] = _similarity(then, now, self.trainer.is_regressor)
        if self.stopping is not None:
            stop = self._advice(model, previous, job, audit)
            result["stop"] = None if stop is None else list(stop)
        return result

    def _advice(self, model, previous, job, audit):
        before = {} if previous is None else previous.labels
        new = {name: text for name, text in job.labels.items() if name not in before}
        taken = np.zeros(self.names.n, dtype=bool)
        places = [self.names.position(name) for name in {*job.labels, *job.held_back}]
        taken[[place for place in places if place >= 0]] = True
        now = Round(
            self.trainer, model, previous, len(job.labels), np.flatnonzero(~taken), new, audit
        )
        if not self.stopping.update(now):
            return None
        value = getattr(self.stopping, "value_", None)
        name = type(self.stopping).__name__
        return Stop(
            name, value if isinstance(value, (int, float)) else None, model.round, len(job.labels)
        )


def _compared(n, root_seed):
    """Return the fixed random rows on which successive models are compared."""
    return check_random_state(child_seed(root_seed, CHECKS)).permutation(n)[:_N_COMPARED]


def _similarity(then, now, is_regressor):
    """Cohen's kappa of two models; of regressors 1 - RMS change / standard deviation."""
    if not is_regressor:
        return kappa([_key(one) for one in then.tolist()], [_key(one) for one in now.tolist()])
    change, spread = np.sqrt(np.mean((now - then) ** 2)), np.std(then)
    return float(1 - change / spread) if spread > 0 else float(change == 0)


def _key(label):
    return tuple(label) if isinstance(label, list) else label
