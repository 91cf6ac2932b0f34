"""``AsyncLockSet``: several locks at once, all or none, for asynchronous code."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Optional

from ._async_block import HeldByTask, OnlyAsync, ReleasedAtEnd
from ._async_file_lock import AsyncFileLock
from ._lock_set_base import LockSetBase, left
from ._line import wait_for

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._native import CancelToken, Task

__all__ = ["AsyncHeldSet", "AsyncLockSet"]


class AsyncLockSet(HeldByTask, OnlyAsync, LockSetBase[AsyncFileLock]):
    """A :class:`LockSet` for asynchronous code, under asyncio (with any loop), trio or anyio.

    >>> import asyncio, os, tempfile
    >>> place = tempfile.mkdtemp()
    >>> async def main():
    ...     paths = [os.path.join(place, name) for name in ("index", "data")]
    ...     async with AsyncLockSet(paths, timeout=5) as locks:
    ...         return [lock.locked for lock in locks.locks]
    >>> asyncio.run(main())
    [True, True]

    The members are :class:`AsyncFileLock` objects, or paths. Tasks share the members as they share
    those locks: by default, a task joins another one that holds the same object. A waiting task
    lets the other tasks run, and may be cancelled; it then holds none of the locks.
    """

    _kind = AsyncFileLock

    async def acquire(
        self,
        timeout: Optional[float] = None,
        *,
        blocking: Optional[bool] = None,
        cancel: Optional[CancelToken] = None,
    ) -> AsyncHeldSet:
        """Acquires all locks, and waits until they are free, while other tasks run.

        The arguments and the errors are those of :meth:`LockSet.acquire`. The result may be used in
        an ``async with`` statement.
        """
        limit = self._limit(timeout, blocking)
        began, task = time.monotonic(), self._requester()
        before = self._counter(task)
        try:
            while not self._try(limit != 0, task):
                rest = left(limit, began, time.monotonic())
                if await wait_for(self, rest, task, cancel):
                    break
            return AsyncHeldSet(self, task)
        except BaseException:
            # An exception of a signal handler may have come after the acquisition.
            self._undo(before, task)
            raise

    async def release(self) -> None:
        """Undoes one acquisition of the set, by this task or else by a task that has ended.

        Does nothing if there is none. ``asyncio.wait_for(locks.acquire(), 5)`` runs the acquisition
        in a task that ends with it, before Python 3.12.
        """
        self._give_back(self._releaser(self._is_held))

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self


class AsyncHeldSet(ReleasedAtEnd):
    """The result of :meth:`AsyncLockSet.acquire`: ``async with`` releases the set at its end."""

    def __init__(self, lock: AsyncLockSet, task: Optional[Task]) -> None:
        #: The set.
        self.lock = lock
        self._task = task

    async def release(self) -> None:
        """Releases the set. Any task may do that."""
        # The task that has acquired it may be another one.
        self.lock._give_back(self._task)

    async def __aenter__(self) -> AsyncLockSet:
        return self.lock
