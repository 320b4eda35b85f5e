"""Batch selectors: embeddings or scores in, row numbers out."""

from skal.selection._annealed import AnnealedClusters
from skal.selection._base import BatchSelector
from skal.selection._kcenter import KCenterGreedy
from skal.selection._kdpp import KDPP
from skal.selection._kmeans_plus_plus import KMeansPlusPlus
from skal.selection._lcmd import LCMD
from skal.selection._maxdet import MaxDet
from skal.selection._topk import TopK
from skal.selection._typical import TypicalClusters
from skal.utils._rows import Rows

__all__ = [
    "KDPP",
    "LCMD",
    "AnnealedClusters",
    "BatchSelector",
    "KCenterGreedy",
    "KMeansPlusPlus",
    "MaxDet",
    "Rows",
    "TopK",
    "TypicalClusters",
]
