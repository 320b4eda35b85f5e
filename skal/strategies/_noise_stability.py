"""NoiseStability: rows whose outputs move most, and most diversely, when the weights are shaken.

    theta_k  = theta + zeta |theta| u_k,  u_k uniform on the unit sphere, k = 1..K, one for all rows
    dz_k(x)  = (z(x; theta_k) - z(x; theta)) / (zeta |theta|)
    embedding(x) = sqrt(n_par / K) (dz_1(x), ..., dz_K(x)) / |z(x; theta)|

and greedy k-center from the origin: the first pick moves most, each further one unlike the others.
"""

import math
from numbers import Integral, Real

import torch
from sklearn.utils import get_tags

from skal.selection import KCenterGreedy, TopK
from skal.strategies._base import SelectingStrategy
from skal.utils._compat import Interval, StrOptions
from skal.utils._random import child_seed
from skal.utils._tags import QueryStrategyTags

# The published forms: of the paper's equations, and of the authors' code.
_PRESETS = {
    "paper": {"noise": "global", "params": "all", "normalize": "paper"},
    "official": {"noise": "layer", "params": "weights", "normalize": "relative"},
}


class NoiseStability(SelectingStrategy):
    r"""Query rows whose outputs are least stable under noise in the weights of the net.

    The weights :math:`\theta` (n_par numbers) are shaken K times,
    :math:`\theta_k = \theta + \zeta \lVert\theta\rVert u_k` with :math:`u_k` uniform on the unit
    sphere and the same for all rows. The embedding of a row joins the K deviations of its output z,

    .. math::

        \widehat{\Delta z}(x) = \sqrt{\frac{n_{par}}{K}} \left(
        \frac{z(x; \theta_k) - z(x; \theta)}{\zeta \lVert\theta\rVert} \right)_{k=1..K},

    divided by the norm of :math:`z(x; \theta)`. Its squared norm estimates that of the Jacobian of
    z in the weights, its distances those between Jacobians: rows that move much are uncertain, and
    rows that move alike tell the same. The batch is a greedy k-center cover that starts from the
    origin.

    Parameters
    ----------
    estimator : estimator or None, default=None
        A torch net, however wrapped. None means the estimator of the learner the strategy is
        plugged into.

    n_perturbations : int, default=30
        K. 10 is nearly as good as 30.

    zeta : float, default=1e-3
        Length of the noise, relative to the weights. 1e-4 to 1e-2 work alike; smaller drowns in
        rounding, 1 destroys the net.

    target : {"auto", "probabilities", "logits", "features", "outputs"}, default="auto"
        What is observed, z: class probabilities, the output of the last linear layer, its input,
        or what the module returns. "auto" is probabilities for classification and features for
        regression, as the paper advises. Where the net is sure of every row, "logits" still move.

    noise : {"global", "layer"}, default="global"
        "global" is the noise above. "layer" gives every tensor W a noise of length
        :math:`\zeta \lVert W \rVert`, as the authors' code.

    params : {"all", "weights"}, default="all"
        What is shaken: all parameters, or the tensors called "weight" only. Where the features
        are observed, which the head does not change, global noise leaves the head out.

    normalize : {"relative", "paper"}, default="relative"
        Whether rows are divided by the norm of their clean output, as in the authors' code, or not,
        as in the paper's equations. It decides how well the method does on house prices, see Notes.

    variant : {"M", "D"} or None, default=None
        The paper's ablations. "M" keeps the magnitude only: the rows that move most, not diverse.
        "D" keeps the direction only: embeddings of length 1.

    method : {"finite_difference", "jvp"}, default="finite_difference"
        "jvp" is the limit of small `zeta` by forward-mode differentiation: exact also for rows the
        net is sure of, where float32 differences are mostly rounding, at 2 to 4 times the time.

    preset : {"paper", "official"} or None, default=None
        Overrides `noise`, `params` and `normalize`: "paper" is ("global", "all", "paper"),
        "official" is ("layer", "weights", "relative").

    selector : BatchSelector or None, default=None
        Picks the batch. None is ``KCenterGreedy(init="origin")``, and the largest norms with
        ``variant="M"``.

    device : str or None, default=None
        Where the net is evaluated ("cpu", "cuda:1"). None is where it is.

    random_state : int, RandomState or None, default=None
        Seeds the noise, drawn on the CPU so that devices agree, and ties.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator that is read.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    Raises
    ------
    TypeError
        If the estimator is no torch net.
    ValueError
        If the weights are all zero, or the shaken net answers NaN or infinity.

    See Also
    --------
    BADGE : Gradients of the last layer at the predicted label.

    Notes
    -----
    With ``normalize="paper"``, :math:`E \lVert\widehat{\Delta z}(x)\rVert^2 = \lVert J(x)
    \rVert_F^2` and :math:`E \lVert\widehat{\Delta z}(x) - \widehat{\Delta z}(x')\rVert^2 = \lVert
    J(x) - J(x') \rVert_F^2` to first order in `zeta`, exactly where z is linear in the weights.
    With ``noise="layer"`` the factor before the deviations is :math:`1 / (\zeta \sqrt K)`: each
    tensor then counts with its mean square.

    Paper and code are two algorithms. On the paper's Ames protocol and metric, the division by the
    clean output is what beats random sampling; without it, with either noise, the method does not
    (see the benchmarks). In mean absolute error it does not beat random there at all.

    The net is in evaluation mode, buffers are left alone, and weights come back from exact copies.
    The columns of `transform` are perturbation after perturbation.

    Cost: K + 1 passes of the net over the pool, and n_pool K q float32 numbers for q outputs.

    References
    ----------
    X. Li, P. Yang, Y. Gu, X. Zhan, T. Wang, M. Xu and C. Xu (2024). Deep active learning with noise
    stability. AAAI, arXiv:2205.13340, equations (1) and (2).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skal.neural_network import NeuralNetRegressor
    >>> from skal.strategies import NoiseStability
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = NeuralNetRegressor(module__hidden=(16,), max_epochs=5, standardize_y=True)
    >>> strategy = NoiseStability(net, n_perturbations=5, random_state=0).fit(X[:50], y[:50])
    >>> strategy.transform(X).shape
    (442, 80)
    >>> strategy.query(X, n_instances=3).shape
    (3,)
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "n_perturbations": [Interval(Integral, 1, None, closed="left")],
        "zeta": [Interval(Real, 0, None, closed="neither")],
        "target": [StrOptions({"auto", "probabilities", "logits", "features", "outputs"})],
        "noise": [StrOptions({"global", "layer"})],
        "params": [StrOptions({"all", "weights"})],
        "normalize": [StrOptions({"relative", "paper"})],
        "variant": [StrOptions({"M", "D"}), None],
        "method": [StrOptions({"finite_difference", "jvp"})],
        "preset": [StrOptions(set(_PRESETS)), None],
    }
    _query_tags = QueryStrategyTags(needs=("features",))

    def __init__(
        self,
        estimator=None,
        *,
        n_perturbations=30,
        zeta=1e-3,
        target="auto",
        noise="global",
        params="all",
        normalize="relative",
        variant=None,
        method="finite_difference",
        preset=None,
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.n_perturbations = n_perturbations
        self.zeta = zeta
        self.target = target
        self.noise = noise
        self.params = params
        self.normalize = normalize
        self.variant = variant
        self.method = method
        self.preset = preset

    @property
    def _default_selector(self):
        return TopK() if self.variant == "M" else KCenterGreedy(init="origin")

    def _reads_classes(self):
        return self._target() == "probabilities"

    def _represent(self, X):
        view, target = self.view.net, self._target()
        X = view.prepare(X)
        clean = view.observe(X, target)
        shaken = self._parameters(view, target)
        directions = (self._direction(shaken, k) for k in range(self.n_perturbations))
        scale, n_columns = self._scale(shaken), clean.shape[1]
        if self.method == "jvp":
            deviations = view.directional_derivatives(X, target, directions)
        else:
            deviations = self._differences(view, X, target, clean, directions)
            scale /= self.zeta
        Z = torch.empty((len(clean), self.n_perturbations * n_columns), device=clean.device)
        for k, deviation in enumerate(deviations):
            torch.mul(deviation, scale, out=Z[:, k * n_columns : (k + 1) * n_columns])
        if self._setting("normalize") == "relative":
            Z /= _lengths(clean)
        if self.variant == "M":
            return Z.double().norm(dim=1)
        return Z / _lengths(Z) if self.variant == "D" else Z

    def _differences(self, view, X, target, clean, directions):
        """Change of z, (n, q), by a step along each direction, `zeta` times as long."""
        for direction in directions:
            with view.shifted({name: self.zeta * step for name, step in direction.items()}):
                try:
                    moved = view.observe(X, target)
                except ValueError as error:
                    raise ValueError(
                        f"With weights shaken by zeta={self.zeta} the net answers NaN or infinity. "
                        f"Use a smaller zeta. ({error})"
                    ) from error
            yield moved.sub_(clean)

    def _direction(self, shaken, k):
        """Draw the k-th direction, as long as the weights."""
        generator = torch.Generator().manual_seed(child_seed(self._seed, 2, k))
        draws = {name: torch.randn(value.shape, generator=generator) for name, value in shaken}
        if self._setting("noise") == "layer":
            lengths = {n: value.norm() / draws[n].norm().to(value) for n, value in shaken}
        else:
            drawn = math.sqrt(sum(float(draw.double().square().sum()) for draw in draws.values()))
            lengths = dict.fromkeys(draws, _length(shaken) / drawn)
        return {name: draws[name].to(value) * lengths[name] for name, value in shaken}

    def _scale(self, shaken):
        """What the change of z along a direction is multiplied by."""
        if self._setting("noise") == "layer":
            return 1 / math.sqrt(self.n_perturbations)
        n_par = sum(value.numel() for _, value in shaken)
        return math.sqrt(n_par / self.n_perturbations) / _length(shaken)

    def _parameters(self, view, target):
        """The parameters to shake, by name: list of (name, tensor)."""
        frozen_out = target == "features" and self._setting("noise") == "global"
        head = f"{view.head_name}." if frozen_out else ""
        shaken = [
            (name, value)
            for name, value in view.parameters().items()
            if value.is_floating_point()
            and not (frozen_out and name.startswith(head))
            and (self._setting("params") == "all" or name.rpartition(".")[2] == "weight")
        ]
        if not any(value.any() for _, value in shaken):
            raise ValueError(
                "NoiseStability shakes weights in proportion to their length, and those of "
                f"{type(view.module).__name__} that the {target} depend on are all zero "
                f"({len(shaken)} tensors). Train the net first, or observe another target."
            )
        return shaken

    def _target(self):
        if self.target != "auto":
            return self.target
        regression = get_tags(self.estimator_).estimator_type == "regressor"
        return "features" if regression else "probabilities"

    def _setting(self, name):
        return getattr(self, name) if self.preset is None else _PRESETS[self.preset][name]


def _length(shaken):
    """Norm of all parameters together."""
    return math.sqrt(sum(float(value.double().square().sum()) for _, value in shaken))


def _lengths(Z):
    """Norms of rows as a column, 1 in place of 0."""
    norms = Z.norm(dim=1, keepdim=True)
    return torch.where(norms > 0, norms, torch.ones_like(norms)).float()
