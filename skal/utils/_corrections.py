"""Labels that were wrong: taken back, or corrected."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skal.utils._ledger import relabeled, removed
from skal.utils._tables import n_rows, take_rows
from skal.utils.validation import as_target, check_positions, is_labeled


class CorrectingMixin:
    """`forget` and `relabel` for a learner whose state is that of :mod:`skal.utils._ledger`."""

    def forget(self, positions=None, *, rows=None):
        """Take labels back, and train anew without them.

        Parameters
        ----------
        positions : int or array-like of int, default=None
            Which labels: positions in `X_labeled_`, which is in the order of teaching; negative
            ones count from the end.

        rows : int or array-like of int, default=None
            Which labels, in positions of the last fit's X, as in `teach`; in place of `positions`.

        Returns
        -------
        self : ActiveLearner
            The learner, trained from scratch on the labels that are left. Rows of the last fit,
            answered with a label or refused, can be asked about again.

        Raises
        ------
        ValueError
            If the positions are not those of labels, or no label would be left.

        See Also
        --------
        relabel : Corrects labels.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from skal import ActiveLearner
        >>> X, y = load_iris(return_X_y=True)
        >>> learner = ActiveLearner(LogisticRegression(max_iter=500)).fit(X[::10], y[::10])
        >>> learner = learner.teach(X[1:3], [2, 2])           # a slip of the finger
        >>> learner.forget([-2, -1]).n_labeled_
        15
        """
        check_is_fitted(self)
        positions, rows = self._positions_of(positions, rows, labeled_only=False)
        if len(positions) == self.n_labeled_:
            raise ValueError(
                f"forget must leave a label to learn from. Got all {self.n_labeled_} instead. Use "
                "relabel to correct them, or fit to start again."
            )
        self._change(removed(vars(self), positions, rows))
        return self

    def relabel(self, positions, y, *, rows=None):
        """Correct labels, and train anew with the right ones.

        Parameters
        ----------
        positions : int, array-like of int or None
            Which labels: positions in `X_labeled_`, which is in the order of teaching; negative
            ones count from the end. None where `rows` is given.

        y : array-like of shape (n_corrected,) or (n_corrected, n_outputs)
            The right labels, none of them missing.

        rows : int or array-like of int, default=None
            Which labels, in positions of the last fit's X, as in `teach`.

        Returns
        -------
        self : ActiveLearner
            The learner, trained from scratch on the corrected labels.

        Raises
        ------
        ValueError
            If the positions are not those of labels, or the labels are not of the kind of the
            others. A bad call changes nothing.

        See Also
        --------
        forget : Takes labels back.
        """
        check_is_fitted(self)
        positions, _ = self._positions_of(positions, rows, labeled_only=True)
        y = as_target([y] if np.ndim(y) == 0 else y)
        if n_rows(y) != len(positions):
            raise ValueError(
                f"relabel needs a label for each of the {len(positions)} positions. "
                f"Got {n_rows(y)} instead."
            )
        if not is_labeled(y).all():
            raise ValueError("relabel needs labels that are not missing. Use forget to drop some.")
        others = np.setdiff1d(np.arange(self.n_labeled_), positions)
        self._check_labels(y, take_rows(self.y_labeled_, others) if len(others) else None)
        self._change(relabeled(vars(self), positions, y))
        return self

    def _positions_of(self, positions, rows, *, labeled_only):
        """Positions in `X_labeled_`, and those among `rows` that were answered without a label."""
        if (positions is None) == (rows is None):
            raise ValueError("Pass either positions in X_labeled_, or 'rows' of the last fit's X.")
        if rows is None:
            given = np.atleast_1d(np.asarray(positions))
            if given.dtype.kind in "iu":
                given = np.where(given < 0, given + self.n_labeled_, given)
            free = np.zeros(self.n_labeled_, dtype=bool)
            return check_positions(given, free, "X_labeled_", name="positions"), np.empty(0, int)
        has_label = np.isin(np.arange(len(self._answered)), self._given_rows)
        known = has_label if labeled_only else self._answered
        where = "the last fit that have a label" if labeled_only else "the last fit with an answer"
        rows = check_positions(np.atleast_1d(np.asarray(rows)), ~known, where)
        place = {row: position for position, row in enumerate(self._given_rows.tolist())}
        positions = [place[row] for row in rows.tolist() if row in place]
        return np.array(positions, dtype=np.intp), rows

    def _change(self, changes):
        """Keep changes of labels that were learnt from, and train from scratch."""
        vars(self).update(changes, _from_scratch=True)
        self.refit()
