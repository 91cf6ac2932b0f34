"""``ReadWriteLock``: many readers or one writer, by the kernel's shared and exclusive locks."""

from __future__ import annotations

from contextlib import ContextDecorator
from typing import TYPE_CHECKING, Optional, Tuple

from ._native import (
    AcquireReturnProxy,
    ReadWriteScope,
    acquire_until_closed,
    held,
    release_all,
)
from ._read_write_base import ReadWriteBase

if TYPE_CHECKING:
    import os

    from typing_extensions import Self

    from ._native import CancelToken

__all__ = ["ReadWriteLock"]


class ReadWriteLock(ReadWriteBase):
    """A lock that any number of readers hold at once, or one writer alone.

    >>> import os, tempfile
    >>> lock = ReadWriteLock(os.path.join(tempfile.mkdtemp(), "index.lock"), timeout=5)
    >>> with lock.read_lock():
    ...     print("others may read, too")
    others may read, too
    >>> with lock.write_lock():
    ...     print("nobody else is here")
    nobody else is here

    It excludes processes, and the threads of one process, each of which holds for itself. Who
    waits sleeps in the kernel's queue, without polling. Writers and readers are served in the
    order of coming, or nearly: a reader who comes while a writer waits, waits behind it, so
    neither waits for ever while others come and go. (Readers pass on network file systems, and
    where they may not write to the file.)
    A plain :class:`FileLock` on the same path takes part: as a writer, or with ``shared=True`` as
    a reader, but it does not wait behind waiting writers. ``filelock``'s class of this name does
    not: its lock is SQLite's.

    A thread may acquire again what it holds, in the same mode, and then releases it as often. It
    cannot change the mode while it holds: RuntimeError. The same path gives the same object again,
    unless ``is_singleton=False``. The file is created when the lock is first acquired, with the
    missing directories, and is never written to. The lock ends with the process that holds it. A
    child made by fork does not hold what its parent holds. It pickles to its path and options.
    """

    if TYPE_CHECKING:

        def __init__(
            self,
            lock_file: str | os.PathLike[str],
            timeout: float = -1,
            *,
            blocking: bool = True,
            is_singleton: bool = True,
        ) -> None: ...

    @classmethod
    def get_lock(
        cls, lock_file: str | os.PathLike[str], timeout: float = -1, *, blocking: bool = True
    ) -> Self:
        """The lock object of this path. ValueError if it was made with other options."""
        return cls(lock_file, timeout, blocking=blocking)

    def read_lock(
        self, timeout: Optional[float] = None, *, blocking: Optional[bool] = None
    ) -> ReadWriteContext:
        """For a ``with`` statement: :meth:`acquire_read`, and :meth:`release` at its end."""
        return ReadWriteContext(self, self._lock, True, timeout, blocking)

    def write_lock(
        self, timeout: Optional[float] = None, *, blocking: Optional[bool] = None
    ) -> ReadWriteContext:
        """For a ``with`` statement: :meth:`acquire_write`, and :meth:`release` at its end."""
        return ReadWriteContext(self, self._lock, False, timeout, blocking)

    def acquire_read(
        self, timeout: Optional[float] = None, *, blocking: Optional[bool] = None
    ) -> AcquireReturnProxy[Self]:
        """Takes the lock together with other readers, and waits for it if need be.

        ``timeout`` in seconds, negative: for ever; None: as the lock was made. ``blocking=False``:
        do not wait. Raises :class:`Timeout`; RuntimeError if this thread has it for writing, or
        would wait for itself, or the lock was closed; OSError.
        """
        return self._acquire(True, timeout, blocking)

    def acquire_write(
        self, timeout: Optional[float] = None, *, blocking: Optional[bool] = None
    ) -> AcquireReturnProxy[Self]:
        """Takes the lock alone; otherwise as :meth:`acquire_read`."""
        return self._acquire(False, timeout, blocking)

    def _acquire(
        self, shared: bool, timeout: Optional[float], blocking: Optional[bool]
    ) -> AcquireReturnProxy[Self]:
        limit, closing = self._admit(shared, timeout, blocking)
        try:
            acquire_until_closed(self._lock, shared, limit, closing)
        except Exception as error:
            raise self._explain(error) from None
        return AcquireReturnProxy(self)

    def _admit(
        self, shared: bool, timeout: Optional[float], blocking: Optional[bool]
    ) -> Tuple[float, CancelToken]:
        """How long this thread may wait for the lock, and what ends the wait if it is closed."""
        limit = self._request(timeout, blocking)
        held_shared = held(self._lock, None)
        if held_shared is not None:
            self._refuse_other_mode(held_shared, shared, "thread")
        return limit, self._closing

    def release(self, *, force: bool = False) -> None:
        """Releases the lock, if this thread acquired it as often as it released it.

        With ``force``, releases it at once, and what ended threads hold by this object. Raises
        RuntimeError if this thread does not hold the lock, unless with ``force``.
        """
        if self._inherited():
            return
        if held(self._lock, None) is None and not force:
            self._refuse_release("thread")
        self._lock.release(force)

    def close(self) -> None:
        """Releases what all threads hold by this object, and ends their waits.

        The object cannot be used any more: requests raise RuntimeError, those that wait too.
        """
        if not self._inherited():
            self._close()
            release_all(self._lock)


class ReadWriteContext(ReadWriteScope, ContextDecorator):
    """What :meth:`ReadWriteLock.read_lock` and :meth:`~ReadWriteLock.write_lock` return.

    It acquires the lock when the ``with`` statement begins, and can be used again. It also
    decorates functions.
    """
