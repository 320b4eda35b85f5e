"""People who label: a session that loses nothing, the store under it, the widget over it."""

from skal.labeling._database import LabelStoreError
from skal.labeling._digest import PoolChangedError
from skal.labeling._store import LabelStore

__all__ = ["LabelStore", "LabelStoreError", "PoolChangedError"]
