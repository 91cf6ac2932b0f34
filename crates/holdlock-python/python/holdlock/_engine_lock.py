"""``EngineLock``: a lock between hosts, which a server keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Optional

from ._engine_base import EngineLockBase
from ._engine_native import cancelled_by, native, task_of
from ._engine_lost import LOOK, LostSignal, wait_readable
from ._engine_types import History, Member, Members
from ._meta import current_greenlet, uses_greenlets
from ._native import AcquireReturnProxy
from ._uses import LockUses

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ._native import CancelToken, Pending, Task

__all__ = ["EngineLock"]


class EngineLock(EngineLockBase, LockUses):
    """A lock that processes of several hosts share by its name in an engine.

    The engine is a server of PostgreSQL, etcd, Redis or Valkey.

    >>> lock = EngineLock("postgres://ann@db.example/app#nightly", timeout=30)
    >>> lock.name
    'postgres://db.example/app#nightly'

    Making the lock does not connect. Each acquisition has a connection of its own, so threads that
    use one object exclude each other as processes do. A thread that holds the lock acquires it
    again at once. A greenlet holds the lock by itself under gevent and eventlet.

    Unlike the lock of a file, this one can be lost while the program runs: the engine is restarted,
    or the network fails. :meth:`is_valid` and :meth:`ensure_held` before each step tell it,
    :attr:`lost` tells it at once, and :attr:`token` protects what is written elsewhere. If a block
    ends without the lock, :class:`LockLost` is raised at its end. If the block ends by another
    exception, that one gets a note.

    In a thread that has not acquired the lock, ``token``, ``deadline``, ``is_valid``,
    ``ensure_held``, ``check`` and ``lost`` are about the thread that has.

    The options, besides ``url``:

    * ``timeout``: the limit of a wait in seconds, with the connection. Negative (the default): no
      limit. 0: do not wait.
    * ``blocking``: False: do not wait.
    * ``shared``: True: acquire together with other shared holders.
    * ``note``, ``command``: what others are told about this process: a reason, and the name of the
      program.

    A child made by fork does not hold the lock of its parent, and can acquire the lock by itself. A
    pickled lock has its URL, with the password if it has one, and its options; it is not held.
    """

    def _adapt_to_greenlets(self) -> None:
        if uses_greenlets() and EngineLock.__enter__ is native.NativeEngineLock.__enter__:
            # The native methods know threads only.
            setattr(EngineLock, "__enter__", _enter)
            setattr(EngineLock, "__exit__", _exit)

    def acquire(
        self,
        timeout: Optional[float] = None,
        *,
        blocking: Optional[bool] = None,
        shared: Optional[bool] = None,
        cancel: Optional[CancelToken] = None,
        note: Optional[str] = None,
    ) -> AcquireReturnProxy[Self]:
        """Acquires the lock, and waits until it is free.

        The result may be used in a ``with`` statement, which releases the lock once at its end.

        timeout: wait at most this many seconds, with the connection to the engine. Negative or inf:
            no limit. 0: do not wait for the lock. None: the lock's own :attr:`timeout`.
        blocking: False: do not wait for the lock.
        shared: True: acquire together with other shared holders. None: as the lock was made.
        cancel: a :class:`CancelToken` by which another thread can end the request at every point. A
            token that was cancelled before ends it as well.
        note: the reason, which others see. None: the lock's own :attr:`note`.

        Raises :class:`EngineTimeout`, a :class:`Timeout`, if the lock is not acquired in time, and
        :class:`Cancelled` if the wait was cancelled. Raises :class:`EngineUnreachable`, a
        ConnectionError, if the engine does not answer, :class:`LoginRefused`, a PermissionError, if
        it does not let the user in, and :class:`EngineUnsuitable` if it is not a safe place for a
        lock. All are OSErrors. If this thread holds the lock already, raises :class:`LockLost` if
        it is no longer valid, and :class:`Deadlock` for an exclusive request besides a shared lock.
        """
        limit = self._limit(timeout, blocking)
        requester = self._requester()
        before = self._counter(requester)
        try:
            with cancelled_by(cancel) as token:
                if uses_greenlets():
                    pending = self._queue(limit, shared, note, requester, token)
                    if pending is not None:
                        _finish(pending)
                else:
                    self._take(limit, shared, note, token)
            return AcquireReturnProxy(self)
        except BaseException:
            # An exception of a signal handler may have come after the acquisition.
            self._undo(before, requester)
            raise

    def release(self, force: bool = False) -> None:
        """Undoes one acquisition. The lock is released when all acquisitions are undone.

        With ``force``, releases the lock at once, and what ended threads hold by this object. Does
        nothing if the lock is not held. Waits for the engine: for ten seconds at most while the
        lock is held for certain, and otherwise for two.

        Raises :class:`LockLost` if the lock was lost before, or if the engine did not answer.
        """
        if not uses_greenlets():
            self._release(force)
            return
        pending = self._releasing(force, self._requester())
        if pending is not None:
            _finish(pending)

    def check(self) -> None:
        """Asks the engine, by one round trip, whether the lock is held and was held all the time.

        Waits for twice the engine's ``ttl`` at most. Raises :class:`LockLost` if it was not held,
        or if no answer came, and RuntimeError if the lock was not acquired.
        """
        _ask(self._checking(self._requester()))

    @property
    def lost(self) -> LostSignal:
        """Tells when the lock is lost. Raises RuntimeError if the lock was not acquired."""
        return LostSignal(self._lost(self._requester()))

    def members(self) -> Members:
        """The holders of the lock, and the waiters in their order, of all hosts. Waits for the
        engine."""
        members: Members = _ask(self._asking_members())
        return members

    def holders(self) -> List[Member]:
        """The holders of the lock, of all hosts."""
        return self.members().holders

    def waiters(self) -> List[Member]:
        """The waiters, of all hosts, in the order in which they will be served."""
        return self.members().waiters

    def break_holder(self, token: int) -> Optional[Member]:
        """Ends the session or the lease of the holder with this token, and returns that holder.

        None: no holder has this token, and nothing was done. A holder with another token is never
        hit, however late the call is. The holder learns at once that its lock is lost, and needs
        some time to stop its work. The next holder may begin before that: only the token protects
        what both write. Raises :class:`LoginRefused` if this user may not end the session.
        """
        broken: Optional[Member] = _ask(self._breaking(token))
        return broken

    def last_run(self) -> History:
        """What the engine remembers of earlier holders, as they have told it by
        :meth:`record_run`.

        Raises :class:`EngineUnsuitable` if the engine has no place to remember it: PostgreSQL needs
        ``holdlock engine init URL`` once.
        """
        history: History = _ask(self._asking_last_run())
        return history

    def record_run(
        self, at_work: bool, *, ago: Optional[float] = None, keep: Optional[float] = None
    ) -> History:
        """Tells the engine about the work under this lock; returns what it remembered before.

        at_work: True: this holder is at work from now on. If it dies, the next holder finds it in
            :attr:`History.at_work`. False: its work has ended.
        ago, keep: given together, the run counts for :attr:`History.last_run`. It began ``ago``
            seconds ago, and the engine has to remember it for ``keep`` seconds.

        Raises :class:`LockLost` if a later holder has told the engine something: then nothing was
        changed. Raises RuntimeError if the lock was not acquired, and :class:`EngineUnsuitable` as
        :meth:`last_run` does.
        """
        counted = self._counted(ago, keep)
        history: History = _ask(self._recording_run(at_work, counted, self._requester()))
        return history

    def _requester(self) -> Optional[Task]:
        return task_of(current_greenlet())


def _ask(pending: Pending) -> Any:
    """The answer of the engine. An exception of a signal handler ends the wait."""
    try:
        while not pending.is_over():
            wait_readable(pending.fileno(), LOOK)
        return pending.finish()
    finally:
        pending.close()


def _finish(pending: Pending) -> Any:
    from ._greenlets import wait_for

    return wait_for(pending)


def _enter(self: EngineLock) -> EngineLock:
    self.acquire()
    return self


def _exit(
    self: EngineLock,
    exc_type: type[BaseException] | None,
    exc_value: BaseException | None,
    traceback: TracebackType | None,
) -> None:
    from ._engine_errors import LockLost, note

    try:
        self.release()
    except LockLost as error:
        if exc_value is None:
            raise
        note(exc_value, error)
