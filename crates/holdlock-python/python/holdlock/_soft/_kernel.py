"""System calls that Python lacks: renameat2, inotify, and the type of a file system; and poll.

ctypes is loaded on the first contention, and not on import: loading it takes longer than locking
and unlocking.
"""

from __future__ import annotations

import errno
import functools
import os
from typing import Any, Callable, Sequence

from ._descriptors import Descriptor, own

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2

_IN_ATTRIB = 0x004
_IN_MOVE_SELF = 0x800
_IN_DELETE_SELF = 0x400
_IN_CLOSE_WRITE = 0x008
_IN_DONT_FOLLOW = 0x02000000

#: File systems on which this kernel makes, and therefore reports, every change.
#: (From statfs(2): ext2/3/4, XFS, Btrfs, tmpfs, ramfs, overlayfs, F2FS, ZFS, bcachefs.)
_LOCAL = frozenset(
    [
        0xEF53,
        0x58465342,
        0x9123683E,
        0x01021994,
        0x858458F6,
        0x794C7630,
        0xF2F52010,
        0x2FC12FC1,
        0xCA451A4E,
    ]
)


@functools.lru_cache(maxsize=1)
def libc() -> Any:
    """The C library, loaded by the first call."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _function(name: str) -> Callable[..., int]:
    try:
        function: Callable[..., int] = getattr(libc(), name)
    except AttributeError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    return function


def _error() -> OSError:
    """Why the last call of the C library in this thread failed."""
    import ctypes

    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def _call(name: str, *arguments: object) -> None:
    if _function(name)(*arguments) < 0:
        raise _error()


def exchange(one: str, other: str) -> None:
    """Exchanges two files in one step: renameat2(2) with RENAME_EXCHANGE."""
    _rename(one, other, _RENAME_EXCHANGE)


def move(old: str, new: str) -> None:
    """Renames a file; FileExistsError: another one has the new name."""
    _rename(old, new, _RENAME_NOREPLACE)


def _rename(old: str, new: str, flags: int) -> None:
    import ctypes

    names = _AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new)
    _call("renameat2", *names, ctypes.c_uint(flags))


def is_local(directory: str) -> bool:
    """Whether only this kernel changes the files of this directory's file system."""
    import ctypes

    # struct statfs begins with the type, a word; 256 bytes are more than any Linux fills.
    buffer = ctypes.create_string_buffer(256)
    try:
        _call("statfs", os.fsencode(directory), buffer)
    except OSError:
        return False
    kind = ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ulong)).contents.value
    return (kind & 0xFFFFFFFF) in _LOCAL


def readable(descriptors: Sequence[int], seconds: float) -> bool:
    """Waits until one of the descriptors is readable, at most for this time."""
    import select

    if not hasattr(select, "poll"):  # eventlet removes it
        return bool(select.select(descriptors, [], [], seconds)[0])
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def inotify(path: str) -> Descriptor:
    """A descriptor that becomes readable when the file at ``path`` is unlinked or moved."""
    descriptor = own(_function("inotify_init1"), os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor is None:
        raise _error()
    try:
        mask = _IN_ATTRIB | _IN_MOVE_SELF | _IN_DELETE_SELF | _IN_CLOSE_WRITE | _IN_DONT_FOLLOW
        _call("inotify_add_watch", descriptor.fileno(), os.fsencode(path), mask)
    except BaseException:
        descriptor.close()
        raise
    return descriptor
