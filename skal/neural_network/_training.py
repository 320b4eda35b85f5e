"""How a learner trains its estimator: seeded, with skorch's silent habits caught."""

from skal.neural_network._guard import check_foreign_net, explain_fit_error, guard_interrupts
from skal.neural_network._seed import torch_seed


def train(estimator, X, y, fit_params, seed):
    """Fit `estimator` in place with torch seeded from `seed`, and return it.

    Raises
    ------
    ValueError
        If a plain skorch net would train on the wrong thing without saying so.
    """
    check_foreign_net(estimator, y)
    guard_interrupts(estimator)
    with torch_seed(seed):
        try:
            return estimator.fit(X, y, **fit_params)
        except Exception as error:
            explanation = explain_fit_error(estimator, error)
            if explanation is None:
                raise
            raise type(error)(explanation) from error
