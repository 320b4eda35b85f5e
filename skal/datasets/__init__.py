"""Data sets: downloaded on demand, read from local files, or made with labels that are noisy."""

from skal.datasets._ames import fetch_ames_housing
from skal.datasets._heteroskedastic import (
    make_four_moons,
    make_noisy_blank,
    make_noisy_class,
    make_noisy_diverse,
)

__all__ = [
    "fetch_ames_housing",
    "make_four_moons",
    "make_noisy_blank",
    "make_noisy_class",
    "make_noisy_diverse",
]
