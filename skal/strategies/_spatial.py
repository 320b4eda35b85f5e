"""Strategies that look at where rows lie: in the features of a net, or in the inputs."""

from skal.strategies._base import SelectingStrategy
from skal.utils._compat import StrOptions
from skal.utils._tags import QueryStrategyTags
from skal.views import has_net


class SpatialStrategy(SelectingStrategy):
    """Represents rows by penultimate features, or by the inputs of the predictor.

    Adds the parameter `space` ("auto", "features" or "inputs"). Works for every estimator and
    task, and on inputs before any label is known.
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "space": [StrOptions({"auto", "features", "inputs"})],
    }
    _query_tags = QueryStrategyTags(requires_fitted_estimator=False, conditioned_on_labeled=True)

    def __init__(
        self, estimator=None, *, space="auto", selector=None, device=None, random_state=None
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.space = space

    def _represent(self, X):
        if self._space() == "features":
            return self.view.net.features(X)
        return self.view.inputs(X)

    def _space(self):
        if self.space != "auto":
            return self.space
        return "features" if has_net(self.estimator_) else "inputs"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.space == "features":
            tags.query_strategy_tags.needs = ("features",)
            tags.query_strategy_tags.requires_fitted_estimator = True
        return tags
