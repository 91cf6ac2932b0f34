"""``AsyncTokenGate``: a resource that refuses older tokens, for asynchronous code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Hashable, Optional

from . import _options
from ._native import TokenGate
from ._line import is_awaited, wait_for

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Tuple, Type

    from typing_extensions import Self

    from ._native import CancelToken, Inside, Pending, Task, Wakeups

__all__ = ["AsyncInside", "AsyncTokenGate"]


class AsyncTokenGate:
    """A :class:`TokenGate` for asynchronous code, under asyncio (with any loop), trio or anyio.

    >>> import asyncio, os, tempfile
    >>> from holdlock import AsyncFileLock
    >>> place = tempfile.mkdtemp()
    >>> async def main():
    ...     lock = AsyncFileLock(os.path.join(place, "job.lock"), record=True)
    ...     gate = AsyncTokenGate(os.path.join(place, "data.gate"))
    ...     async with lock, await gate.enter(lock.token):
    ...         print("write here")
    >>> asyncio.run(main())
    write here

    The file is that of a :class:`TokenGate`: both may be used with it. While a task waits, the
    other tasks of its loop run.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._gate = TokenGate(path)

    @property
    def path(self) -> str:
        """The path, as it was given."""
        return self._gate.path

    async def enter(
        self,
        token: int,
        timeout: Optional[float] = None,
        *,
        blocking: Optional[bool] = None,
        cancel: Optional[CancelToken] = None,
    ) -> AsyncInside:
        """Enters, and waits until no other writer is inside. The result is for ``async with``.

        The arguments and the errors are those of :meth:`TokenGate.enter`, without Deadlock.
        """
        may_wait = True if blocking is None else _options.blocking(blocking)
        limit = _options.limit(-1 if timeout is None else timeout, may_wait)
        entry = _Entry(self._gate, token)
        waits = limit != 0 and is_awaited(entry)
        inside: Optional[Inside] = None
        try:
            if not waits:
                inside = entry._try(limit != 0, None)
            if inside is None:
                inside = await wait_for(entry, limit, None, cancel)
                assert inside is not None
            return AsyncInside(inside)
        except BaseException:
            # An exception of a signal handler has come, and its traceback would keep the token.
            if inside is not None:
                inside.leave()
            raise

    def __repr__(self) -> str:
        return f"<Async{repr(self._gate)[1:]}"

    def __reduce__(self) -> Tuple[Type[Self], Tuple[str]]:
        return type(self), self._gate.__reduce__()[1]


class AsyncInside:
    """Being inside an :class:`AsyncTokenGate`. ``async with`` leaves it at its end."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    def leave(self) -> None:
        """Leaves the gate. Does nothing if it was left before, nor in a child of fork.

        Raises OSError if other code has closed the descriptor of the gate: another writer may have
        entered since.
        """
        self._inside.leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._inside.leave()

    def __repr__(self) -> str:
        return f"<Async{repr(self._inside)[1:]}"


class _Entry:
    """The wait of a task at a gate. The tasks of a loop stand in a line."""

    def __init__(self, gate: TokenGate, token: int) -> None:
        self._gate = gate
        self._token = token
        self._line: Hashable = ("token gate", gate.__reduce__()[1])
        self._first_file = gate.path

    def _try(self, may_wait: bool, task: Optional[Task], /) -> Optional[Inside]:
        return self._gate._try(self._token, may_wait)

    def _queue(
        self,
        limit: float,
        task: Optional[Task],
        cancel: Optional[CancelToken],
        wakeups: Optional[Wakeups],
        /,
    ) -> Pending:
        return self._gate._queue(self._token, limit, cancel, wakeups)
