"""``AsyncFileLock``: the lock that the kernel keeps, for asynchronous code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable

from . import _async_library, _async_wait, _log, _native, _options
from ._async_base import AsyncAcquireReturnProxy, BaseAsyncFileLock, check_options
from ._errors import Cancelled, Timeout
from ._file_lock import FileLock, WindowsFileLock

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ._async_upgrade import AsyncUpgradeableGuard
    from ._native import CancelToken, Task
    from ._types import AsyncNativeOptions, ThreadLocal

__all__ = ["AsyncFileLock", "AsyncUnixFileLock", "AsyncWindowsFileLock"]


class AsyncUnixFileLock(FileLock, BaseAsyncFileLock):
    """A :class:`FileLock` for asynchronous code, under asyncio (with any loop), trio or anyio.

    >>> import asyncio, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "index.lock")
    >>> async def main():
    ...     async with AsyncFileLock(path, timeout=5) as lock:
    ...         return lock.is_locked  # no other process on this machine is in here
    >>> asyncio.run(main())
    True

    A free lock is acquired at once. A task that has to wait lets the other tasks run: a small
    thread waits for it in the kernel's queue, and wakes the loop by a pipe. The thread is neither
    one of Python's nor one of the executor's. All tasks that wait for the same path with the same
    options share a thread with 128 KiB of stack and a descriptor, all tasks of a loop share the
    pipe, and the tasks of the process share a thread for their time limits. A waiting task takes
    no processor time. Only calls to a file system that does not answer stop the loop.

    A task may be cancelled at any moment. When its ``acquire`` ends, the task has left the queue
    and does not hold the lock.

    The lock belongs to the object: a task that acquires an object that is held does not wait, and
    the lock is released when all of them have released it, in whatever task, thread or loop. Tasks
    that are to exclude one another use an object each, or share one that is made with
    ``thread_local="mutex"``. With ``thread_local=True`` (which needs ``run_in_executor=False``)
    each thread that runs a loop holds the lock for itself.

    The options are those of :class:`FileLock`, and ``loop``, which has no effect, ``executor`` and
    ``run_in_executor``, which say where ``on_acquired`` is called. In a child made by fork, and
    pickled for another process, the lock behaves as a :class:`FileLock`; loop and executor are not
    pickled.
    """

    _defaults = _options.ASYNC_NATIVE_DEFAULTS

    def __init__(
        self,
        lock_file: str | os.PathLike[str],
        timeout: float = -1,
        mode: int = _options.UNSET_MODE,
        thread_local: ThreadLocal = False,
        **options: Unpack[AsyncNativeOptions],
    ) -> None:
        check_options(thread_local is True, options)
        init = _native.NativeLock.__init__
        init(self, lock_file, timeout, mode, thread_local, **options)  # type: ignore[misc]

    async def acquire(  # type: ignore[override]
        self,
        timeout: float | None = None,
        poll_interval: float | None = None,
        *,
        blocking: bool | None = None,
        cancel_check: Callable[[], bool] | None = None,
        shared: bool | None = None,
        cancel: CancelToken | None = None,
        note: str | None = None,
    ) -> AsyncAcquireReturnProxy[Self]:
        """Acquires the lock, and waits until it is free, while other tasks run.

        The result may be used in an ``async with`` statement, which releases the lock at its end.

        timeout: wait at most this many seconds. Negative or inf: no limit. 0: do not wait.
            None: the lock's own :attr:`timeout`.
        blocking: False: do not wait.
        cancel_check: a function that is called every ``poll_interval`` seconds of the wait; the
            wait ends when it returns True.
        shared: True: acquire together with other shared holders. None: as the lock was made.
        cancel: a :class:`CancelToken` by which another thread can end the wait.
        note: the reason, for the record of the lock. None: the lock's own :attr:`note`.

        Raises :class:`Timeout` if the lock is not acquired in time, and its subclass
        :class:`Cancelled` if the wait was cancelled. Raises :class:`Deadlock`, a RuntimeError, if
        this task holds the lock by another object and would wait for ever. Raises OSError if the
        file cannot be opened or locked.
        """
        limit, pause = _options.request(timeout, poll_interval, None, blocking, self._settings)
        record = _async_wait.current()
        task = None if self.is_thread_local() else record
        if not self.is_locked:
            _log.debug(_log.ATTEMPT, self, self.lock_file)
        acquisition = _native.Acquisition(self, shared, task, note)
        try:
            taken = acquisition.attempt(limit != 0)
            if taken is None:
                if limit < 0:
                    _async_wait.refuse_deadlock(self, record)
                _log.debug(_log.WAITING, self, self.lock_file)
                try:
                    taken = await _async_wait.take(
                        acquisition, limit, pause=pause, cancel_check=cancel_check, cancel=cancel
                    )
                except Timeout as error:
                    end = _log.CANCELLED if isinstance(error, Cancelled) else _log.TIMEOUT
                    _log.debug(end, self, self.lock_file)
                    raise
            if taken:
                _log.debug(_log.ACQUIRED, self, self.lock_file)
                if record is not None:
                    _async_wait.note_taken(self, record)
                if self._on_acquired is not None:
                    await self._call_hook_of(task)
            return AsyncAcquireReturnProxy(self)
        except BaseException:
            # The hook has failed, or an exception of a signal handler has come: perhaps before this
            # code had the result of the acquisition.
            acquisition.undo()
            raise

    async def _call_hook_of(self, task: _async_wait.TaskRecord | None) -> None:
        hook = self._on_acquired
        assert hook is not None
        descriptor = _native.lend(self, task)
        if self._run_in_executor:
            await _async_library.in_thread(lambda: hook(descriptor), self._executor)
        else:
            hook(descriptor)
        if _native.held(self, task) is None:
            shown = _native.printable(self.lock_file)
            raise RuntimeError(
                f"on_acquired has released lock '{shown}', and an acquire of it is still running"
            )

    async def release(self, force: bool = False) -> None:  # type: ignore[override]
        """Undoes one acquisition, or with ``force`` all. The lock is released after the last.

        Does not wait. Does nothing if the lock is not held.
        """
        task = None if self.is_thread_local() else _async_wait.current()
        last = self.is_locked and (force or self.lock_counter == 1)
        excludes = self._thread_local_setting == "mutex"
        if excludes and task is not None and not _native.was_taken_by(self, task):
            # The task that has acquired it may have ended.
            _async_wait.note_ended()
        if last:
            _log.debug(_log.RELEASE, self, self.lock_file)
        _native.release(self, force, task)
        if last:
            _log.debug(_log.RELEASED, self, self.lock_file)

    async def acquire_upgradeable(  # type: ignore[override]
        self,
        timeout: float | None = None,
        *,
        blocking: bool | None = None,
        cancel: CancelToken | None = None,
    ) -> AsyncUpgradeableGuard:
        """Acquires the shared lock with the right to upgrade it, for ``upgradeable=True``.

        >>> import asyncio, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "index.lock")
        >>> async def main():
        ...     lock = AsyncFileLock(path, upgradeable=True)
        ...     async with await lock.acquire_upgradeable(timeout=5) as reader:
        ...         await reader.upgrade()  # what was read before is still true
        ...         return reader.exclusive
        >>> asyncio.run(main())
        True

        The result holds the lock, and not this object. The arguments and errors are those of
        :meth:`acquire`.
        """
        self._refuse_upgrade()
        limit, _ = _options.request(timeout, None, None, blocking, self._settings)
        from . import _async_upgrade

        return await _async_upgrade.acquire(self, limit, cancel)

    async def release_abandoned(self) -> None:  # type: ignore[override]
        """As :meth:`FileLock.release_abandoned`."""
        task = None if self.is_thread_local() else _async_wait.current()
        _native.release_abandoned(self, task)

    def hand_over(self) -> int:
        """Gives the lock to processes that this process starts: see :meth:`FileLock.hand_over`."""
        return _native.hand_over(self, None if self.is_thread_local() else _async_wait.current())

    def _requester(self) -> Task | None:
        return None if self.is_thread_local() else _async_wait.current()

    # FileLock comes first among the bases, and its methods block.
    lock = BaseAsyncFileLock.lock
    unlock = BaseAsyncFileLock.unlock
    __enter__ = BaseAsyncFileLock.__enter__
    __exit__ = BaseAsyncFileLock.__exit__


AsyncFileLock = AsyncUnixFileLock


class AsyncWindowsFileLock(WindowsFileLock, BaseAsyncFileLock):
    """The name of the lock of another operating system; here it cannot be acquired."""
