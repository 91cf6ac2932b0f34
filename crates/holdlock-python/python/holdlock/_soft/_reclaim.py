"""Takes over the marker of a dead owner, without a moment in which the path is free.

Two processes can find the same owner dead. If each removed the marker and put its own there, the
slower process would remove the quicker one's marker. Therefore a process exchanges the marker for
its own in one step (renameat2), and checks afterwards which file it has received. If that is not
the marker that it has judged, it exchanges the two again. Processes with this package exclude one
another by a flock on the judged file, so that this happens only with processes of ``filelock``,
which work in the same way and with the same names.

If a process dies in the middle of this, the marker of a living holder may lie aside: under
``NAME.break.PID.…`` with the PID of the dead process, whose own marker is at the path.
:func:`_stranded` looks for it. If the process dies before the exchange, its own marker lies there,
and the next process to take over removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time

from .._native import Marker
from . import _kernel
from ._marker import RELEASED, Owner, decode
from ._owner import is_dead
from ._publish import publish, read

#: How often a wrong exchange is undone. Each time another process was quicker.
_ATTEMPTS = 2000

_REFUSALS = (
    errno.ENOENT,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EXDEV,
    errno.EOPNOTSUPP,
    errno.EPERM,
)


def reclaim(path: str, mode: int, *, exact: bool) -> Marker | None:
    """Takes the lock over from an owner that is provably dead, or that has released it.

    None: the lock is held, or nothing proves that it is free. Age proves nothing. A file that names
    no owner proves nothing either: it may be a marker of an older filelock, or no marker at all.
    """
    try:
        judged, text = read(path)
    except OSError:
        return None  # gone, or not readable: nothing is proved
    try:
        owner = decode(text)
        if not _is_free(text, path):
            return None
        try:
            fcntl.flock(judged.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None  # another process is taking it over
        except OSError:
            pass  # no flock here; the exchange alone is safe, but slower
        if not _is_at(path, judged.fileno()) or _stranded(path, owner):
            return None
        return _exchange(path, judged.fileno(), mode, exact=exact)
    finally:
        judged.close()


def _is_free(text: bytes, path: str) -> bool:
    if text == RELEASED.encode():
        return True
    owner = decode(text)
    return owner is not None and is_dead(owner, os.path.dirname(path) or ".")


def _is_at(path: str, descriptor: int | None) -> bool:
    try:
        return descriptor is not None and os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


def _exchange(path: str, judged: int, mode: int, *, exact: bool) -> Marker | None:
    # Loading takes long, and a process that dies between the next two steps leaves a file.
    _kernel.libc()
    aside = f"{path}.break.{os.getpid()}.{os.urandom(16).hex()}"
    ours = publish(aside, mode, exact=exact, lock=path)
    if ours is None:
        return None
    taken = False
    try:
        _kernel.exchange(aside, path)
        if _is_at(aside, judged):
            os.unlink(aside)
            taken = True
    except OSError as error:
        # The marker is gone. Or the file system cannot exchange (NFS), or the directory is sticky
        # and the marker another user's, and it stays.
        if error.errno not in _REFUSALS:
            raise
    finally:
        if not taken:
            _discard(path, aside, ours)
    return ours if taken else None


def _put_back(path: str, aside: str, ours: Marker) -> None:
    """Exchanges the two files until our own marker is the one that lies aside.

    If our marker was removed from the path, moves the other file there.
    """
    for _ in range(_ATTEMPTS):
        if _is_at(aside, ours.fileno()):
            return
        try:
            _kernel.exchange(aside, path)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                _kernel.move(aside, path)
            if not os.path.lexists(aside):
                return
        if _is_at(aside, ours.fileno()):
            return
        time.sleep(0.0005)


def _discard(path: str, aside: str, ours: Marker) -> None:
    """Gives up: removes our marker from either place, and puts another holder's marker back."""
    if os.path.lexists(aside) and not _is_at(aside, ours.fileno()):
        _put_back(path, aside, ours)
    if _is_at(aside, ours.fileno()) or not os.path.lexists(aside):
        ours.withdraw()
    else:
        # Ours stays at the path and keeps it taken: a holder's marker lies aside.
        ours.leave()


def _stranded(path: str, breaker: Owner | None) -> bool:
    """Whether a living holder's marker lies aside. Removes the markers of dead processes."""
    if breaker is None:
        return False
    directory, name = os.path.split(path)
    left = re.compile(
        rf"{re.escape(name)}\.(?:break\.([0-9]+)|restore\.[0-9]+)\.[0-9a-f]{{32}}"
    )
    for entry in os.listdir(directory or "."):
        match = left.fullmatch(entry)
        if match is None:
            continue
        by_another = match[1] is not None and int(match[1]) != breaker.pid
        other = os.path.join(directory, entry)
        try:
            descriptor, text = read(other)
        except FileNotFoundError:
            continue
        except OSError:
            if by_another:
                continue
            return True
        descriptor.close()
        if by_another:
            # A process that dies before its exchange leaves its own marker here. What it receives
            # in the exchange may be a holder's, and counts when its own is found at the path.
            owner = decode(text)
            if owner is None or owner.pid != int(match[1]) or not _is_free(text, path):
                continue
        elif not _is_free(text, path):
            return True
        with contextlib.suppress(OSError):
            os.unlink(other)
    return False
