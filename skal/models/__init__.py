"""Models for small tables that need no tuning."""

from skal.models._classifier import TabularClassifier
from skal.models._regressor import TabularRegressor

__all__ = ["TabularClassifier", "TabularRegressor"]
