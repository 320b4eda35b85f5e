"""Seeding torch for a while, leaving its global generators as they were."""

from contextlib import contextmanager

import torch


@contextmanager
def preserved_generators():
    """Restore torch's global generators (CPU, and CUDA once it is in use) at the end."""
    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = list(range(torch.cuda.device_count())) if in_use else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def torch_seed(seed):
    """Seed torch inside a ``with`` block and restore its generators afterwards.

    Parameters
    ----------
    seed : int
        Seeds the generators of the CPU and of every CUDA device.

    Notes
    -----
    The generators belong to the process: threads that run torch at the same time share them, so
    results are reproducible with processes (joblib's loky), not with threads.

    Examples
    --------
    >>> import torch
    >>> from skal.neural_network._seed import torch_seed
    >>> with torch_seed(0):
    ...     first = torch.rand(3)
    >>> with torch_seed(0):
    ...     second = torch.rand(3)
    >>> bool((first == second).all())
    True
    """
    with preserved_generators():
        torch.manual_seed(seed)
        yield
