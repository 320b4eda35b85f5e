import pytest


@pytest.fixture(
    params=[3, pytest.param(1, marks=pytest.mark.slow)], ids=["a third of the draws", "all draws"]
)
def draws(request):
    """How many draws a test of a law makes of those it is given: a third, or all with -m slow."""
    return lambda n: n // request.param
