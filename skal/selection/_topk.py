"""Largest scores first."""

import numpy as np

from skal.selection._base import BatchSelector
from skal.utils._random import draw_seed, random_ranks


class TopK(BatchSelector):
    """Choose the rows of largest score.

    The scores are `scores` where given, else the single column of `Z`. Labelled rows change
    nothing.

    Parameters
    ----------
    random_state : int, RandomState or None, default=None
        Ranks rows of equal score: if all scores are equal, the batch is a uniform sample.

    See Also
    --------
    KCenterGreedy : Rows that cover the pool.
    KMeansPlusPlus : A random batch of rows far apart.

    Notes
    -----
    The order is that of (score, u), u being a random rank of the row. Nothing keeps near copies of
    one informative row from filling a batch. Cost: O(n_pool), and sorting the rows that are chosen
    or tie with the last of these.
    With ``return_scores=True``, `select` returns the scores.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import TopK
    >>> TopK().select(np.array([[0.1], [0.7], [0.4]]), 2)
    array([1, 2])
    """

    _prefix_stable = True

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        scores = self._values(rows, rows_labeled, scores)
        cut = np.partition(scores, len(scores) - n_instances)[len(scores) - n_instances]
        likely = np.flatnonzero(scores >= cut)
        values = scores[likely]
        if len(np.unique(values)) == len(likely) == n_instances:
            return likely[np.argsort(-values)]
        rank = random_ranks(draw_seed(rng), len(scores))[likely]
        return likely[np.lexsort((-rank, -values))][:n_instances]

    def _values(self, rows, rows_labeled, scores):
        if scores is not None:
            return scores
        if rows.shape[1] != 1:
            raise ValueError(
                f"{type(self).__name__} ranks scores: pass scores=, or one column as Z. Got Z with "
                f"{rows.shape[1]} columns and no scores instead. For embeddings, use KCenterGreedy "
                "or KMeansPlusPlus."
            )
        column = rows.gather(slice(None))
        values = column.parts()[0][:, 0].clone()
        for part in column.parts()[1:]:
            values *= part[:, 0]
        return values.numpy()
