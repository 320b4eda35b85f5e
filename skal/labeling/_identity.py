"""Which row is which: a label must not move to another row when somebody sorts the file.

Every row that was asked about has a digest of its content on record, so that rows that moved or
changed are noticed, and moved ones found.
"""

import warnings

import numpy as np

from skal.labeling._codec import encode, is_missing
from skal.labeling._digest import PoolChangedError, row_digests
from skal.utils._tables import is_frame, is_mapping, n_rows

# Opening looks at that many asked rows, at random if there are more.
N_CHECKED = 2000


class RowNames:
    """The names of the rows of a pool, and where each named row is.

    Parameters
    ----------
    X : array-like of shape (n_rows, ...)
        The pool.

    key : str, array-like of shape (n_rows,) or None
        A column of `X`, or values, that name the rows; None is their positions.

    columns : list of str or None
        The columns whose content counts; None means all.
    """

    def __init__(self, X, key=None, columns=None):
        self.X = X
        self.n = n_rows(X)
        self.columns = _column_names(X) if columns is None else columns
        self.keyed = key is not None
        self._names = _key_names(X, key, self.n) if self.keyed else None
        self._places = None if key is None else {name: i for i, name in enumerate(self._names)}

    def name(self, position):
        """Return the name of a row, as JSON."""
        return str(int(position)) if self._names is None else self._names[position]

    def position(self, name):
        """Return where the row of that name is, -1 if nowhere."""
        if self._places is not None:
            return self._places.get(name, -1)
        position = int(name) if name.isdecimal() else -1
        return position if position < self.n else -1

    def digests(self, positions):
        """Return the digest of each of the rows at `positions`, a list of bytes."""
        return row_digests(self.X, positions, self.columns)

    def follow(self, known):
        """Name rows after where their content is now.

        Parameters
        ----------
        known : dict
            Digest by name.

        Returns
        -------
        lost : list of str
            Names whose content is nowhere.
        """
        places = {}
        for position, digest in enumerate(self.digests(np.arange(self.n))):
            places.setdefault(digest, []).append(position)
        found, lost = {}, []
        # Equal rows: a name that can stay where it is stays, the others take what is left.
        stay = [name for name in known if self.position(name) in places.get(known[name], ())]
        for name in stay:
            found[name] = self.position(name)
            places[known[name]].remove(found[name])
        for name in known:
            if name not in found:
                free = places.get(known[name])
                if free:
                    found[name] = free.pop(0)
                else:
                    lost.append(name)
        self._rename(found, set(known))
        return lost

    def _rename(self, found, taken):
        """Give each row a name: those found theirs, the others one that none of them has."""
        names = [None] * self.n
        for name, position in found.items():
            names[position] = name
        spare = max([self.n, *(int(name) + 1 for name in taken if name.isdecimal())])
        for position in range(self.n):
            if names[position] is None:
                name = str(position)
                if name in taken:
                    name, spare = str(spare), spare + 1
                names[position] = name
        self._names = names
        self._places = {name: i for i, name in enumerate(names)}


def check_rows(
    names, known, on_change, rng, *, also=None, what="labelled rows", when="they were labelled"
):
    """Compare rows with what they were when they were put on record.

    Parameters
    ----------
    names : RowNames
        The pool as it is now. With ``on_change="find"`` it is changed.

    known : dict
        Digest by name.

    on_change : {"raise", "find"}
        What to do where rows without a key hold other data.

    rng : numpy.random.RandomState
        Chooses the rows to look at, where there are many.

    also : dict or None, default=None
        With ``on_change="find"``, digests of all rows to be found, if those are more.

    what, when : str
        What the error calls the rows, and the moment.

    Raises
    ------
    PoolChangedError
        With ``on_change="raise"``, if any row differs and no key says which row is which.
    """
    changed, lost = differing(names, _sample(known, rng))
    if not changed and not lost:
        return
    if names.keyed:
        warnings.warn(
            f"Of {len(known)} {what}, {len(changed)} hold other data than when {when}, and "
            f"{len(lost)} are no longer there. Their labels are kept.",
            UserWarning,
            stacklevel=5,
        )
    elif on_change == "raise":
        first = ", ".join(str(number) for number in sorted(map(int, [*changed, *lost]))[:3])
        raise PoolChangedError(
            f"{len(changed) + len(lost)} of {len(known)} {what} hold other data than when "
            f"{when} (first: {first}). If rows moved, pass on_change='find' or key=; if you "
            "changed features on purpose, on_change='trust'."
        )
    else:
        lost = names.follow(known if also is None else also)
        if lost:
            warnings.warn(
                f"{len(lost)} of {len(known if also is None else also)} rows on record were not "
                "found. Their labels are kept, unused.",
                UserWarning,
                stacklevel=5,
            )


def differing(names, known):
    """Return the names of rows whose content changed, and of those that are not there."""
    lost = [name for name in known if names.position(name) < 0]
    here = [name for name in known if names.position(name) >= 0]
    digests = names.digests([names.position(name) for name in here])
    return [name for name, digest in zip(here, digests, strict=True) if digest != known[name]], lost


def _sample(known, rng):
    if len(known) <= N_CHECKED:
        return known
    chosen = list(known)
    return {chosen[i]: known[chosen[i]] for i in rng.permutation(len(chosen))[:N_CHECKED]}


# ---------------------------------------------------------------------------------- names


def _key_names(X, key, n):
    column = isinstance(key, (str, int)) or (isinstance(key, tuple) and is_frame(X))
    if column:
        if not is_frame(X) or key not in list(X.columns):
            raise ValueError(
                f"key must be a column of X or one value per row. Got {key!r} instead, and X has "
                f"no such column."
            )
        values = X[key]
    else:
        values = key
    values = values.tolist() if hasattr(values, "tolist") else list(values)
    if len(values) != n:
        raise ValueError(f"key must have one value for each of the {n} rows. Got {len(values)}.")
    gaps = [i for i, value in enumerate(values) if is_missing(value)]
    if gaps:
        raise ValueError(f"key must name every row. Got no value in {len(gaps)}, first {gaps[0]}.")
    names = [encode(_plain(value)) for value in values]
    if len(set(names)) < n:
        seen = set()
        twice = next(name for name in names if name in seen or seen.add(name))
        raise ValueError(f"key must be unique. Got {twice} more than once.")
    return names


def _plain(value):
    """The same name for 7, 7.0 and numpy.int32(7)."""
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _column_names(X):
    if is_frame(X):
        return [str(name) for name in X.columns]
    return [str(name) for name in X] if is_mapping(X) else None
