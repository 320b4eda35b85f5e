"""Strategies that look at where rows lie: in the features of a net, or in the inputs."""

from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skal.preprocessing import TablePreprocessor
from skal.strategies._base import SelectingStrategy
from skal.utils._compat import HasMethods, StrOptions
from skal.utils._tags import QueryStrategyTags
from skal.views import has_net
from skal.views._checks import needs_encoding, numeric_rows


class SpatialStrategy(SelectingStrategy):
    """Represents rows by penultimate features, by the inputs of the predictor, or as it is told.

    Adds the parameter `space` ("auto", "features", "inputs" or a transformer). Works for every
    estimator and task, and but for features before any label is known.
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "space": [StrOptions({"auto", "features", "inputs"}), HasMethods(["fit", "transform"])],
    }
    _query_tags = QueryStrategyTags(requires_fitted_estimator=False, conditioned_on_labeled=True)

    def __init__(
        self, estimator=None, *, space="auto", selector=None, device=None, random_state=None
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.space = space

    def fit_pool(self, X_pool, estimator=None):
        super().fit_pool(X_pool, estimator)
        self._encoder = self._fit_encoder(X_pool)
        return self

    def _fit_labeled(self, X, y):
        self._encoder = self._fit_encoder(X)
        super()._fit_labeled(X, y)

    def _fit_encoder(self, X):
        """Return what makes numbers of rows, or of inputs that are none; None where they are."""
        if not isinstance(self.space, str):
            if isinstance(self.space, FrozenEstimator):
                return self.space.estimator
            encoder = clone(self.space)
            encoder.fit(X)
            return encoder
        if self._space() == "features":
            return None
        inputs = self.view.predictor_inputs(X)
        return TablePreprocessor().fit(inputs) if needs_encoding(inputs) else None

    def _represent(self, X):
        view = self.view
        if self._space() == "features":
            return view.net.features(X)
        if self._encoder is None:
            return view.inputs(X)
        inputs = view.predictor_inputs(X) if isinstance(self.space, str) else X
        return numeric_rows(self._encoder.transform(inputs), view.torch_device, view.owner)

    def _space(self):
        if not isinstance(self.space, str):
            return "inputs"
        if self.space != "auto":
            return self.space
        return "features" if has_net(self.estimator_) else "inputs"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if isinstance(self.space, str) and self.space == "features":
            tags.query_strategy_tags.needs = ("features",)
            tags.query_strategy_tags.requires_fitted_estimator = True
        elif self.estimator is None:
            tags.input_tags.allow_nan = True  # tables with gaps are encoded
        return tags
