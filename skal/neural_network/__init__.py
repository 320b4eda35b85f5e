"""Nets to train: scikit-learn estimators on skorch, their callbacks, devices and seeds."""

from skal.neural_network._averaging import EMACallback
from skal.neural_network._classifier import NeuralNetClassifier
from skal.neural_network._device import best_device
from skal.neural_network._fine_tuning import PseudoLabelFineTuner
from skal.neural_network._image_augment import ImageAugment
from skal.neural_network._modules import MLP
from skal.neural_network._noise_channel import NoiseChannelLayer
from skal.neural_network._noisy_classifier import NoisyChannelClassifier
from skal.neural_network._regressor import NeuralNetRegressor
from skal.neural_network._tabular_augment import TabularAugment
from skal.utils._deprecation import moved

__all__ = [
    "EMACallback",
    "MLP",
    "ImageAugment",
    "NeuralNetClassifier",
    "NeuralNetRegressor",
    "NoiseChannelLayer",
    "NoisyChannelClassifier",
    "PseudoLabelFineTuner",
    "TabularAugment",
    "best_device",
]

__getattr__ = moved(
    "skal.neural_network",
    dict.fromkeys(["NetView", "find_net", "has_net", "predictor_inputs", "unwrap"], "skal.views"),
)
