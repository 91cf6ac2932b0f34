"""File locks for the critical sections of processes.

>>> import tempfile
>>> from holdlock import FileLock, Timeout
>>> with FileLock(tempfile.mkdtemp() + "/index.lock", timeout=5):
...     print("no other process is here")
no other process is here

:class:`FileLock` is the lock. It raises :class:`Timeout` if it cannot acquire the lock in time.
:class:`AsyncFileLock` is for asyncio, trio and anyio. :class:`ReadWriteLock` and
:class:`AsyncReadWriteLock` let readers share the lock. :class:`Semaphore` and
:class:`AsyncSemaphore` are for several holders at a time, :class:`LockSet` and
:class:`AsyncLockSet` for several locks. :class:`SoftFileLock` is for file systems that cannot lock.
:func:`holdlock.open` takes a path or the URL of a lock between hosts, and makes a FileLock or an
:class:`EngineLock`. The module can replace ``filelock``: the names are the same.
"""

from __future__ import annotations

import sys as _sys

from ._descriptor import lock_descriptor, unlock_descriptor
from ._errors import (
    Cancelled,
    Deadlock,
    DifferentSlots,
    NotAtomic,
    SoftFileLockLifetimeWarning,
    StaleToken,
    Timeout,
)
from ._file_lock import BaseFileLock, FileLock, UnixFileLock, WindowsFileLock
from ._native import (
    AcquireReturnProxy,
    CancelToken,
    Process,
    Record,
    Run,
    TokenGate,
    UpgradeableGuard,
    __version__,
    record,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import asyncio
    from ._async_base import AsyncAcquireReturnProxy, BaseAsyncFileLock
    from ._async_engine_lock import AsyncEngineLock
    from ._async_file_lock import AsyncFileLock, AsyncUnixFileLock, AsyncWindowsFileLock
    from ._async_lock_set import AsyncLockSet
    from ._async_read_write import AsyncAcquireReadWriteReturnProxy, AsyncReadWriteLock
    from ._async_semaphore import AsyncSemaphore
    from ._async_token_gate import AsyncTokenGate
    from ._async_upgrade import AsyncUpgradeableGuard
    from ._compat import install_as_filelock, uninstall_as_filelock
    from ._engine_errors import (
        EngineError,
        EngineTimeout,
        EngineUnreachable,
        EngineUnsuitable,
        LockLost,
        LoginRefused,
    )
    from ._engine_lock import EngineLock
    from ._engine_lost import AsyncLostSignal, LostSignal
    from ._engine_types import History, Member, Members
    from ._lock_set import LockSet
    from ._open import open as open, open_async
    from ._read_write import ReadWriteLock
    from ._semaphore import Semaphore
    from ._soft._async_lock import AsyncSoftFileLock
    from ._soft._lock import SoftFileLock
    from ._types import CloseErrorPolicy, ContextErrorPolicy, LockOptions

#: Whether the kernel has flock(2).
has_fcntl: bool = True

#: The modules of names that are seldom used, or take time to import.
_LAZY: dict[str, str] = {
    "AsyncAcquireReadWriteReturnProxy": "._async_read_write",
    "AsyncAcquireReturnProxy": "._async_base",
    "AsyncEngineLock": "._async_engine_lock",
    "AsyncFileLock": "._async_file_lock",
    "AsyncLockSet": "._async_lock_set",
    "AsyncLostSignal": "._engine_lost",
    "AsyncReadWriteLock": "._async_read_write",
    "AsyncSemaphore": "._async_semaphore",
    "AsyncSoftFileLock": "._soft._async_lock",
    "AsyncTokenGate": "._async_token_gate",
    "AsyncUnixFileLock": "._async_file_lock",
    "AsyncUpgradeableGuard": "._async_upgrade",
    "AsyncWindowsFileLock": "._async_file_lock",
    "BaseAsyncFileLock": "._async_base",
    "CloseErrorPolicy": "._types",
    "ContextErrorPolicy": "._types",
    "EngineError": "._engine_errors",
    "EngineLock": "._engine_lock",
    "EngineTimeout": "._engine_errors",
    "EngineUnreachable": "._engine_errors",
    "EngineUnsuitable": "._engine_errors",
    "History": "._engine_types",
    "LockLost": "._engine_errors",
    "LockOptions": "._types",
    "LockSet": "._lock_set",
    "LoginRefused": "._engine_errors",
    "LostSignal": "._engine_lost",
    "Member": "._engine_types",
    "Members": "._engine_types",
    "ReadWriteLock": "._read_write",
    "Semaphore": "._semaphore",
    "SoftFileLock": "._soft._lock",
    "install_as_filelock": "._compat",
    "open": "._open",
    "open_async": "._open",
    "uninstall_as_filelock": "._compat",
}


#: The names for `from holdlock import *`.
_names: list[str] = []


def _absent() -> set[str]:
    """The names that need a package which is not installed: that for locks between hosts."""
    from importlib.util import find_spec

    from . import _native

    there = hasattr(_native, "NativeEngineLock") or find_spec("holdlock_engines") is not None
    return set() if there else {"AsyncEngineLock", "EngineLock"}


def _get(name: str) -> object:
    if _sys.meta_path is None:
        raise ImportError(
            f"cannot load holdlock.{name}, because Python is ending and imports nothing any more; "
            "load it before, for example with `from holdlock import ...`"
        )
    if name == "__all__":  # or else `from holdlock import *` could fail, and help()
        absent = _absent()
        return [one for one in _names if one not in absent]
    where = _LAZY.get(name)
    if name == "asyncio":
        from importlib import import_module

        return import_module(".asyncio", __name__)
    if where is None:
        from ._compat import missing

        raise missing(__name__, name)
    from importlib import import_module

    value = globals()[name] = getattr(import_module(where, __name__), name)
    return value


if not TYPE_CHECKING:  # or else type checkers would accept any name
    __getattr__ = _get


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, "asyncio", "__all__"} - _absent())


# `open` and `asyncio` are left out: `from holdlock import *` must not replace Python's own.
__all__ = [
    "AcquireReturnProxy",
    "AsyncAcquireReadWriteReturnProxy",
    "AsyncAcquireReturnProxy",
    "AsyncEngineLock",
    "AsyncFileLock",
    "AsyncLockSet",
    "AsyncLostSignal",
    "AsyncReadWriteLock",
    "AsyncSemaphore",
    "AsyncSoftFileLock",
    "AsyncTokenGate",
    "AsyncUnixFileLock",
    "AsyncUpgradeableGuard",
    "AsyncWindowsFileLock",
    "BaseAsyncFileLock",
    "BaseFileLock",
    "CancelToken",
    "Cancelled",
    "CloseErrorPolicy",
    "ContextErrorPolicy",
    "Deadlock",
    "DifferentSlots",
    "EngineError",
    "EngineLock",
    "EngineTimeout",
    "EngineUnreachable",
    "EngineUnsuitable",
    "FileLock",
    "History",
    "LockLost",
    "LockOptions",
    "LockSet",
    "LoginRefused",
    "LostSignal",
    "Member",
    "Members",
    "NotAtomic",
    "Process",
    "ReadWriteLock",
    "Record",
    "Run",
    "Semaphore",
    "SoftFileLock",
    "SoftFileLockLifetimeWarning",
    "StaleToken",
    "Timeout",
    "TokenGate",
    "UnixFileLock",
    "UpgradeableGuard",
    "WindowsFileLock",
    "__version__",
    "has_fcntl",
    "install_as_filelock",
    "lock_descriptor",
    "open_async",
    "record",
    "uninstall_as_filelock",
    "unlock_descriptor",
]

if not TYPE_CHECKING:
    _names += __all__
    del __all__  # `_get` makes it
