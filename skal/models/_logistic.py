"""Logistic regression whose penalty is chosen on held-out rows."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from skal.models._likelihood import likelihoods, mean_log_loss

# Inverse strengths of the penalty, per row: what is added for n rows is as strong as for one.
_STRENGTHS = (0.003, 0.02, 0.1, 0.5, 3.0)

# Where a solver is cut off, its answer is as good as a stronger penalty's.
_SOLVER = {"max_iter": 200, "tol": 1e-3}


class LogisticModel:
    """Multinomial logistic regression for classes 0, 1, ..., all of which occur.

    Attributes
    ----------
    held_out_ : ndarray of shape (n_samples, n_classes)
        Probabilities from the folds that a row is not in, with the chosen penalty.
    """

    def fit(self, Z, codes, weight, fold):
        """Choose the penalty by log loss on held-out rows, then fit all rows."""
        best = np.inf
        for strength in _STRENGTHS:
            held_out = self._held_out(strength, Z, codes, weight, fold)
            loss = mean_log_loss(likelihoods(held_out, codes), weight)
            if loss < best:
                best, self.strength_, self.held_out_ = loss, strength, held_out
        self._model = _fitted(self.strength_, Z, codes, weight)
        return self

    def _held_out(self, strength, Z, codes, weight, fold):
        P = np.zeros((len(codes), codes.max() + 1))
        for number in range(fold.max() + 1):
            inside, outside = fold != number, fold == number
            classes = np.unique(codes[inside])
            if len(classes) == 1:
                P[outside, classes[0]] = 1.0
                continue
            model = _fitted(strength, Z[inside], codes[inside], weight[inside])
            P[np.ix_(outside, classes)] = model.predict_proba(Z[outside])
        return P

    def predict_proba(self, Z):
        """Return probabilities, (n_samples, n_classes)."""
        return self._model.predict_proba(Z)


def _fitted(strength, Z, codes, weight):
    return LogisticRegression(C=strength, **_SOLVER).fit(Z, codes, sample_weight=weight)
