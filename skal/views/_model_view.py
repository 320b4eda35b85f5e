"""One object for all that is read off a fitted model: by strategies, and by your own code."""

from functools import cached_property

import torch

from skal.neural_network._device import check_device
from skal.utils._nesting import predictor_inputs, unwrap
from skal.utils._rows import Rows
from skal.views._checks import (
    check_one_output,
    check_probabilities,
    numeric_rows,
    split_outputs,
)
from skal.views._committee import committee_answers, committee_outputs
from skal.views._finding import has_net
from skal.views._last_layer import (
    head_weights,
    last_layer,
    last_layer_gradients,
    regression_features,
)
from skal.views._net_view import NetView
from skal.views._posterior import posterior_log_probabilities


class ModelView:
    """What can be read off a fitted estimator, however wrapped.

    Pipelines, target transformers, searches and learners are seen through: `inputs` are those of
    the predictor at the end, and rows are passed as the whole estimator takes them.

    Parameters
    ----------
    estimator : estimator or None
        The fitted estimator. None is for a pool before any label is known: then only `inputs` can
        be read.

    device : str or None, default=None
        Where to compute ("cpu", "cuda:1"). None is the device of the net, or the CPU.

    needed_by : str, default="ModelView"
        Who reads, for errors.

    preprocessor : transformer or None, default=None
        Makes the inputs where there is no estimator.

    Attributes
    ----------
    estimator : estimator or None
        The estimator that is read.

    owner : str
        Who reads.

    See Also
    --------
    NetView : More of a net: logits, perturbed weights, hidden layers.

    Notes
    -----
    Nothing is kept but the view of the net: every call runs the model.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.views import ModelView
    >>> X, y = load_iris(return_X_y=True)
    >>> view = ModelView(LogisticRegression(max_iter=500).fit(X, y))
    >>> view.probabilities(X[:5]).shape, view.inputs(X[:5]).shape
    (torch.Size([5, 3]), (5, 4))
    """

    def __init__(self, estimator, *, device=None, needed_by="ModelView", preprocessor=None):
        self.estimator = estimator
        self.device = device
        self.owner = needed_by
        self.preprocessor = preprocessor

    @property
    def has_net(self) -> bool:
        """Whether a fitted torch net is at the end of the estimator."""
        return has_net(self.estimator)

    @cached_property
    def net(self) -> NetView:
        """The view of the torch net at the end of the estimator.

        Raises
        ------
        TypeError
            If the estimator ends in another predictor; the message says what would work.
        """
        return NetView(self.estimator, device=self.device, needed_by=self.owner)

    @property
    def predictor(self):
        """The fitted predictor at the end of the estimator."""
        return unwrap(self.estimator)

    @property
    def torch_device(self) -> torch.device:
        """Where tensors of estimators without a net are put."""
        return check_device(self.device or "cpu", self.owner, purpose="compute")

    def inputs(self, X) -> Rows:
        """Return what the predictor at the end of the estimator sees.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        rows : Rows of shape (n_samples, n_inputs)
            The rows after all preprocessing, as numbers.

        Raises
        ------
        ValueError or TypeError
            If these inputs are not numbers.
        """
        return numeric_rows(self.predictor_inputs(X), self.torch_device, self.owner)

    def predictor_inputs(self, X):
        """Return the same as `inputs` in the container that the preprocessing gives.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        X_inner : array, sparse matrix or frame of shape (n_samples, n_inputs)
            The rows after all preprocessing.
        """
        if self.estimator is not None:
            return predictor_inputs(self.estimator, X)
        return X if self.preprocessor is None else self.preprocessor.transform(X)

    def probabilities(self, X) -> torch.Tensor:
        """Return class probabilities.

        From the logits where the estimator is a net, which keeps saturated rows apart; from
        `predict_proba` otherwise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        P : tensor of shape (n_samples, n_classes), dtype float64
            Not negative; every row sums to 1.

        Raises
        ------
        ValueError
            If the estimator has no probabilities, or what it gives are none.
        """
        if self.has_net:
            return check_probabilities(self.net.log_probabilities(X).exp(), self.owner)
        P = self._predict_proba(X)
        check_one_output(self.estimator, X, P, self.owner)
        return check_probabilities(P, self.owner).to(self.torch_device)

    def output_probabilities(self, X) -> list[torch.Tensor]:
        """Return class probabilities of each output of a multi-output or multi-label classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        outputs : list of tensors of shape (n_samples, n_classes), dtype float64
            One for each output; one in all where there is one. A label is an output of two
            classes. Of a net that answers for each pixel or token, (n_samples, n_classes, ...).

        Raises
        ------
        ValueError
            If the estimator has no probabilities, or what it gives are none.
        """
        if self.has_net:
            P = self.net.log_probabilities(X).exp()
            return [check_probabilities(P, self.owner) if P.ndim == 2 else P]
        outputs = split_outputs(self.estimator, X, self._predict_proba(X), self.owner)
        return [P.to(self.torch_device) for P in outputs]

    def _predict_proba(self, X):
        predict_proba = getattr(self.estimator, "predict_proba", None)
        if predict_proba is None:
            raise ValueError(
                f"{self.owner} needs class probabilities, and {type(self.estimator).__name__} has "
                "no predict_proba. Use a classifier that has it, or wrap this one in "
                "sklearn.calibration.CalibratedClassifierCV."
            )
        return predict_proba(X)

    def last_layer(self, X, *, exact=False) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the inputs of a classifier's last, linear layer, and log-probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        exact : bool, default=False
            Whether the probabilities must be the softmax of what the layer returns, so that
            gradients in its weights are (p - e_y) x h. Nets in which something else follows their
            last layer are refused then.

        Returns
        -------
        H : tensor of shape (n_samples, d), dtype float32
            Penultimate features of a net; the inputs of a logistic regression.

        log_P : tensor of shape (n_samples, n_classes), dtype float64
            Natural logarithms of the class probabilities.

        Raises
        ------
        TypeError
            If the estimator ends in another predictor.
        ValueError
            If `exact`, and something follows the last layer.
        """
        return last_layer(self, X, exact)

    def last_layer_gradients(self, X) -> tuple[torch.Tensor, torch.Tensor]:
        """Return gradients of the loss of the predicted class in the last layer, as factors.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        H : tensor of shape (n_samples, d), dtype float32
            Inputs of the last, linear layer.

        A : tensor of shape (n_samples, k), dtype float64
            Gradients in its outputs: p - e_y, or by a backward pass where something follows the
            layer. The gradient in its weights is ``outer(A[i], H[i])``.
        """
        return last_layer_gradients(self, X)

    @property
    def has_bias(self) -> bool:
        """Whether the last, linear layer of a classifier has a bias."""
        if self.has_net:
            return getattr(self.net.head, "bias", None) is not None
        return bool(getattr(self.predictor, "fit_intercept", True))

    def head_weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights of a classifier's last layer, as a softmax over the classes.

        Returns
        -------
        W : tensor of shape (n_classes, d)
            Weights. A single logit z of two classes counts as the logits (0, z).

        b : tensor of shape (n_classes,)
            Biases, 0 where the layer has none.
        """
        return head_weights(self)

    def regression_features(self, X) -> torch.Tensor:
        """Return the inputs of a regressor's last, linear layer.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        H : tensor of shape (n_samples, d), dtype float32
            Penultimate features of a net; the inputs of a linear regression.

        Raises
        ------
        TypeError
            If the estimator ends in another predictor.
        """
        return regression_features(self, X)

    def members(self, X, answers="probabilities") -> torch.Tensor:
        """Return what every member of a fitted ensemble answers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        answers : {"probabilities", "predictions"}, default="probabilities"
            Class probabilities, with a column for every class of the ensemble, or predictions.

        Returns
        -------
        A : tensor of shape (n_members, n_samples, ...), dtype float64
            (n_members, n_samples, n_classes) for probabilities.

        Raises
        ------
        ValueError
            If the estimator does not end in an ensemble of independent members.
        """
        answered = committee_answers(self, self.predictor_inputs(X), answers)
        return answered.to(self.torch_device)

    def output_members(self, X) -> list[torch.Tensor]:
        """Return the probabilities of every member of an ensemble of one or several outputs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        outputs : list of tensors of shape (n_members, n_samples, n_classes), dtype float64
            One for each output.

        Raises
        ------
        ValueError
            If the estimator does not end in an ensemble of independent members.
        """
        answered = committee_outputs(self, self.predictor_inputs(X))
        return [P.to(self.torch_device) for P in answered]

    def passes(self, X, n_passes, seed):
        """Stream what models drawn from an approximate posterior answer.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        n_passes : int
            T, the number of passes of a net with dropout. An ensemble answers once per member.

        seed : int
            Says which units are dropped; they are the same for all rows. Members leave nothing to
            chance.

        Returns
        -------
        passes : generator of (slice, tensor)
            Positions in `X`, in order, and for these rows a tensor of shape (T, n_rows, n_classes),
            dtype float64: natural logarithms of the probabilities, minus infinity for classes that
            a member excludes.

        Raises
        ------
        ValueError
            If no dropout layer runs in the net, there is no net and no ensemble, or their answers
            are no probabilities.
        """
        return posterior_log_probabilities(self, X, n_passes, seed)
