"""Models for small tables that need no tuning."""

from skal.models._classifier import TabularClassifier
from skal.models._net_ensemble import NetEnsembleClassifier, NetEnsembleRegressor
from skal.models._regressor import TabularRegressor

__all__ = [
    "NetEnsembleClassifier",
    "NetEnsembleRegressor",
    "TabularClassifier",
    "TabularRegressor",
]
