"""Simulations on labelled data: learning curves, comparisons and searches over a budget."""

from skal.model_selection._budgeted import BudgetedActiveLearner
from skal.model_selection._comparison import compare_strategies, summarize_comparison
from skal.model_selection._curve import active_learning_curve

__all__ = [
    "BudgetedActiveLearner",
    "active_learning_curve",
    "compare_strategies",
    "summarize_comparison",
]
