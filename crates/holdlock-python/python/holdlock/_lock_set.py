"""``LockSet``: several locks at once, all or none."""

from __future__ import annotations

import time
from contextlib import ContextDecorator
from typing import TYPE_CHECKING, Optional

from ._file_lock import FileLock
from ._lock_set_base import LockSetBase, left
from ._meta import uses_greenlets
from ._native import AcquireReturnProxy, NativeLockSet

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._native import CancelToken

__all__ = ["LockSet"]


class LockSet(LockSetBase[FileLock], ContextDecorator):
    """Several locks that are acquired together: all of them, or none.

    >>> import os, tempfile
    >>> place = tempfile.mkdtemp()
    >>> index, data = FileLock(os.path.join(place, "index")), FileLock(os.path.join(place, "data"))
    >>> with LockSet([index, (data, "shared")], timeout=5):
    ...     print(index.locked, data.locked)
    True True
    >>> index.locked, data.locked
    (False, False)

    A member is a :class:`FileLock`, or a path, or a pair of these and a mode: ``"exclusive"`` or
    ``"shared"``. Without a mode, the lock's own option ``shared`` counts. The locks need no common
    order: if one of them is not free, the set releases what it has acquired and waits for that one,
    so that sets cannot deadlock with one another. One time limit is for all of them. An error is
    that of the lock in the way, and names its file and its holders.

    While the set is held, each member is held by its object; the holder may acquire members and the
    set again. Members that are one file, by whatever paths, are acquired once. Members must not have
    the option ``on_acquired``, and their own ``timeout`` and ``blocking`` do not count.

    The options are ``timeout`` and ``blocking``, as those of :class:`FileLock`. A child made by fork
    holds nothing; a pickled set has its members and options, and holds nothing. Under gevent and
    eventlet a greenlet holds the set, and its wait lets others run.
    """

    _kind = FileLock

    def _is_of_the_other_kind(self, lock: FileLock) -> bool:
        from ._async_base import BaseAsyncFileLock

        return isinstance(lock, BaseAsyncFileLock)

    def _adapt_to_greenlets(self) -> None:
        if uses_greenlets() and LockSet.__enter__ is NativeLockSet.__enter__:
            # The native methods know threads only.
            setattr(LockSet, "__enter__", _enter)
            setattr(LockSet, "__exit__", _exit)

    def acquire(
        self,
        timeout: Optional[float] = None,
        *,
        blocking: Optional[bool] = None,
        cancel: Optional[CancelToken] = None,
    ) -> AcquireReturnProxy[Self]:
        """Acquires all locks, and waits until they are free.

        The result may be used in a ``with`` statement, which releases them at its end.

        timeout: wait at most this many seconds in all. Negative or inf: no limit. 0: do not wait.
            None: the set's own :attr:`timeout`.
        blocking: False: do not wait.
        cancel: a :class:`CancelToken` by which another thread can end the wait.

        The errors are those of :meth:`FileLock.acquire`, for one of the locks; :class:`Deadlock`
        also if there is a limit, when this thread holds one of them by another object. After an
        error no lock is held that was not held before.
        """
        limit = self._limit(timeout, blocking)
        requester = self._requester()
        before = self._counter(requester)
        try:
            if uses_greenlets():
                _acquire_in_greenlet(self, limit, cancel)
            else:
                self._take(limit, cancel)
            return AcquireReturnProxy(self)
        except BaseException:
            # An exception of a signal handler may have come after the acquisition.
            self._undo(before, requester)
            raise

    def release(self) -> None:
        """Undoes one acquisition of the set. Does nothing if this thread does not hold it."""
        self._give_back(self._requester())


def _acquire_in_greenlet(locks: LockSet, limit: float, cancel: Optional[CancelToken]) -> None:
    from . import _greenlets

    began, greenlet = time.monotonic(), _greenlets.current()
    while not locks._try(limit != 0, greenlet):
        rest = left(limit, began, time.monotonic())
        if _greenlets.wait_for(locks._queue(rest, greenlet, cancel)):
            return


def _enter(self: LockSet) -> LockSet:
    self.acquire()
    return self


def _exit(self: LockSet, *exception: object) -> None:
    self.release()
