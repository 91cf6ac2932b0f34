"""``AsyncEngineLock``: a lock between hosts, for asynchronous code."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NoReturn, Optional, TypeVar
from weakref import ref

from . import _async_library
from ._engine_base import EngineLockBase
from ._engine_errors import LockLost, note as note_loss
from ._engine_lost import AsyncLostSignal
from ._engine_native import cancelled_by, task_of
from ._engine_types import History, Member, Members
from ._pending import wait_for

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from ._engine_types import EngineOptions
    from ._native import CancelToken, Pending, Task

    Function = TypeVar("Function", bound=Callable[..., Any])

__all__ = ["AsyncEngineLock"]


class AsyncEngineLock(EngineLockBase):
    """An :class:`EngineLock` for asynchronous code, under asyncio (with any loop), trio or anyio.

    >>> lock = AsyncEngineLock("postgres://ann@db.example/app#nightly", timeout=30)
    >>> lock.is_locked
    False

    A task that waits lets the other tasks run; it may be cancelled at any moment, and has then left
    the queue and does not hold the lock when its ``acquire`` ends. Each task holds the lock by
    itself, so tasks that use one object exclude each other. A task that holds the lock acquires it
    again at once. What a task holds at its end, such as one that ``asyncio.wait_for`` has made for
    ``acquire``, can be released by any task. In other tasks, ``token``, ``deadline``, ``is_valid``, ``ensure_held``, ``check``
    and ``lost`` are about the task that holds it. The options are those of :class:`EngineLock`.
    """

    def __init__(self, url: str, timeout: float = -1, **options: Unpack[EngineOptions]) -> None:
        super().__init__(url, timeout, **options)
        #: The tasks that hold the lock, by their numbers.
        self._owners: Dict[int, ref[Any]] = {}

    async def acquire(
        self,
        timeout: Optional[float] = None,
        *,
        blocking: Optional[bool] = None,
        shared: Optional[bool] = None,
        cancel: Optional[CancelToken] = None,
        note: Optional[str] = None,
    ) -> AcquiredEngineLock:
        """Acquires the lock, and waits until it is free, while other tasks run.

        The arguments and the errors are those of :meth:`EngineLock.acquire`. The result may be used
        in an ``async with`` statement.
        """
        limit = self._limit(timeout, blocking)
        owner = _async_library.current_task()
        task = task_of(owner)
        before = self._counter(task)
        try:
            with cancelled_by(cancel) as token:
                pending = self._queue(limit, shared, note, task, token)
                if pending is not None:
                    await wait_for(pending)
            if task is not None:
                self._owners[task.number] = ref(owner)
            return AcquiredEngineLock(self)
        except BaseException:
            # An exception of a signal handler may have come after the acquisition.
            self._undo(before, task)
            raise

    async def release(self, force: bool = False) -> None:
        """Undoes one acquisition; as :meth:`EngineLock.release`. A task that is cancelled meanwhile
        has released the lock."""
        task = self._requester()
        try:
            pending = self._releasing(force, task)
            if pending is not None:
                await wait_for(pending)
        finally:
            if task is not None and self._counter(task) == 0:
                self._owners.pop(task.number, None)

    async def check(self) -> None:
        """Asks the engine whether the lock is held; as :meth:`EngineLock.check`."""
        await _ask(self._checking(self._requester()))

    @property
    def lost(self) -> AsyncLostSignal:
        """Tells when the lock is lost. Raises RuntimeError if the lock was not acquired."""
        return AsyncLostSignal(self._lost(self._requester()))

    async def members(self) -> Members:
        """The holders of the lock, and the waiters in their order, of all hosts."""
        members: Members = await _ask(self._asking_members())
        return members

    async def holders(self) -> List[Member]:
        """The holders of the lock, of all hosts."""
        return (await self.members()).holders

    async def waiters(self) -> List[Member]:
        """The waiters, of all hosts, in the order in which they will be served."""
        return (await self.members()).waiters

    async def break_holder(self, token: int) -> Optional[Member]:
        """Ends the holder with this token; as :meth:`EngineLock.break_holder`."""
        broken: Optional[Member] = await _ask(self._breaking(token))
        return broken

    async def last_run(self) -> History:
        """What the engine remembers of earlier holders; as :meth:`EngineLock.last_run`."""
        history: History = await _ask(self._asking_last_run())
        return history

    async def record_run(
        self, at_work: bool, *, ago: Optional[float] = None, keep: Optional[float] = None
    ) -> History:
        """Tells the engine about the work under this lock; as :meth:`EngineLock.record_run`."""
        counted = self._counted(ago, keep)
        history: History = await _ask(self._recording_run(at_work, counted, self._requester()))
        return history

    async def lock(self) -> Self:
        """Acquires the lock, unless this task holds it already. Returns the object."""
        if not self.is_locked:
            await self.acquire()
        return self

    async def unlock(self) -> None:
        """Releases the lock, however often it was acquired. Does nothing if it is not held."""
        await self.release(force=True)

    def __call__(self, function: Function) -> Function:
        """Decorates an asynchronous function: the lock is held until the function is done."""
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
        except LockLost as error:
            if exc_value is None:
                raise
            note_loss(exc_value, error)

    def __enter__(self) -> NoReturn:
        raise NotImplementedError("a lock for asynchronous code is held by `async with`")

    def __exit__(self, *exception: object) -> NoReturn:
        raise NotImplementedError("a lock for asynchronous code is held by `async with`")

    def _requester(self) -> Optional[Task]:
        task = task_of(_async_library.current_task())
        if self._owners and self._counter(task) == 0:
            self._take_over(task)
        return task

    def _take_over(self, task: Optional[Task]) -> None:
        """Gives the task what another task has acquired that has ended since."""
        for number, owner in list(self._owners.items()):
            ended = owner()
            if ended is None or (hasattr(ended, "done") and ended.done()):
                # An exception of a signal handler may come after each step: the lock has an owner.
                if task is not None:
                    self._owners[task.number] = ref(_async_library.current_task())
                found = self._hand_over(number, task)
                self._owners.pop(number, None)
                if found:
                    return


async def _ask(pending: Pending) -> Any:
    """The answer of the engine. A task that is cancelled does not wait for it."""
    try:
        while not pending.is_over():
            await _async_library.readable([pending.fileno()], math.inf)
        return pending.finish()
    finally:
        pending.close()


class AcquiredEngineLock:
    """The result of :meth:`AsyncEngineLock.acquire`: ``async with`` releases the lock at its end."""

    def __init__(self, lock: AsyncEngineLock) -> None:
        #: The lock.
        self.lock = lock

    async def __aenter__(self) -> AsyncEngineLock:
        return self.lock

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.lock.__aexit__(exc_type, exc_value, traceback)
