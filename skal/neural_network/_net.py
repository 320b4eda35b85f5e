"""What the classifier and the regressor share: skorch nets that keep scikit-learn's contract."""

import copy
import difflib
import functools
import inspect
import numbers
from contextlib import contextmanager, nullcontext
from math import prod

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping, EpochTimer, PassthroughScoring, PrintLog
from skorch.utils import is_dataset
from torch import nn

from skal.neural_network._device import check_device
from skal.neural_network._loader import TableDataset, TensorLoader, padded
from skal.neural_network._seed import SEEDED, import_whole, preserved_generators, torch_seed
from skal.neural_network._threads import one_thread
from skal.utils._compat import Interval, StrOptions, validate_parameter_constraints
from skal.utils._memory import keep_freed_memory
from skal.utils._random import child_seed, draw_seed

# Parameters of parts of the net are written part__name.
_PARTS = ("module", "criterion", "optimizer", "callbacks")

# Below this many multiply-adds per batch, a second thread costs more than it helps.
_SMALL_BATCH = 2**25

# Looking for repeated rows in larger tables would take longer than it is worth.
_MERGED_VALUES = 2**22

# Values (of four bytes) in a batch of rows to predict.
CHUNK_VALUES = 2**21


class BaseNet(NeuralNet):
    """A skorch net that validates, seeds, encodes and reports as scikit-learn's estimators do.

    A subclass says how targets become what the criterion takes (`_learn_target`, `_encode_target`)
    and how outputs become predictions.
    """

    _parameter_constraints: dict = {
        "module": [callable],
        "criterion": [callable],
        "optimizer": [callable],
        "lr": [Interval(numbers.Real, 0, None, closed="neither")],
        "max_epochs": [Interval(numbers.Integral, 1, None, closed="left")],
        "batch_size": [
            Interval(numbers.Integral, 1, None, closed="left"),
            Interval(numbers.Integral, -1, 0, closed="left"),
        ],
        "train_split": [callable, None],
        "callbacks": [list, StrOptions({"disable"}), None],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }

    def __init__(self, module, *, random_state=None, **kwargs):
        super().__init__(
            module,
            iterator_train=TensorLoader,
            iterator_valid=TensorLoader,
            dataset=TableDataset,
            # Cached outputs would be compared with encoded targets; see TableDataset.y.
            use_caching=False,
            **kwargs,
        )
        self.random_state = random_state

    # ------------------------------------------------------------------ training

    def _fit(self, X, y, sample_weight, *, cold, classes=None):
        """Validate, then initialise (``cold``) and train, seeded and on few threads."""
        device = check_device(self.device, type(self).__name__)
        self._check_components()
        X, y = self._validate_training_data(X, y, reset=cold)
        weight = _check_sample_weight(sample_weight, X.shape[0])
        if weight is not None and not weight.all():
            used = np.flatnonzero(weight)
            X, y, weight = X[used], y[used], weight[used]
        seed = child_seed(draw_seed(self.random_state), 0 if cold else len(self.history))
        with SEEDED, torch_seed(seed):
            try:
                if cold:
                    self._row_shape = X.shape[1:]
                    self._learn_target(y, weight, classes)
                    self.initialize()
                elif self._module_device() != indexed(device):
                    self._move(device)
                self._train(X, y, weight)
            except BaseException:
                if cold:
                    self.initialized_ = False
                raise
        return self

    def _train(self, X, y, weight):
        target = self._encode_target(y)
        X, y, target, weight = self._merge_repeated(X, y, target, weight)
        dataset = TableDataset(X, y, target, weight)
        with self._few_threads(self._rows_per_batch(len(dataset))):
            self.notify("on_train_begin", X=X, y=y)
            try:
                self.fit_loop(dataset, y)
            except _StopTraining:
                pass
            finally:
                # Prediction changes no flag of the module later on.
                self._set_training(False)
                for epoch in self.history:
                    epoch["batches"] = []
            self.notify("on_train_end", X=X, y=y)

    def _merge_repeated(self, X, y, target, weight):
        """Merge equal rows, adding their weights, where that leaves the gradient what it is.

        A single batch has the same loss either way. Merged and in a canonical order, a weighted row
        and a repeated one give the same net to the last bit.
        """
        n_rows = X.shape[0]
        weighted = weight is not None and np.ptp(weight) > 0
        single = n_rows <= self._rows_per_batch(n_rows) and self.train_split is None
        if single and prod(X.shape) <= _MERGED_VALUES:
            if not any(isinstance(part, _DEPENDS_ON_REPEATS) for part in self.module_.modules()):
                dense = X.toarray() if sparse.issparse(X) else X
                keys = np.hstack([dense.reshape(n_rows, -1), target.reshape(n_rows, -1)])
                _, first, group = np.unique(
                    keys.astype(np.float64), axis=0, return_index=True, return_inverse=True
                )
                if weighted or len(first) < n_rows:
                    total = np.bincount(group.ravel(), weight, minlength=len(first))
                    X, y, target, weight = X[first], y[first], target[first], total
                    weighted = np.ptp(weight) > 0
        if not weighted:
            return X, y, target, None
        return X, y, target, (weight / weight.mean()).astype(np.float32)

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train for some epochs; part of skorch's interface."""
        fit_params.pop("_routing_method", None)
        return super().fit_loop(X, y, epochs, **fit_params)

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run over the batches once; part of skorch's interface.

        Raises
        ------
        ValueError
            If a training loss is NaN or infinite.
        """
        super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)
        if training:
            losses = np.array(self.history[-1, "batches", :, "train_loss"])
            bad = losses[~np.isfinite(losses)]
            if len(bad):
                raise ValueError(
                    f"Training loss became {bad[0]} in epoch {len(self.history)} of "
                    f"{type(self).__name__}. {self._remedy_for_divergence()} "
                    f"or lower lr (now {self.lr})."
                )

    def notify(self, method_name, **kwargs):
        """Call a method of every callback; part of skorch's interface.

        skorch's callbacks end the training by raising KeyboardInterrupt after an epoch. Any other
        KeyboardInterrupt is the user's, and is passed on. Batches are (X, target) for callbacks,
        whether or not rows have weights.
        """
        if isinstance(kwargs.get("batch"), tuple) and isinstance(kwargs["batch"][1], tuple):
            kwargs["batch"] = (kwargs["batch"][0], kwargs["batch"][1][0])
        getattr(self, method_name)(self, **kwargs)
        for _, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **kwargs)
            except KeyboardInterrupt:
                if method_name == "on_epoch_end" and may_stop_training(callback):
                    raise _StopTraining from None
                raise

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Compute the mean loss of a batch; part of skorch's interface."""
        outputs = self._checked_outputs(first_output(y_pred))
        if not isinstance(y_true, tuple):
            return self._criterion_loss(outputs, y_true.to(outputs.device))
        target, weight = (part.to(outputs.device) for part in y_true)
        with _unreduced(self.criterion_, type(self).__name__) as criterion:
            losses = self._criterion_loss(outputs, target)
        losses = losses.reshape(len(weight), -1).mean(1)
        class_weight = getattr(criterion, "weight", None)
        if class_weight is not None and not target.is_floating_point():
            # The mean of a criterion with class weights is a weighted mean already.
            return (weight * losses).sum() / (weight * class_weight[target]).sum()
        return (weight * losses).mean()

    def _criterion_loss(self, outputs, target):
        return self.criterion_(outputs, target)

    def infer(self, x, **fit_params):
        """Call the module on a batch; part of skorch's interface."""
        return self.module_(x.to(self._module_device()), **fit_params)

    # ------------------------------------------------------------------ parts of the net

    def initialize_module(self):
        """Make the module, filling in the sizes its constructor asks for.

        Returns
        -------
        self : object
            The net.
        """
        kwargs = self.get_params_for("module")
        sizes = {}
        if hasattr(self, "n_outputs_"):
            sizes = {"n_features": prod(self._row_shape), "n_outputs": self.n_outputs_}
        wanted = inspect.signature(self.module).parameters
        missing = [name for name in ("n_features", "n_outputs") if name in wanted]
        for name in missing:
            if name in sizes:
                kwargs.setdefault(name, sizes[name])
            elif name not in kwargs and wanted[name].default is inspect.Parameter.empty:
                raise ValueError(
                    f"Before fit, {type(self).__name__} does not know {name} of its module. Call "
                    f"fit, or pass module__{name}."
                )
        self.module_ = self.module(**kwargs)
        return self

    def initialize_criterion(self):
        """Make the criterion; an instance is copied.

        Returns
        -------
        self : object
            The net.
        """
        kwargs = self.get_params_for("criterion")
        self.criterion_ = self.initialized_instance(copy.deepcopy(self.criterion), kwargs)
        return self

    def initialize_optimizer(self):
        """Make the optimiser.

        Returns
        -------
        self : object
            The net.
        """
        import_whole("torch._dynamo")  # by the first optimiser there is
        return super().initialize_optimizer()

    def _check_components(self):
        """Say what is wrong with arguments that the constructor has stored unseen."""
        _refuse_unknown(type(self), self._params_to_validate)
        if isinstance(self.module, nn.Module):
            name = type(self.module).__name__
            raise TypeError(
                f"The 'module' parameter of {type(self).__name__} must be a module class. Got an "
                f"instance of {name} instead, whose weights every clone would share. Pass the "
                f"class and its arguments: {type(self).__name__}({name}, module__<argument>=...)."
            )

    @property
    def _default_callbacks(self):
        callbacks = [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
        ]
        return [*callbacks, ("print_log", PrintLog())] if self.verbose else callbacks

    def _yield_callbacks(self):
        # Callbacks have a state: those the user gave are left alone, copies are trained with.
        for name, callback, named_by_user in super()._yield_callbacks():
            yield name, copy.deepcopy(callback), named_by_user

    def get_dataset(self, X, y=None):
        """Wrap rows to predict; part of skorch's interface."""
        return X if is_dataset(X) else TableDataset(self._validate_rows(X), y)

    def get_iterator(self, dataset, training=False):
        """Iterate over the batches of a dataset; part of skorch's interface."""
        n_rows = len(dataset)
        if training:
            size = self._rows_per_batch(n_rows)
        else:
            size = self._rows_per_chunk()
        return TensorLoader(dataset, size, shuffle=training, device=self._module_device())

    def forward_iter(self, X, training=False, device="cpu"):
        """Yield the module's outputs batch by batch, in order; part of skorch's interface."""
        dataset = self.get_dataset(X)
        flags = {module: module.training for module in self.module_.modules()}
        try:
            for X_batch, target in self.get_iterator(dataset, training=False):
                # In training mode, batch normalisation would see the rows added.
                X_even = X_batch if training else padded(X_batch)
                outputs = self.evaluation_step((X_even, target), training=training)
                yield _first_rows(outputs, len(X_batch), len(X_even), device)
        finally:
            for module, flag in flags.items():
                module.training = flag

    def _rows_per_batch(self, n_rows):
        return n_rows if self.batch_size == -1 else self.batch_size

    def _rows_per_chunk(self):
        """Rows to predict at a time: as many as in training, or more where rows are short."""
        return max(self.batch_size, min(8192, CHUNK_VALUES // max(1, prod(self._row_shape))))

    def _module_device(self):
        return next(
            (parameter.device for parameter in self.module_.parameters()), torch.device("cpu")
        )

    def _move(self, device):
        self.module_.to(device)
        self.criterion_.to(device)
        self.optimizer_.load_state_dict(self.optimizer_.state_dict())

    @contextmanager
    def _few_threads(self, n_rows):
        """Compute small batches on one thread: faster, and the same whatever the machine."""
        n_weights = sum(parameter.numel() for parameter in self.module_.parameters())
        keep_freed_memory()
        small = self._module_device().type == "cpu" and n_weights * n_rows <= _SMALL_BATCH
        with one_thread() if small else nullcontext():
            yield

    # ------------------------------------------------------------------ predicting

    def _outputs(self, X):
        """Outputs of the module for rows: float32 tensor (n, n_outputs) on the CPU."""
        if not is_dataset(X):
            check_is_fitted(self)
            X = self._validate_rows(X)
            X = TableDataset(X)
        with preserved_generators(), self._few_threads(min(len(X), self._rows_per_chunk())):
            outputs = [first_output(batch) for batch in self.forward_iter(X)]
        return self._checked_outputs(torch.cat(outputs)).float()

    def _checked_outputs(self, outputs):
        """Return outputs as (n, n_outputs), or say what the module should have returned."""
        if outputs.ndim == 1 and self.n_outputs_ == 1:
            outputs = outputs[:, None]
        if outputs.ndim != 2 or outputs.shape[1] != self.n_outputs_:
            raise ValueError(
                f"The module of {type(self).__name__} must return {self.n_outputs_} values per "
                f"row, {self._meaning_of_outputs()}. Got outputs of shape "
                f"{tuple(outputs.shape)} instead. Let its constructor take n_outputs, which is "
                "filled in from the target, or set the size by module__<argument>."
            )
        return outputs

    def _validate_rows(self, X):
        X = validate_data(self, X=_as_numpy(X), reset=False, **_ROWS)
        if X.shape[1:] != self._row_shape:
            raise ValueError(
                f"X has rows of shape {X.shape[1:]}, but {type(self).__name__} is expecting "
                f"rows of shape {self._row_shape} as input."
            )
        return X

    def _validate_training_data(self, X, y, *, reset):
        X, y = validate_data(self, X=_as_numpy(X), y=_as_numpy(y), reset=reset, **self._checks())
        if not reset and X.shape[1:] != self._row_shape:
            return self._validate_rows(X), y
        return X, y

    # ------------------------------------------------------------------ scikit-learn

    def __sklearn_is_fitted__(self):
        # skorch counts a net that was only initialised as fitted.
        return bool(self.initialized_) and hasattr(self, "n_outputs_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        return tags

    def _get_param_names(self):
        # skorch lists every attribute without a trailing underscore.
        nested = [name for name in vars(self) if _is_part_parameter(name)]
        # Unknown arguments of the constructor are kept until fit refuses them.
        return sorted({*_spelled_parameters(type(self)), *nested, *self._params_to_validate})

    def _get_params_callbacks(self, deep=True):
        params = super()._get_params_callbacks(deep=deep)
        params.update({k: v for k, v in vars(self).items() if k.startswith("callbacks__")})
        return params

    def set_params(self, **params):
        """Set parameters of the net and of its parts.

        Those of a fitted net take effect at its next `fit`; only `lr` and those of the optimiser
        reach a net that goes on training (`partial_fit`, `warm_start`).

        Parameters
        ----------
        **params : dict
            Parameters by name; those of parts as ``module__name``, ``optimizer__name``,
            ``criterion__name``, ``callbacks__name__parameter``.

        Returns
        -------
        self : object
            The net.
        """
        known = self._get_param_names()
        for name, value in params.items():
            if name not in known and not _is_part_parameter(name):
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: "
                    f"{known}, and those of its parts ({', '.join(_PARTS)}) as part__name."
                )
            setattr(self, name, value)
            if self.initialized_ and self._is_virtual_param(name):
                self._apply_virtual_params({name: value})
        return self

    def get_metadata_routing(self):
        """Say which metadata `fit`, `partial_fit` and `score` take.

        Returns
        -------
        routing : MetadataRequest
            The requests.
        """
        return BaseEstimator.get_metadata_routing(self)

    def _validate_params(self):
        validate_parameter_constraints(
            self._parameter_constraints,
            self.get_params(deep=False),
            caller_name=type(self).__name__,
        )

    def __setattr__(self, name, value):
        if isinstance(value, nn.Module) and name in _spelled_parameters(type(self)):
            # A parameter is stored as it is; fit says what is wrong with it.
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    __repr__ = BaseEstimator.__repr__


# How rows are checked: anything numeric, as float32.
_ROWS = {"dtype": np.float32, "accept_sparse": "csr", "allow_nd": True}

# With these, a repeated row is not the same as a row of double weight.
_DEPENDS_ON_REPEATS = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


class _StopTraining(Exception):
    """A callback has ended the training."""


def may_stop_training(callback):
    """Whether a KeyboardInterrupt out of a callback's `on_epoch_end` is how it ends the training.

    Of skorch's own callbacks, `EarlyStopping` does so; the others never raise it themselves.
    """
    foreign = not type(callback).__module__.startswith("skorch.")
    return foreign or isinstance(callback, EarlyStopping)


def first_output(outputs):
    """Return the first output of a module that returns several: its prediction."""
    return outputs[0] if isinstance(outputs, (tuple, list)) else outputs


def _first_rows(outputs, n, n_padded, device):
    """The outputs (several, perhaps) of the first `n` of the rows a module was called with."""
    if isinstance(outputs, (tuple, list)):
        return tuple(_first_rows(part, n, n_padded, device) for part in outputs)
    return (outputs[:n] if outputs.ndim and len(outputs) == n_padded else outputs).to(device)


@functools.cache
def _spelled_parameters(cls):
    """Names of the parameters that `cls` and the nets it derives from spell out."""
    names = set()
    for base in cls.__mro__:
        if issubclass(base, BaseNet) and base is not BaseNet and "__init__" in vars(base):
            for name, parameter in inspect.signature(base.__init__).parameters.items():
                if parameter.kind is not parameter.VAR_KEYWORD and name != "self":
                    names.add(name)
    return frozenset(names)


def _is_part_parameter(name):
    part, separator, rest = name.partition("__")
    return part in _PARTS and bool(separator) and bool(rest)


def _refuse_unknown(cls, names):
    spelled = _spelled_parameters(cls)
    for name in sorted(names):
        if name in spelled or _is_part_parameter(name):
            continue
        close = difflib.get_close_matches(name, [*spelled, *(f"{p}__..." for p in _PARTS)], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise TypeError(
            f"{cls.__name__} got an unexpected argument {name!r}.{hint} Arguments of its parts "
            f"are written {', '.join(f'{part}__name' for part in _PARTS)}."
        )


def _as_numpy(values):
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values


def indexed(device):
    """The device with its number: "cuda" is the current CUDA device."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _check_sample_weight(sample_weight, n_rows):
    """Return the weights as float64 (n_rows,), or None."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Number):
        sample_weight = np.full(n_rows, sample_weight, dtype=np.float64)
    weight = check_array(
        _as_numpy(sample_weight), ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar. Got {weight.ndim}D array instead."
        )
    if len(weight) != n_rows:
        raise ValueError(
            f"sample_weight.shape == {weight.shape}, expected {(n_rows,)}: one weight per row of X."
        )
    if (weight < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`. Use weights >= 0.")
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


@contextmanager
def _unreduced(criterion, owner):
    """Let a criterion return a loss per row for a while."""
    if not hasattr(criterion, "reduction"):
        raise ValueError(
            f"sample_weight needs a criterion with a 'reduction', as torch's losses have. "
            f"{type(criterion).__name__} of {owner} has none."
        )
    before = criterion.reduction
    criterion.reduction = "none"
    try:
        yield criterion
    finally:
        criterion.reduction = before
