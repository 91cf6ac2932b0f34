"""``fallback="soft"``: a soft lock where the file system has no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from typing import TYPE_CHECKING, Any

from . import _file_lock, _options

if TYPE_CHECKING:
    from ._soft._lock import SoftFileLock

#: The answers of a file system that never has locks. ENOLCK is none of them: a server whose lock
#: service is down for a while gives it, and the processes that asked before hold native locks.
_NEVER = (errno.ENOSYS, errno.EOPNOTSUPP)
#: The options that a soft lock cannot serve. They are refused on every file system, so that a
#: program which works on one of them works on all.
_REFUSED = (
    "shared",
    "fair",
    "record",
    "note",
    "upgradeable",
    "on_acquired",
    "preserve_lock_file",
)


def lock_for(kind: Any, lock_file: Any, options: dict[str, Any]) -> Any:
    """The lock of a program that has asked for a fallback: native if the file system can lock."""
    if options.pop("fallback") == "error":
        return kind(lock_file, **options)
    soft = _soft_class(kind)
    refused = [name for name in _REFUSED if options.get(name)]
    if refused:
        raise ValueError(f"fallback='soft' and {refused[0]}: a soft lock cannot do that")
    if can_lock(lock_file):
        return kind(lock_file, **options)
    ours = _options.NATIVE_DEFAULTS.keys() - _options.DEFAULTS.keys()
    given = {name: value for name, value in options.items() if name not in ours}
    return soft(lock_file, **given)


def _soft_class(kind: Any) -> type[SoftFileLock]:
    if kind is _file_lock.FileLock:
        from ._soft._lock import SoftFileLock

        return SoftFileLock
    from . import _async_file_lock
    from ._soft._async_lock import AsyncSoftFileLock

    if kind is _async_file_lock.AsyncFileLock:
        return AsyncSoftFileLock
    raise TypeError(
        f"fallback='soft' is for FileLock and AsyncFileLock, not for their subclass "
        f"{kind.__name__}: it would make a SoftFileLock"
    )


def can_lock(lock_file: Any) -> bool:
    """Whether the file system of a path has locks, as far as this process can find out.

    The lock file itself is not touched: it may be a marker, and a missing one would be created.
    """
    place = os.path.dirname(os.path.abspath(os.fspath(lock_file)))
    # The first request makes missing directories, on the same file system.
    while not os.path.isdir(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    try:
        with tempfile.TemporaryFile(dir=place, prefix=".holdlock-") as probe:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Without a new file there can be no marker, either: let the native lock say what is wrong.
        return error.errno not in _NEVER
    return True

