"""``ReadWriteLock``: many readers or one writer, by the kernel's shared and exclusive locks."""

from __future__ import annotations

from contextlib import ContextDecorator
from typing import TYPE_CHECKING, Optional, Tuple

from ._meta import uses_greenlets
from ._native import (
    AcquireReturnProxy,
    ReadWriteScope,
    acquire_until_closed,
    counter,
    held,
    release_all,
    undo,
)
from ._read_write_base import ReadWriteBase

if TYPE_CHECKING:
    import os

    from typing_extensions import Self

    from ._native import CancelToken, NativeLock

__all__ = ["ReadWriteLock"]


class ReadWriteLock(ReadWriteBase):
    """A lock that any number of readers hold at once, or one writer alone.

    >>> import os, tempfile
    >>> lock = ReadWriteLock(os.path.join(tempfile.mkdtemp(), "index.lock"), timeout=5)
    >>> with lock.read_lock():
    ...     print("other readers may be here too")
    other readers may be here too
    >>> with lock.write_lock():
    ...     print("no other reader or writer is here")
    no other reader or writer is here

    It excludes processes, and the threads of one process: each thread holds the lock by itself. A
    waiting thread sleeps in the kernel's queue, without polling. Requests are served nearly in the
    order in which they arrive: a reader that arrives while a writer waits queues behind the writer,
    so neither readers nor writers wait for ever. (On network file systems, and if a reader may not
    write to the file, readers can pass a waiting writer.)

    A :class:`FileLock` on the same path is a writer for these locks. With ``shared=True`` it is a
    reader, which does not queue behind waiting writers. The class of this name in ``filelock`` is
    another lock, of SQLite: it and these locks do not exclude each other.

    A thread may acquire the lock again in the same mode; it has to release it as often. A change
    of the mode of a held lock raises RuntimeError. The same path gives the same object again, unless
    ``is_singleton=False``. The first request creates the file, and missing directories; the file is
    never written to. The lock is released when its process ends. A child made by fork does not hold
    the locks of its parent. A pickled lock has its path and options, and is not held.
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
        kind = GreenletContext if uses_greenlets() else ReadWriteContext
        return kind(self, self._lock, True, timeout, blocking)

    def write_lock(
        self, timeout: Optional[float] = None, *, blocking: Optional[bool] = None
    ) -> ReadWriteContext:
        """For a ``with`` statement: :meth:`acquire_write`, and :meth:`release` at its end."""
        kind = GreenletContext if uses_greenlets() else ReadWriteContext
        return kind(self, self._lock, False, timeout, blocking)

    def acquire_read(
        self, timeout: Optional[float] = None, *, blocking: Optional[bool] = None
    ) -> AcquireReturnProxy[Self]:
        """Acquires the lock together with other readers, and waits until it is free.

        timeout: wait at most this many seconds. Negative: no limit. None: as the lock was made.
        blocking: False: do not wait.

        Raises :class:`Timeout` if the lock is not acquired in time. Raises RuntimeError if this
        thread holds the lock for writing, if the wait would never end, or if the lock was closed.
        Raises OSError if the file cannot be opened or locked.
        """
        return self._acquire(True, timeout, blocking)

    def acquire_write(
        self, timeout: Optional[float] = None, *, blocking: Optional[bool] = None
    ) -> AcquireReturnProxy[Self]:
        """Acquires the lock for this thread alone; otherwise as :meth:`acquire_read`."""
        return self._acquire(False, timeout, blocking)

    def _acquire(
        self, shared: bool, timeout: Optional[float], blocking: Optional[bool]
    ) -> AcquireReturnProxy[Self]:
        limit, closing = self._admit(shared, timeout, blocking)
        requester = self._requester()
        before = counter(self._lock, requester)
        try:
            if uses_greenlets():
                from . import _greenlets

                _greenlets.acquire_until_closed(self._lock, shared, limit, closing)
            else:
                acquire_until_closed(self._lock, shared, limit, closing)
            return AcquireReturnProxy(self)
        except BaseException as error:
            # An exception of a signal handler may have come after the acquisition.
            undo(self._lock, before, requester)
            raise self._explain(error) from None

    def _admit(
        self, shared: bool, timeout: Optional[float], blocking: Optional[bool]
    ) -> Tuple[float, CancelToken]:
        """How long this thread may wait for the lock, and what ends the wait if it is closed."""
        limit = self._request(timeout, blocking)
        held_shared = held(self._lock, self._requester())
        if held_shared is not None:
            self._refuse_other_mode(held_shared, shared, "thread")
        return limit, self._closing

    def release(self, *, force: bool = False) -> None:
        """Undoes one acquisition. The lock is released when this thread has undone all of them.

        With ``force``, releases the lock at once, and the locks that ended threads hold by this
        object. Raises RuntimeError if this thread does not hold the lock, unless with ``force``.
        """
        if self._inherited():
            return
        if held(self._lock, self._requester()) is None and not force:
            self._refuse_release("thread")
        self._lock.release(force)

    def close(self) -> None:
        """Releases the locks that all threads hold by this object, and ends their waits.

        Later requests, and waiting requests, raise RuntimeError.
        """
        if not self._inherited():
            self._close()
            release_all(self._lock)


class ReadWriteContext(ReadWriteScope, ContextDecorator):
    """What :meth:`ReadWriteLock.read_lock` and :meth:`~ReadWriteLock.write_lock` return.

    It acquires the lock when the ``with`` statement begins, and can be used again. It also
    decorates functions.
    """


class GreenletContext(ReadWriteContext):
    """The same for greenlets, whose waits run Python code."""

    def __init__(
        self,
        owner: ReadWriteLock,
        lock: NativeLock,
        shared: bool,
        timeout: Optional[float],
        blocking: Optional[bool],
    ) -> None:
        self._owner = owner
        self._request = shared, timeout, blocking

    def __enter__(self) -> None:
        shared, timeout, blocking = self._request
        # Without `*`: a call with it handles signals when the lock has been acquired.
        self._owner._acquire(shared, timeout, blocking)

    def __exit__(self, *exception: object) -> None:
        self._owner.release()
