"""Containers, rows, seeds, tags, checks: shared by all rooms, knows none of them."""

from skal.utils._deprecation import moved
from skal.utils.validation import is_labeled

__all__ = ["is_labeled"]

__getattr__ = moved("skal.utils", {"best_device": "skal.neural_network"})
