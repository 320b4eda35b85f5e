"""Figures, as scikit-learn's displays: made by ``from_...``, drawn again by ``plot``."""

from skal.inspection._error_cdf import ErrorCDFDisplay
from skal.inspection._learning_curve import LearningCurveDisplay
from skal.inspection._penalty_matrix import PenaltyMatrixDisplay

__all__ = ["ErrorCDFDisplay", "LearningCurveDisplay", "PenaltyMatrixDisplay"]
