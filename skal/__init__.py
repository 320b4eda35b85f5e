"""Deep active learning for scikit-learn users."""

from skal._version import __version__

__all__ = ["__version__"]
