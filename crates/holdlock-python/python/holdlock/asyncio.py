"""The locks for asynchronous code, where ``filelock`` has them."""

from __future__ import annotations

from ._async_base import AsyncAcquireReturnProxy, BaseAsyncFileLock
from ._async_file_lock import AsyncFileLock, AsyncUnixFileLock, AsyncWindowsFileLock
from ._async_lock_set import AsyncLockSet
from ._async_semaphore import AsyncSemaphore
from ._soft._async_lock import AsyncSoftFileLock

__all__ = [
    "AsyncAcquireReturnProxy",
    "AsyncFileLock",
    "AsyncLockSet",
    "AsyncSemaphore",
    "AsyncSoftFileLock",
    "AsyncUnixFileLock",
    "AsyncWindowsFileLock",
    "BaseAsyncFileLock",
]
