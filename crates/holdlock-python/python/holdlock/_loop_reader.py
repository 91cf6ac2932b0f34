"""What a loop of asyncio calls when a descriptor is readable, and what notices the loop's end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["LoopReader"]


class LoopReader:
    """Calls ``readable`` for the loop, and ``closed`` if the loop is closed while it watches.

    A closed loop runs no task again, so a waiting task would acquire its lock and never release it.
    Loops do not tell when they are closed. But a loop that is closed forgets what it watched, and
    nothing else refers to this object.
    """

    __slots__ = ("_closed", "_loop", "_readable")

    def __init__(
        self,
        loop: AbstractEventLoop,
        readable: Callable[[], object],
        closed: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._readable = readable
        self._closed = closed

    def __call__(self) -> None:
        self._readable()

    def __del__(self) -> None:
        if self._loop.is_closed():
            self._closed()
