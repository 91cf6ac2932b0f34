"""The exceptions of locks between hosts."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, List, Optional, Tuple, Type

from ._errors import Cancelled, Timeout
from ._native import printable

if TYPE_CHECKING:
    from ._engine_types import Member

__all__ = [
    "EngineError",
    "EngineTimeout",
    "EngineUnreachable",
    "EngineUnsuitable",
    "LockLost",
    "LoginRefused",
]


class EngineError(OSError):
    """A lock between hosts failed. The message names the lock, the reason and the remedy.

    >>> error = EngineUnreachable("postgres://db/app#nightly", "cannot reach the engine: no route")
    >>> print(error)
    postgres://db/app#nightly: cannot reach the engine: no route
    >>> isinstance(error, EngineError) and isinstance(error, ConnectionError)
    True
    """

    _errno = errno.EIO

    def __init__(self, lock: str, what: str) -> None:
        super().__init__(self._errno, what, lock)
        #: The URL of the lock, without user, password and options.
        self.lock = lock

    def __str__(self) -> str:
        return f"{printable(self.lock)}: {self.strerror}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.lock!r}, {self.strerror!r})"

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.lock, self.strerror)


class EngineUnreachable(EngineError, ConnectionError):
    """The engine does not answer, or the connection ended while the request waited."""

    _errno = errno.EHOSTUNREACH


class LoginRefused(EngineError, PermissionError):
    """The engine does not let the user in."""

    _errno = errno.EACCES


class EngineUnsuitable(EngineError):
    """The engine answers, but is not a safe place for a lock: a pooler, a standby."""

    _errno = errno.ENOTSUP


class LockLost(EngineError):
    """The lock was lost while this program held it: another process may hold it now.

    >>> error = LockLost("postgres://db/app#nightly", "the lock was lost: the server ended", True)
    >>> error.lock, error.definite
    ('postgres://db/app#nightly', True)
    """

    _errno = errno.ENOLCK

    def __init__(self, lock: str, what: str, definite: bool) -> None:
        super().__init__(lock, what)
        #: Whether the engine has said that the lock is gone, or has ended the connection. False:
        #: nothing was heard of the engine in time.
        self.definite = definite

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.lock, self.strerror, self.definite)


class EngineTimeout(Timeout):
    """A lock between hosts was not acquired in time. Also a :class:`Timeout`.

    The message and :attr:`holders` name the holders, of whatever host, as they were seen last.
    """

    def __init__(self, lock_file: str, what: str, holders: List[Member]) -> None:
        words = ", ".join(map(str, holders))
        super().__init__(lock_file, words or None)
        #: The URL of the lock, without user, password and options.
        self.lock = lock_file
        self._message = what
        self._members = holders

    @property
    def holders(self) -> List[Member]:  # type: ignore[override]
        """The holders, of whatever host."""
        return self._members

    def __str__(self) -> str:
        return f"{printable(self.lock)}: {self._message}"

    def __reduce__(self) -> Tuple[Type[EngineTimeout], Tuple[Any, ...]]:  # type: ignore[override]
        return type(self), (self.lock, self._message, self._members)


def cancelled(lock: str) -> Cancelled:
    """The exception for a wait that a :class:`CancelToken` has ended."""
    error = Cancelled(lock)
    error._kind = "lock"
    return error


def note(body: BaseException, lost: BaseException) -> None:
    """Tells about a lost lock by the exception that has ended the block."""
    if isinstance(body, LockLost):
        return
    add: Optional[Any] = getattr(body, "add_note", None)  # from Python 3.11 on
    if add is not None:
        add(f"{type(lost).__name__}: {lost}")
    elif body.__context__ is None:
        body.__context__ = lost
