"""Which torch device to compute on, checked before torch is asked."""

import torch


def best_device():
    """Name the fastest device torch can compute on here.

    Returns
    -------
    device : {"cuda", "cpu"}
        "cuda" where torch finds a CUDA device, else "cpu".

    Examples
    --------
    >>> from skal.neural_network import best_device
    >>> best_device() in {"cpu", "cuda"}
    True
    """
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(device, owner, *, purpose="train"):
    """Return `device` as a ``torch.device`` that can be computed on.

    Parameters
    ----------
    device : str or torch.device
        "cpu", "cuda", "cuda:1".

    owner : str
        The class whose parameter this is, for the error.

    purpose : str, default="train"
        What it wants the device for, for the error.

    Returns
    -------
    device : torch.device
        The device.

    Raises
    ------
    ValueError
        If torch does not know the device or does not find it on this machine.
    """
    given = str(device)
    remedy = "Use device='cpu' or skal.utils.best_device()."
    kind, _, index = given.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()) or given.endswith(":"):
        raise ValueError(
            f"The 'device' parameter of {owner} must be 'cpu', 'cuda' or a numbered CUDA device "
            f"such as 'cuda:1'. Got {given!r} instead. {remedy}"
        )
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(
                f"{owner}(device={given!r}) was asked to {purpose} on CUDA but torch finds no CUDA "
                f"device. {remedy}"
            )
        if index and int(index) >= torch.cuda.device_count():
            raise ValueError(
                f"{owner}(device={given!r}) was asked to {purpose} on CUDA device {index} but "
                f"torch finds only {torch.cuda.device_count()}, numbered from 0. {remedy}"
            )
    return torch.device(given)
