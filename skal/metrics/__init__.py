"""What a labelling budget bought: numbers for curves, for pairs of them, and for many settings."""

from skal.metrics._auca import AUCARatio, auca, auca_ratio
from skal.metrics._budget import area_under_budget_curve, labels_to_reach
from skal.metrics._clean_fraction import clean_fraction
from skal.metrics._correction import holm_correction
from skal.metrics._critical_difference import CriticalDifference, critical_difference
from skal.metrics._error_cdf import normalized_error_cdf
from skal.metrics._labels_saved import LabelsSaved, labels_saved
from skal.metrics._paired import (
    PairedTest,
    RatioToBaseline,
    paired_test,
    paired_z,
    ratio_to_baseline,
)
from skal.metrics._penalty import pairwise_penalty_matrix
from skal.metrics._permutation import PermutationTestResult, permutation_test
from skal.metrics._rounds import average_rank, rounds_below_baseline
from skal.metrics._scorer import make_budget_scorer

__all__ = [
    "AUCARatio",
    "CriticalDifference",
    "LabelsSaved",
    "PairedTest",
    "PermutationTestResult",
    "RatioToBaseline",
    "area_under_budget_curve",
    "auca",
    "auca_ratio",
    "average_rank",
    "clean_fraction",
    "critical_difference",
    "holm_correction",
    "labels_saved",
    "labels_to_reach",
    "make_budget_scorer",
    "normalized_error_cdf",
    "paired_test",
    "paired_z",
    "pairwise_penalty_matrix",
    "permutation_test",
    "ratio_to_baseline",
    "rounds_below_baseline",
]
