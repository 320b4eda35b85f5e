"""A copy of a module to compute with, so that the module itself is never touched."""

import copy

import torch

from skal.neural_network._averaging import plain_module


def private_copy(module):
    """Copy a module: its weights, buffers and structure.

    Parameters
    ----------
    module : torch.nn.Module
        Another thread may be predicting with it.

    Returns
    -------
    twin : torch.nn.Module
        Shares no tensor with it. Results of a forward pass that it keeps as attributes lose their
        graph, and what cannot be copied (locks, files) is shared.
    """
    module = plain_module(module)
    memo = {}
    for part in module.modules():
        for value in list(vars(part).values()):
            _keep_results(value, memo)
    try:
        return copy.deepcopy(module, dict(memo))
    except Exception:  # of any kind: it comes out of other people's attributes
        for part in module.modules():
            for name, value in list(vars(part).items()):
                if name not in ("_parameters", "_buffers", "_modules"):
                    _share_if_need_be(value, memo)
        return copy.deepcopy(module, memo)


def _keep_results(value, memo):
    """Give results of a computation, which torch does not copy, copies without a graph."""
    if isinstance(value, torch.Tensor):
        if not value.is_leaf:
            memo[id(value)] = value.detach().clone()
    elif isinstance(value, (list, tuple)):
        for part in value:
            _keep_results(part, memo)
    elif isinstance(value, dict):
        for part in list(value.values()):
            _keep_results(part, memo)


def _share_if_need_be(value, memo):
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:  # as above
        memo[id(value)] = value
