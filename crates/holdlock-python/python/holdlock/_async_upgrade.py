"""A shared lock with the right to become exclusive, for asynchronous code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Hashable, Optional

from . import _async_wait, _options
from ._async_block import ReleasedAtEnd
from ._errors import Timeout
from ._native import NativeLock, UpgradeableGuard, acquire_upgradeable, queue_upgradeable
from ._line import wait_for

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._native import CancelToken, Pending, Record, Task, Wakeups

__all__ = ["AsyncUpgradeableGuard", "acquire"]


class AsyncUpgradeableGuard(ReleasedAtEnd):
    """An :class:`UpgradeableGuard` for tasks: the result of ``await lock.acquire_upgradeable()``.

    An ``async with`` statement releases it at its end.
    """

    def __init__(self, guard: UpgradeableGuard) -> None:
        self._guard = guard

    @property
    def lock_file(self) -> str:
        """The path, as it was given."""
        return self._guard.lock_file

    @property
    def exclusive(self) -> Optional[bool]:
        """Whether the lock is exclusive; None: it was released, or a task upgrades it now."""
        return self._guard.exclusive

    @property
    def token(self) -> Optional[int]:
        """As :attr:`UpgradeableGuard.token`."""
        return self._guard.token

    @property
    def abandoned(self) -> Optional[Record]:
        """As :attr:`UpgradeableGuard.abandoned`."""
        return self._guard.abandoned

    async def upgrade(
        self, timeout: Optional[float] = None, *, cancel: Optional[CancelToken] = None
    ) -> None:
        """Turns the shared lock into the exclusive one: :meth:`UpgradeableGuard.upgrade`.

        Other tasks run meanwhile. A task that is cancelled still has the shared lock and the right.
        """
        limit = -1.0 if timeout is None else _options.limit(timeout, True)
        if limit < 0:
            _async_wait.refuse_upgrade(self._guard, _async_wait.current())
        await wait_for(_Upgrade(self._guard), limit, None, cancel)

    def downgrade(self) -> None:
        """Turns the exclusive lock back into the shared one, and keeps the right."""
        self._guard.downgrade()

    async def release(self) -> None:
        """Releases the lock and the right. Does nothing if they were released before."""
        self._guard.release()

    async def release_abandoned(self) -> None:
        """As :meth:`UpgradeableGuard.release_abandoned`."""
        self._guard.release_abandoned()

    async def __aenter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<Async{repr(self._guard)[1:]}"


async def acquire(
    lock: NativeLock, limit: float, cancel: Optional[CancelToken]
) -> AsyncUpgradeableGuard:
    """Acquires the shared lock with the right to upgrade it."""
    right = _Right(lock)
    task = _async_wait.current()
    guard: Optional[UpgradeableGuard] = None
    try:
        guard = right._try(limit != 0, None)
        if guard is None:
            if limit < 0:
                _async_wait.refuse_upgradeable(lock, task)
            guard = await wait_for(right, limit, None, cancel)
            assert guard is not None
        _async_wait.note_upgradeable(guard, task)
        return AsyncUpgradeableGuard(guard)
    except BaseException:
        # An exception of a signal handler has come, and its traceback would keep the guard.
        if guard is not None:
            guard.release()
        raise


class _Right:
    """The right to upgrade, for which tasks wait in a line."""

    def __init__(self, lock: NativeLock) -> None:
        self._lock = lock
        self._line: Hashable = ("right to upgrade", lock._absolute_path)
        self._first_file = lock.lock_file

    def _try(self, may_wait: bool, task: Optional[Task], /) -> Optional[UpgradeableGuard]:
        try:
            return acquire_upgradeable(self._lock, 0.0, None, True)
        except Timeout:
            if may_wait:
                return None
            raise

    def _queue(
        self,
        limit: float,
        task: Optional[Task],
        cancel: Optional[CancelToken],
        wakeups: Optional[Wakeups],
        /,
    ) -> Pending:
        return queue_upgradeable(self._lock, limit, cancel, wakeups)


class _Upgrade:
    """An upgrade. Nobody else can wait for it, because one holder at a time has the right."""

    def __init__(self, guard: UpgradeableGuard) -> None:
        self._guard = guard
        self._line: Hashable = ("upgrade", id(guard))
        self._first_file = guard.lock_file

    def _try(self, may_wait: bool, task: Optional[Task], /) -> None:
        self._guard.upgrade(0)

    def _queue(
        self,
        limit: float,
        task: Optional[Task],
        cancel: Optional[CancelToken],
        wakeups: Optional[Wakeups],
        /,
    ) -> Pending:
        return self._guard._queue(limit, cancel, wakeups)
