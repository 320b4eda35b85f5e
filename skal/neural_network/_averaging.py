"""A second, slower set of weights: their moving average over the steps of the optimiser.

beta_0 = theta_0,   beta_t = a_t beta_{t-1} + (1 - a_t) theta_t,   t = 1, 2, ... (steps)
a_t = alpha, or min(1 - 1 / (t + 1), alpha) while it warms up
"""

import copy
import weakref
from numbers import Integral, Real

import torch
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNet, NeuralNetBinaryClassifier
from skorch.callbacks import Callback
from skorch.dataset import unpack_data
from torch import nn
from torch.optim.swa_utils import AveragedModel

from skal.neural_network._net import first_output
from skal.neural_network._seed import preserved_generators
from skal.utils._compat import Interval, StrOptions, validate_parameter_constraints
from skal.utils._nesting import inner_estimators


class EMACallback(Callback):
    r"""Average the weights of a net exponentially while it trains.

    With :math:`\theta_t` the weights after step t of the optimiser and :math:`\theta_0` the initial
    ones, the averaged weights follow :math:`\beta_0 = \theta_0` and

    .. math:: \beta_t = a_t \beta_{t-1} + (1 - a_t) \theta_t .

    The callback also remembers the pair :math:`(\theta, \beta)` at a moment of the training when
    the two still differ: what :class:`~skal.strategies.LHD` compares.

    Parameters
    ----------
    alpha : float, default=0.999
        In [0, 1]. The average looks back over about 1 / (1 - `alpha`) steps; 5 to 30 % of all steps
        of the training are advisable. 0 makes it equal to the weights.

    warmup : bool, default=True
        Whether :math:`a_t = \min(1 - 1 / (t + 1), \alpha)`: a plain mean of the first steps, which
        forgets the initial weights sooner. Otherwise :math:`a_t = \alpha` from the first step.

    ema_init : {"copy", "independent"}, default="copy"
        Where the average starts: at the initial weights, or at other ones, drawn afresh, as the
        code of the paper does.

    snapshot : {"gap", "end"}, default="gap"
        When the pair is remembered, once per training. "gap": when the training accuracy of the
        weights minus that of the average has shrunk in `patience` epochs in a row, or at the end
        where that never happens; for classifiers. "end": at the end.

    patience : int, default=5
        Epochs in a row; with ``snapshot="gap"`` only.

    average_buffers : bool, default=True
        Whether floating-point buffers (statistics of batch normalisation) are averaged too.
        Otherwise they are copied, as those of integers always are.

    Attributes
    ----------
    averaged_ : torch.nn.Module
        A copy of the module with the averaged weights, in evaluation mode, without gradients.

    n_updates_ : int
        Steps averaged so far, t.

    snapshot_ : tuple of two dicts of str to tensor
        The pair (theta, beta): parameters and buffers by name.

    snapshot_epoch_ : int
        After how many epochs since the initialisation it was remembered.

    gaps_ : list of float
        Accuracy of the weights minus that of the average in each epoch, with ``snapshot="gap"``.

    See Also
    --------
    skal.strategies.LHD : Adds this callback itself inside a learner.
    torch.optim.swa_utils.AveragedModel : What carries the average.

    Notes
    -----
    There is one update per batch, after the step of the optimiser. The count and the average start
    again when the net is initialised; `partial_fit` and ``fit`` with ``warm_start=True`` go on with
    them, and remember a pair of their own. The average is kept in float32 where the weights are in
    half precision, in which steps of 1 - `alpha` would round to nothing.

    The accuracies of an epoch are those of its batches, before the step of each: of the weights in
    training mode, of the average in evaluation mode.

    Cost: one more update of the weights per step, and with ``snapshot="gap"`` one more pass of
    the batch through the net. Three more copies of the weights.

    Nets of :mod:`skal.neural_network` train with a copy of the callback; find it in
    ``dict(net.callbacks_)``.

    References
    ----------
    B. T. Polyak and A. B. Juditsky (1992). Acceleration of stochastic approximation by averaging.
    SIAM Journal on Control and Optimization 30(4).

    A. Tarvainen and H. Valpola (2017). Mean teachers are better role models. NeurIPS,
    arXiv:1703.01780.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skal.neural_network import EMACallback, NeuralNetClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NeuralNetClassifier(
    ...     max_epochs=4, batch_size=50, callbacks=[("ema", EMACallback(0.9))], random_state=0
    ... ).fit(X, y)
    >>> ema = dict(net.callbacks_)["ema"]
    >>> ema.n_updates_, ema.snapshot_epoch_
    (12, 4)
    >>> type(ema.averaged_).__name__
    'MLP'
    """

    _parameter_constraints: dict = {
        "alpha": [Interval(Real, 0, 1, closed="both")],
        "warmup": ["boolean"],
        "ema_init": [StrOptions({"copy", "independent"})],
        "snapshot": [StrOptions({"gap", "end"})],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "average_buffers": ["boolean"],
    }

    def __init__(
        self,
        alpha=0.999,
        *,
        warmup=True,
        ema_init="copy",
        snapshot="gap",
        patience=5,
        average_buffers=True,
    ):
        self.alpha = alpha
        self.warmup = warmup
        self.ema_init = ema_init
        self.snapshot = snapshot
        self.patience = patience
        self.average_buffers = average_buffers

    # ------------------------------------------------------------------ the average

    def update(self, module):
        """Average in the weights that a module has after a step of its optimiser.

        Called for every batch of a training; call it yourself to go on with the average in a
        training loop of your own.

        Parameters
        ----------
        module : torch.nn.Module
            A module like the one the average was started with. It is read only.
        """
        module, model = plain_module(module), self._model()
        device = _device_of(module)
        if _device_of(model.module) != device:
            model.to(device)
        model.update_parameters(_widened(module))

    @property
    def averaged_(self):
        """A copy of the module with the averaged weights."""
        return self._model().module

    @property
    def n_updates_(self):
        """Steps averaged so far."""
        return int(self._model().n_averaged) - 1  # the start counts as one there

    def _start(self, net):
        """Start the average at the weights that a net has before its first step."""
        module = plain_module(net.module_)
        source = _widened(module if self.ema_init == "copy" else _drawn_afresh(net))
        recursion = _Recursion(self.alpha, self.warmup)
        model = AveragedModel(source, multi_avg_fn=recursion, use_buffers=self.average_buffers)
        model.requires_grad_(False).zero_grad()
        model.eval()
        model.n_averaged += 1  # from zero, the first update would be a copy
        self.model_ = model
        self.gaps_ = []
        self.n_epochs_ = 0

    def _model(self):
        if not hasattr(self, "model_"):
            raise NotFittedError(
                f"{type(self).__name__} has averaged no weights yet. Fit the net that has it among "
                "its callbacks, and take the callback from net.callbacks_."
            )
        return self.model_

    # ------------------------------------------------------------------ the pair

    def take_snapshot(self, module):
        """Remember the pair: the weights of a module, and their average.

        Parameters
        ----------
        module : torch.nn.Module
            The module whose weights are averaged.
        """
        self.snapshot_ = (_tensors(plain_module(module)), _tensors(self.averaged_))
        self.snapshot_epoch_ = self.n_epochs_

    def snapshot_modules(self):
        """Make a module of each of the two remembered sets of weights.

        Returns
        -------
        main, averaged : torch.nn.Module
            New modules in evaluation mode, without gradients.
        """
        self._model()
        modules = tuple(copy.deepcopy(self.averaged_) for _ in range(2))
        for module, values in zip(modules, self.snapshot_, strict=True):
            for name, tensor in _named_tensors(module):
                tensor.copy_(values[name])
        return modules

    def _watch_gap(self, net, batch, outputs):
        """Count the rows of a batch that the weights and their average get right."""
        X, target = unpack_data(batch)
        target, weight = target if isinstance(target, (tuple, list)) else (target, None)
        own = vars(net)["module_"]
        vars(net)["module_"] = self.averaged_
        try:
            with torch.no_grad():
                averaged = net.infer(X)
        finally:
            vars(net)["module_"] = own
        for k, values in enumerate((outputs, averaged)):
            right = _is_right(net, first_output(values).detach(), target)
            self.counts_[k] = self.counts_[k] + (right if weight is None else right * weight).sum()
        self.counts_[2] = self.counts_[2] + (len(target) if weight is None else weight.sum())

    # ------------------------------------------------------------------ what skorch calls

    def initialize(self):
        """Forget the average; part of skorch's interface.

        Returns
        -------
        self : EMACallback
            The callback.
        """
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        return self

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Start the average, or go on with it; part of skorch's interface."""
        module = plain_module(net.module_)
        known = getattr(self, "source_", None)
        # set_params(module__...) makes another module without calling initialize.
        if not hasattr(self, "model_") or (known is not None and known() is not module):
            self._start(net)
        self.source_ = weakref.ref(module)
        self.pending_ = True
        self.n_shrunk_ = 0

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Start to count; part of skorch's interface."""
        self.counts_ = [0.0, 0.0, 0.0]

    def on_batch_end(self, net, batch=None, training=None, y_pred=None, **kwargs):
        """Average in the weights after a step; part of skorch's interface."""
        if not training:
            return
        if self.snapshot == "gap" and self.pending_:
            self._watch_gap(net, batch, y_pred)
        self.update(net.module_)

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Remember the pair where the gap has shrunk long enough; part of skorch's interface."""
        self.n_epochs_ += 1
        if self.snapshot == "end" or not self.pending_:
            return
        main, averaged, total = (float(count) for count in self.counts_)
        before = self.gaps_[-1] if self.gaps_ else 0.0
        self.gaps_.append((main - averaged) / total)
        self.n_shrunk_ = self.n_shrunk_ + 1 if self.gaps_[-1] < before else 0
        if self.n_shrunk_ == self.patience:
            self.take_snapshot(net.module_)
            self.pending_ = False

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Remember the pair where no epoch has; part of skorch's interface."""
        if self.pending_:
            self.take_snapshot(net.module_)
            self.pending_ = False

    def __getstate__(self):
        """Leave out the reference to the module; weights of accelerators travel by the CPU."""
        state = {name: value for name, value in vars(self).items() if name != "source_"}
        if "model_" in state and _device_of(state["model_"]).type != "cpu":
            state["model_"] = copy.deepcopy(state["model_"]).cpu()
            if "snapshot_" in state:
                state["snapshot_"] = tuple(
                    {name: value.cpu() for name, value in values.items()}
                    for values in state["snapshot_"]
                )
            state.pop("counts_", None)
        return state


class _Recursion:
    """The update, as AveragedModel calls it. A class: functions inside functions do not pickle."""

    def __init__(self, alpha, warmup):
        self.alpha = alpha
        self.warmup = warmup

    def __call__(self, averaged, current, n_averaged):
        t = int(n_averaged)
        weight = 1 - self.alpha
        if self.warmup:
            weight = max(weight, 1 / (t + 1))
        counts = not (averaged[0].is_floating_point() or averaged[0].is_complex())
        if counts or weight == 1:  # exactly: a + 1 (b - a) is not always b
            torch._foreach_copy_(averaged, current)
        else:
            torch._foreach_lerp_(averaged, current, weight)


def find_average(net):
    """Return the EMACallback that a net was trained with, or None.

    Parameters
    ----------
    net : skorch.NeuralNet
        A fitted net.

    Returns
    -------
    callback : EMACallback or None
        The first, if there are several.
    """
    callbacks = getattr(net, "callbacks_", [])
    return next((cb for _, cb in callbacks if isinstance(cb, EMACallback)), None)


def add_average(estimator, callback, *, needed_by):
    """Let the net inside an estimator average its weights, unless it does so already.

    Parameters
    ----------
    estimator : estimator
        Unfitted, however wrapped. Its net is changed in place; an estimator without a net, and one
        inside a ``FrozenEstimator``, is left alone.

    callback : EMACallback
        Appended to the callbacks of the net under the name "ema". Where the net has an average
        already, that one counts.

    needed_by : str
        Who needs the average, for errors.

    Raises
    ------
    ValueError
        If the callbacks of the net are switched off.
    """
    for inner in inner_estimators(estimator):
        if isinstance(inner, FrozenEstimator):
            return
        if isinstance(inner, NeuralNet):
            break
    else:
        return
    if isinstance(inner.callbacks, str):
        raise ValueError(
            f"{needed_by} needs a callback that averages the weights while {type(inner).__name__} "
            f"trains. Got callbacks={inner.callbacks!r} instead, which switches all of them off. "
            "Use callbacks=None."
        )
    callbacks = list(inner.callbacks or [])
    given = [entry[1] if isinstance(entry, tuple) else entry for entry in callbacks]
    kinds = [one if isinstance(one, type) else type(one) for one in given]
    if not any(issubclass(kind, EMACallback) for kind in kinds):
        inner.set_params(callbacks=[*callbacks, ("ema", callback)])


def plain_module(module):
    """Return the module inside what torch.compile makes of it."""
    return getattr(module, "_orig_mod", module)


def _drawn_afresh(net):
    """A second module of a net, with initial weights of its own; the net stays as it is."""
    own = vars(net)["module_"]
    with preserved_generators():
        try:
            net.initialize_module()
            twin = plain_module(net.module_)
        finally:
            vars(net)["module_"] = own
    if twin is plain_module(own):
        raise ValueError(
            "EMACallback(ema_init='independent') draws initial weights afresh, and this net was "
            "given a module that has its weights already. Pass the class of the module, or use "
            "ema_init='copy'."
        )
    return twin.to(_device_of(plain_module(own)))


def _widened(module):
    """The module, or a float32 copy of one in half precision."""
    narrow = any(t.is_floating_point() and t.itemsize < 4 for _, t in _named_tensors(module))
    return copy.deepcopy(module).float() if narrow else module


def _is_right(net, outputs, target):
    """Whether each row of a batch is predicted right: boolean tensor (n,)."""
    target = target.to(outputs.device)
    if isinstance(net, NeuralNetBinaryClassifier):
        cut = 0.0 if isinstance(net.criterion_, nn.BCEWithLogitsLoss) else 0.5
        return (outputs.reshape(len(target)) > cut) == (target.reshape(len(target)) > 0.5)
    if target.is_floating_point() or outputs.ndim != 2:
        raise ValueError(
            "EMACallback(snapshot='gap') compares training accuracies, which needs a classifier "
            "with an output per class and integer targets. Got outputs of shape "
            f"{tuple(outputs.shape)} and targets of {target.dtype} from {type(net).__name__} "
            "instead. Use snapshot='end'."
        )
    return outputs.argmax(1) == target


def _tensors(module):
    return {name: tensor.detach().clone() for name, tensor in _named_tensors(module)}


def _named_tensors(module):
    yield from module.named_parameters()
    yield from module.named_buffers()


def _device_of(module):
    return next((tensor.device for _, tensor in _named_tensors(module)), torch.device("cpu"))
