"""``BaseAsyncFileLock``: the base of lock classes for asynchronous code.

A derived class supplies ``_acquire()`` and ``_release()`` as for :class:`BaseFileLock`; they may be
coroutines. While a task waits for the lock, other tasks run.
"""

from __future__ import annotations

import inspect
import math
import os
import time
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

from . import _async_library, _async_wait, _log, _options
from ._async_block import OnlyAsync, ReleasedAtEnd
from ._base import BaseFileLock
from ._context import Acquisition, FileLockContext
from ._errors import Cancelled, Deadlock
from ._native import printable

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures import Executor
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from ._native import CancelToken
    from ._types import AsyncOptions, ThreadLocal

__all__ = ["AsyncAcquireReturnProxy", "BaseAsyncFileLock"]

Function = TypeVar("Function", bound=Callable[..., Any])
Lock = TypeVar("Lock", bound="BaseAsyncFileLock")


class AsyncAcquireReturnProxy(ReleasedAtEnd, Generic[Lock]):
    """The result of ``await lock.acquire()``: ``async with`` releases the lock at its end."""

    def __init__(self, lock: Lock) -> None:
        self.lock = lock

    async def release(self) -> None:
        """Undoes the acquisition."""
        await self.lock.release()

    async def __aenter__(self) -> Lock:
        return self.lock


class BaseAsyncFileLock(OnlyAsync, BaseFileLock):
    """The base of the lock classes for asynchronous code.

    The lock belongs to the object: a task that acquires an object that is held does not wait, and
    the lock is released when the last of them releases it. Tasks that are to exclude one another
    use an object each.
    """

    _defaults = _options.ASYNC_DEFAULTS
    _loop: AbstractEventLoop | None = None
    _run_in_executor = True
    _executor: Executor | None = None

    def __init__(
        self,
        lock_file: str | os.PathLike[str],
        timeout: float = -1,
        mode: int = _options.UNSET_MODE,
        thread_local: ThreadLocal = False,
        **options: Unpack[AsyncOptions],
    ) -> None:
        check_options(bool(thread_local), options)
        super().__init__(lock_file, timeout, mode, thread_local, **options)  # type: ignore[misc]
        #: The acquisition that is inside one of the hooks.
        self._busy: Acquisition | None = None
        #: The number of the task that has acquired the lock last.
        self._taker = 0

    @property
    def loop(self) -> AbstractEventLoop | None:
        """Kept for compatibility: any loop can use the lock."""
        return self._loop

    @property
    def run_in_executor(self) -> bool:
        """Whether hooks that may block run in another thread."""
        return self._run_in_executor

    @property
    def executor(self) -> Executor | None:
        """The executor of those threads; None: the loop's own."""
        return self._executor

    @executor.setter
    def executor(self, value: Executor | None) -> None:
        self._executor = value

    async def acquire(  # type: ignore[override]
        self,
        timeout: float | None = None,
        poll_interval: float | None = None,
        *,
        blocking: bool | None = None,
        cancel_check: Callable[[], bool] | None = None,
        cancel: CancelToken | None = None,
    ) -> AsyncAcquireReturnProxy[Self]:
        """Acquires the lock, and waits until it is free, while other tasks run.

        Raises :class:`Timeout` if the lock is not acquired in time. A task that is cancelled
        meanwhile does not hold the lock.
        """
        self._after_fork()
        if self._inherited:
            raise RuntimeError(
                f"lock '{printable(self.lock_file)}' was held when this process was forked; "
                "make a new lock in the child"
            )
        context = self._context
        may_wait = _options.blocking(context.blocking if blocking is None else blocking)
        pause = context.poll_interval if poll_interval is None else _options.interval(poll_interval)
        limit = _options.limit(context.timeout if timeout is None else timeout, may_wait)
        cancel_check = _options.check_of(cancel_check, cancel)
        end = math.inf if limit < 0 else time.monotonic() + limit
        begins = limit != 0
        path = self.lock_file
        task = _async_wait.current()
        acquisition = Acquisition()
        try:
            while not await self._try(context, acquisition):
                if not may_wait:
                    _log.debug(_log.FAILED, self, path)
                    raise self._timeout()
                if cancel_check is not None and cancel_check():
                    _log.debug(_log.CANCELLED, self, path)
                    raise Cancelled(self.lock_file)
                if end == math.inf and task is not None:
                    self._refuse_own_lock_of(task)
                left = end - time.monotonic()
                # Also a request whose time has run out during its first attempt has waited.
                if begins or left > 0:
                    _log.debug(_log.WAITING, self, path)
                if left <= 0:
                    _log.debug(_log.TIMEOUT, self, path)
                    raise self._timeout()
                begins = False
                await self._pause_task(left if cancel_check is None else min(left, pause), pause)
            if task is not None and context.lock_counter == 1:
                self._taker = task.number
                task.taken_in_python[self._real_path()] = self
            return AsyncAcquireReturnProxy(self)
        except BaseException:
            # An exception of a signal handler may have come at the end of the attempt or later.
            if self._busy is acquisition:
                self._busy = None
            if acquisition.done:
                await BaseAsyncFileLock.release(self)
            raise

    def _refuse_own_lock_of(self, task: _async_wait.TaskRecord) -> None:
        """Raises Deadlock if the task holds the lock by another object."""
        other = task.taken_in_python.get(self._real_path())
        if other is None or other is self or other._taker != task.number or not other.is_locked:
            return
        raise Deadlock(
            f"Deadlock: lock '{printable(self.lock_file)}' is already held by this task, by "
            "another lock object; use one object, or is_singleton=True, to acquire it again"
        )

    async def release(self, force: bool = False) -> None:  # type: ignore[override]
        """Undoes one acquisition, or with ``force`` all. The lock is released after the last."""
        self._after_fork()
        context = self._context
        if context.lock_file_fd is None:
            return
        if context.lock_counter > 1 and not force:
            context.lock_counter -= 1
            return
        _log.debug(_log.RELEASE, self, self.lock_file)
        if inspect.iscoroutinefunction(self._release):
            try:
                await self._release()
            finally:
                self._give_back_if_released(context)
        else:
            await self._call(lambda: self._give_back(context))
        _log.debug(_log.RELEASED, self, self.lock_file)

    async def _try(self, context: FileLockContext, acquisition: Acquisition) -> bool:
        """One attempt. Tasks that share the object make theirs one after the other."""
        while self._busy is not None:
            await _async_library.sleep(0.001)
        if context.lock_file_fd is not None:
            before = context.lock_counter
            try:
                context.lock_counter = before + 1
                acquisition.done = True
                return True
            except BaseException:
                acquisition.done = False
                context.lock_counter = before
                raise
        try:
            self._busy = acquisition
            _log.debug(_log.ATTEMPT, self, self.lock_file)
            acquisition.done = await self._try_once(context)
            if acquisition.done:
                _log.debug(_log.ACQUIRED, self, self.lock_file)
            return acquisition.done
        except BaseException:
            # Most likely the task was cancelled while another thread acquired the lock.
            acquisition.done = False
            if context.lock_file_fd is not None:
                BaseFileLock.release(self, force=True)
            raise
        finally:
            self._busy = None

    async def _try_once(self, context: FileLockContext) -> bool:
        if not inspect.iscoroutinefunction(self._acquire):
            attempt = Acquisition()
            taken: bool = await self._call(lambda: self._attempt(context, attempt))
            return taken
        await self._acquire()
        if context.lock_file_fd is None:
            return False
        self._note(context)
        context.lock_counter = 1
        return True

    async def _call(self, hook: Callable[[], Any]) -> Any:
        """Calls a hook of a derived class; in another thread, if it may block."""
        if self._run_in_executor and self._may_block():
            return await _async_library.in_thread(hook, self._executor)
        return hook()

    def _may_block(self) -> bool:
        """Whether the hooks may block the loop; a derived class may know."""
        return True

    async def _pause_task(self, seconds: float, interval: float) -> None:
        """Sleeps before the next attempt, as :meth:`BaseFileLock._pause` does."""
        await _async_library.sleep(min(seconds, interval))

    def _give_back_if_released(self, context: FileLockContext) -> None:
        """Notes a release that a coroutine has done."""
        if context.lock_file_fd is None:
            context.lock_counter = 0

    def _release_at_end(self) -> None:
        """Releases the lock without a loop: the object is collected, or the process ends."""
        if not inspect.iscoroutinefunction(self._release):
            BaseFileLock.release(self, force=True)

    async def lock(self) -> Self:  # type: ignore[override]
        """Acquires the lock, unless this object holds it already. Returns the object."""
        if not self.is_locked:
            await self.acquire()
        return self

    async def unlock(self) -> None:  # type: ignore[override]
        """Releases the lock, however often it was acquired. Does nothing if it is not held."""
        await self.release(force=True)

    def __call__(self, function: Function) -> Function:
        """Decorates an asynchronous function: the lock is held until the function is done.

        It is held until an asynchronous generator is exhausted or closed.
        """
        from ._decorate import wrap_async

        return wrap_async(self, function)

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.release()
        except Exception as error:
            self._failed_release(exc_value, error)
            raise


def check_options(thread_local: bool, options: AsyncOptions) -> None:
    """Refuses options that contradict one another."""
    if thread_local and options.get("run_in_executor", True):
        raise ValueError("run_in_executor is not supported when thread_local is True")
