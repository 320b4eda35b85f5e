"""Where a store lies: folders, file systems, and what reaches the disk."""

import os
import shutil

# File systems whose locks and caches other machines share.
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs")
_ROOM = 1 << 18  # bytes: with less, a failed write is put down to the full disk


def file_system_of(path, mounts="/proc/self/mountinfo"):
    """Return the kind of file system that `path` lies on, or None where Linux does not tell."""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split() for line in file]
    except OSError:
        return None
    path, best = os.path.realpath(path), ("", None)
    for fields in lines:
        # Field 4 is the mount point, with spaces as \040; the kind comes after a lone "-".
        mount = fields[4].replace("\\040", " ")
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best[0]):
            best = mount, fields[fields.index("-") + 1]
    return best[1]


def is_full(path):
    """Whether hardly any room is left beside `path`."""
    try:
        return shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free < _ROOM
    except OSError:
        return False


def identity(path):
    """Return what tells the file at `path` from another one put in its place, None if gone."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def sync(path):
    """Wait until a file or folder is on the disk."""
    if os.name == "nt" and os.path.isdir(path):
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
