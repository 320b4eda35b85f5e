"""Figures, as scikit-learn's displays, and what labelled rows do to a model."""

from skal.inspection._critical_difference import CriticalDifferenceDisplay
from skal.inspection._error_cdf import ErrorCDFDisplay
from skal.inspection._influence import influence
from skal.inspection._learning_curve import LearningCurveDisplay
from skal.inspection._penalty_matrix import PenaltyMatrixDisplay
from skal.inspection._query import QueryDisplay

__all__ = [
    "CriticalDifferenceDisplay",
    "ErrorCDFDisplay",
    "LearningCurveDisplay",
    "PenaltyMatrixDisplay",
    "QueryDisplay",
    "influence",
]
