"""Everything that knows torch and skorch: nets for scikit-learn, and how to see through to them."""

from skal.neural_network._averaging import EMACallback, add_average, find_average
from skal.neural_network._classifier import NeuralNetClassifier
from skal.neural_network._device import best_device, check_device
from skal.neural_network._fine_tuning import PseudoLabelFineTuner
from skal.neural_network._guard import check_foreign_net, explain_fit_error, guard_interrupts
from skal.neural_network._image_augment import ImageAugment
from skal.neural_network._modules import MLP
from skal.neural_network._noise_channel import NoiseChannelLayer
from skal.neural_network._noisy_classifier import NoisyChannelClassifier
from skal.neural_network._regressor import NeuralNetRegressor
from skal.neural_network._seed import torch_seed
from skal.neural_network._tabular_augment import TabularAugment
from skal.neural_network._unwrap import describe, find_net, has_net, predictor_inputs, unwrap
from skal.neural_network._view import NetView

__all__ = [
    "EMACallback",
    "MLP",
    "ImageAugment",
    "NetView",
    "NeuralNetClassifier",
    "NeuralNetRegressor",
    "NoiseChannelLayer",
    "NoisyChannelClassifier",
    "PseudoLabelFineTuner",
    "TabularAugment",
    "add_average",
    "best_device",
    "check_device",
    "check_foreign_net",
    "describe",
    "explain_fit_error",
    "find_average",
    "find_net",
    "guard_interrupts",
    "has_net",
    "predictor_inputs",
    "torch_seed",
    "unwrap",
]
