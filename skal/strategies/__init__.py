"""Query strategies: which rows of a pool to label next."""

from skal.strategies._alfa_mix import ALFAMix
from skal.strategies._badge import BADGE
from skal.strategies._bait import BAIT
from skal.strategies._bald import BALD
from skal.strategies._base import QueryStrategy, SelectingStrategy
from skal.strategies._batch_bald import BatchBALD
from skal.strategies._cluster_margin import ClusterMargin
from skal.strategies._committee import QueryByCommittee
from skal.strategies._coreset import CoreSet
from skal.strategies._dean import DeAn
from skal.strategies._drop_query import DropQuery
from skal.strategies._epig import EPIG
from skal.strategies._expected_gradient import ExpectedGradientLength
from skal.strategies._forest_variance import ForestVariance
from skal.strategies._grad_norm import GradNorm
from skal.strategies._gradients import GradientEmbedding
from skal.strategies._greedy_sampling import GreedySampling
from skal.strategies._isal import ISAL
from skal.strategies._lhd import LHD
from skal.strategies._max_herding import MaxHerding
from skal.strategies._mean_std import MeanStd
from skal.strategies._noise_stability import NoiseStability
from skal.strategies._predictive_std import PredictiveStd
from skal.strategies._prob_cover import ProbCover
from skal.strategies._ralif import RALIF
from skal.strategies._random import RandomSampling
from skal.strategies._staged import Staged
from skal.strategies._typiclust import TypiClust
from skal.strategies._uherding import UHerding
from skal.strategies._uncertainty import EntropySampling, LeastConfidence, MarginSampling
from skal.strategies._variation_ratio import VariationRatio
from skal.utils._tags import QueryStrategyTags

__all__ = [
    "ALFAMix",
    "ISAL",
    "BADGE",
    "EPIG",
    "BAIT",
    "BALD",
    "BatchBALD",
    "ClusterMargin",
    "CoreSet",
    "DeAn",
    "DropQuery",
    "EntropySampling",
    "ExpectedGradientLength",
    "ForestVariance",
    "GradNorm",
    "GradientEmbedding",
    "GreedySampling",
    "LHD",
    "LeastConfidence",
    "MarginSampling",
    "MaxHerding",
    "MeanStd",
    "NoiseStability",
    "PredictiveStd",
    "ProbCover",
    "QueryByCommittee",
    "QueryStrategy",
    "QueryStrategyTags",
    "SelectingStrategy",
    "RALIF",
    "RandomSampling",
    "Staged",
    "TypiClust",
    "UHerding",
    "VariationRatio",
]
