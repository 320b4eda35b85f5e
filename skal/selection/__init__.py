"""Batch selectors: embeddings or scores in, row numbers out."""

from skal.selection._base import BatchSelector
from skal.selection._kcenter import KCenterGreedy
from skal.selection._kmeans_plus_plus import KMeansPlusPlus
from skal.selection._topk import TopK

__all__ = ["BatchSelector", "KCenterGreedy", "KMeansPlusPlus", "TopK"]
