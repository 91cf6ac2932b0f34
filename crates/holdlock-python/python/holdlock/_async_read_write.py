"""``AsyncReadWriteLock``: many readers or one writer, for asynchronous code."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, AsyncIterator, Dict, Generic, List, Optional, TypeVar

from . import _async_wait, _native
from ._async_block import ReleasedAtEnd
from ._async_wait import TaskRecord
from ._errors import Cancelled
from ._read_write_base import ReadWriteBase

if TYPE_CHECKING:
    import os
    from asyncio import AbstractEventLoop
    from concurrent.futures import Executor

    from typing_extensions import Self

    from ._native import Acquisition

__all__ = ["AsyncAcquireReadWriteReturnProxy", "AsyncReadWriteLock"]

Lock = TypeVar("Lock", bound="AsyncReadWriteLock")


class AsyncAcquireReadWriteReturnProxy(ReleasedAtEnd, Generic[Lock]):
    """The result of ``await lock.acquire_read()``: ``async with`` releases the lock at its end."""

    def __init__(self, lock: Lock, task: Optional[TaskRecord] = None) -> None:
        self.lock = lock
        self._task = task

    async def release(self) -> None:
        """Undoes the acquisition. Any task may do that."""
        # The task that has acquired it may be another one.
        self.lock._release_once(self._task or self.lock._task())

    async def __aenter__(self) -> Lock:
        return self.lock


class _OfPath(ReadWriteBase):
    """The lock behind all objects of one path. Each task holds it by itself."""


class AsyncReadWriteLock(ReadWriteBase):
    """A :class:`ReadWriteLock` for asynchronous code, under asyncio, trio or anyio.

    >>> import asyncio, os, tempfile
    >>> async def main():
    ...     lock = AsyncReadWriteLock(os.path.join(tempfile.mkdtemp(), "index.lock"), timeout=5)
    ...     async with lock.read_lock():
    ...         print("other readers may be here too")
    ...     async with lock.write_lock():
    ...         print("no other reader or writer is here")
    >>> asyncio.run(main())
    other readers may be here too
    no other reader or writer is here

    Each task holds the lock by itself: tasks exclude one another as processes do. A task may
    acquire the lock again in the same mode, and cannot change the mode of a lock that it holds.
    Waits and cancellations are those of :class:`AsyncFileLock`. Objects of one path share the holds
    of the tasks, unless ``is_singleton=False``; a task releases the lock by the object by which it
    has acquired it. ``loop`` and ``executor`` have no effect.
    """

    _may_be_singleton = False

    def __init__(
        self,
        lock_file: str | os.PathLike[str],
        timeout: float = -1,
        *,
        blocking: bool = True,
        is_singleton: bool = True,
        loop: AbstractEventLoop | None = None,
        executor: Executor | None = None,
    ) -> None:
        super().__init__(lock_file, timeout, blocking=blocking, is_singleton=is_singleton)
        #: Shared with other objects, and kept alive by them.
        self._of_path = _OfPath(lock_file, timeout, blocking=blocking, is_singleton=is_singleton)
        self._lock = self._of_path._lock
        self._loop = loop
        self._executor = executor
        #: What each task has acquired by this object; some of it may have been undone.
        self._acquired: Dict[TaskRecord, List[Acquisition]] = {}

    @property
    def loop(self) -> AbstractEventLoop | None:
        """Kept for compatibility: any loop can use the lock."""
        return self._loop

    @property
    def executor(self) -> Executor | None:
        """Kept for compatibility: no executor is used."""
        return self._executor

    @asynccontextmanager
    async def read_lock(
        self, timeout: Optional[float] = None, *, blocking: Optional[bool] = None
    ) -> AsyncIterator[None]:
        """For ``async with``: :meth:`acquire_read`, and :meth:`release` at its end."""
        await self.acquire_read(timeout, blocking=blocking)
        try:
            yield
        finally:
            await self.release()

    @asynccontextmanager
    async def write_lock(
        self, timeout: Optional[float] = None, *, blocking: Optional[bool] = None
    ) -> AsyncIterator[None]:
        """For ``async with``: :meth:`acquire_write`, and :meth:`release` at its end."""
        await self.acquire_write(timeout, blocking=blocking)
        try:
            yield
        finally:
            await self.release()

    async def acquire_read(
        self, timeout: Optional[float] = None, *, blocking: Optional[bool] = None
    ) -> AsyncAcquireReadWriteReturnProxy[Self]:
        """Acquires the lock together with other readers, and waits until it is free.

        This is :meth:`ReadWriteLock.acquire_read` for the task instead of the thread.
        """
        acquisition = self._asked(True, timeout, blocking)
        try:
            return await self._acquire(acquisition, timeout, blocking)
        except BaseException:
            acquisition.undo()
            raise

    async def acquire_write(
        self, timeout: Optional[float] = None, *, blocking: Optional[bool] = None
    ) -> AsyncAcquireReadWriteReturnProxy[Self]:
        """Acquires the lock for this task alone; otherwise as :meth:`acquire_read`."""
        acquisition = self._asked(False, timeout, blocking)
        try:
            return await self._acquire(acquisition, timeout, blocking)
        except BaseException:
            acquisition.undo()
            raise

    def _asked(
        self, shared: bool, timeout: Optional[float], blocking: Optional[bool]
    ) -> Acquisition:
        """The acquisition of this task, which has yet to be made."""
        self._request(timeout, blocking)
        task = self._task()
        held = _native.held(self._lock, task)
        if held is not None:
            self._refuse_other_mode(held, shared, "task")
        return _native.Acquisition(self._lock, shared, task)

    async def _acquire(
        self, acquisition: Acquisition, timeout: Optional[float], blocking: Optional[bool]
    ) -> AsyncAcquireReadWriteReturnProxy[Self]:
        """Makes the acquisition. The caller undoes it after an exception: one of a signal handler
        may also come when this has returned."""
        limit, task = self._request(timeout, blocking), self._task()
        await self._take(acquisition, limit, task)
        self._request(timeout, blocking)  # it may have been closed meanwhile
        self._acquired.setdefault(task, []).append(acquisition)
        return AsyncAcquireReadWriteReturnProxy(self, task)

    async def _take(self, acquisition: Acquisition, limit: float, task: TaskRecord) -> None:
        if acquisition.attempt(limit != 0) is None:
            if limit < 0:
                _async_wait.refuse_deadlock(self._lock, task)
            try:
                await _async_wait.take(acquisition, limit, cancel=self._closing)
            except Cancelled as error:
                raise self._explain(error) from None
        _async_wait.note_taken(self._lock, task)

    async def release(self, *, force: bool = False) -> None:
        """Undoes one acquisition. The lock is released when this task has undone all of them.

        If this task does not hold the lock by this object, undoes an acquisition of a task that has
        ended, such as the one in which ``asyncio.wait_for(lock.acquire_read(), 5)`` runs before
        Python 3.12. With ``force``, releases the lock at once. Raises RuntimeError if there is
        nothing to release, unless with ``force``.
        """
        if not self._inherited():
            self._release_once(self._task(), force)

    def _release_once(self, task: TaskRecord, force: bool = False) -> None:
        self._forget_undone(task)
        if task not in self._acquired:
            _async_wait.note_ended()
            for other in list(self._acquired):
                # A living task of another thread may be acquiring just now.
                if other.ended:
                    self._forget_undone(other)
            task = next((other for other in list(self._acquired) if other.ended), task)
        if task in self._acquired:
            self._give_back(task, force)
        elif not force:
            self._refuse_release("task")

    async def close(self) -> None:
        """Releases the locks that all tasks hold by this object, and ends their waits.

        Later requests, and waiting requests, raise RuntimeError.
        """
        if not self._inherited():
            self._close()
            for task in list(self._acquired):
                self._give_back(task, True)

    def _give_back(self, task: TaskRecord, all_of_them: bool) -> None:
        acquired = self._acquired[task]
        # An acquisition knows whether it was undone, also if an exception of a signal handler comes
        # before it is forgotten here.
        for acquisition in reversed(acquired if all_of_them else acquired[-1:]):
            acquisition.undo()
        self._forget_undone(task)

    def _forget_undone(self, task: TaskRecord) -> None:
        acquired = [one for one in self._acquired.get(task, ()) if one.holds]
        if acquired:
            self._acquired[task] = acquired
        else:
            self._acquired.pop(task, None)

    def __del__(self) -> None:
        # While the interpreter ends, modules may be gone already; the process releases the lock.
        if not self.__dict__.get("_acquired") or sys is None or sys.is_finalizing():
            return
        if not self._inherited():
            for task in list(self._acquired):
                self._give_back(task, True)

    def _requester(self) -> Optional[TaskRecord]:
        return _async_wait.current()

    def _task(self) -> TaskRecord:
        task = _async_wait.current()
        if task is None:
            raise RuntimeError("no task runs: use this lock inside an asyncio task or a trio task")
        return task
