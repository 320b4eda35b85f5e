"""What the classifier and the regressor share: skorch nets that keep scikit-learn's contract."""

import copy
import inspect
import numbers
from collections.abc import Mapping
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from skorch import NeuralNet
from skorch.callbacks import (
    BatchScoring,
    EarlyStopping,
    EpochTimer,
    PassthroughScoring,
    PrintLog,
)
from skorch.utils import is_dataset
from torch import nn

from skal.neural_network._checkpoints import OwnFiles
from skal.neural_network._device import check_device
from skal.neural_network._explanations import check_first_outputs, does_not_fit, explain
from skal.neural_network._frozen import frozen_norms
from skal.neural_network._inputs import (
    as_numpy,
    check_row_shape,
    check_sample_weight,
    n_values,
    parts_of_rows,
    row_shape,
    validate_parts,
)
from skal.neural_network._loader import TableDataset, TensorLoader, as_table, padded
from skal.neural_network._parameters import ParameterMixin
from skal.neural_network._seed import SEEDED, import_whole, preserved_generators, torch_seed
from skal.neural_network._short_step import short_step
from skal.neural_network._threads import one_thread
from skal.utils._compat import Interval, StrOptions
from skal.utils._memory import keep_freed_memory
from skal.utils._random import child_seed, draw_seed
from skal.utils._tables import n_rows, take_rows

# Below this many multiply-adds per batch, a second thread costs more than it helps.
_SMALL_BATCH = 2**25

# Looking for repeated rows in larger tables would take longer than it is worth.
_MERGED_VALUES = 2**22

# Values (of four bytes) in a batch of rows to predict.
CHUNK_VALUES = 2**21


class BaseNet(ParameterMixin, NeuralNet):
    """A skorch net that validates, seeds, encodes and reports as scikit-learn's estimators do.

    A subclass says how targets become what the criterion takes (`_learn_target`, `_encode_target`)
    and how outputs become predictions.
    """

    _parameter_constraints: dict = {
        "module": [callable],
        "criterion": [callable],
        "optimizer": [callable],
        "lr": [Interval(numbers.Real, 0, None, closed="neither")],
        "max_epochs": [Interval(numbers.Integral, 0, None, closed="left")],
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
        given, dtype = X, self._row_dtype
        X, y = self._validate_training_data(X, y, reset=cold)
        weight = self._row_weights(check_sample_weight(sample_weight, n_rows(X)), y)
        used = None if weight is None or weight.all() else np.flatnonzero(weight)
        if used is not None:
            X, y, weight = take_rows(X, used), y[used], weight[used]
        seed = child_seed(draw_seed(self.random_state), 0 if cold else len(self.history))
        with SEEDED, torch_seed(seed):
            try:
                if cold:
                    self._row_shape = row_shape(X)
                    self._learn_target(y, weight, classes)
                    self.initialize()
                    if self._row_dtype != dtype:  # the module says what it computes in
                        X = self._validate_rows(given)
                        X = X if used is None else take_rows(X, used)
                elif self._module_device() != indexed(device):
                    self._move(device)
                self._train(X, y, weight)
            except BaseException as error:
                if cold:
                    self.initialized_ = False
                explanation = isinstance(error, Exception) and explain(self, error, len(y))
                if explanation:
                    raise ValueError(explanation) from error
                raise
        return self

    def _train(self, X, y, weight):
        target = self._encode_target(y)
        X, y, target, weight = self._merge_repeated(X, y, target, weight)
        dataset = TableDataset(X, y, target, weight)
        self._frozen_norms = frozen_norms(self.module_)
        self._outputs_seen = False
        self._files = OwnFiles(self)
        with self._few_threads(self._rows_per_batch(len(dataset))), self._files.in_use():
            try:
                self.notify("on_train_begin", X=X, y=y)
                self._short_step = short = short_step(self, X, target)
                try:
                    self.fit_loop(dataset, y)
                except StopTraining:
                    pass
                finally:
                    if short is not None:
                        short.close()
                    # Prediction changes no flag of the module later on.
                    self._set_training(False)
                self.notify("on_train_end", X=X, y=y)
            finally:
                for epoch in self.history:
                    # Names of the files of a checkpoint may be made of its last batch.
                    epoch["batches"] = epoch["batches"][-1:] if self._files else []
                vars(self).pop("_short_step", None)
                del self._frozen_norms, self._outputs_seen, self._files

    def _merge_repeated(self, X, y, target, weight):
        """Merge equal rows, adding their weights, where that leaves the gradient what it is.

        A single batch has the same loss either way. Merged and in a canonical order, a weighted row
        and a repeated one give the same net to the last bit.
        """
        n = len(y)
        weighted = weight is not None and np.ptp(weight) > 0
        single = n <= self._rows_per_batch(n) and self.train_split is None
        if single and n * n_values(self._row_shape) <= _MERGED_VALUES:
            if not any(isinstance(part, _DEPENDS_ON_REPEATS) for part in self.module_.modules()):
                parts = [
                    part.toarray() if sparse.issparse(part) else part for part in parts_of_rows(X)
                ]
                keys = np.hstack([part.reshape(n, -1) for part in [*parts, target]])
                _, first, group = np.unique(
                    keys.astype(np.float64), axis=0, return_index=True, return_inverse=True
                )
                if weighted or len(first) < n:
                    total = np.bincount(group.ravel(), weight, minlength=len(first))
                    X, y, target, weight = take_rows(X, first), y[first], target[first], total
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
        short = vars(self).get("_short_step")
        if training and short is not None and short.serves():
            self._run_short_epoch(iterator, prefix, short)
        else:
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

    def _run_short_epoch(self, iterator, prefix, short):
        """An epoch by the short step, with the history of the usual one."""
        self._set_training(True)
        losses, sizes = short.epoch(iterator)
        for loss, size in zip(losses, sizes, strict=True):
            self.history.new_batch()
            self.history.record_batch(f"{prefix}_loss", loss)
            self.history.record_batch(f"{prefix}_batch_size", size)
        self.history.record(f"{prefix}_batch_count", len(losses))

    def notify(self, method_name, **kwargs):
        """Call a method of every callback; part of skorch's interface.

        skorch's callbacks end the training by raising KeyboardInterrupt after an epoch. Any other
        KeyboardInterrupt is the user's, and is passed on. Batches are (X, target) for callbacks,
        whether or not rows have weights; for `BatchScoring`, which compares with predictions, the
        targets are the user's.
        """
        batch = kwargs.get("batch")
        if isinstance(batch, tuple) and isinstance(batch[1], tuple):
            kwargs["batch"] = batch = (batch[0], batch[1][0])
        getattr(self, method_name)(self, **kwargs)
        for _, callback in self.callbacks_:
            if isinstance(callback, BatchScoring) and isinstance(batch, tuple):
                kwargs["batch"] = (batch[0], self._decode_target(as_numpy(batch[1])))
            try:
                getattr(callback, method_name)(self, **kwargs)
            except KeyboardInterrupt:
                if method_name == "on_epoch_end" and may_stop_training(callback):
                    raise StopTraining from None
                raise
            finally:
                if batch is not None:
                    kwargs["batch"] = batch
        if method_name == "on_epoch_end" and hasattr(self, "_files"):
            self._files.publish()

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Compute the mean loss of a batch; part of skorch's interface."""
        outputs = self._checked_outputs(first_output(y_pred))
        if training and not getattr(self, "_outputs_seen", True):
            check_first_outputs(self, outputs)
            self._outputs_seen = True
        target, weight = y_true if isinstance(y_true, tuple) else (y_true, None)
        target = target.to(outputs.device)
        if target.is_floating_point():
            target = target.to(outputs.dtype)
        if weight is None:
            return self._explained_loss(outputs, target)
        weight = weight.to(outputs)
        with _unreduced(self.criterion_, type(self).__name__) as criterion:
            losses = self._explained_loss(outputs, target)
        losses = losses.reshape(len(weight), -1).mean(1)
        class_weight = getattr(criterion, "weight", None)
        if class_weight is not None and not target.is_floating_point():
            # The mean of a criterion with class weights is a weighted mean already.
            return (weight * losses).sum() / (weight * class_weight[target]).sum()
        return (weight * losses).mean()

    def _criterion_loss(self, outputs, target):
        return self.criterion_(outputs, target)

    def _explained_loss(self, outputs, target):
        try:
            return self._criterion_loss(outputs, target)
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise ValueError(does_not_fit(self, outputs, target, error)) from error

    def infer(self, x, **fit_params):
        """Call the module on a batch; part of skorch's interface."""
        if isinstance(x, Mapping):
            return self.module_(**{name: self._own(part) for name, part in x.items()}, **fit_params)
        return self.module_(self._own(x), **fit_params)

    def _own(self, values):
        """Values where the module is, in the dtype it computes in."""
        weight = self._first_weight()
        if weight is None:
            return values
        return values.to(weight.device, weight.dtype if values.is_floating_point() else None)

    def _set_training(self, training=True):
        super()._set_training(training)
        if training:
            for layer in getattr(self, "_frozen_norms", ()):
                layer.eval()

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
            sizes = {"n_features": n_values(self._row_shape), "n_outputs": self.n_outputs_}
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
        kwargs = self._criterion_arguments(self.get_params_for("criterion"))
        self.criterion_ = self.initialized_instance(copy.deepcopy(self.criterion), kwargs)
        if isinstance(self.criterion_, nn.Module) and self._row_dtype == np.float64:
            self.criterion_.double()
        return self

    def _criterion_arguments(self, arguments):
        """Arguments of the criterion as torch takes them."""
        return arguments

    def initialize_optimizer(self):
        """Make the optimiser.

        Returns
        -------
        self : object
            The net.
        """
        import_whole("torch._dynamo")  # by the first optimiser there is
        return super().initialize_optimizer()

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

    def get_split_datasets(self, X, y=None, **fit_params):
        """Split validation data off; part of skorch's interface."""
        train, valid = super().get_split_datasets(X, y, **fit_params)
        return train, as_table(valid, self._table_of)

    def _table_of(self, X, y):
        """Make a table of validation data that the user holds ready (`predefined_split`)."""
        X, y = self._validate_training_data(X, y, reset=False)
        return TableDataset(X, y, self._encode_target(y))

    def get_iterator(self, dataset, training=False):
        """Iterate over the batches of a dataset; part of skorch's interface."""
        if training:
            size = self._rows_per_batch(len(dataset))
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
                yield _first_rows(outputs, n_rows(X_batch), n_rows(X_even), device)
        finally:
            for module, flag in flags.items():
                module.training = flag

    def _rows_per_batch(self, n_rows):
        return n_rows if self.batch_size == -1 else self.batch_size

    def _rows_per_chunk(self):
        """Rows to predict at a time: as many as in training, or more where rows are short."""
        return max(
            self.batch_size, min(8192, CHUNK_VALUES // max(1, n_values(self._row_shape or ())))
        )

    def _first_weight(self):
        """A weight that says where the module is and what it computes in, or None."""
        weights = self.module_.parameters()
        return next((weight for weight in weights if weight.is_floating_point()), None)

    def _module_device(self):
        weight = self._first_weight()
        return torch.device("cpu") if weight is None else weight.device

    @property
    def _row_dtype(self):
        """What rows are cast to: float64 for modules that compute in it, else float32."""
        weight = self._first_weight() if "module_" in vars(self) else None
        dtype = torch.get_default_dtype() if weight is None else weight.dtype
        return np.dtype(np.float64 if dtype == torch.float64 else np.float32)

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
        """Outputs of the module for rows: tensor (n, n_outputs) on the CPU, float32 or float64."""
        if not is_dataset(X):
            check_is_fitted(self)
            X = self._validate_rows(X)
            X = TableDataset(X)
        with preserved_generators(), self._few_threads(min(len(X), self._rows_per_chunk())):
            outputs = [first_output(batch) for batch in self.forward_iter(X)]
        return real(self._checked_outputs(torch.cat(outputs)))

    def _checked_outputs(self, outputs):
        """Return outputs as (n, n_outputs), or say what the module should have returned."""
        if outputs.ndim == 1 and self.n_outputs_ == 1:
            outputs = outputs[:, None]
        expected = (self.n_outputs_, *getattr(self, "_positions", ()))
        if outputs.shape[1:] != expected:
            values = f"{self.n_outputs_} values per row"
            if len(expected) > 1:
                values += f" and position, in the shape (n_samples, {str(expected)[1:]}"
            raise ValueError(
                f"The module of {type(self).__name__} must return {values}, "
                f"{self._meaning_of_outputs()}. Got outputs of shape "
                f"{tuple(outputs.shape)} instead. Let its constructor take n_outputs, which is "
                "filled in from the target, or set the size by module__<argument>."
            )
        return outputs

    def load_params(self, *args, **kwargs):
        """Load weights that `save_params` has saved; part of skorch's interface.

        A net that is only initialised predicts with them, where what else `fit` learns is known:
        a classifier needs `classes`, a regressor ``standardize_y=False``. Pickle or joblib keep
        the whole net.

        Parameters
        ----------
        *args, **kwargs : files
            As in skorch: `f_params`, `f_optimizer`, `f_history`, `checkpoint`.

        Raises
        ------
        ValueError
            If the net is not fitted and cannot know what else it would need.
        """
        fitted = self.__sklearn_is_fitted__()
        if self.initialized_ and not fitted:
            self._learn_without_data()
        super().load_params(*args, **kwargs)

    def _validate_rows(self, X):
        if isinstance(X, Mapping):
            X = validate_parts(X, self._row_dtype, type(self).__name__)
        else:
            X = validate_data(
                self, X=as_numpy(X), reset=False, **{**_ROWS, "dtype": self._row_dtype}
            )
        check_row_shape(X, self._row_shape, type(self).__name__)
        return X

    def _validate_training_data(self, X, y, *, reset):
        """Return rows and targets as arrays; by default those of a dict, or of scikit-learn."""
        if isinstance(X, Mapping):
            X, y = validate_parts(X, self._row_dtype, type(self).__name__), self._validate_target(y)
            check_consistent_length(*parts_of_rows(X), y)
            if reset:
                for name in ("n_features_in_", "feature_names_in_"):
                    vars(self).pop(name, None)
        else:
            checks = {**self._checks(), "dtype": self._row_dtype}
            X, y = validate_data(self, X=as_numpy(X), y=as_numpy(y), reset=reset, **checks)
        if not reset:
            check_row_shape(X, self._row_shape, type(self).__name__)
        return X, y

    def _row_weights(self, weight, y):
        """Weights of the rows, float64 (n,) or None, from those given to `fit`."""
        return weight

    # ------------------------------------------------------------------ scikit-learn

    def __sklearn_is_fitted__(self):
        # skorch counts a net that was only initialised as fitted.
        return bool(self.initialized_) and hasattr(self, "n_outputs_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        return tags


# How rows are checked: anything numeric, cast to what the module computes in.
_ROWS = {"accept_sparse": "csr", "allow_nd": True}

# With these, a repeated row is not the same as a row of double weight.
_DEPENDS_ON_REPEATS = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


class StopTraining(Exception):
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


def real(values):
    """Values in float64 where they are, else in float32."""
    return values if values.dtype == torch.float64 else values.float()


def indexed(device):
    """The device with its number: "cuda" is the current CUDA device."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


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
