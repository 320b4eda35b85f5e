"""Who trains: the caller, or one thread behind it."""

import os
from concurrent.futures import Future, ThreadPoolExecutor


class Worker:
    """Runs jobs one after the other, in a thread of its own or, without one, at once.

    torch's seeds and thread counts belong to the process, so no two jobs may run at a time. The
    thread does all that touches a model: training, choosing and predicting.

    Parameters
    ----------
    threaded : bool
        Whether jobs run behind the caller. May be changed between jobs.
    """

    def __init__(self, threaded):
        self.threaded = threaded
        self._pool = self._pid = None
        self._running = []

    @property
    def busy(self):
        """Whether a job is running or waiting."""
        self._running = [future for future in self._running if not future.done()]
        return bool(self._running)

    def submit(self, job):
        """Run `job`, a callable; return its future."""
        if not self.threaded:
            return _run(job)
        if self._pool is None or self._pid != os.getpid():
            # Threads do not survive a fork.
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="skal-labeling")
            self._pid, self._running = os.getpid(), []
        future = self._pool.submit(job)
        self._running.append(future)
        return future

    def call(self, job):
        """Run `job` and return what it returns."""
        return self.submit(job).result()

    def wait(self, timeout=None):
        """Wait until no job is left, at most `timeout` seconds; return whether none is."""
        for future in list(self._running):
            try:
                future.exception(timeout)
            except TimeoutError:
                return False
        return True

    def close(self):
        """Let the running job end, and start no other."""
        if self._pool is not None and self._pid == os.getpid():
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None


def _run(job):
    future = Future()
    try:
        future.set_result(job())
    except Exception as error:
        future.set_exception(error)
    return future
