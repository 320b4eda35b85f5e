"""ALFAMix: rows whose class changes on a short way towards labelled features.

    G_i   = W' (p_i - e_y)                       gradient of the loss at the predicted class y
    D_c   = mean feature of class c - z_i        towards the labelled rows of a class
    row i moves by (eps |D_c| / sqrt(d)) G_i / |G_i|, in the coordinates where D_c is not 0

A linear head changes its mind at the smallest eps that makes another logit the largest: eps_i has a
closed form, and no loop over eps, classes and rows is needed.
"""

import math
from numbers import Real

import numpy as np
import torch

from skal.selection import KMeansCandidates
from skal.strategies._base import SelectingStrategy
from skal.utils._compat import Interval, StrOptions
from skal.utils._random import child_seed
from skal.utils._rows import Rows
from skal.utils._tags import QueryStrategyTags
from skal.views._influence import encode_labels
from skal.views._last_layer import residuals

_CHUNK = 2048  # rows of which all distances and directions are held at a time


class ALFAMix(SelectingStrategy):
    r"""Query rows whose prediction changes when labelled features are mixed in.

    Each row has features z, logits l and a predicted class y. Mixed with the mean features
    :math:`z^*_c` of the labelled rows of class c, as far as a cap :math:`\varepsilon` allows, it
    moves along the gradient of its loss, and is a candidate if its class changes. For a linear last
    layer with weights w that happens as soon as :math:`\varepsilon` exceeds

    .. math:: \varepsilon_i = \min_{c, k} \frac{\sqrt d \, (l_y - l_k)}
        {|z^*_c - z| \; (w_k - w_y)^\top (g \circ m_c)} ,

    g being the unit gradient and :math:`m_c` marking the coordinates in which z and
    :math:`z^*_c` differ. The batch is the candidate nearest to each of n centres of k-means on
    unit features, at the smallest cap that leaves enough candidates.

    Parameters
    ----------
    estimator : classifier or None, default=None
        A torch net with a linear output layer, or multinomial ``LogisticRegression``, however
        wrapped. None means the estimator of the learner the strategy is plugged into.

    mode : {"closed_form", "random"}, default="closed_form"
        "random" mixes each coordinate by a draw from N(eps / 2, (eps / 2)^2), clipped to
        [1e-8, eps], anew at every cap, in place of the gradient: what comparisons ran that took the
        authors' defaults.

    eps_step : float, default=1/32
        Caps are its multiples.

    eps_max : float, default=1.0
        The largest cap.

    mask : bool, default=True
        Whether coordinates in which features equal the mean of a class stay (dead units), as in the
        authors' code. Without, the direction is the same for all classes, and it is faster.

    selector : BatchSelector or None, default=None
        Picks the batch; it is given :math:`-\varepsilon_i` as scores. None is
        :class:`~skal.selection.KMeansCandidates` with the caps as levels.

    device : str or None, default=None
        Where features and distances are computed ("cpu", "cuda:1"). None is the device of the net,
        and the CPU for inputs.

    random_state : int, RandomState or None, default=None
        Seeds k-means, what fills a batch, and the draws of ``mode="random"``.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier that is read.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    Raises
    ------
    ValueError
        If `fit` gets no labels.

    See Also
    --------
    DropQuery : Candidates by dropping features.
    MarginSampling : What the closed form is close to: small margins.

    Notes
    -----
    Classes without a labelled row take the mean of all. Rows with a gradient of 0, and those that
    no way changes, come last. `transform` gives the features; ``query(return_scores=True)`` gives
    :math:`-\varepsilon_i`, at least ``-2 * eps_max``. Cost: one pass of the model, then O(n C^2 d),
    O(n C d) without the mask, and k-means on the candidates.

    References
    ----------
    A. Parvaneh, E. Abbasnejad, D. Teney, R. Haffari, A. van den Hengel and J. Q. Shi (2022).
    Active learning by feature mixing. CVPR, arXiv:2203.07034, equations (5) to (8). The closed form
    over the caps is ours.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import ALFAMix
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = ALFAMix(LogisticRegression(max_iter=500), random_state=0)
    >>> strategy.fit(X[::10], y[::10]).query(X, n_instances=5).shape
    (5,)
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "mode": [StrOptions({"closed_form", "random"})],
        "eps_step": [Interval(Real, 0, None, closed="neither")],
        "eps_max": [Interval(Real, 0, None, closed="neither")],
        "mask": ["boolean"],
    }
    _query_tags = QueryStrategyTags(
        needs=("features", "probabilities", "labels"),
        tasks=("classifier",),
        conditioned_on_labeled=True,
    )

    def __init__(
        self,
        estimator=None,
        *,
        mode="closed_form",
        eps_step=1 / 32,
        eps_max=1.0,
        mask=True,
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.mode = mode
        self.eps_step = eps_step
        self.eps_max = eps_max
        self.mask = mask

    @property
    def _default_selector(self):
        return KMeansCandidates(levels=tuple(-cap for cap in self._caps()))

    def _caps(self):
        n_caps = max(1, math.floor(self.eps_max / self.eps_step + 1e-9))
        return self.eps_step * np.arange(1, n_caps + 1)

    def _fit_labeled(self, X, y):
        """Mean features of the labelled rows of every class: tensor (C, d), float64."""
        if y is None:
            raise ValueError(f"{type(self).__name__} needs the labels: fit(X, y).")
        H, log_P = self.view.last_layer(X)
        H = H.double()
        labels = encode_labels(y, self.estimator_.classes_, type(self).__name__)
        one_hot = torch.nn.functional.one_hot(torch.as_tensor(labels), log_P.shape[1]).to(H)
        counts = one_hot.sum(0)
        means = one_hot.T @ H / counts.clamp_min(1.0)[:, None]
        self._anchors = torch.where(counts[:, None] > 0, means, H.mean(0))
        self._rows_labeled = Rows(H.float())

    def _represent(self, X):
        return Rows(self.view.last_layer(X)[0])

    def _representation(self, X):
        """Features, and minus the cap at which each row becomes a candidate."""
        view = self.view
        H, log_P = view.last_layer(X)
        W, bias = (part.to(log_P) for part in view.head_weights())
        if self.mode == "random":
            found = self._random_caps(H, log_P, W, bias)
        else:
            parts = [slice(a, a + _CHUNK) for a in range(0, len(H), _CHUNK)]
            anchors = self._anchors.to(log_P)
            caps = [flip_caps(H[p].double(), log_P[p], W, anchors, self.mask) for p in parts]
            found = torch.cat(caps)
        found = found.clamp_max(2.0 * self.eps_max)
        return self._checked(H), -found.cpu().numpy()

    def _random_caps(self, H, log_P, W, bias):
        """The smallest cap at which a random mixture with some class changes the prediction."""
        found = torch.full((len(H),), torch.inf, dtype=torch.float64, device=H.device)
        predicted = log_P.argmax(1)
        anchors = self._anchors.to(log_P)
        for level, cap in enumerate(self._caps()):
            generator = torch.Generator().manual_seed(child_seed(self._seed, 2, level))
            for a in range(0, len(H), _CHUNK):
                part = slice(a, a + _CHUNK)
                Z = H[part].double()
                alpha = torch.randn(Z.shape, generator=generator, dtype=torch.float64).to(Z)
                alpha = (cap / 2 * (1 + alpha)).clamp_(1e-8, cap)
                for anchor in anchors:
                    logits = torch.addmm(bias, Z + alpha * (anchor - Z), W.T)
                    changed = logits.argmax(1) != predicted[part]
                    # A level is the cap below which rows count: strictly above it.
                    lower = torch.full_like(found[part], cap - self.eps_step / 2)
                    found[part] = torch.where(
                        changed, torch.minimum(found[part], lower), found[part]
                    )
        return found


def flip_caps(Z, log_P, W, anchors, mask):
    """The cap from which on each row changes its class on the way to some anchor.

    Parameters
    ----------
    Z : tensor of shape (n, d), dtype float64
        Inputs of the last layer.

    log_P : tensor of shape (n, C), dtype float64
        Log-probabilities: logits up to a constant per row.

    W : tensor of shape (C, d), dtype float64
        Weights of the last layer.

    anchors : tensor of shape (C, d), dtype float64
        Mean labelled features by class.

    mask : bool
        Whether coordinates that agree with an anchor stay.

    Returns
    -------
    caps : tensor of shape (n,), dtype float64
        Infinity for rows that never do.
    """
    predicted = log_P.argmax(1, keepdim=True)
    gap = log_P.gather(1, predicted) - log_P
    G = residuals(log_P) @ W
    lengths = G.norm(dim=1, keepdim=True)
    g = torch.where(lengths > 0, G / lengths.clamp_min(torch.finfo(G.dtype).tiny), 0.0)
    distances = torch.cdist(Z, anchors, compute_mode="donot_use_mm_for_euclid_dist")
    caps = torch.full((len(Z),), torch.inf, dtype=torch.float64, device=Z.device)
    if not mask:
        caps = _first_flip(g @ W.T, gap, predicted) / distances.amax(1)
    else:
        for anchor, distance in zip(anchors, distances.T, strict=True):
            step = _first_flip((g * (anchor != Z)) @ W.T, gap, predicted)
            caps = torch.minimum(caps, step / distance)
    # 0 / 0: on an anchor, with a tie; it does not move.
    return (math.sqrt(Z.shape[1]) * caps).nan_to_num(nan=torch.inf, posinf=torch.inf)


def _first_flip(slopes, gap, predicted):
    """How far along directions another logit takes over: (n,), infinity for never."""
    slopes = slopes - slopes.gather(1, predicted)
    way = torch.where(slopes > 0, gap / slopes.clamp_min(torch.finfo(gap.dtype).tiny), torch.inf)
    return way.scatter(1, predicted, torch.inf).amin(1)
