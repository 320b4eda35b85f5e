"""Curvature of the cross-entropy in weights, by products only, and linear systems with it."""

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning

LISSA_SCALE = 25.0  # of the published code
_DIRECT_SIZE = 500  # weights up to which the matrix is formed and factored


class LastLayerCurvature:
    r"""Hessian of the mean cross-entropy in the weights of a softmax layer, plus a ridge.

    .. math:: A = \frac{1}{m} \sum_i (\operatorname{diag}(p_i) - p_i p_i^\top) \otimes
        h_i h_i^\top + \operatorname{diag}(r)

    It does not depend on the labels. A is never formed, unless it is small.

    Parameters
    ----------
    H : tensor of shape (m, d), dtype float64
        Inputs of the layer, a column of ones included where it has a bias.

    P : tensor of shape (m, K), dtype float64
        Class probabilities.

    ridge : tensor of shape (d,), dtype float64
        What is added to the diagonal, the same for all classes.
    """

    def __init__(self, H, P, ridge):
        self.H, self.P, self.ridge = H, P, ridge

    def product(self, V):
        """Return A V for weights `V` of shape (K, d), in O(m K d)."""
        B = self.P * (self.H @ V.T)
        B -= self.P * B.sum(1, keepdim=True)
        return B.T @ self.H / len(self.H) + self.ridge * V

    def dense(self):
        """Return A as a matrix (K d, K d), weights of one class after those of another."""
        m, K = self.P.shape
        blocks = [
            [
                (self.H * (self.P[:, a] * (float(a == b) - self.P[:, b]) / m)[:, None]).T @ self.H
                for b in range(K)
            ]
            for a in range(K)
        ]
        A = torch.cat([torch.cat(row, dim=1) for row in blocks])
        A.diagonal().add_(self.ridge.repeat(K))
        return A

    def solve(self, V, *, tol=1e-10, max_iter=1000, owner="LastLayerCurvature"):
        """Return the S with A S = V, of shape (K, d): Cholesky where small, else CG."""
        if V.numel() <= _DIRECT_SIZE and float(self.ridge.min()) > 0:
            factor, info = torch.linalg.cholesky_ex(self.dense())
            if info:
                raise ValueError(
                    f"The curvature that {owner} solves with is singular but for rounding: damping "
                    f"and weight decay add no more than {float(self.ridge.min()):.1e}. Raise "
                    "damping (0.01 is the default)."
                )
            return torch.cholesky_solve(V.reshape(-1, 1), factor).reshape(V.shape)
        return conjugate_gradients(
            self.product,
            V,
            precondition=self._preconditioner(),
            tol=tol,
            max_iter=max_iter,
            owner=owner,
        )

    def _preconditioner(self):
        """Return the product with the inverse of what A is if P and H are independent.

        That is mean(diag(p) - p p') x mean(h h') + mean(r), whose factors are small enough for
        eigenvectors: it saves CG most of its steps.
        """
        m = len(self.H)
        classes = torch.diag(self.P.mean(0)) - self.P.T @ self.P / m
        classes_values, Q = torch.linalg.eigh(classes)
        values, U = torch.linalg.eigh(self.H.T @ self.H / m)
        share = classes_values.clamp_min(0)[:, None] * values.clamp_min(0) + self.ridge.mean()
        return lambda V: Q @ ((Q.T @ V @ U) / share) @ U.T


def conjugate_gradients(
    product, b, *, precondition=None, tol=1e-10, max_iter=1000, owner="conjugate_gradients"
):
    """Solve a positive definite system given by products with it.

    Parameters
    ----------
    product : callable
        Takes a tensor of the shape of `b` and returns the matrix times it.

    b : tensor, dtype float64
        The right-hand side.

    precondition : callable or None, default=None
        Takes a tensor of the shape of `b` and returns a positive definite matrix, close to the
        inverse, times it. None is the identity.

    tol : float, default=1e-10
        The norm of the residual to reach, relative to that of `b`.

    max_iter : int, default=1000
        Products at most.

    owner : str
        Who asks, for the warning.

    Returns
    -------
    x : tensor of the shape of `b`
        The solution, or where `tol` is missed the last iterate, with a ConvergenceWarning that
        names its residual.
    """
    precondition = precondition or torch.clone
    x, r = torch.zeros_like(b), b.clone()
    z = precondition(r)
    p, rho = z.clone(), float((r * z).sum())
    size = residual = float(torch.linalg.vector_norm(b))
    iterations = 0
    while residual > tol * size and iterations < max_iter:
        q = product(p)
        curvature = float((p * q).sum())
        if not curvature > 0:
            break
        step = rho / curvature
        x += step * p
        r -= step * q
        residual = float(torch.linalg.vector_norm(r))
        z = precondition(r)
        rho, before = float((r * z).sum()), rho
        p = z + rho / before * p
        iterations += 1
    if size > 0 and not residual <= tol * size:
        warnings.warn(
            f"The linear system of {owner} was not solved: after {iterations} steps the relative "
            f"residual is {residual / size:.1e}, more than {tol:.0e}. Raise damping.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return x


def lissa(product, v, *, scale=LISSA_SCALE, damping=0.01, depth=50):
    r"""Iterate :math:`s \leftarrow v + (1 - \delta) s - A s / c` from v, `depth` times.

    The fixed point is :math:`c (A + c \delta 1)^{-1} v`; `depth` steps may be far from it, and
    the iteration diverges where the largest eigenvalue of A / c + delta exceeds 2.

    Parameters
    ----------
    product : callable
        Takes a tensor of the shape of `v` and returns A times it.

    v : tensor, dtype float64
        The right-hand side.

    scale, damping, depth : float, float, int
        c, delta and the number of steps.

    Returns
    -------
    s : tensor of the shape of `v`
        The last iterate.
    """
    s = v.clone()
    for _ in range(depth):
        s = v + (1.0 - damping) * s - product(s) / scale
    if not bool(torch.isfinite(s).all()):
        raise ValueError(
            "LiSSA diverged: the largest eigenvalue of the curvature exceeds twice its scale, "
            f"{scale:g}. Use solver='exact', or scale the features down."
        )
    return s


def directional_losses(P, U):
    r"""Derivatives of the loss of every class along a direction.

    Parameters
    ----------
    P : tensor of shape (n, K), dtype float64
        Class probabilities.

    U : tensor of shape (n, K), dtype float64
        Derivatives of the logits, or of the log-probabilities, along the direction.

    Returns
    -------
    D : tensor of shape (n, K), dtype float64
        :math:`\sum_c p_c u_c - u_k`, the derivative of :math:`-\ln p_k`.
    """
    return (P * U).sum(1, keepdim=True) - U
