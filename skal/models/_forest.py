"""Extremely randomised trees, and what they predict for rows they have not seen."""

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

# Of the trees of the forest, the share that each fold grows for its held-out predictions.
_SHARE = 0.2


class RegressionForest:
    """Extra trees for a regression target."""

    def __init__(self, n_estimators):
        self.n_estimators = n_estimators

    def fit(self, Z, y, weight, fold, rng):
        """Grow the forest, and a smaller one per fold for `held_out_`."""
        self._forest = _grow(ExtraTreesRegressor, self.n_estimators, Z, y, weight, rng)
        self.held_out_ = np.empty(len(y))
        for number in range(fold.max() + 1):
            inside, outside = fold != number, fold == number
            n_trees = max(1, round(_SHARE * self.n_estimators))
            part = _grow(ExtraTreesRegressor, n_trees, Z[inside], y[inside], weight[inside], rng)
            self.held_out_[outside] = part.predict(Z[outside])
        return self

    def predict(self, Z):
        """Return the means of the trees, (n_samples,)."""
        return self._forest.predict(Z)


class ClassificationForest:
    """Extra trees for classes 0, 1, ..., n_classes - 1, all of which occur."""

    def __init__(self, n_estimators):
        self.n_estimators = n_estimators

    def fit(self, Z, codes, weight, fold, rng):
        """Grow the forest, and a smaller one per fold for `held_out_`."""
        self._forest = _grow(ExtraTreesClassifier, self.n_estimators, Z, codes, weight, rng)
        self.held_out_ = np.zeros((len(codes), codes.max() + 1))
        for number in range(fold.max() + 1):
            inside, outside = fold != number, fold == number
            n_trees = max(1, round(_SHARE * self.n_estimators))
            part = _grow(
                ExtraTreesClassifier, n_trees, Z[inside], codes[inside], weight[inside], rng
            )
            self.held_out_[np.ix_(outside, part.classes_)] = part.predict_proba(Z[outside])
        return self

    def predict_proba(self, Z):
        """Return the shares of the trees, (n_samples, n_classes)."""
        return self._forest.predict_proba(Z)


def _grow(cls, n_trees, Z, y, weight, rng):
    forest = cls(n_trees, random_state=rng.randint(np.iinfo(np.int32).max))
    return forest.fit(Z, y, sample_weight=weight)
