"""Names that have moved: they work where they were, with a warning that says where they are."""

import importlib
import warnings


def moved(module, homes):
    """Return a module's ``__getattr__`` for public names that have moved to other rooms.

    Parameters
    ----------
    module : str
        The module that had the names.

    homes : dict of str to str
        The module that has each name now. As text: the old module does not import the new one.

    Returns
    -------
    getattr : callable
        Warns with DeprecationWarning, and returns the object from its new place.
    """

    def __getattr__(name):
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(
            f"{module}.{name} has moved: import {name} from {homes[name]}. The old place goes in "
            "version 0.3.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(homes[name]), name)

    return __getattr__
