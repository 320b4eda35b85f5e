"""What a labelling budget bought: numbers for curves, and for pairs of them."""

from skal.metrics._budget import area_under_budget_curve, labels_to_reach
from skal.metrics._paired import RatioToBaseline, paired_z, ratio_to_baseline
from skal.metrics._scorer import make_budget_scorer

__all__ = [
    "RatioToBaseline",
    "area_under_budget_curve",
    "labels_to_reach",
    "make_budget_scorer",
    "paired_z",
    "ratio_to_baseline",
]
