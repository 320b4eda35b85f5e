"""What can be read off a fitted model: inputs, features, probabilities, passes, gradients."""

from skal.utils._nesting import predictor_inputs, unwrap
from skal.views._finding import find_net, has_net
from skal.views._model_view import ModelView
from skal.views._net_view import NetView

__all__ = ["ModelView", "NetView", "find_net", "has_net", "predictor_inputs", "unwrap"]
