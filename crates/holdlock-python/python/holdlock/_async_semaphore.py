"""``AsyncSemaphore``: a lock with several slots, for asynchronous code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from ._async_block import HeldByTask, OnlyAsync, ReleasedAtEnd
from ._errors import Deadlock
from ._native import printable
from ._line import is_awaited, wait_for
from ._semaphore_base import SemaphoreBase, SlotBase

if TYPE_CHECKING:
    from ._native import CancelToken

__all__ = ["AsyncSemaphore", "AsyncSlot"]


class AsyncSemaphore(HeldByTask, OnlyAsync, SemaphoreBase):
    """A :class:`Semaphore` for asynchronous code, under asyncio (with any loop), trio or anyio.

    >>> import asyncio, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "gpus")
    >>> async def main():
    ...     async with AsyncSemaphore(path, 4, timeout=60) as slot:
    ...         return slot in range(4)  # at most three others are in here
    >>> asyncio.run(main())
    True

    A free slot is acquired at once. A task that has to wait lets the other tasks run; it may be
    cancelled at any moment, and has then left the queue and holds no slot when its ``acquire``
    ends. Each task holds its slots by itself. The options are those of :class:`Semaphore`.
    """

    async def acquire(
        self,
        timeout: Optional[float] = None,
        *,
        blocking: Optional[bool] = None,
        cancel: Optional[CancelToken] = None,
    ) -> AsyncSlot:
        """Acquires a slot, and waits until one is free, while other tasks run.

        The arguments and the errors are those of :meth:`Semaphore.acquire`. The result has the
        number of the slot, and may be used in an ``async with`` statement.
        """
        limit = self._limit(timeout, blocking)
        task = self._requester()
        # The slots that become free belong to those who wait already.
        waits = limit != 0 and is_awaited(self)
        before = len(self._slots_of(task))
        try:
            taken = None if waits else self._try(limit != 0, task)
            if taken is None:
                if limit < 0 and before >= self.n:
                    raise self._deadlock()
                taken = await wait_for(self, limit, task, cancel)
            return AsyncSlot(self, *taken)
        except BaseException:
            # An exception of a signal handler may have come after the acquisition.
            self._undo(before, task)
            raise

    def _deadlock(self) -> Deadlock:
        slots = "the only slot" if self.n == 1 else f"all {self.n} slots"
        return Deadlock(
            f"Deadlock: this task holds {slots} of "
            f"'{printable(self.lock_file)}' and asks for another one; release one first"
        )

    async def release(self, slot: Optional[int] = None) -> None:
        """Gives back the slot that this task has acquired last; as :meth:`Semaphore.release`.

        If it holds none, gives back a slot of a task that has ended, such as the one in which
        ``asyncio.wait_for(semaphore.acquire(), 5)`` runs before Python 3.12.
        """
        task = self._releaser(lambda task: slot is not None or self._slots_of(task))
        self._give_back(slot, task)

    async def __aenter__(self) -> int:
        return (await self.acquire()).slot


class AsyncSlot(ReleasedAtEnd, SlotBase[AsyncSemaphore]):
    """The result of :meth:`AsyncSemaphore.acquire`: ``async with`` gives the slot back."""

    async def release(self) -> None:
        """Gives the slot back. Any task may do that. Raises RuntimeError the second time."""
        self._give_back()

    async def __aenter__(self) -> int:
        return self.slot
