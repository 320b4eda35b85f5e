"""Data sets, downloaded on demand or read from local files."""

from skal.datasets._ames import fetch_ames_housing

__all__ = ["fetch_ames_housing"]
