"""Batch selectors: embeddings or scores in, row numbers out."""

from skal.selection._annealed import AnnealedClusters
from skal.selection._ball_cover import BallCover
from skal.selection._base import BatchSelector
from skal.selection._cluster_round_robin import ClusterRoundRobin
from skal.selection._gumbel import GumbelTopK
from skal.selection._kcenter import KCenterGreedy
from skal.selection._kdpp import KDPP
from skal.selection._kernel_herding import KernelHerding
from skal.selection._kmeans_candidates import KMeansCandidates
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
    "BallCover",
    "BatchSelector",
    "ClusterRoundRobin",
    "GumbelTopK",
    "KCenterGreedy",
    "KMeansCandidates",
    "KMeansPlusPlus",
    "KernelHerding",
    "MaxDet",
    "Rows",
    "TopK",
    "TypicalClusters",
]
