"""Several tests at once: p-values that allow for their number."""

import numpy as np


def holm_correction(pvalues):
    """Adjust p-values for being several, by Holm's step-down method.

    Comparing ten strategies with random sampling at the 5 % level finds a "better" one by chance in
    up to two studies of five. Adjusted p-values at most 0.05 keep that chance, of any false finding
    at all, at 5 %, whatever the tests have to do with each other.

    Parameters
    ----------
    pvalues : array-like of shape (n_tests,)
        One p-value per test, in [0, 1]. NaN is a test that was not made; it does
        not count.

    Returns
    -------
    adjusted : ndarray of shape (n_tests,), dtype float64
        To be compared with the level itself; NaN where `pvalues` is. Never below `pvalues`.

    Raises
    ------
    ValueError
        If `pvalues` is not one-dimensional, or holds something outside [0, 1].

    See Also
    --------
    paired_test : Where p-values come from.
    skal.model_selection.summarize_comparison : Applies both.

    Notes
    -----
    With the m p-values in ascending order, the adjusted value of the i-th is

    .. math:: \\tilde p_{(i)} = \\max_{j \\le i} \\min(1, (m - j + 1) p_{(j)})

    which is never above Bonferroni's ``m p``.

    References
    ----------
    Holm (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of
    Statistics, 6(2), 65-70.

    Examples
    --------
    >>> from skal.metrics import holm_correction
    >>> holm_correction([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    pvalues = np.asarray(pvalues, dtype=np.float64)
    if pvalues.ndim != 1:
        raise ValueError(f"pvalues must have shape (n_tests,). Got shape {pvalues.shape} instead.")
    known = np.flatnonzero(~np.isnan(pvalues))
    outside = known[(pvalues[known] < 0) | (pvalues[known] > 1)]
    if len(outside):
        raise ValueError(f"pvalues must lie in [0, 1]. Got {pvalues[outside[0]]} instead.")
    order = known[np.argsort(pvalues[known], kind="stable")]
    raised = pvalues[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(len(pvalues), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return adjusted
