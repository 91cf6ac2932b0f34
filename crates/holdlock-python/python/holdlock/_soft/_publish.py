"""Publishes the marker of this process, and reads an existing marker.

The native class ``Marker`` is the published marker: it removes the file when it is withdrawn, or
when the last reference to it goes.
"""

from __future__ import annotations

import errno
import os
import stat

from .._native import Marker, publish_marker
from ._descriptors import Descriptor, opened
from ._marker import LONGEST, encode
from ._owner import this_process


def publish(path: str, mode: int, *, exact: bool, lock: str | None = None) -> Marker | None:
    """Puts the marker of this process at ``path``; None if a file is already there.

    ``exact``: the mode was asked for, so that the umask does not change it. ``lock``: the lock's
    path, if ``path`` is not: errors name it, and the marker may be moved there.
    """
    return publish_marker(path, mode, exact, encode(this_process()), lock)


def read(path: str) -> tuple[Descriptor, bytes]:
    """A descriptor of the file at ``path``, and its first bytes. FileNotFoundError: there is none.

    While the descriptor is open, no other file gets the inode number.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = opened(os.open, path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor.fileno()).st_mode):
            what = "Is a special file, which cannot be a lock's marker"
            raise FileExistsError(errno.EEXIST, what, path)
        return descriptor, os.read(descriptor.fileno(), LONGEST + 1)
    except BaseException:
        descriptor.close()
        raise
