"""The exceptions of this package, besides the usual ``OSError``."""

from __future__ import annotations

import errno

from ._native import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple, Type

    from ._native import Conflict, Process

__all__ = [
    "Cancelled",
    "Deadlock",
    "DifferentSlots",
    "NotAtomic",
    "SoftFileLockLifetimeWarning",
    "StaleToken",
    "Timeout",
]


class WithHolders:
    """An error because of the holders of a lock. They are looked up when they are first needed."""

    _holder: Optional[str] = None
    _conflict: Optional[Conflict] = None
    _holders: Optional[List[Process]] = None

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


class Timeout(TimeoutError, WithHolders):
    """The lock was not acquired in time, because another process, thread or task holds it.

    The message names the holders. The search for them runs when the exception is printed or
    pickled, or when :attr:`holders` is read, so that the exception itself is raised in time.

    >>> error = Timeout("/run/backup.lock")
    >>> error.lock_file, error.filename
    ('/run/backup.lock', '/run/backup.lock')
    >>> isinstance(error, OSError) and error.errno == errno.ETIMEDOUT
    True
    """

    _kind = "file lock"
    _what = "could not be acquired"

    def __init__(self, lock_file: str, holder: Optional[str] = None) -> None:
        super().__init__(errno.ETIMEDOUT, self._what, lock_file)
        self._lock_file = lock_file
        self._holder = holder

    @property
    def lock_file(self) -> str:
        """The path of the lock, as it was given."""
        return self._lock_file

    def __str__(self) -> str:
        message = f"The {self._kind} '{printable(self._lock_file)}' {self._what}."
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


def counted(slots: int) -> str:
    """The number of slots, in words."""
    return "1 slot" if slots == 1 else f"{slots} slots"


class DifferentSlots(OSError, WithHolders):
    """Others use the semaphore with another number of slots, and hold slots.

    >>> error = DifferentSlots("/run/gpus", 4, 8)
    >>> error.slots, error.in_use, error.filename, error.errno == errno.EBUSY
    (4, 8, '/run/gpus', True)
    """

    def __init__(self, lock_file: str, slots: int, in_use: int) -> None:
        what = f"cannot use {counted(slots)}: the file is in use with {in_use}"
        super().__init__(errno.EBUSY, what, lock_file)
        #: The path of the lock file, as it was given.
        self.lock_file = lock_file
        #: The number of slots of this request.
        self.slots = slots
        #: The number of slots of the others.
        self.in_use = in_use

    def __str__(self) -> str:
        by = "" if self.holder is None else f", by {printable(self.holder)}"
        return (
            f"Cannot use '{printable(self.lock_file)}' with {counted(self.slots)}: it is in use "
            f"with {self.in_use}{by}. Use the same number everywhere, or wait until no slot is held."
        )

    def __reduce__(self) -> Tuple[Type[DifferentSlots], Tuple[Any, ...], Dict[str, Any]]:
        state = dict(self.__dict__, _holders=self.holders, _holder=self.holder, _conflict=None)
        return type(self), (self.lock_file, self.slots, self.in_use), state


class NotAtomic(OSError, WithHolders):
    """An upgrade would not have been atomic, and the lock is lost.

    A program that does not use ``upgradeable=True`` shares the lock. Acquire the exclusive lock, and
    read anew.
    """

    def __init__(self, lock_file: str) -> None:
        what = (
            "the upgrade would not be atomic, because a program that knows nothing of upgrades "
            "shares the lock; the lock is released: acquire it exclusively, and read anew"
        )
        super().__init__(errno.EBUSY, what, lock_file)

    def __reduce__(self) -> Tuple[Type[NotAtomic], Tuple[str], Dict[str, Any]]:
        state = dict(self.__dict__, _holders=self.holders, _holder=self.holder, _conflict=None)
        return type(self), (self.filename,), state


class StaleToken(OSError):
    """A :class:`TokenGate` has admitted a later holder of the lock: the caller must not write.

    >>> error = StaleToken("/srv/data.gate", 4, 5)
    >>> error.token, error.newest, error.filename, error.errno == errno.ESTALE
    (4, 5, '/srv/data.gate', True)
    """

    def __init__(self, path: str, token: int, newest: int) -> None:
        what = (
            f"token {token} is too old: a later holder of the lock has come with token {newest}; "
            "do not write, and acquire the lock again"
        )
        super().__init__(errno.ESTALE, what, path)
        #: The token of the caller.
        self.token = token
        #: The highest token that was admitted.
        self.newest = newest

    def __reduce__(self) -> Tuple[Type[StaleToken], Tuple[Any, ...]]:
        return type(self), (self.filename, self.token, self.newest)


class UnsupportedFileSystem(OSError, NotImplementedError):
    """The file system cannot lock. Users of ``filelock`` expect a ``NotImplementedError``."""


class SoftFileLockLifetimeWarning(FutureWarning):
    """A soft lock was made with a ``lifetime``, which this package ignores."""
