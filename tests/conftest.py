"""Fixtures every test sees: reset seeds and configuration, and what the machine has."""

import os
from pathlib import Path

import numpy as np
import pytest
import sklearn
import torch

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = Path(os.environ.get("SKAL_SHARED_DATA", ROOT / "../shared/data")).resolve()


@pytest.fixture(autouse=True)
def _clean_slate():
    """Give each test the same global seeds and scikit-learn's default configuration."""
    np.random.seed(0)
    torch.manual_seed(0)
    with sklearn.config_context():
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def shared_data():
    """Folder of the real data sets; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the folder of real data sets, {SHARED_DATA.name}/")
    return SHARED_DATA


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Every device of this machine that skal is expected to run on."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    return request.param
