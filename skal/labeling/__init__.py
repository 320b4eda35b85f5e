"""People who label: a session that loses nothing, the store under it, the widget over it."""

from skal.labeling._database import LabelStoreError
from skal.labeling._digest import PoolChangedError
from skal.labeling._session import LabelingSession
from skal.labeling._store import LabelStore

__all__ = [
    "LabelStore",
    "LabelStoreError",
    "Labeler",
    "LabelingSession",
    "PoolChangedError",
    "serve",
]


def __getattr__(name):
    # On use: the widget needs the extra skal[notebook], and takes more than a second.
    if name == "Labeler":
        from skal.labeling._widget import Labeler

        return Labeler
    if name == "serve":
        from skal.labeling._server import serve

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
