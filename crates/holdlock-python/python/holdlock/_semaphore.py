"""``Semaphore``: a lock with several slots, over processes and threads."""

from __future__ import annotations

from contextlib import ContextDecorator
from typing import TYPE_CHECKING, Optional, Tuple

from ._meta import uses_greenlets
from ._native import NativeSemaphore
from ._semaphore_base import SemaphoreBase, SlotBase

if TYPE_CHECKING:
    from types import TracebackType

    from ._native import CancelToken

__all__ = ["Semaphore", "Slot"]


class Semaphore(SemaphoreBase, ContextDecorator):
    """A lock for at most ``n`` holders at a time, of all processes and threads that use the path.

    >>> import os, tempfile
    >>> gpus = Semaphore(os.path.join(tempfile.mkdtemp(), "gpus"), 4, timeout=60)
    >>> with gpus as slot:
    ...     print(slot in range(4), gpus.slot == slot)
    True True

    Each holder has a slot with a number of its own, from 0 to ``n`` - 1, by which it can choose a
    GPU, a port or a directory. The kernel frees a slot when its holder ends, however it ends.
    Requests are served in the order in which they arrive, and waits do not poll.

    Each :meth:`acquire` takes one more slot, also in a thread that holds one already, as with
    :class:`threading.Semaphore`. While a slot is held, a request with another ``n`` raises
    :class:`DifferentSlots`; when all slots are free, the next request decides. An exclusive
    :class:`FileLock` or flock(1) on the path and the slots exclude each other.

    The options, besides ``path`` and ``n``:

    * ``timeout``: the limit of a wait in seconds. Negative (the default): no limit. 0: do not wait.
    * ``blocking``: False: do not wait.
    * ``mode``: the permissions of a new file, whatever the umask is.
    * ``follow_symlinks``: True: the path may be a symbolic link.

    The first request creates the file, and missing directories. The file has to be writable, and on
    a local file system; it is never written to. A child made by fork does not hold the slots of its
    parent, and can acquire slots of its own. A pickled semaphore has its path and options, and holds
    no slot. Under gevent and eventlet a greenlet holds the slot, and its wait lets others run.
    """

    def _adapt_to_greenlets(self) -> None:
        if uses_greenlets() and Semaphore.__enter__ is NativeSemaphore.__enter__:
            # The native methods know threads only.
            setattr(Semaphore, "__enter__", _enter)
            setattr(Semaphore, "__exit__", _exit)

    def acquire(
        self,
        timeout: Optional[float] = None,
        *,
        blocking: Optional[bool] = None,
        cancel: Optional[CancelToken] = None,
    ) -> Slot:
        """Acquires a slot, and waits until one is free.

        The result has the number of the slot, and may be used in a ``with`` statement, which gives
        the slot back at its end.

        timeout: wait at most this many seconds. Negative or inf: no limit. 0: do not wait.
            None: the semaphore's own :attr:`timeout`.
        blocking: False: do not wait.
        cancel: a :class:`CancelToken` by which another thread can end the wait.

        Raises :class:`Timeout` if no slot is acquired in time, and its subclass :class:`Cancelled`
        if the wait was cancelled. Raises :class:`DifferentSlots`, an OSError, if others use the path
        with another number of slots. Raises :class:`Deadlock` if this thread holds all slots
        itself. Raises OSError if the file cannot be opened or locked.
        """
        limit = self._limit(timeout, blocking)
        requester = self._requester()
        before = len(self._slots_of(requester))
        try:
            if uses_greenlets():
                return Slot(self, *_acquire_in_greenlet(self, limit, cancel))
            return Slot(self, *self._take(limit, cancel))
        except BaseException:
            # An exception of a signal handler may have come after the acquisition.
            self._undo(before, requester)
            raise

    def release(self, slot: Optional[int] = None) -> None:
        """Gives back the slot that this thread has acquired last.

        With ``slot``, gives back the slot with that number, whichever thread has acquired it by this
        object. Raises RuntimeError if that is not held.
        """
        self._give_back(slot, self._requester())


class Slot(SlotBase[Semaphore]):
    """The result of :meth:`Semaphore.acquire`: a ``with`` statement gives the slot back."""

    def release(self) -> None:
        """Gives the slot back. Any thread may do that. Raises RuntimeError the second time."""
        self._give_back()

    def __enter__(self) -> int:
        return self.slot

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def _acquire_in_greenlet(
    semaphore: Semaphore, limit: float, cancel: Optional[CancelToken]
) -> Tuple[int, int]:
    from . import _greenlets

    greenlet = _greenlets.current()
    taken = semaphore._try(limit != 0, greenlet)
    if taken is None:
        pending = semaphore._queue(limit, greenlet, cancel)
        taken = _greenlets.wait_for(pending)
    return taken


def _enter(self: Semaphore) -> int:
    return self.acquire().slot


def _exit(self: Semaphore, *exception: object) -> None:
    self.release()
