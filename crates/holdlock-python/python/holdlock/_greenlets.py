"""Native locks under gevent and eventlet: a greenlet holds the lock, and its wait lets others run.

The native methods know threads only: all greenlets of a thread would hold a lock together, and the
wait of one greenlet would stop the hub. If a program has patched Python's threads, :func:`adapt`
replaces the methods of :class:`FileLock`. Then the greenlet makes the request, as the task does in
asynchronous code, and a thread of the library waits for it in the kernel's queue.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Callable, Optional
from weakref import WeakKeyDictionary

from . import _async_wait, _log, _native, _options
from ._async_wait import TaskRecord
from ._base import BaseFileLock
from ._errors import Cancelled, Timeout
from ._native import AcquireReturnProxy, CancelToken

if TYPE_CHECKING:
    from ._native import Acquisition, Inside, NativeLock, Pending, TokenGate, UpgradeableGuard

_records: WeakKeyDictionary[Any, TaskRecord] = WeakKeyDictionary()


def green_select() -> Optional[Callable[..., Any]]:
    """The ``select`` of the library that has patched Python's threads; None: there is none."""
    for library, patched, what, select in (
        ("gevent.monkey", "is_module_patched", "threading", "gevent.select"),
        ("eventlet.patcher", "is_monkey_patched", "thread", "eventlet.green.select"),
    ):
        module = sys.modules.get(library)
        if module is not None and getattr(module, patched)(what):
            function: Callable[..., Any] = import_module(select).select
            return function
    return None


def adapt(kind: Any) -> bool:
    """Replaces the methods of :class:`FileLock`, if the program uses greenlets as threads."""
    select = green_select()
    if select is None:
        return False
    _Green.select = staticmethod(select)
    for name, value in _Green.__dict__.items():
        if not name.startswith("_") and name != "select":
            setattr(kind, name, value)
    # They call the methods above.
    kind.__enter__, kind.__exit__ = BaseFileLock.__enter__, BaseFileLock.__exit__
    return True


def current() -> TaskRecord:
    """The record of the current greenlet."""
    greenlet = import_module("greenlet").getcurrent()
    record = _records.get(greenlet)
    if record is None:
        record = _records[greenlet] = TaskRecord(greenlet)
    return record


class _Green:
    """The methods, with the meaning that they have in :class:`FileLock`."""

    select: Callable[..., Any]
    _settings: Any
    _on_acquired: Any
    lock_file: str
    _requester: Callable[[], Optional[TaskRecord]]

    def acquire(
        self: Any,
        timeout: Optional[float] = None,
        poll_interval: Optional[float] = None,
        *,
        poll_intervall: Optional[float] = None,
        blocking: Optional[bool] = None,
        cancel_check: Optional[Callable[[], bool]] = None,
        shared: Optional[bool] = None,
        cancel: Optional[CancelToken] = None,
        note: Optional[str] = None,
    ) -> AcquireReturnProxy[Any]:
        limit, pause = _options.request(
            timeout, poll_interval, poll_intervall, blocking, self._settings
        )
        record = current()
        if _native.counter(self, record) == 0:
            _log.debug(_log.ATTEMPT, self, self.lock_file)
        acquisition = _native.Acquisition(self, shared, record, note)
        try:
            taken = acquisition.attempt(limit != 0)
            if taken is None:
                if limit < 0:
                    _async_wait.refuse_deadlock(self, record)
                _log.debug(_log.WAITING, self, self.lock_file)
                taken = _wait(acquisition, limit, pause, cancel_check, cancel)
            if taken:
                _log.debug(_log.ACQUIRED, self, self.lock_file)
                _async_wait.note_taken(self, record)
                if self._on_acquired is not None:
                    _call_hook(self, record)
            return AcquireReturnProxy(self)
        except BaseException:
            # The hook has failed, or an exception of a signal handler has come: perhaps before this
            # code had the result of the acquisition.
            acquisition.undo()
            raise

    def release(self: Any, force: bool = False) -> None:
        record = current()
        counter = _native.counter(self, record)
        is_last = counter > 0 and (force or counter == 1)
        if is_last:
            _log.debug(_log.RELEASE, self, self.lock_file)
        _native.release(self, force, record)
        if is_last:
            _log.debug(_log.RELEASED, self, self.lock_file)

    def release_abandoned(self: Any) -> None:
        _native.release_abandoned(self, current())

    def hand_over(self: Any) -> int:
        return _native.hand_over(self, current())

    @property
    def is_locked(self: Any) -> bool:
        return _native.counter(self, self._requester()) > 0

    locked = is_locked

    @property
    def lock_counter(self: Any) -> int:
        return _native.counter(self, self._requester())


def acquire_until_closed(lock: Any, shared: bool, limit: float, closing: CancelToken) -> None:
    """Does the same as the native function, for a read/write lock."""
    lock.acquire(limit, shared=shared, cancel=closing)
    if closing.cancelled:
        # It was closed at the same time.
        lock.release()
        raise Cancelled(lock.lock_file)


def _wait(
    acquisition: Acquisition,
    limit: float,
    pause: float,
    cancel_check: Optional[Callable[[], bool]],
    cancel: Optional[CancelToken],
) -> bool:
    """Waits like :func:`_async_wait.take`: the other greenlets run meanwhile."""
    waiter = acquisition.queue(limit, cancel)
    try:
        while True:
            outcome = waiter.look()
            if outcome is not None:
                return outcome
            if cancel is not None and cancel.cancelled:
                raise Cancelled(acquisition.lock_file)
            if cancel_check is not None and cancel_check():
                raise Cancelled(acquisition.lock_file)
            _Green.select(
                [waiter.fileno()], [], [], None if cancel_check is None else max(pause, 0.001)
            )
    except BaseException:
        # A greenlet that is killed leaves the queue before it ends.
        waiter.cancel()
        while not waiter.is_over():
            _Green.select([waiter.fileno()], [], [], None)
        raise
    finally:
        waiter.close()


def wait_for(pending: Pending) -> Any:
    """Waits like :func:`_pending.wait_for`: the other greenlets run meanwhile."""
    try:
        while not pending.is_over():
            _Green.select([pending.fileno()], [], [], None)
        return pending.finish()
    except BaseException:
        pending.cancel()
        while not pending.is_over():
            _Green.select([pending.fileno()], [], [], None)
        raise
    finally:
        pending.close()


def acquire_upgradeable(
    lock: NativeLock, limit: float, cancel: Optional[CancelToken]
) -> UpgradeableGuard:
    """Does the same as the native function, for the current greenlet."""
    record = current()
    guard: Optional[UpgradeableGuard] = None
    try:
        try:
            guard = _native.acquire_upgradeable(lock, 0.0, None, True)
        except Timeout:
            if limit == 0:
                raise
            if limit < 0:
                _async_wait.refuse_upgradeable(lock, record)
            guard = wait_for(_native.queue_upgradeable(lock, limit, cancel, None))
        assert guard is not None
        _async_wait.note_upgradeable(guard, record)
        return guard
    except BaseException:
        # An exception of a signal handler has come, and its traceback would keep the guard.
        if guard is not None:
            guard.release()
        raise


def upgrade(guard: UpgradeableGuard, limit: float, cancel: Optional[CancelToken]) -> None:
    """Does the same as ``UpgradeableGuard.upgrade``, for the current greenlet."""
    if limit < 0:
        _async_wait.refuse_upgrade(guard, current())
    wait_for(guard._queue(limit, cancel, None))


def enter_gate(
    gate: TokenGate, token: int, limit: float, cancel: Optional[CancelToken]
) -> Inside:
    """Does the same as ``TokenGate.enter``."""
    inside = gate._try(token, limit != 0)
    if inside is None:
        inside = wait_for(gate._queue(token, limit, cancel, None))
    return inside


def wait_readable(descriptor: int, seconds: float) -> bool:
    """Sleeps until the descriptor is readable, at most for this time, and returns whether it is."""
    readable, _, _ = _Green.select([descriptor], [], [], seconds)
    return bool(readable)


def _call_hook(lock: Any, record: TaskRecord) -> None:
    lock._on_acquired(_native.lend(lock, record))
    if _native.counter(lock, record) == 0:
        shown = _native.printable(lock.lock_file)
        raise RuntimeError(
            f"on_acquired has released lock '{shown}', and an acquire of it is still running"
        )
