"""A training step for plain MLPs written out: what autograd and Adam compute, with less around it.

A step of a small net takes about a millisecond, nearly all of it Python and the bookkeeping of
autograd. Where a net is a stack of `Linear`, `ReLU` and `Dropout`, its loss the cross-entropy or
the mean squared error and its optimiser Adam, the gradients are few products, and all parameters
lie in one vector, which Adam updates at once:

    forward    z = a W' + b;  relu;  a mask of dropout
    loss       dz = s (softmax(z) - e_y),  or  2 s (z - y) / k,   s the share of each row
    backward   dW = dz' a,  db = sum dz,  da = dz W
    Adam       m += (1 - b1)(g - m);  v += (1 - b2)(g^2 - v);  w -= lr m^ / (sqrt(v^) + eps)

Weights, history, errors, interrupts and the state of the optimiser are those of the usual loop.
Only the masks of dropout are other draws of the same law. Everything else (other layers, losses
and optimisers, hooks, callbacks that look at batches, accelerators) is trained by that loop.
"""

import math

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn

from skal.neural_network._loader import TensorLoader
from skal.neural_network._modules import MLP

_LOOK_AT_BATCHES = ("on_batch_begin", "on_batch_end", "on_grad_computed")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def short_step(net, X, target):
    """Return the short step for a net, or None if it must be trained by the usual loop.

    Parameters
    ----------
    net : BaseNet
        Initialised.

    X : ndarray, CSR matrix or dict
        The rows to train on; dicts are left to the usual loop.

    target : ndarray
        What the loss compares with.

    Returns
    -------
    step : ShortStep or None
        To be closed after the training.
    """
    layers = _stack(net.module_, getattr(X, "ndim", 0))
    served = (
        layers is not None
        # A subclass may have changed any part of the training.
        and vars(type(net)).get("_trains_plainly", False)
        and net.iterator_train is TensorLoader
        and not any(_looks_at_batches(callback) for _, callback in net.callbacks_)
        and _is_plain_loss(net.criterion_, target, layers[-1].out_features)
        and _is_plain_adam(net.optimizer_, list(net.module_.parameters()))
    )
    return ShortStep(net, layers) if served else None


def _stack(module, n_dimensions):
    """The layers of a module in the order they run, or None if it is no plain stack."""
    if type(module) is MLP and n_dimensions:
        layers = [*_flat(module.body), module.head]
    elif type(module) is nn.Sequential and n_dimensions == 2:
        layers = list(_flat(module))
    else:
        return None
    plain = layers and all(type(layer) in (nn.Linear, nn.ReLU, nn.Dropout) for layer in layers)
    if not plain or type(layers[-1]) is not nn.Linear:
        return None
    if any(getattr(part, name) for part in module.modules() for name in _HOOKS):
        return None
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    alike = all(
        type(p) is nn.Parameter
        and p.requires_grad
        and p.dtype == torch.float32
        and p.device.type == "cpu"
        and not p._backward_hooks
        for p in parameters
    )
    # A layer that stands twice has its parameters twice.
    once = len({id(p) for p in parameters}) == len(parameters) == len(list(module.parameters()))
    return layers if alike and once else None


def _flat(sequential):
    for layer in sequential:
        if type(layer) is nn.Sequential:
            yield from _flat(layer)
        else:
            yield layer


def _looks_at_batches(callback):
    return any(getattr(type(callback), m) is not getattr(Callback, m) for m in _LOOK_AT_BATCHES)


def _is_plain_loss(criterion, target, n_outputs):
    if any(getattr(criterion, name) for name in _HOOKS):
        return False
    if type(criterion) is nn.MSELoss:
        numbers = target.dtype == np.float32 and target.shape[1:] == (n_outputs,)
        return criterion.reduction == "mean" and numbers
    return (
        type(criterion) is nn.CrossEntropyLoss
        and criterion.reduction == "mean"
        and criterion.label_smoothing == 0
        and criterion.ignore_index < 0
        and target.dtype == np.int64
        and target.ndim == 1
    )


def _is_plain_adam(optimizer, parameters):
    if type(optimizer) is not torch.optim.Adam or len(optimizer.param_groups) != 1:
        return False
    group = optimizer.param_groups[0]
    options = ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay")
    hooks = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    return (
        not any(group.get(name) for name in options)
        and not any(hooks)
        and {id(p) for p in group["params"]} == {id(p) for p in parameters}
    )


class ShortStep:
    """Trains a stack of layers epoch by epoch; its parameters are views of one vector meanwhile.

    Parameters
    ----------
    net : BaseNet
        Initialised.

    layers : list of Module
        In the order they run, the head last.
    """

    def __init__(self, net, layers):
        self.net, self.optimizer, self.criterion = net, net.optimizer_, net.criterion_
        self.group = self.optimizer.param_groups[0]
        self.parameters = [p for layer in layers for p in layer.parameters()]
        self.weights = torch.cat([p.detach().ravel() for p in self.parameters])
        self.gradient = torch.zeros_like(self.weights)
        views = self._views(self.weights)
        for parameter, view in zip(self.parameters, views, strict=True):
            parameter.data = view
        gradients = dict(zip(map(id, self.parameters), self._views(self.gradient), strict=True))
        self.layers = [_make(layer, gradients) for layer in layers]
        self._take_state()
        self.is_open = True

    def serves(self):
        """Whether the net is still what this was made for: callbacks may change it.

        Once it is not, the usual loop trains from there on.
        """
        net = self.net
        same = (
            self.is_open
            and net.optimizer_ is self.optimizer
            and net.criterion_ is self.criterion
            and self.parameters[0].data_ptr() == self.weights.data_ptr()
            and all(parameter.requires_grad for parameter in self.parameters)
        )
        if not same:
            self.close()
        return same

    def epoch(self, batches):
        """Train on batches ``(X, target)`` or ``(X, (target, weight))``.

        Returns
        -------
        losses : list of float
            Mean loss of each batch, before its step.

        sizes : list of int
            Rows of each batch.
        """
        losses, sizes = [], []
        with torch.no_grad():
            try:
                for X, target in batches:
                    losses.append(self._step(X.flatten(1), target))
                    sizes.append(len(X))
            finally:
                self.step_count.fill_(self.n_steps)
        return torch.stack(losses).tolist(), sizes

    def _step(self, X, target):
        for layer in self.layers:
            X = layer.forward(X)
        loss, upstream = self._loss(self.net._checked_outputs(X), target)
        for layer in reversed(self.layers[1:]):
            upstream = layer.backward(upstream)
        self.layers[0].backward(upstream, needs_input=False)
        self._adam()
        return loss

    def _loss(self, outputs, target):
        """The loss of a batch, and its gradient in the outputs."""
        target, weight = target if isinstance(target, tuple) else (target, None)
        n = len(outputs)
        if isinstance(self.criterion, nn.MSELoss):
            difference = outputs - target.reshape(outputs.shape)
            k = outputs.shape[1]
            scale = 1.0 / (n * k) if weight is None else (weight / (n * k))[:, None]
            weighted = difference * scale
            return (weighted * difference).sum(), weighted.mul_(2.0)
        log_P, index = torch.log_softmax(outputs, 1), target[:, None]
        own = log_P.gather(1, index)
        gradient = log_P.exp_().scatter_(1, index, own.exp().sub_(1.0))
        share = _shares(target, weight, self.criterion.weight, n)
        if isinstance(share, float):
            return own.sum().mul_(-share), gradient.mul_(share)
        return -(own[:, 0] * share).sum(), gradient.mul_(share[:, None])

    def _adam(self):
        """One step of Adam on all parameters (Kingma and Ba 2015, algorithm 1)."""
        group, g = self.group, self.gradient
        beta1, beta2 = group["betas"]
        if group["weight_decay"]:
            g = g.add(self.weights, alpha=group["weight_decay"])
        self.n_steps += 1
        self.mean.lerp_(g, 1 - beta1)
        self.square.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        step = float(group["lr"]) / (1 - beta1**self.n_steps)
        root = self.square.sqrt().div_(math.sqrt(1 - beta2**self.n_steps)).add_(group["eps"])
        self.weights.addcdiv_(self.mean, root, value=-step)

    # ------------------------------------------------------------------ state shared with the net

    def _views(self, vector):
        """Parts of a vector, shaped as the parameters."""
        parts = vector.split([p.numel() for p in self.parameters])
        return [part.view(p.shape) for part, p in zip(parts, self.parameters, strict=True)]

    def _take_state(self):
        """Continue from the optimiser's state; what it holds is ours from here on."""
        known = [self.optimizer.state.get(p) or None for p in self.parameters]
        vectors = []
        for name in ("exp_avg", "exp_avg_sq"):
            parts = [
                (torch.zeros_like(p) if state is None else state[name]).ravel()
                for p, state in zip(self.parameters, known, strict=True)
            ]
            vectors.append(torch.cat([part.detach() for part in parts]))
        self.mean, self.square = vectors
        self.step_count = torch.tensor(0.0 if known[0] is None else float(known[0]["step"]))
        self.n_steps = int(self.step_count)
        means, squares = self._views(self.mean), self._views(self.square)
        for p, mean, square in zip(self.parameters, means, squares, strict=True):
            self.optimizer.state[p] = {
                "step": self.step_count,
                "exp_avg": mean,
                "exp_avg_sq": square,
            }

    def close(self):
        """Give every parameter and its state a memory of its own again."""
        if not self.is_open:
            return
        self.is_open = False
        for parameter in self.parameters:
            parameter.data = parameter.data.clone()
            state = self.optimizer.state[parameter]
            self.optimizer.state[parameter] = {name: value.clone() for name, value in state.items()}


def _shares(target, weight, class_weight, n):
    """How much the loss of each row counts: a float for all, or a tensor (n,)."""
    if weight is None and class_weight is None:
        return 1.0 / n
    if class_weight is None:
        return weight / n
    share = class_weight[target] if weight is None else weight * class_weight[target]
    return share / share.sum()


def _make(layer, gradients):
    if type(layer) is nn.Linear:
        bias = None if layer.bias is None else gradients[id(layer.bias)]
        return _Linear(layer, gradients[id(layer.weight)], bias)
    return _ReLU() if type(layer) is nn.ReLU else _Dropout(layer.p)


class _Linear:
    def __init__(self, layer, weight_gradient, bias_gradient):
        self.weight, self.bias = layer.weight, layer.bias
        self.weight_gradient, self.bias_gradient = weight_gradient, bias_gradient

    def forward(self, X):
        self.X = X
        if self.bias is None:
            return X @ self.weight.T
        return torch.addmm(self.bias, X, self.weight.T)

    def backward(self, upstream, *, needs_input=True):
        torch.mm(upstream.T, self.X, out=self.weight_gradient)
        if self.bias_gradient is not None:
            torch.sum(upstream, 0, out=self.bias_gradient)
        self.X = None
        return upstream @ self.weight if needs_input else None


class _ReLU:
    def forward(self, X):
        self.X = X.clamp_min(0.0)
        return self.X

    def backward(self, upstream, *, needs_input=True):
        return upstream * (self.X > 0) if needs_input else None


class _Dropout:
    def __init__(self, p):
        self.p = p

    def forward(self, X):
        self.mask = torch.empty_like(X).bernoulli_(1 - self.p)
        if self.p < 1:
            self.mask.div_(1 - self.p)
        return X * self.mask

    def backward(self, upstream, *, needs_input=True):
        return upstream * self.mask if needs_input else None
