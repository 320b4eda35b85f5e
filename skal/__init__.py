"""Deep active learning for scikit-learn users.

An :class:`ActiveLearner` holds an estimator and a query strategy: it learns from labelled rows
(`fit`, `teach`) and says which rows of a pool to label next (`query`).
"""

import importlib

from skal._version import __version__

__all__ = ["ActiveLearner", "Recommendation", "__version__", "recommend", "show_versions"]

# Where public names live, and the rooms that ``skal.room`` reaches. Each is imported when it is
# asked for: torch takes seconds, and not every use of the package needs it.
_HOMES = {
    "ActiveLearner": "skal.learner",
    "Recommendation": "skal._recommend",
    "recommend": "skal._recommend",
    "show_versions": "skal.utils._show_versions",
}
_ROOMS = (
    "datasets",
    "inspection",
    "labeling",
    "learner",
    "metrics",
    "model_selection",
    "models",
    "neural_network",
    "oracles",
    "preprocessing",
    "selection",
    "stopping",
    "strategies",
    "testing",
    "utils",
    "views",
)


def __getattr__(name):
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        return importlib.import_module(f"skal.{name}")
    raise AttributeError(f"module 'skal' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__, *_ROOMS})
