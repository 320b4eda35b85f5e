"""Checkpoints of trainings that run side by side: each writes and reads files of its own."""

import os
import shutil
import tempfile
from contextlib import contextmanager

from skorch.callbacks import Checkpoint


class OwnFiles:
    """Files of the checkpoints of one training, handed out to where the user wants them.

    Two processes of a search write the files of one `Checkpoint`: whoever loads the best weights at
    the end would get another's, or a file that is being written. So each training writes to a
    folder of its own, which it loads from, and copies every file whole to its place.

    Parameters
    ----------
    net : skorch.NeuralNet
        About to be trained. One that goes on finds the files of its last training.
    """

    def __init__(self, net):
        self._net = net
        found = [getattr(callback, "checkpoint_", callback) for _, callback in net.callbacks_]
        self._checkpoints = [one for one in found if isinstance(one, Checkpoint)]
        self._places = []

    def __bool__(self):
        return bool(self._checkpoints)

    @contextmanager
    def in_use(self):
        """Let the checkpoints write to folders of their own for a while."""
        given = [checkpoint.dirname for checkpoint in self._checkpoints]
        try:
            for checkpoint, place in zip(self._checkpoints, given, strict=True):
                own = tempfile.mkdtemp(prefix="skal-checkpoint-")
                self._places.append((own, place, {}))
                if _has_open_files(checkpoint):
                    continue
                for name in _names(checkpoint):
                    os.makedirs(os.path.join(own, os.path.dirname(name)), exist_ok=True)
                if self._net.history:
                    self._bring(checkpoint, own)
                checkpoint.dirname = own
            yield
        finally:
            self.publish()
            for checkpoint, place in zip(self._checkpoints, given, strict=True):
                checkpoint.dirname = place
            for own, _, _ in self._places:
                shutil.rmtree(own, ignore_errors=True)
            self._places = []

    def _bring(self, checkpoint, own):
        """Copy the files there are to the folder of this training."""
        place, known = checkpoint.dirname, self._places[-1][2]
        for name in checkpoint.get_formatted_files(self._net).values():
            if isinstance(name, str) and os.path.exists(name):
                target = os.path.join(own, os.path.relpath(name, place or "."))
                shutil.copy2(name, target)
                known[target] = os.stat(target).st_mtime_ns

    def publish(self):
        """Copy what has been written since the last call to its place, each file at once."""
        for own, place, known in self._places:
            for folder, _, names in os.walk(own):
                for name in names:
                    source = os.path.join(folder, name)
                    written = os.stat(source).st_mtime_ns
                    if known.get(source) != written:
                        known[source] = written
                        _copy_whole(source, os.path.join(place, os.path.relpath(source, own)))


def _names(checkpoint):
    return [
        checkpoint.fn_prefix + name
        for name in checkpoint._f_kwargs().values()
        if isinstance(name, str)
    ]


def _has_open_files(checkpoint):
    return any(name and not isinstance(name, str) for name in checkpoint._f_kwargs().values())


def _copy_whole(source, target):
    folder = os.path.dirname(target)
    if folder:
        os.makedirs(folder, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=folder or ".", prefix=".skal-")
    os.close(handle)
    try:
        shutil.copyfile(source, unfinished)
        os.chmod(unfinished, os.stat(source).st_mode & 0o777)
        os.replace(unfinished, target)
    except BaseException:
        os.unlink(unfinished)
        raise
