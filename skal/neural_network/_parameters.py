"""Parameters of nets as scikit-learn means them: named, cloned, checked in `fit`."""

import difflib
import functools
import inspect

from sklearn.base import BaseEstimator
from torch import nn

from skal.utils._compat import validate_parameter_constraints

# Parameters of parts of the net are written part__name.
_PARTS = ("module", "criterion", "optimizer", "callbacks")

# Parameters of skorch's nets that are passed on; those of torch.compile are written compile__name.
_PASSED_ON = {"compile": False, "predict_nonlinearity": "auto", "torch_load_kwargs": None}


class ParameterMixin:
    """`get_params`, `set_params` and checks for a skorch net, whose constructor takes keywords."""

    def _get_param_names(self):
        # skorch lists every attribute without a trailing underscore.
        nested = [name for name in vars(self) if _is_part_parameter(name)]
        passed = [name for name, usual in _PASSED_ON.items() if vars(self).get(name) != usual]
        # Unknown arguments of the constructor are kept until fit refuses them.
        spelled = spelled_parameters(type(self))
        return sorted({*spelled, *nested, *passed, *self._params_to_validate})

    def _get_params_callbacks(self, deep=True):
        params = super()._get_params_callbacks(deep=deep)
        params.update({k: v for k, v in vars(self).items() if k.startswith("callbacks__")})
        return params

    def set_params(self, **params):
        """Set parameters of the net and of its parts.

        Those of a fitted net take effect at its next `fit`; only `lr` and those of the optimiser
        reach a net that goes on training (`partial_fit`, `warm_start`).

        Parameters
        ----------
        **params : dict
            Parameters by name; those of parts as ``module__name``, ``optimizer__name``,
            ``criterion__name``, ``callbacks__name__parameter``.

        Returns
        -------
        self : object
            The net.
        """
        known = self._get_param_names()
        for name, value in params.items():
            if name not in (*known, *_PASSED_ON) and not _is_part_parameter(name):
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: "
                    f"{known}, and those of its parts ({', '.join(_PARTS)}) as part__name."
                )
            setattr(self, name, value)
            if self.initialized_ and self._is_virtual_param(name):
                self._apply_virtual_params({name: value})
        return self

    def get_metadata_routing(self):
        """Say which metadata `fit`, `partial_fit` and `score` take.

        Returns
        -------
        routing : MetadataRequest
            The requests.
        """
        return BaseEstimator.get_metadata_routing(self)

    def _validate_params(self):
        validate_parameter_constraints(
            self._parameter_constraints,
            self.get_params(deep=False),
            caller_name=type(self).__name__,
        )

    def _check_components(self):
        """Say what is wrong with arguments that the constructor has stored unseen."""
        _refuse_unknown(type(self), self._params_to_validate)
        if isinstance(self.module, nn.Module):
            name = type(self.module).__name__
            raise TypeError(
                f"The 'module' parameter of {type(self).__name__} must be a module class. Got an "
                f"instance of {name} instead, whose weights every clone would share. Pass the "
                f"class and its arguments: {type(self).__name__}({name}, module__<argument>=...)."
            )

    def __setattr__(self, name, value):
        if isinstance(value, nn.Module) and name in spelled_parameters(type(self)):
            # A parameter is stored as it is; fit says what is wrong with it.
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    __repr__ = BaseEstimator.__repr__


@functools.cache
def spelled_parameters(cls):
    """Names of the parameters that `cls` and the nets it derives from spell out."""
    names = set()
    for base in cls.__mro__:
        if issubclass(base, ParameterMixin) and "__init__" in vars(base):
            for name, parameter in inspect.signature(base.__init__).parameters.items():
                if parameter.kind is not parameter.VAR_KEYWORD and name != "self":
                    names.add(name)
    return frozenset(names)


def _is_part_parameter(name):
    part, separator, rest = name.partition("__")
    return part in (*_PARTS, "compile") and bool(separator) and bool(rest)


def _refuse_unknown(cls, names):
    spelled = spelled_parameters(cls)
    for name in sorted(names):
        if name in spelled or _is_part_parameter(name):
            continue
        close = difflib.get_close_matches(name, [*spelled, *(f"{p}__..." for p in _PARTS)], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise TypeError(
            f"{cls.__name__} got an unexpected argument {name!r}.{hint} Arguments of its parts "
            f"are written {', '.join(f'{part}__name' for part in _PARTS)}."
        )
