"""Frozen layers: parts of a module whose weights are not trained."""

from torch import nn


def frozen_norms(module):
    """List the normalisations in frozen parts of a module, whose statistics stay as they are.

    In training mode they would go on averaging the statistics of the batches, and so change a
    backbone whose weights are held.

    Parameters
    ----------
    module : torch.nn.Module
        With ``requires_grad`` False for the weights that are held.

    Returns
    -------
    layers : list of torch.nn.Module
        Those with running statistics whose weights, or where they have none those of the smallest
        part around them that has any, are all held.
    """
    layers = dict(module.named_modules())
    return [
        layer
        for name, layer in layers.items()
        if isinstance(layer, nn.modules.batchnorm._NormBase)
        and layer.running_mean is not None
        and _is_held(name, layers)
    ]


def _is_held(name, layers):
    while True:
        weights = list(layers[name].parameters())
        if weights or not name:
            return bool(weights) and not any(weight.requires_grad for weight in weights)
        name = name.rpartition(".")[0]
