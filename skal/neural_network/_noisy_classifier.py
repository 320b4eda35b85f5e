"""A classifier for noisy labels: a net, and the channel of its annotator."""

import numbers

import numpy as np
import torch
from skorch.callbacks import Checkpoint, TrainEndCheckpoint
from torch import nn

from skal.neural_network._classifier import NeuralNetClassifier
from skal.neural_network._cross_fitting import estimate_channel, split_in_folds
from skal.neural_network._modules import MLP
from skal.neural_network._noise_channel import NoiseChannelLayer, check_channel
from skal.utils._compat import Interval, StrOptions
from skal.utils._tables import take_rows

# Learning rate of the channel by update; "paper" takes that of the net.
_CHANNEL_LR = {"euclidean": 0.05, "softmax": 0.01}

_FOLDS = 4


class NoisyChannelClassifier(NeuralNetClassifier):
    """A torch net for classification that learns how wrong its labels are.

    During training, the class probabilities p of the net pass a channel, p' = W p, before they are
    compared with the labels. Column j of W is how rows of class j are labelled; W is learnt from
    the noisy labels alone. Afterwards the channel is put aside: `predict`, `predict_proba` and
    every query strategy see the net without it.

    Parameters
    ----------
    module : module class, default=MLP
        As for :class:`NeuralNetClassifier`: a ``torch.nn.Module`` class that returns logits, or
        probabilities if the `criterion` is ``torch.nn.NLLLoss``. It holds the net alone.

    channel : array-like of shape (n_classes, n_classes) or None, default=None
        Where W starts, classes in the order of ``classes_``. Entries are at least 0 and columns sum
        to 1. None has 0.7 on the diagonal where W is cross-fitted, and is the identity, labels
        without faults, where it is trained together with the net.

    estimate : {"cross_fitted", "joint"} or None, default=None
        How W is learnt.

        - "cross_fitted": first, from predictions that have not seen the labels they are compared
          with. Four nets, each trained without a channel on three quarters of the rows, predict
          the last quarter; W and a temperature maximise the likelihood of the labels behind these
          predictions. Then the net is trained behind W, which is held. Costs four trainings more.
        - "joint": as published, W is trained together with the net. A net that is trained until it
          knows its labels by heart takes them for true, and W goes back to the identity: train for
          few epochs.

        None is "cross_fitted", or "joint" where `update`, `channel_lr` or `channel_weight_decay`
        say how that goes.

    update : {"euclidean", "softmax", "paper"} or None, default=None
        How W is trained, with ``estimate="joint"``; None is "euclidean".

        - "euclidean": by gradient descent of its own, with gradients clipped to [-1, 1], each step
          followed by the projection of every column onto the simplex. Starts at `channel` exactly.
        - "softmax": columns are softmaxes of free parameters, trained by Adam. The smoothest.
          Starts near `channel`: of a column with zeros, 0.05 is moved to its other entries.
        - "paper": as published. W is a group of the net's own optimiser; after each step negative
          entries become 0 and columns are divided by their sums. With Adam, W drifts towards equal
          entries (see Notes): that makes the loss robust, but W a poor estimate.

    trainable : bool, default=True
        Whether W is learnt. False keeps it at `channel`, for an annotator whose faults are known.

    channel_lr : float or None, default=None
        Learning rate of W. None is 0.05 with "euclidean", 0.01 with "softmax" and that of the net
        with "paper".

    channel_weight_decay : float, default=0.0
        Weight decay of W, with "paper" only. It shrinks the entries before columns are rescaled,
        which adds noise to the channel. Published: 0 for MNIST, 0.5 for EMNIST and SVHN, 2.5 for
        CIFAR.

    criterion : torch.nn.CrossEntropyLoss or torch.nn.NLLLoss, default=torch.nn.CrossEntropyLoss
        It says what the module returns: logits with ``CrossEntropyLoss``, probabilities with
        ``NLLLoss``; nothing is guessed from the values. The loss is the same, the negative
        log-likelihood behind the channel, with the criterion's class weights.

    optimizer : optimizer class, default=torch.optim.Adam
        Trains the net, and W with "paper".

    lr : float, default=0.001
        Learning rate of the net.

    max_epochs : int, default=100
        Passes over the data in each call of `fit` or `partial_fit`, and in each of the four
        trainings before.

    batch_size : int, default=64
        Rows per step of the optimiser; -1 takes all at once.

    classes : array-like of shape (n_classes,) or None, default=None
        All classes there are, as for :class:`NeuralNetClassifier`. The column of a class without
        rows means nothing.

    class_weight : "balanced", dict of label to float, or None, default=None
        Weights of the noisy labels in the loss, as for :class:`NeuralNetClassifier`.

    train_split : callable or None, default=None
        Splits off validation data. Their labels are as noisy as the others, and ``"valid_loss"``
        is their loss behind the channel.

    callbacks : list of skorch callbacks, "disable" or None, default=None
        Called during training. The four trainings before have those, too, that write no files.

    warm_start : bool, default=False
        Whether `fit` on a fitted net goes on from its weights and its channel; a cross-fitted one
        stays as it is. Otherwise, both start anew.

    verbose : int, default=0
        Whether to print a line per epoch.

    device : str or torch.device, default="cpu"
        Where to train and predict.

    random_state : int, RandomState or None, default=None
        Seeds the initial weights, the order of rows and dropout.

    **kwargs : dict
        Arguments of the parts of the net, ``module__name``, ``optimizer__name`` and so on.

    Attributes
    ----------
    noise_channel_ : ndarray of shape (n_classes, n_classes), dtype float64
        W: entry [i, j] is the probability of label ``classes_[i]`` where ``classes_[j]`` is true.

    noise_layer_ : NoiseChannelLayer
        The layer that holds it, beside the module.

    temperature_ : float
        What sharpens (below 1) or flattens the predictions that W was estimated from. Only with a
        cross-fitted channel.

    module_ : torch.nn.Module
        The trained net, without the channel.

    classes_ : ndarray of shape (n_classes,)
        The classes, sorted.

    history_ : skorch.history.History
        A record per epoch. ``"train_loss"`` is the loss behind the channel.

    n_outputs_ : int
        Number of classes.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    NeuralNetClassifier : The same without a channel.
    NoiseChannelLayer : The channel, for modules of your own.
    skal.oracles.NoisyOracle : Answers through a channel, to simulate such labels.

    Notes
    -----
    The loss of a row is -log(p'[y] + 1e-6), in nats ("softmax" needs no floor). Its gradient is
    -p[j] / p'[y] for W[y, j], and p - r for the logits, where r[j] = W[y, j] p[j] / p'[y] is the
    probability that the true class was j. A step costs O(batch * K^2 + K^2 log K) on top of the
    net.

    *What can be learnt.* Solutions that differ by a permutation of the classes are told apart by
    where W starts, as long as most labels of every class are right. With less than that, no method
    without clean labels can. Every column of a cross-fitted W has a prior of two right labels: of a
    class with few rows little can be said, and its column stays close to the identity.

    *Why W is cross-fitted.* A flexible net learns its labels by heart, and then W is the identity,
    whatever the annotator did. Predictions for rows left out cannot know their labels. They may be
    too sure or not sure enough, which the temperature mends. Measurements are in
    :doc:`/user_guide/noisy_labels`.

    *Why "paper" is not the default.* All entries of the gradient of W have one sign, and Adam makes
    them equally large. Adding the same to every entry and dividing by the sum leads to the uniform
    matrix: where the inputs tell nothing, the diagonal is 1/K + (1 - 1/K) (1 + K lr)^(-s) after s
    steps, 0.43 after 100 for K = 10 and lr = 0.001. Where they do, it drifts more slowly: on ten
    well separated classes with 0.7 on the diagonal of the true channel, a linear model ended at
    0.18 (at 0.87 for clean labels), and "euclidean" at 0.70 to 0.71 (1.00).

    *When joint training goes wrong.* W is trained from the first step, before the net knows
    anything. If the first outputs of the net are confident, and wrong, W can learn to relabel
    classes instead: predictions then swap two classes. Standardise X, and prefer "softmax", whose W
    moves later, or a smaller `channel_lr`, for few rows.

    References
    ----------
    G. Gupta, A. K. Sahu, W.-Y. Lin, "Noisy Batch Active Learning with Deterministic Annealing",
    2019, arXiv:1909.12473, section 4.2 (the channel and its joint training).

    V. Chernozhukov and others (2018). Double/debiased machine learning for treatment and structural
    parameters. The Econometrics Journal 21(1) (cross-fitting).

    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger (2017). On calibration of modern neural networks.
    ICML, arXiv:1706.04599 (the temperature).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_blobs
    >>> from skal.neural_network import NoisyChannelClassifier
    >>> X, y = make_blobs(600, centers=[[-5, 0], [5, 0]], random_state=0)
    >>> wrong = np.random.RandomState(0).rand(600) < 0.3
    >>> net = NoisyChannelClassifier(module__hidden=(), lr=0.05, max_epochs=40, random_state=0)
    >>> net.fit(X, np.where(wrong, 1 - y, y)).score(X, y)
    1.0
    >>> bool(abs(net.noise_channel_ - [[0.7, 0.3], [0.3, 0.7]]).max() < 0.05)
    True
    """

    _parameter_constraints = {
        **NeuralNetClassifier._parameter_constraints,
        "channel": ["array-like", None],
        "estimate": [StrOptions({"cross_fitted", "joint"}), None],
        "update": [StrOptions({"euclidean", "softmax", "paper"}), None],
        "trainable": ["boolean"],
        "channel_lr": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "channel_weight_decay": [Interval(numbers.Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        module=MLP,
        *,
        channel=None,
        estimate=None,
        update=None,
        trainable=True,
        channel_lr=None,
        channel_weight_decay=0.0,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.001,
        max_epochs=100,
        batch_size=64,
        classes=None,
        class_weight=None,
        train_split=None,
        callbacks=None,
        warm_start=False,
        verbose=0,
        device="cpu",
        random_state=None,
        **kwargs,
    ):
        super().__init__(
            module,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            max_epochs=max_epochs,
            batch_size=batch_size,
            classes=classes,
            class_weight=class_weight,
            train_split=train_split,
            callbacks=callbacks,
            warm_start=warm_start,
            verbose=verbose,
            device=device,
            random_state=random_state,
            **kwargs,
        )
        self.channel = channel
        self.estimate = estimate
        self.update = update
        self.trainable = trainable
        self.channel_lr = channel_lr
        self.channel_weight_decay = channel_weight_decay

    # Inherited, and on this class's page, too.
    classes_ = NeuralNetClassifier.classes_

    @property
    def noise_channel_(self):
        """The channel: entry [i, j] is the probability of answer i where class j is true."""
        if not self.__sklearn_is_fitted__():
            raise AttributeError(
                f"{type(self).__name__} has no attribute 'noise_channel_' before fit."
            )
        return self.noise_layer_.matrix().detach().cpu().double().numpy()

    # ------------------------------------------------------------------ the loss

    def _criterion_loss(self, outputs, target):
        criterion = self.criterion_
        is_probability = isinstance(criterion, nn.NLLLoss)
        P = outputs if is_probability else torch.softmax(outputs, dim=1)
        log_noisy = torch.log(self.noise_layer_(P) + self.noise_layer_.floor)
        # Not cross-entropy of `log_noisy`: its softmax would add a gradient to every entry of W.
        return nn.functional.nll_loss(
            log_noisy,
            target,
            weight=criterion.weight,
            ignore_index=criterion.ignore_index,
            reduction=criterion.reduction,
        )

    def initialize_criterion(self):
        """Make the criterion; an instance is copied.

        Returns
        -------
        self : object
            The net.

        Raises
        ------
        ValueError
            If it is no plain likelihood.
        """
        super().initialize_criterion()
        criterion = self.criterion_
        what = None
        if type(criterion) not in (nn.CrossEntropyLoss, nn.NLLLoss):
            what = type(criterion).__name__
        elif getattr(criterion, "label_smoothing", 0.0):
            what = f"label_smoothing={criterion.label_smoothing}"
        if what is not None:
            raise ValueError(
                f"The 'criterion' parameter of {type(self).__name__} must be "
                "torch.nn.CrossEntropyLoss (the module returns logits) or torch.nn.NLLLoss "
                f"(probabilities), without label smoothing. Got {what} instead."
            )
        return self

    # ------------------------------------------------------------------ estimating the channel

    def _is_cross_fitted(self):
        """Whether W is estimated before the training; says which parameters contradict that."""
        joint = {
            "update": self.update,
            "channel_lr": self.channel_lr,
            "channel_weight_decay": self.channel_weight_decay or None,
        }
        given = {name: value for name, value in joint.items() if value is not None}
        if self.estimate == "cross_fitted" and given:
            name, value = next(iter(given.items()))
            raise ValueError(
                f"The {name!r} parameter of {type(self).__name__} says how the channel is trained "
                f"together with the net. Got {name}={value!r} with estimate='cross_fitted' "
                "instead. Use estimate='joint'."
            )
        return self.trainable and self.estimate != "joint" and not given

    def _train(self, X, y, weight):
        if not self.history:
            vars(self).pop("temperature_", None)
        if self._is_cross_fitted() and not self.history:
            log_P, labels = self._out_of_fold(X, y, weight), self._encode_target(y)
            start = None if self.channel is None else self.noise_layer_.matrix().detach().cpu()
            W, self.temperature_ = estimate_channel(log_P, labels, weight, start)
            with torch.no_grad():
                self.noise_layer_.weight.copy_(W)
        super()._train(X, y, weight)

    def _out_of_fold(self, X, y, weight):
        """Log-probabilities (n, n_classes) of rows, from nets that were trained on others."""
        seed = int(torch.randint(2**31 - 1, ()))
        folds = split_in_folds(
            self._encode_target(y), min(_FOLDS, len(y)), np.random.RandomState(seed)
        )
        log_P = torch.zeros((len(y), self.n_outputs_), dtype=torch.float64)
        for fold in range(folds.max() + 1 if len(y) > 1 else 0):
            left_out, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            net = self._without_channel(seed + fold)
            net.fit(take_rows(X, rest), y[rest], None if weight is None else weight[rest])
            log_P[left_out] = net._log_probabilities(net._outputs(take_rows(X, left_out)))
        return log_P

    def _without_channel(self, seed):
        """The same net without a channel, unfitted."""
        own = set(NoisyChannelClassifier._parameter_constraints)
        own -= set(NeuralNetClassifier._parameter_constraints)
        params = {k: v for k, v in self.get_params(deep=False).items() if k not in own}
        if isinstance(self.callbacks, list):
            params["callbacks"] = [entry for entry in self.callbacks if not _writes_files(entry)]
        # Rows left out are the validation data of these nets.
        params |= {"classes": self.classes_, "class_weight": None, "random_state": seed}
        return NeuralNetClassifier(**params)

    # ------------------------------------------------------------------ training the channel

    def _step_optimizer(self, step_fn):
        # skorch would call `step_fn`, and so compute the loss, once for each optimiser.
        self.optimizer_.step(step_fn)
        layer = self.noise_layer_
        if not layer.weight.requires_grad:
            return
        if layer.update == "euclidean":
            layer.weight.grad.clamp_(-1.0, 1.0)
        if layer.update != "paper":
            self.channel_optimizer_.step()
        layer.constrain_()

    def get_all_learnable_params(self):
        """Yield names and values of what the net's optimiser trains; part of skorch's interface.

        Yields
        ------
        name : str
            Name of a parameter.

        parameter : torch.nn.Parameter
            A parameter of the module or the criterion; those of the channel are left out.
        """
        channel = {id(parameter) for parameter in self.noise_layer_.parameters()}
        for name, parameter in super().get_all_learnable_params():
            if id(parameter) not in channel:
                yield name, parameter

    def initialize_module(self):
        """Make the module, and the channel beside it.

        Returns
        -------
        self : object
            The net.
        """
        super().initialize_module()
        # Before fit, skorch's `initialize` does not know the classes.
        unknown = 1 if self.channel is None else len(self.channel)
        n_classes = getattr(self, "n_outputs_", unknown)
        channel = check_channel(self.channel, n_classes, type(self).__name__)
        trained = self.trainable and not self._is_cross_fitted()
        self.noise_layer_ = NoiseChannelLayer(
            n_classes, channel=channel, update=self.update or "euclidean", trainable=trained
        )
        return self

    def initialize_optimizer(self):
        """Make the optimisers of the net and of the channel.

        Returns
        -------
        self : object
            The net.
        """
        super().initialize_optimizer()
        weight = self.noise_layer_.weight
        if self.update == "paper":
            if self.trainable:
                self._join_optimizer(weight)
        elif self.channel_weight_decay:
            raise ValueError(
                f"The 'channel_weight_decay' parameter of {type(self).__name__} needs "
                f"update='paper'. Got {self.channel_weight_decay!r} with update={self.update!r} "
                "instead."
            )
        optimizer = torch.optim.Adam if self.update == "softmax" else torch.optim.SGD
        # With "paper", and with a fixed channel, it never steps.
        self.channel_optimizer_ = optimizer([weight], lr=self._own_channel_lr() or self.lr)
        return self

    def _join_optimizer(self, weight):
        """Make the channel a group of the net's optimiser."""
        if isinstance(self.optimizer_, torch.optim.LBFGS):
            raise ValueError(
                f"update='paper' of {type(self).__name__} makes the channel a group of the "
                "optimizer, and LBFGS takes one group only. Use update='euclidean'."
            )
        group = {"params": [weight], "weight_decay": self.channel_weight_decay}
        if self.channel_lr is not None:
            group["lr"] = self.channel_lr
        self.optimizer_.add_param_group(group)

    def _own_channel_lr(self):
        return (
            _CHANNEL_LR.get(self.update or "euclidean")
            if self.channel_lr is None
            else self.channel_lr
        )

    def _move(self, device):
        super()._move(device)
        self.noise_layer_.to(device)
        self.channel_optimizer_.load_state_dict(self.channel_optimizer_.state_dict())


def _writes_files(callback):
    callback = callback[1] if isinstance(callback, tuple) else callback
    return isinstance(callback, (Checkpoint, TrainEndCheckpoint))
