"""What can go wrong, besides the usual ``OSError``."""

from __future__ import annotations

import errno

from ._native import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple, Type

    from ._native import Conflict, Process

__all__ = ["Cancelled", "Deadlock", "SoftFileLockLifetimeWarning", "Timeout"]


class Timeout(TimeoutError):
    """The lock was held by somebody else for longer than the caller would wait.

    The message names the holders. They are looked up when it is printed, pickled, or asked for
    by :attr:`holders`, so that the exception itself comes in time.

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

    @property
    def lock_file(self) -> str:
        """The path of the lock, as it was given."""
        return self._lock_file

    @property
    def holders(self) -> List[Process]:
        """The processes that have the lock, as far as they can be seen."""
        return [] if self._conflict is None else self._conflict.holders()

    @property
    def holder(self) -> Optional[str]:
        """The holders in words; None where they are not known."""
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
        state = dict(self.__dict__, _holder=self.holder, _conflict=None)
        return type(self), (self._lock_file,), state


class Cancelled(Timeout):
    """The wait was ended by a :class:`CancelToken` or by ``cancel_check``."""

    _what = "could not be acquired: the wait was cancelled"


class Deadlock(RuntimeError):
    """The wait could never end: this thread, or a cycle of processes, waits for itself."""


class SoftFileLockLifetimeWarning(FutureWarning):
    """A soft lock with a lifetime can be taken from a holder that is still alive."""
