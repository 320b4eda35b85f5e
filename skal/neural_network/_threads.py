"""One torch thread for small work, whatever other Python threads do meanwhile."""

import threading
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_own = threading.local()
# Python threads inside, and the number of torch threads to go back to when there are none.
_inside, _usual = 0, None


@contextmanager
def one_thread():
    """Let torch compute on one thread, until the last Python thread inside has left.

    The number is shared by the process: put back while another thread still computes, it would
    change the last bits of what that one gets.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter():
    global _inside, _usual
    with _lock:
        n_threads = torch.get_num_threads()
        if _inside == 0 and not (n_threads == 1 and getattr(_own, "left_at_one", False)):
            _usual = n_threads
        _inside += 1
    if n_threads != 1:
        torch.set_num_threads(1)


def _leave():
    global _inside
    with _lock:
        _inside -= 1
        # torch keeps the number per thread, too: whoever leaves early puts it back next time.
        _own.left_at_one = _inside > 0 and _usual != 1
        if _inside == 0 and torch.get_num_threads() != _usual:
            torch.set_num_threads(_usual)
