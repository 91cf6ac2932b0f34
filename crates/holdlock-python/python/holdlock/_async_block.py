"""What asynchronous objects have in common that an ``async with`` statement holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, NoReturn, Optional

from . import _async_wait

if TYPE_CHECKING:
    from types import TracebackType

    from ._async_wait import TaskRecord

__all__ = ["HeldByTask", "OnlyAsync", "ReleasedAtEnd"]


class ReleasedAtEnd:
    """``async with`` releases it at the end of the block."""

    async def release(self) -> None:
        """Releases what is held."""
        raise NotImplementedError

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.release()


class HeldByTask(ReleasedAtEnd):
    """What each task holds for itself. What a task holds at its end, any task may release."""

    def _requester(self) -> Optional[TaskRecord]:
        return _async_wait.current()

    def _releaser(self, holds: Callable[[Optional[TaskRecord]], object]) -> Optional[TaskRecord]:
        """The task that releases. If it holds nothing, notes which tasks have ended."""
        task = _async_wait.current()
        if not holds(task):
            _async_wait.note_ended()
        return task


class OnlyAsync:
    """Refuses the plain ``with`` statement, whose wait would stop the loop."""

    def __enter__(self) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} is held by `async with`")

    def __exit__(self, *exception: object) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} is held by `async with`")
