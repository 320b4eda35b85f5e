"""Gradients of the whole net as an embedding, sketched to a few hundred columns.

    embedding(x)_j = p^(-1/2) sum_t  u_tj^T G_t(x) v_tj,   j = 1..p,

G_t(x) being the derivative of the outputs in parameter t, as a matrix, and u, v random vectors of
independent standard normal entries. Inner products of embeddings are, in expectation, those of the
gradients. For a linear layer G = s h^T is a product, and so is its sketch: (u^T s) (v^T h).
"""

import math
from numbers import Integral

import torch

from skal.selection import LCMD
from skal.strategies._base import SelectingStrategy
from skal.utils._compat import Interval, StrOptions
from skal.utils._random import child_seed
from skal.utils._tags import QueryStrategyTags
from skal.views._jacobian import RowJacobians

_MAX_BYTES = 4 * 2**30  # of an embedding without a sketch


class GradientEmbedding(SelectingStrategy):
    r"""Query rows that represent the pool in the space of the net's gradients.

    The embedding of a row is the gradient of the net's output in its parameters,

    .. math:: \phi(x) = \nabla_\theta f_\theta(x),

    the feature map of the net's (finite) neural tangent kernel: rows with close gradients move
    together when the net learns. It is compressed to `n_components` columns by random projections
    that keep inner products in expectation. The batch is chosen by :class:`~skal.selection.LCMD`,
    with the labelled rows as centres: the combination that did best in the benchmark of the paper
    for deep regression on tables.

    Parameters
    ----------
    estimator : regressor or None, default=None
        A torch net, however wrapped. None means the estimator of the learner the strategy is
        plugged into.

    scope : {"all", "last_layer"}, default="all"
        Whose parameters count: all that are trained, or only the last linear layer's. For one
        output the latter are the penultimate features, and a constant for the bias.

    n_components : int or None, default=512
        Columns of the sketch, p. More are closer to the gradients: errors of inner products fall
        with :math:`p^{-1/2}`. None keeps the gradients themselves, for small nets.

    selector : BatchSelector or None, default=None
        Picks the batch. None is ``LCMD()``. Any selector is given the labelled rows.

    device : str or None, default=None
        Where gradients and distances are computed ("cpu", "cuda:1"). None is the device of the net.

    random_state : int, RandomState or None, default=None
        Seeds the projections, drawn on the CPU so that devices agree, and ties.

    Attributes
    ----------
    estimator_ : regressor
        The fitted regressor that is read.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    Raises
    ------
    TypeError
        If the estimator is no torch net.
    ValueError
        If no parameter of the net is trained; for classifiers, whose gradients are not defined
        before a label is (:class:`BADGE` takes the predicted one); or if the gradients without a
        sketch would take more than 4 GiB.

    See Also
    --------
    CoreSet : Distances of penultimate features.
    NoiseStability : The same kernel estimated from perturbed weights, divided by the outputs.
    BADGE : Gradients of the last layer for classification.

    Notes
    -----
    With C outputs the gradients of all of them are joined: the kernel is the sum over outputs of
    the inner products of their gradients. Outputs are those the net was trained on (of unit
    variance with ``standardize_y=True``), parameters those of torch's layers; the paper's nets
    scale theirs by the width of the layer, which weights the layers of a kernel differently.

    The derivative in a parameter is taken as a matrix G, outputs and first dimension of the
    parameter by its other dimensions. It is sketched to :math:`p^{-1/2} u_j^T G v_j`, with
    independent standard normal :math:`u_j, v_j`, a single row or column having a random sign in
    place of its vector; the sketches of all parameters are added. This needs p times the sum of the
    sides of these matrices in random numbers, made anew in every call, not p times the number of
    parameters. For linear layers that see a row once, G is a product of two vectors that one
    backward pass per output gives for all rows, and never built. Other parameters (of convolutions,
    normalisations, recurrent layers) are differentiated row by row with :mod:`torch.func`, a few
    rows at a time.

    Without a sketch, the columns of `transform` are parameter after parameter in the order of
    ``module.named_parameters()``, each with all entries for the first output, then the second.

    Cost: a forward pass, C backward passes and 2 p w operations per row, w being the sum of the
    sides of the matrices; for each parameter that is no such linear layer's, 2 p times its size.
    Memory: n_samples p float32 numbers, and chunks of a few tens of MiB.

    References
    ----------
    D. Holzmueller, V. Zaverkin, J. Kaestner and I. Steinwart (2023). A framework and benchmark for
    deep batch active learning for regression. Journal of Machine Learning Research 24(164),
    arXiv:2203.09410 (full gradient kernel, sketching).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skal.neural_network import NeuralNetRegressor
    >>> from skal.strategies import GradientEmbedding
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = NeuralNetRegressor(module__hidden=(16,), max_epochs=5, standardize_y=True)
    >>> strategy = GradientEmbedding(net, n_components=64, random_state=0).fit(X[:50], y[:50])
    >>> strategy.transform(X).shape
    (442, 64)
    >>> strategy.query(X, n_instances=3).shape
    (3,)
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "scope": [StrOptions({"all", "last_layer"})],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
    }
    _query_tags = QueryStrategyTags(
        needs=("gradients",), tasks=("regressor",), conditioned_on_labeled=True
    )
    _default_selector = LCMD()
    _instead = {"classifier": "BADGE"}

    def __init__(
        self,
        estimator=None,
        *,
        scope="all",
        n_components=512,
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.scope = scope
        self.n_components = n_components

    def _represent(self, X):
        view = self.view.net
        X = view.prepare(X)
        layer = view.head_name if self.scope == "last_layer" else None
        jacobians = RowJacobians(view, X, layer)
        if self.n_components is None:
            return self._exact(jacobians)
        return self._sketched(jacobians, view.device)

    def _exact(self, jacobians):
        """The gradients themselves, (n, n_columns)."""
        n, n_columns = jacobians.n_rows, jacobians.n_columns
        if 4 * n * n_columns > _MAX_BYTES:
            raise ValueError(
                f"The gradients of {n} rows in {n_columns} columns need {4 * n * n_columns} bytes, "
                f"more than {_MAX_BYTES}. Sketch them: n_components=512."
            )

        def joined(parts):
            return torch.cat([part.dense().flatten(1) for part in parts.values()], dim=1)

        return jacobians.map(joined, 2 * n_columns)

    def _sketched(self, jacobians, device):
        """Random projections of the gradients, (n, n_components)."""
        p = self.n_components
        vectors = {}
        for t, (name, (L, M)) in enumerate(jacobians.shapes.items()):
            generator = torch.Generator().manual_seed(child_seed(self._seed, 3, t))
            drawn = _random_vectors(p, L, generator), _random_vectors(p, M, generator)
            vectors[name] = tuple(part.to(device) for part in drawn)

        def sketch(parts):
            total = sum(_sketch(part, *vectors[name]) for name, part in parts.items())
            return total / math.sqrt(p)

        widest = max((L for L, M in jacobians.shapes.values() if M > 1), default=1)
        return jacobians.map(sketch, p * (3 + (widest if jacobians.has_matrices else 0)))


def _random_vectors(p, width, generator):
    """p vectors with independent entries of mean 0 and variance 1, (p, width)."""
    if width == 1:  # a sign is a sketch without error
        return torch.randint(2, (p, 1), generator=generator).float().mul_(2).sub_(1)
    return torch.randn((p, width), generator=generator)


def _sketch(part, U, V):
    """u_j^T G v_j for each row: (n, p)."""
    if part.matrix is None:
        return (part.left @ U.T).mul_(part.right @ V.T)
    n, L, M = part.matrix.shape
    if M == 1:
        return (part.matrix[:, :, 0] @ U.T).mul_(V[:, 0])
    return torch.einsum("nlp,pl->np", part.matrix @ V.T, U)
