"""What asynchronous objects have in common that an ``async with`` statement holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["OnlyAsync", "ReleasedAtEnd"]


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


class OnlyAsync:
    """Refuses the plain ``with`` statement, whose wait would stop the loop."""

    def __enter__(self) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} is held by `async with`")

    def __exit__(self, *exception: object) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} is held by `async with`")
