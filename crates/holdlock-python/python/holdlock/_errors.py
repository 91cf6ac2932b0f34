"""The exceptions of this package, besides the usual ``OSError``."""

from __future__ import annotations

import errno

from ._native import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple, Type

    from ._native import Conflict, Process

__all__ = ["Cancelled", "Deadlock", "SoftFileLockLifetimeWarning", "Timeout"]


class Timeout(TimeoutError):
    """The lock was not acquired in time, because another process, thread or task holds it.

    The message names the holders. The search for them runs when the exception is printed or
    pickled, or when :attr:`holders` is read, so that the exception itself is raised in time.

    >>> error = Timeout("/run/backup.lock")
    >>> error.lock_file, error.filename
    ('/run/backup.lock', '/run/backup.lock')
    >>> isinstance(error, OSError) and error.errno == errno.ETIMEDOUT
    True
    """

    _what = "could not be acquired"

    def __init__(self, lock_file: str, holder: Optional[str] = None) -> None:
        super().__init__(errno.ETIMEDOUT, self._what, lock_file)
        self._lock_file = lock_file
        self._holder = holder
        self._conflict: Optional[Conflict] = None
        self._holders: Optional[List[Process]] = None

    @property
    def lock_file(self) -> str:
        """The path of the lock, as it was given."""
        return self._lock_file

    @property
    def holders(self) -> List[Process]:
        """The processes that hold the lock, as far as this process can see them."""
        if self._holders is None:
            self._holders = [] if self._conflict is None else self._conflict.holders()
        return self._holders

    @property
    def holder(self) -> Optional[str]:
        """The holders in words; None if they are not known."""
        if self._holder is None and self._conflict is not None:
            self._holder = self._conflict.description()
        return self._holder

    def __str__(self) -> str:
        message = f"The file lock '{printable(self._lock_file)}' {self._what}."
        holder = self.holder
        return message if holder is None else f"{message} It is held by {printable(holder)}."

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._lock_file!r})"

    def __reduce__(self) -> Tuple[Type[Timeout], Tuple[str], Dict[str, Any]]:
        state = dict(self.__dict__, _holders=self.holders, _holder=self.holder, _conflict=None)
        return type(self), (self._lock_file,), state


class Cancelled(Timeout):
    """A :class:`CancelToken` or ``cancel_check`` has ended the wait."""

    _what = "could not be acquired: the wait was cancelled"


class Deadlock(RuntimeError):
    """The wait would never end: the holder waits for this thread, or is this thread itself."""


class UnsupportedFileSystem(OSError, NotImplementedError):
    """The file system cannot lock. Users of ``filelock`` expect a ``NotImplementedError``."""


class SoftFileLockLifetimeWarning(FutureWarning):
    """A soft lock was made with a ``lifetime``, which this package ignores."""
