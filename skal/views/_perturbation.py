"""Other parameters for a while, and derivatives with respect to them."""

import warnings
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice

import torch

from skal.neural_network._net import first_output
from skal.neural_network._seed import import_whole
from skal.views._probabilities import log_probabilities

# Directions that are differentiated along in one pass, fewer for nets of many parameters.
_TOGETHER, _TOGETHER_NUMBERS = 6, 2**24


class PerturbationMixin:
    """What a view of a net offers to those who change its parameters."""

    def parameters(self):
        """Return the parameters of the module.

        Returns
        -------
        parameters : dict of str to tensor
            By name, detached, sharing memory with the module.
        """
        return {name: value.detach() for name, value in self.module.named_parameters()}

    def functional(self, parameters, chunk):
        """Call the module with other parameters, in evaluation mode.

        Parameters
        ----------
        parameters : dict of str to tensor
            Parameters to use, by name; the module's own where missing.

        chunk : tensor or dict of tensors
            Preprocessed inputs, as `batches` yields them.

        Returns
        -------
        F : tensor of shape (n, n_outputs)
            The outputs, differentiable in `parameters`.
        """
        with eval_flags(self.module):
            outputs = _call_with(self.module, parameters, chunk)
        return as_columns(first_output(outputs))

    def directional_derivatives(self, X, quantity, directions):
        """Differentiate a quantity along directions in the space of parameters, exactly.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them, or what `prepare` returned.

        quantity : {"features", "logits", "outputs", "probabilities"}
            What is differentiated.

        directions : iterable of dict of str to tensor
            Each holds a tensor for each parameter of the module that moves, by name.

        Yields
        ------
        dZ : tensor of shape (n_samples, q)
            Derivative of the quantity of each row along one direction, by forward-mode
            differentiation. A pass serves a few directions, for which it computes the quantity
            itself once.

        Raises
        ------
        ValueError
            If the module has recurrent layers, which torch leaves changed by this, or layers that
            torch has no forward-mode derivative for.
        """
        if any(isinstance(layer, torch.nn.RNNBase) for layer in self.module.modules()):
            raise ValueError(
                f"{type(self.module).__name__} has recurrent layers, which torch cannot "
                "differentiate along a direction without leaving them changed. Use finite "
                "differences (method='finite_difference')."
            )
        own, n_together = self.parameters(), self._n_together()
        directions = iter(directions)
        while several := list(islice(directions, n_together)):
            steps = {
                name: torch.stack([step[name] for step in several]).to(own[name])
                for name in several[0]
            }
            _load_rules()
            try:
                found = self.map(partial(self._differentiate, quantity, steps), X)
            except NotImplementedError as error:
                raise ValueError(
                    f"torch cannot differentiate {type(self.module).__name__} along a direction. "
                    "Use finite differences (method='finite_difference'). "
                    f"({str(error).splitlines()[0]})"
                ) from error
            yield from found.unbind(1)

    def _n_together(self):
        """How many directions share a pass: few in large nets, and one where images fill caches."""
        n_par = sum(value.numel() for value in self.parameters().values())
        return 1 if self._convolves else max(1, min(_TOGETHER, _TOGETHER_NUMBERS // n_par))

    def _differentiate(self, quantity, steps, chunk):
        """The derivatives of a chunk along k directions, which are stacked: (n, k, q)."""
        own = self.parameters()
        base = {name: own[name] for name in steps}

        def along(step):
            def value(moved):
                return self._value(quantity, chunk, moved)

            return torch.func.jvp(value, (base,), (step,))[1]

        each = zip(*steps.values(), strict=True)
        singly = [dict(zip(steps, step, strict=True)) for step in each]
        if len(singly) > 1:
            # Some operations torch can only do for one after another.
            with suppress(RuntimeError):
                return torch.func.vmap(along, out_dims=1)(steps)
        for step in singly:  # laid out as the parameters are during a pass
            step.update({name: torch.empty_like(base[name]).copy_(step[name]) for name in base})
        return torch.stack([along(step) for step in singly], dim=1)

    def _value(self, quantity, chunk, parameters):
        """A quantity of one chunk as a differentiable function of the parameters."""
        call = partial(_call_with, self.module, parameters)
        found = self._forward(chunk, True, quantity in ("features", "logits"), call)
        if quantity != "probabilities":
            return found[quantity].flatten(1)
        logits = found.get("logits")
        return log_probabilities(self.net, found["outputs"], logits, self._owner).exp().flatten(1)

    @contextmanager
    def shifted(self, shifts):
        """Add to parameters of the module for a while; exact copies are put back at the end.

        Parameters
        ----------
        shifts : dict of str to tensor
            What is added, by name of the parameter.

        Yields
        ------
        view : NetView
            This view.
        """
        parameters = self.parameters()
        before = {name: parameters[name].clone() for name in shifts}
        try:
            for name, shift in shifts.items():
                parameters[name].add_(shift)
            yield self
        finally:
            for name, value in before.items():
                parameters[name].copy_(value)

    @contextmanager
    def replaced(self, values):
        """Give parameters and buffers of the module other values for a while.

        Parameters
        ----------
        values : dict of str to tensor
            The values to use, by name of the parameter or buffer; cast and moved as needed.

        Yields
        ------
        view : NetView
            This view. Exact copies of what was there are put back at the end.

        Raises
        ------
        ValueError
            If a value has no tensor of its name and shape in the module.
        """
        own = {**self.parameters(), **dict(self.module.named_buffers())}
        for name, value in values.items():
            if name not in own or own[name].shape != value.shape:
                raise ValueError(
                    f"{type(self.module).__name__} has no tensor {name!r} of shape "
                    f"{tuple(value.shape)}. Use values of a module of the same kind and size."
                )
        before = {name: own[name].clone() for name in values}
        try:
            for name, value in values.items():
                own[name].copy_(value)
            yield self
        finally:
            for name, value in before.items():
                own[name].copy_(value)


def _load_rules():
    """Load torch's rules of forward-mode differentiation, which warns about itself, beforehand."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*torch.jit")
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*torch.jit")
        import_whole("torch._decomp.decompositions_for_jvp")


def _call_with(module, parameters, chunk):
    """Call a module with other parameters."""
    args, kwargs = ((), dict(chunk)) if isinstance(chunk, Mapping) else ((chunk,), {})
    return torch.func.functional_call(module, parameters, args, kwargs)


@contextmanager
def eval_flags(module):
    """Evaluation mode for a while, with the flags of every submodule put back."""
    flags = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        yield
    finally:
        for part, flag in flags:
            part.training = flag


def as_columns(outputs):
    """One output per row becomes a column."""
    return outputs[:, None] if outputs.ndim == 1 else outputs
