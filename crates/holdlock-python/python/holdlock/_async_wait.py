"""Lets a task wait for a native lock.

A thread of the library waits in the kernel's queue, one for all tasks that wait for the same path
with the same options; it does not run Python code. When a task has the lock, the thread wakes the
loop by a pipe, one for all tasks of the loop. So a waiting task needs neither polling nor a thread
of the loop's executor nor a descriptor.
"""

from __future__ import annotations

import math
import os
from typing import Any, Callable, List, Optional, Union
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary, ref

from . import _async_library, _async_wakeups
from ._errors import Cancelled, Deadlock
from ._native import (
    Acquisition,
    CancelToken,
    NativeLock,
    Task,
    UpgradeableGuard,
    printable,
    was_taken_by,
)

__all__ = ["TaskRecord", "current", "take"]


class TaskRecord(Task):
    """The locks of a task. The record lives as long as the task."""

    def __init__(self, task: Any) -> None:
        self._task = ref(task)
        _living.add(self)
        #: The locks that the task has acquired last, by path. It may have released them.
        self.taken: WeakValueDictionary[str, NativeLock] = WeakValueDictionary()
        #: The same of locks that are written in Python.
        self.taken_in_python: WeakValueDictionary[str, Any] = WeakValueDictionary()
        #: The locks that it has acquired to upgrade them. It may have released them.
        self.upgradeable: WeakSet[UpgradeableGuard] = WeakSet()


#: The records of tasks that were not known to have ended when it was last asked.
_living: "WeakSet[TaskRecord]" = WeakSet()

_records: "WeakKeyDictionary[Any, TaskRecord]" = WeakKeyDictionary()


def current() -> Optional[TaskRecord]:
    """The record of the current task; None outside of one."""
    task = _async_library.current_task()
    if task is None:
        return None
    record = _records.get(task)
    if record is None:
        record = _records[task] = TaskRecord(task)
    return record


def note_ended() -> None:
    """Looks which tasks have ended: a task that holds nothing releases what they hold.

    For example, ``asyncio.wait_for(lock.acquire(), 5)`` runs the acquisition in a task of its own,
    before Python 3.12.
    """
    for record in list(_living):
        task = record._task()
        # A task of asyncio, or a greenlet; a task of trio is collected when it has ended.
        if task is None or getattr(task, "dead", False) or (hasattr(task, "done") and task.done()):
            record.end()
            _living.discard(record)


async def take(
    acquisition: Acquisition,
    limit: float,
    *,
    pause: float = 0.05,
    cancel_check: Optional[Callable[[], bool]] = None,
    cancel: Optional[CancelToken] = None,
) -> bool:
    """Waits for a lock that was not free, for ``limit`` seconds or (negative) without a limit.

    True: the task has acquired the lock. False: it has joined another task that shares the object.
    When a cancelled task ends here, its thread has left the queue, and a lock that was acquired at
    the same time is released. After an exception of a signal handler the caller undoes the
    acquisition.
    """
    wakeups = _async_wakeups.enter(acquisition.lock_file)
    try:
        waiter = acquisition.queue(limit, cancel, wakeups.native)
    except BaseException:
        wakeups.leave()
        raise
    wakeups.note(waiter)
    try:
        while True:
            outcome = waiter.look()
            if outcome is not None:
                return outcome
            if cancel is not None and cancel.cancelled:
                raise Cancelled(acquisition.lock_file)
            if cancel_check is not None and cancel_check():
                raise Cancelled(acquisition.lock_file)
            await wakeups.sleep(
                waiter.number, math.inf if cancel_check is None else max(pause, 0.001)
            )
    except GeneratorExit:  # the loop is gone
        raise
    except BaseException:
        waiter.cancel()
        while not waiter.is_over():
            await wakeups.sleep_at_last(waiter.number)
        raise
    finally:
        # An exception that is kept would keep the descriptors open.
        waiter.close()
        wakeups.leave(waiter)


def note_taken(lock: NativeLock, task: TaskRecord) -> None:
    """Notes that the task has acquired the lock."""
    task.taken[lock._absolute_path] = lock


def note_upgradeable(guard: UpgradeableGuard, task: Optional[TaskRecord]) -> None:
    """Notes that the task has acquired a lock that it can upgrade."""
    if task is not None:
        task.upgradeable.add(guard)


def refuse_deadlock(lock: NativeLock, task: Optional[TaskRecord]) -> None:
    """Raises Deadlock if the task that is about to wait for ever holds the lock itself.

    This includes a task that holds the lock shared and requests it again: the task would wait for
    a writer, which waits for the task.
    """
    _refuse(lock.lock_file, lock._absolute_path, task, lock)


def refuse_upgrade(guard: UpgradeableGuard, task: Optional[TaskRecord]) -> None:
    """The same for a task that is about to upgrade a lock: it would wait for itself to leave."""
    _refuse(guard.lock_file, guard._absolute_path, task, guard)


def refuse_upgradeable(lock: NativeLock, task: Optional[TaskRecord]) -> None:
    """The same for a task that is about to wait for the right to upgrade."""
    _refuse(lock.lock_file, lock._absolute_path, task, None)


def _refuse(name: str, path: str, task: Optional[TaskRecord], but: object) -> None:
    """Raises Deadlock if the task holds the lock by another object than ``but``."""
    if task is None:
        return
    held: List[Union[NativeLock, UpgradeableGuard]] = []
    held += [lock for lock in list(task.taken.values()) if was_taken_by(lock, task)]
    held += [guard for guard in list(task.upgradeable) if guard._is_held]
    real = os.path.realpath(path)
    if any(one is not but and os.path.realpath(one._absolute_path) == real for one in held):
        raise Deadlock(
            f"Deadlock: lock '{printable(name)}' is already held by this task, by another lock "
            "object or an upgradeable guard; release that first, or use one object, or "
            "is_singleton=True, to acquire it again"
        )
