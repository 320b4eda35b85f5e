"""Seeding torch for a while, leaving its global generators as they were.

The generators belong to the process. Whoever seeds them holds one lock, so that trainings in
several threads come one after the other, each with the numbers it draws alone; whoever only
predicts never waits for it.
"""

import importlib
import os
import signal
import sys
import threading
from contextlib import contextmanager

import torch

# Held while torch's generators are seeded. In the with statement itself, where an interrupt cannot
# come between taking the lock and being sure to give it back: `with SEEDED, torch_seed(seed):`.
SEEDED = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A child process has none of the threads that may have held it.
    os.register_at_fork(after_in_child=SEEDED._at_fork_reinit)

# Threads that are inside `torch_seed`, and how many times it has been entered.
_seeding, _entered = [], 0


@contextmanager
def preserved_generators():
    """Put torch's generators (CPU, and CUDA once in use) back at the end, if they were drawn from.

    For predictions: it never waits. While another thread trains, the generators are that thread's
    and are left alone. Whether gradients are enabled is put back, too: an interrupt inside
    ``torch.no_grad`` may leave them off.
    """
    grad, before, entered = torch.is_grad_enabled(), _states(), _entered
    others = _others_seed()
    try:
        yield
    finally:
        torch.set_grad_enabled(grad)
        if not others and not _equal(before, _states()) and SEEDED.acquire(blocking=False):
            try:
                if entered == _entered:
                    _restore(before)
            finally:
                SEEDED.release()


@contextmanager
def torch_seed(seed):
    """Seed torch inside a ``with`` block and restore its generators afterwards.

    Parameters
    ----------
    seed : int
        Seeds the generators of the CPU and of every CUDA device.

    Notes
    -----
    The generators belong to the process: hold the lock ``SEEDED`` around the block, or threads that
    run torch at the same time draw from the same numbers.

    Examples
    --------
    >>> import torch
    >>> from skal.neural_network._seed import SEEDED, torch_seed
    >>> with SEEDED, torch_seed(0):
    ...     first = torch.rand(3)
    >>> with SEEDED, torch_seed(0):
    ...     second = torch.rand(3)
    >>> bool((first == second).all())
    True
    """
    global _entered
    grad, before = torch.is_grad_enabled(), _states()
    _entered += 1
    _seeding.append(threading.get_ident())
    try:
        torch.manual_seed(seed)
        yield
    finally:
        torch.set_grad_enabled(grad)
        _seeding.remove(threading.get_ident())
        _restore(before)


def import_whole(name):
    """Import a module without being interrupted on the way.

    torch imports some of its parts, and sympy, when the first optimiser is made. Ctrl-C meanwhile
    would leave them half imported, and no net could be trained in the process any more.

    Parameters
    ----------
    name : str
        Of the module.
    """
    if name in sys.modules:
        return
    if threading.current_thread() is not threading.main_thread():
        importlib.import_module(name)  # interrupts reach the main thread only
        return
    pending = []
    handler = signal.signal(signal.SIGINT, lambda *received: pending.append(received))
    try:
        importlib.import_module(name)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if handler is None else handler)
        if pending and callable(handler):
            handler(*pending[-1])


def _others_seed():
    return any(thread != threading.get_ident() for thread in _seeding)


def _states():
    """States of the generators: of the CPU, and of CUDA devices once CUDA is in use."""
    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if in_use else [])]


def _equal(before, now):
    return len(before) == len(now) and all(map(torch.equal, before, now))


def _restore(states):
    torch.set_rng_state(states[0])
    if states[1:]:
        torch.cuda.set_rng_state_all(states[1:])
