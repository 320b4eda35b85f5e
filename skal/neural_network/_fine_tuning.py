"""Fine-tuning on what the net is sure of: the unlabelled rows with their pseudo-labels."""

import warnings
from copy import copy
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_regressor
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from skal.neural_network._averaging import EMACallback, add_average, find_average
from skal.neural_network._classifier import NeuralNetClassifier
from skal.neural_network._image_augment import ImageAugment
from skal.neural_network._loader import (
    _RESIDENT_BYTES,
    TableDataset,
    take_tensor,
)
from skal.neural_network._pseudo_training import (
    augmented_batches,
    averaged_weights,
    n_right,
    run_epoch,
    watched,
)
from skal.neural_network._seed import SEEDED, torch_seed
from skal.neural_network._tabular_augment import TabularAugment
from skal.utils._compat import HasMethods, Interval, StrOptions, _fit_context
from skal.utils._nesting import NetWrapper, describe
from skal.utils._random import child_seed, draw_seed, set_random_states
from skal.utils._tables import n_rows, take_rows
from skal.utils._tags import extend_tags, inherit_tags
from skal.utils.validation import (
    as_target,
    check_same_length,
    is_labeled,
    labeled_target,
    validate_rows,
)

# Places in the tree of seeds: what a number is drawn for.
_NET, _SUBSAMPLE, _TRAIN = 0, 1, 2


class PseudoLabelFineTuner(NetWrapper, MetaEstimatorMixin, BaseEstimator):
    """Train a net on the labels, then fine-tune it on the rows it is sure of.

    Unlabelled rows that the trained net is confident about get a pseudo-label, the prediction of
    the running average of its weights, and the net learns to predict it from strongly augmented
    copies. Noisy regions of a pool, about which a net is not confident, stay out, so the features
    are learnt from the clean part of the pool.

    It is a classifier around a net, fitted with a partly labelled `y` (NaN or None where a label is
    missing). Inside an :class:`~skal.ActiveLearner` and in simulations the unlabelled rows reach
    it by themselves, every strategy works on the fine-tuned net, and each round starts afresh.
    In a ``Pipeline`` it is the last step; the preprocessing in front sees all rows.

    Parameters
    ----------
    estimator : NeuralNetClassifier
        The net. It is cloned, never changed. Without an :class:`EMACallback` among its callbacks,
        one is added.

    threshold : float, default=0.8
        Rows take part whose largest class probability exceeds this. Lower takes more rows and more
        wrong pseudo-labels; at 1 no row takes part.

    epochs : int, default=500
        Largest number of passes over the selected rows. 0 leaves the net as it was trained.

    optimizer : callable, default=torch.optim.Adam
        Makes the optimiser, called as ``optimizer(parameters, lr=lr)``.

    lr : float, default=0.01
        Its learning rate. The default is that of the published experiments, a hundred times that
        of their training; on a small net or few selected rows 0.001 is safer.

    pseudo_label_source : {"ema", "main"}, default="ema"
        Whose prediction is the pseudo-label: that of the averaged weights, or of the net itself.

    include_labeled : bool or "predicted", default=False
        Whether the labelled rows take part, too: with their labels (True), or with the prediction
        as their label ("predicted", as the published code does). True keeps the net from
        forgetting what it was taught.

    min_samples : int or None, default=None
        With fewer rows to train on there is no fine-tuning, and a warning. None is twice the batch
        size of the net.

    max_samples : int or None, default=None
        At most this many unlabelled rows take part, drawn at random. The cost is proportional to
        it.

    early_stopping : tuple of (float, float) or None, default=(0.99, 0.8)
        Fine-tuning ends after an epoch in which the net, and then the averaged one, predict at
        least these shares of the pseudo-labels right, on augmented rows. None runs all epochs.

    augmentation : augmentation, callable or None, default=None
        What distorts the rows, afresh at every visit: :class:`TabularAugment`,
        :class:`ImageAugment`, any object with their methods `fit` and `augment`, or a function of a
        tensor of rows that returns another (it is called with up to 1024 rows, or a training batch,
        at a time). None is ``ImageAugment()`` for rows of shape (channels, height, width), else
        ``TabularAugment()``.

    finish : "labeled" or None, default=None
        Whether the net is trained on the labels once more after the fine-tuning, for its
        `max_epochs`; see Notes.

    random_state : int, RandomState or None, default=None
        Seeds the fine-tuning, and the net if it has no `random_state` of its own.

    Attributes
    ----------
    estimator_ : NeuralNetClassifier
        The fine-tuned net.

    classes_ : ndarray of shape (n_classes,)
        The classes, in the order of the columns of `predict_proba`.

    selected_ : ndarray of shape (n_selected,), dtype int64
        Positions, in the X of `fit`, of the rows that took part (or would have, had they been
        enough).

    pseudo_labels_ : ndarray of shape (n_selected,)
        What they were labelled.

    n_selected_ : int
        How many they are.

    history_ : list of dict
        A record per epoch of fine-tuning: "loss" and "accuracy" (share of pseudo-labels predicted,
        before each step); "ema_accuracy" where it was looked at. Empty if there was none.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    EMACallback : The average of the weights, which goes on through the fine-tuning.
    skal.strategies.LHD : The strategy it was proposed with.
    TabularAugment : The default augmentation of tables.
    ImageAugment : The default augmentation of images.

    Notes
    -----
    With the net :math:`F_\\theta` and its average :math:`F_\\beta` after the training on labels,

    .. math::

        V = \\{x : \\max_k F_\\theta(x)_k > \\gamma\\}, \\qquad
        \\hat y_x = \\arg\\max_k F_\\beta(x)_k,

    over the unlabelled rows, both computed once, without augmentation and in evaluation mode. Each
    step minimises the loss of the net (cross-entropy) on :math:`(A(x), \\hat y_x)`, with a fresh
    augmentation :math:`A`, and updates the average by the rule it was trained with; strategies that
    read the history of the weights find the fine-tuned pair. The callbacks of the net watch the
    fine-tuning, too, as a further training on pseudo-labels: its epochs go on in the history of the
    net, schedules change the learning rate of its optimiser, a `train_split` of the net holds back
    rows of V for ``"valid_loss"``, and early stopping ends it.

    ``finish="labeled"`` ends with a training on the labels, which pulls the net back from wrong
    pseudo-labels. The authors' code does so for LHD alone, before it is tested, and tests all other
    strategies on the fine-tuned net; the published comparison is that of two procedures as much as
    of strategies. Here the step is the same for every strategy. Strategies that read the history of
    the weights then find the pair of this last training.

    The published procedure augments each row once; its code augments at every visit, includes the
    labelled rows and takes labels from the net itself: ``pseudo_label_source="main",
    include_labeled="predicted", min_samples=1000``. Unlike there, the accuracy of the averaged net
    is looked at only after an epoch in which the net itself is good enough.

    The cost is `epochs` passes forward and backward over :math:`V`, after every training: with a
    large pool it exceeds that of everything else. `max_samples` bounds it.

    There is no confidence threshold in regression, so regressors are refused.

    If the fine-tuning fails or is interrupted, nothing changes: a tuner fitted before stays as it
    was, and so do the labels and the model of a learner around it.

    References
    ----------
    S. Khosla, C. K. Whye, J. T. Ash, C. Zhang, K. Kawaguchi and A. Lamb (2022). Understanding and
    improving neural active learning on heteroskedastic distributions. arXiv:2211.00928,
    Algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skal.neural_network import NeuralNetClassifier, PseudoLabelFineTuner
    >>> X, y = load_iris(return_X_y=True)
    >>> y_partly = np.where(np.arange(150) % 5 == 0, y, np.nan)
    >>> net = NeuralNetClassifier(max_epochs=100, lr=0.01, batch_size=16)
    >>> tuner = PseudoLabelFineTuner(net, epochs=3, lr=0.001, random_state=0)
    >>> model = make_pipeline(StandardScaler(), tuner).fit(X, y_partly)
    >>> model[-1].n_selected_ > 60, model.score(X, y) > 0.8
    (True, True)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"])],
        "threshold": [Interval(Real, 0, None, closed="left")],
        "epochs": [Interval(Integral, 0, None, closed="left")],
        "optimizer": [callable],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "pseudo_label_source": [StrOptions({"ema", "main"})],
        "include_labeled": ["boolean", StrOptions({"predicted"})],
        "min_samples": [Interval(Integral, 1, None, closed="left"), None],
        "max_samples": [Interval(Integral, 1, None, closed="left"), None],
        "early_stopping": [tuple, list, None],
        "augmentation": [HasMethods(["fit", "augment"]), callable, None],
        "finish": [StrOptions({"labeled"}), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator,
        *,
        threshold=0.8,
        epochs=500,
        optimizer=torch.optim.Adam,
        lr=0.01,
        pseudo_label_source="ema",
        include_labeled=False,
        min_samples=None,
        max_samples=None,
        early_stopping=(0.99, 0.8),
        augmentation=None,
        finish=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.threshold = threshold
        self.epochs = epochs
        self.optimizer = optimizer
        self.lr = lr
        self.pseudo_label_source = pseudo_label_source
        self.include_labeled = include_labeled
        self.min_samples = min_samples
        self.max_samples = max_samples
        self.early_stopping = early_stopping
        self.augmentation = augmentation
        self.finish = finish
        self.random_state = random_state

    # ------------------------------------------------------------------ training

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None):
        """Train on the labelled rows, then fine-tune on the unlabelled ones.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            All rows, labelled or not.

        y : array-like of shape (n_samples,)
            Their labels; NaN in a float `y`, None or NaN in an object `y` where there is none. With
            every label there, the net is trained and not fine-tuned.

        sample_weight : array-like of shape (n_samples,) or (n_labeled,), default=None
            Weights in the training on labels, for all rows or for the labelled ones. Fine-tuning
            weighs its rows alike.

        Returns
        -------
        self : PseudoLabelFineTuner
            The fitted estimator.

        Raises
        ------
        TypeError
            If `estimator` is not a :class:`NeuralNetClassifier`.
        ValueError
            If no row has a label, the data cannot be trained on, or the training diverges.

        Warns
        -----
        UserWarning
            If too few rows are confident, or all of them have one pseudo-label.
        """
        self._check_estimator()
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        X, y = validate_rows(copy(self), X, reset=True), as_target(y)
        check_same_length(X, y)
        labeled = is_labeled(y)
        if not labeled.any():
            raise ValueError(f"y has no labelled row (all {len(labeled)} values are NaN or None).")
        seed = draw_seed(self.random_state)
        net = clone(self.estimator)
        add_average(net, EMACallback(snapshot="end"), needed_by=type(self).__name__)
        set_random_states(net, child_seed(seed, _NET), only_missing=True)
        y_labeled = labeled_target(y, labeled)
        net.fit(
            X if labeled.all() else take_rows(X, labeled),
            y_labeled,
            _of_labeled(sample_weight, labeled),
        )
        state = {"estimator_": net, "classes_": net.classes_}
        state |= self._fine_tune(net, X, labeled, y_labeled, seed)
        if self.finish == "labeled" and state["history_"]:
            net.partial_fit(
                take_rows(X, labeled), y_labeled, sample_weight=_of_labeled(sample_weight, labeled)
            )
        for name in ("n_features_in_", "feature_names_in_"):
            vars(self).pop(name, None)
            if hasattr(net, name):
                state[name] = getattr(net, name)
        vars(self).update(state)
        return self

    def _fine_tune(self, net, X, labeled, y_labeled, seed):
        """Select rows, label them, train `net` on them; return what was done."""
        rows, codes = self._select(net, X, labeled, y_labeled, seed)
        history = []
        if self._is_enough(net, rows, labeled, codes) and self.epochs:
            chosen = net._validate_rows(take_rows(X, rows))
            table = TableDataset(chosen, net.classes_[codes], codes)
            augment = self._fitted_augmentation(net, X)
            n_threaded = net._rows_per_batch(len(table))
            with (
                SEEDED,
                torch_seed(child_seed(seed, _TRAIN)),
                net._few_threads(n_threaded),
            ):
                history = self._train(net, table, augment)
        return {
            "selected_": rows,
            "pseudo_labels_": net.classes_[codes],
            "n_selected_": len(rows),
            "history_": history,
        }

    def _select(self, net, X, labeled, y_labeled, seed):
        """Positions of the rows to train on (n,), and the class numbers to train with (n,)."""
        pool = np.flatnonzero(~labeled)
        rows, codes = pool, np.zeros(0, dtype=np.int64)
        if len(pool):
            X_pool = take_rows(X, pool)
            log_P = net._log_probabilities(net._outputs(X_pool))
            sure = np.flatnonzero((log_P.amax(1).exp() > self.threshold).numpy())
            if self.max_samples is not None and len(sure) > self.max_samples:
                rng = np.random.RandomState(child_seed(seed, _SUBSAMPLE))
                sure = np.sort(rng.choice(sure, self.max_samples, replace=False))
            rows, codes = pool[sure], self._predicted(net, X_pool, log_P)[sure]
        if self.include_labeled and len(pool):
            taught = np.flatnonzero(labeled)
            if self.include_labeled == "predicted":
                labels = self._predicted(net, take_rows(X, taught))
            else:
                labels = net._encode_target(np.asarray(y_labeled))
            rows, codes = np.concatenate([rows, taught]), np.concatenate([codes, labels])
        return rows, codes

    def _predicted(self, net, X, log_P=None):
        """Class numbers predicted by the source of pseudo-labels: int64 (n,)."""
        if self.pseudo_label_source == "ema":
            with averaged_weights(net, find_average(net)):
                log_P = net._log_probabilities(net._outputs(X))
        elif log_P is None:
            log_P = net._log_probabilities(net._outputs(X))
        return log_P.argmax(1).numpy()

    def _is_enough(self, net, rows, labeled, codes):
        """Whether there is something to train on; warns if it is too little or of one class."""
        if labeled.all():
            return False
        least = self.min_samples
        if least is None:
            least = max(1, 2 * net.batch_size)
        if len(rows) < least:
            warnings.warn(
                f"{type(self).__name__} selected {len(rows)} rows, fewer than "
                f"min_samples={least}, at threshold={self.threshold}: the net stays as it was "
                "trained on the labels. Lower threshold or min_samples, or go on labelling.",
                UserWarning,
                stacklevel=5,
            )
            return False
        if len(np.unique(codes)) == 1:
            label = net.classes_[codes[:1]].tolist()[0]
            warnings.warn(
                f"All {len(rows)} rows that {type(self).__name__} selected have the pseudo-label "
                f"{label!r}: fine-tuning may teach the net to predict nothing else. Use "
                "include_labeled=True, or label more rows first.",
                UserWarning,
                stacklevel=5,
            )
        return True

    def _train(self, net, table, augment):
        """Run the epochs over the selected rows; return a record of each."""
        ema = find_average(net)
        weights = [weight for weight in net.module_.parameters() if weight.requires_grad]
        optimizer = self.optimizer(weights, lr=self.lr)
        train, valid = net.get_split_datasets(table, table.y)
        epoch = {"dataset_train": train, "dataset_valid": valid}
        batches = partial(augmented_batches, net, train, augment)
        history = []
        with watched(net, optimizer, table):
            for _ in range(self.epochs):
                net.notify("on_epoch_begin", **epoch)
                net._set_training(True)
                history.append(run_epoch(net, batches(), optimizer, ema))
                self._check_finite(history, weights)
                if valid is not None:
                    held_out = net.get_iterator(valid, training=False)
                    net.run_single_epoch(held_out, False, "valid", net.validation_step)
                net.notify("on_epoch_end", **epoch)
                if self._may_stop(net, ema, batches(), history[-1]):
                    break
        ema.take_snapshot(net.module_)
        return history

    def _check_finite(self, history, weights):
        loss = history[-1]["loss"]
        if not (np.isfinite(loss) and all(weight.isfinite().all() for weight in weights)):
            raise ValueError(
                f"The fine-tuning of {type(self).__name__} diverged in epoch {len(history)}: its "
                f"loss is {loss}, or its weights are not finite. Lower lr (now {self.lr})."
            )

    def _may_stop(self, net, ema, batches, record):
        if self.early_stopping is None or record["accuracy"] < self.early_stopping[0]:
            return False
        net._set_training(False)
        right = n = 0
        with averaged_weights(net, ema), torch.no_grad():
            for X, target in batches:
                right, n = right + n_right(net.infer(X), target), n + len(target)
        record["ema_accuracy"] = float(right) / n
        return record["ema_accuracy"] >= self.early_stopping[1]

    def _fitted_augmentation(self, net, X):
        """A function that distorts a batch of rows."""
        given = self.augmentation
        if given is None:
            given = ImageAugment() if len(net._row_shape) == 3 else TabularAugment()
        if not hasattr(given, "augment"):
            return given
        X, device = net._validate_rows(X), net._module_device()
        if not sparse.issparse(X) and X.nbytes <= _RESIDENT_BYTES:
            X = take_tensor(X, slice(None)).to(device)
        return clone(given, safe=False).fit(X).augment

    def _check_estimator(self):
        name = type(self).__name__
        if is_regressor(self.estimator):
            raise TypeError(
                f"{name} serves classifiers: the predictions of a regressor have no confidence to "
                f"select pseudo-labels by. Got {describe(self.estimator)} instead. Use the "
                "regressor without it; CoreSet, TypiClust and NoiseStability serve regression."
            )
        if not isinstance(self.estimator, NeuralNetClassifier):
            raise TypeError(
                f"The 'estimator' of {name} must be a NeuralNetClassifier of skal.neural_network. "
                f"Got {describe(self.estimator)} instead. Preprocessing goes in front: "
                f"make_pipeline(StandardScaler(), {name}(NeuralNetClassifier()))."
            )
        stop = self.early_stopping
        if stop is not None and not (len(stop) == 2 and all(isinstance(s, Real) for s in stop)):
            raise ValueError(
                f"'early_stopping' of {name} must be two accuracies, of the net and of the "
                f"averaged net, or None. Got {stop!r} instead."
            )

    # ------------------------------------------------------------------ the net's methods

    def predict(self, X):
        """Predict the labels of rows with the fine-tuned net.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            The rows.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            The most probable class of each row.
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    def predict_proba(self, X):
        """Predict the probabilities of the classes with the fine-tuned net.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            The rows.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes), dtype float32
            Probabilities, in the order of `classes_`.
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    def score(self, X, y, sample_weight=None):
        """Compute the accuracy on the rows that have a label.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            The rows.

        y : array-like of shape (n_samples,)
            Their labels; rows with a missing label are left out.

        sample_weight : array-like of shape (n_samples,) or (n_labeled,), default=None
            Weights of the rows, of all or of the labelled ones.

        Returns
        -------
        score : float
            Share of the labels that are predicted.
        """
        check_is_fitted(self)
        y = as_target(y)
        check_same_length(X, y)
        labeled = is_labeled(y)
        if not labeled.any():
            raise ValueError("score needs at least one labelled row: every y is NaN or None.")
        predicted = self.predict(X if labeled.all() else take_rows(X, labeled))
        weight = _of_labeled(sample_weight, labeled)
        return accuracy_score(labeled_target(y, labeled), predicted, sample_weight=weight)

    def __sklearn_tags__(self):
        tags = inherit_tags(extend_tags(super().__sklearn_tags__()), self.estimator)
        tags.accepts_unlabeled = True
        return tags


def _of_labeled(sample_weight, labeled):
    """Weights of the labelled rows, from those of all rows or of the labelled ones."""
    if sample_weight is None or labeled.all() or np.ndim(sample_weight) == 0:
        return sample_weight
    if n_rows(sample_weight) == labeled.sum():
        return sample_weight
    check_same_length(labeled, sample_weight, "sample_weight")
    return take_rows(sample_weight, labeled)
