"""Figures, as scikit-learn's displays: made by ``from_...``, drawn again by ``plot``."""

from skal.inspection._learning_curve import LearningCurveDisplay

__all__ = ["LearningCurveDisplay"]
