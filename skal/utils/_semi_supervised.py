"""Estimators that learn from unlabelled rows, too: what they are given, and their classes after.

An estimator whose tag says so gets missing labels as this package marks them, NaN or None.
scikit-learn's own semi-supervised classifiers get -1.
"""

import numpy as np
from sklearn.semi_supervised import LabelPropagation, LabelSpreading

from skal.utils._nesting import class_name, final_step, marks_unlabeled
from skal.utils._tables import concat_rows, n_rows, take_rows
from skal.utils._tags import accepts_unlabeled
from skal.utils.validation import missing_target, target_values


def learnt_rows(estimator, state):
    """Return the rows, labels and arguments that `estimator` learns from in a learner's state."""
    X, y, params = (state[name] for name in ("X_labeled_", "y_labeled_", "_fit_params"))
    if not accepts_unlabeled(estimator):
        return X, y, params
    if state["_X_given"] is not None:
        others = take_rows(state["_X_given"], ~state["_answered"])
        if n_rows(others):
            _check_no_weights(estimator, params)
            return concat_rows(X, others), _with_missing(estimator, y, n_rows(others)), params
    if marks_unlabeled(estimator) and target_values(y).dtype.kind == "U":
        y = target_values(y).astype(object)
    return X, y, params


def _check_no_weights(estimator, params):
    if params.get("sample_weight") is not None:
        raise ValueError(
            f"{class_name(final_step(estimator))} learns from unlabelled rows, too, for which "
            "there is no sample_weight. Leave it out, or give fit the labelled rows alone."
        )


def _with_missing(estimator, y, n_missing):
    labels = target_values(y)
    if not marks_unlabeled(estimator):
        return missing_target(labels, n_missing)
    if labels.dtype.kind in "US":
        labels = labels.astype(object)
    if (labels == -1).any():
        raise ValueError(
            f"{class_name(final_step(estimator))} marks unlabelled rows by -1, which is a class "
            "here. Name the classes otherwise."
        )
    if _needs_numbers(final_step(estimator)) and labels.dtype.kind == "O":
        labels = np.unique(labels, return_inverse=True)[1]
    dtype = np.result_type(labels.dtype, np.int8) if labels.dtype.kind != "O" else object
    return np.concatenate([labels.astype(dtype), np.full(n_missing, -1, dtype=dtype)])


def _needs_numbers(estimator):
    """Whether the classes are sorted together with -1, which texts cannot be."""
    return isinstance(estimator, (LabelPropagation, LabelSpreading))


def restore_classes(estimator, state):
    """Give a fitted estimator that was given numbers for its classes the classes back."""
    last = final_step(estimator)
    labels = target_values(state["y_labeled_"])
    if not _needs_numbers(last) or labels.dtype.kind not in "USO":
        return estimator
    classes = np.unique(labels.astype(object))
    if np.array_equal(last.classes_, np.arange(len(classes))):
        last.classes_ = classes
        last.transduction_ = classes[last.transduction_.astype(np.intp)]
    return estimator
