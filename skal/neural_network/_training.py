"""How a learner trains its estimator: seeded, with skorch's silent habits caught."""

from contextlib import nullcontext

from skorch import NeuralNet

from skal.neural_network._guard import (
    check_foreign_net,
    explain_fit_error,
    guard_interrupts,
    parts_of,
)
from skal.neural_network._net import BaseNet
from skal.neural_network._seed import SEEDED, import_whole, torch_seed


def train(estimator, X, y, fit_params, seed):
    """Fit `estimator` in place with torch seeded from `seed`, and return it.

    Raises
    ------
    ValueError
        If a plain skorch net would train on the wrong thing without saying so.
    """
    check_foreign_net(estimator, y)
    guard_interrupts(estimator)
    lock, seeded = _seeding(estimator, seed)
    with lock, seeded:
        try:
            fitted = estimator.fit(X, y, **fit_params)
        except Exception as error:
            explanation = explain_fit_error(estimator, error)
            if explanation is None:
                raise
            raise type(error)(explanation) from error
    # Estimators of other habits return nothing.
    return estimator if fitted is None else fitted


def _seeding(estimator, seed):
    """Contexts to train in: the lock on torch's generators, and the seed; only where they count.

    Nets of this package seed themselves, perhaps in threads of their own (a search with a threading
    backend), which would wait for this one for ever. scikit-learn's estimators know no torch.
    """
    parts = list(parts_of(estimator))
    if any(isinstance(part, NeuralNet) and not isinstance(part, BaseNet) for part in parts):
        import_whole("torch._dynamo")
    own = any(isinstance(part, BaseNet) for part in parts)
    foreign = any(
        not isinstance(part, BaseNet) and type(part).__module__.partition(".")[0] not in _NO_TORCH
        for part in parts
    )
    lock = SEEDED if foreign and not own else nullcontext()
    return lock, torch_seed(seed) if foreign else nullcontext()


# Packages whose estimators draw nothing from torch, or seed it themselves.
_NO_TORCH = ("sklearn", "skal")
