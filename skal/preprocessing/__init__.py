"""Tables of mixed columns made into numbers."""

from skal.preprocessing._table import TablePreprocessor

__all__ = ["TablePreprocessor"]
