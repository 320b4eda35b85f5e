"""Numerics and checks shared by the rooms."""

from skal.utils.validation import is_labeled

__all__ = ["best_device", "is_labeled"]


def __getattr__(name):
    # Imported on demand: the device check is the only name here that needs torch.
    if name == "best_device":
        from skal.neural_network import best_device

        return best_device
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
