"""What the next batch is made of: rows to learn from, rows for the estimate, rows asked again.

All of it follows from the events up to one of them and the root seed, so that a session that was
killed asks for the same batch.
"""

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from skal.utils._random import child_seed

# Places in the tree of seeds below the root seed. The learner has (root, 0 | 1, round).
RESERVE, FIRST, PLACES, CHECKS = 2, 3, 4, 5

# At most that many rows, and that share of all, are kept for the estimate.
N_RESERVED, SHARE_RESERVED = 200, 0.2
# A row is asked again after that many other answers.
BETWEEN = 20


class Plan(NamedTuple):
    """The next batch before its rows are chosen.

    `candidates` are positions, `audit` and `again` names; `n_chosen` rows of the candidates are
    left to be chosen.
    """

    round: int
    seed: int
    n_labels: int
    n_chosen: int
    candidates: np.ndarray
    audit: list
    again: list


def draw_reserve(n, root_seed):
    """Return the positions kept for the estimate, a simple random sample in random order."""
    size = min(N_RESERVED, int(SHARE_RESERVED * n))
    return check_random_state(child_seed(root_seed, RESERVE)).permutation(n)[:size]


def make_plan(fold, names, reserve, settings, root_seed, labels):
    """Return the :class:`Plan` of the next batch.

    Parameters
    ----------
    fold : Fold
        The state of the session.

    names : RowNames
        The pool.

    reserve : list of str
        Names of the rows for the estimate, in their order.

    settings : dict
        `n_initial`, `n_instances`, `audit` and `again`.

    root_seed : int
        What all seeds follow from.

    labels : dict
        The labels there are to learn from, by name.
    """
    round_ = 1 + max((batch.round for batch in fold.batches.values()), default=-1 + bool(labels))
    seed = child_seed(root_seed, FIRST, round_)
    is_first = not fold.batches and not labels
    size = settings["n_initial"] if is_first else settings["n_instances"]
    answered, asked = set(fold.answered_rows()), fold.asked_rows()
    audit = _next_audit(fold, reserve, answered | asked, size, settings["audit"])
    audit = [name for name in audit if names.position(name) >= 0]
    again = _next_again(fold, size - len(audit), settings["again"], seed)
    free = np.ones(names.n, dtype=bool)
    taken = [names.position(name) for name in answered | asked | set(reserve)]
    free[[place for place in taken if place >= 0]] = False
    candidates = np.flatnonzero(free)
    n_chosen = min(size - len(audit) - len(again), len(candidates))
    if n_chosen < 1 and len(candidates) == 0:
        audit = again = []  # there is nothing left to learn from
    return Plan(round_, seed, len(labels), max(n_chosen, 0), candidates, audit, again)


def _next_audit(fold, reserve, known, size, share):
    """As many of the reserve as keep their running share of all asked rows, in its order."""
    n_asked, n_audit = len(fold.asks), sum(a.purpose == "audit" for a in fold.asks.values())
    wanted = int(round(share * (n_asked + size))) - n_audit
    left = [name for name in reserve if name not in known]
    return left[: min(max(wanted, 0), size)]


def _next_again(fold, room, share, seed):
    """Rows answered some time ago, as many as keep the running share, drawn at random."""
    n_asked = len(fold.asks)
    done = {ask.row for ask in fold.asks.values() if ask.purpose == "again"}
    wanted = min(int(round(share * (n_asked + room))) - len(done), room)
    if wanted < 1:
        return []
    known = [
        ask.row
        for ask in fold.asks.values()
        if ask.row not in done and fold.n_answers_since(ask.row) >= BETWEEN
    ]
    order = check_random_state(child_seed(seed, 1)).permutation(len(known))
    return [known[i] for i in order[:wanted]]


def random_rows(plan):
    """Return the positions of a batch chosen at random."""
    return check_random_state(plan.seed).permutation(plan.candidates)[: plan.n_chosen]


def mixed(plan, chosen, purpose):
    """Put the chosen rows and the others in one order in which no place tells what a row is for.

    Parameters
    ----------
    plan : Plan
        With the names of the rows for the estimate and of those asked again.

    chosen : list of str
        Names of the chosen rows, in the order of choice, which they keep among themselves.

    purpose : {"first", "query"}
        What the chosen rows are for.

    Returns
    -------
    rows : list of (str, str)
        Name and purpose.
    """
    others = [(name, "audit") for name in plan.audit] + [(name, "again") for name in plan.again]
    n = len(chosen) + len(others)
    rng = check_random_state(child_seed(plan.seed, PLACES))
    places = set(rng.permutation(n)[: len(others)].tolist())
    others = iter([others[i] for i in rng.permutation(len(others))])
    own = iter([(name, purpose) for name in chosen])
    return [next(others if place in places else own) for place in range(n)]
