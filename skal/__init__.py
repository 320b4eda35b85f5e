"""Deep active learning for scikit-learn users.

An :class:`ActiveLearner` holds an estimator and a query strategy: it learns from labelled rows
(`fit`, `teach`) and says which rows of a pool to label next (`query`).
"""

from skal._recommend import Recommendation, recommend
from skal._version import __version__
from skal.learner import ActiveLearner
from skal.utils._show_versions import show_versions

__all__ = ["ActiveLearner", "Recommendation", "__version__", "recommend", "show_versions"]
