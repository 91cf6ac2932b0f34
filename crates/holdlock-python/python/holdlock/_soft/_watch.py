"""Sleeping until the marker goes away or its owner dies.

Two events end a soft lock: its marker's removal, of which inotify(7) tells, and its owner's death,
of which a pidfd tells. So a waiter sleeps in poll(2) on both, and wakes within microseconds instead
of asking every 50 ms. What neither reports (a change made through another machine's mount, an
owner in another container) is seen by looking again: every :data:`PATIENCE` seconds on a local file
system, at the caller's interval on any other.
"""

from __future__ import annotations

import os
import select
import threading
import time

from . import _kernel
from ._marker import decode
from ._owner import host
from ._publish import read

#: How long nobody looks where an event is sure to come.
PATIENCE = 1.0

#: A user has 128 inotify instances for all processes; this many of them are ours, others poll.
_INSTANCES = threading.BoundedSemaphore(8)


def _after_fork() -> None:
    global _INSTANCES
    _INSTANCES = threading.BoundedSemaphore(8)


os.register_at_fork(after_in_child=_after_fork)


def wait(path: str, seconds: float, interval: float) -> None:
    """Sleeps until the marker at ``path`` may be gone, at most so many seconds.

    Returns at once if it is gone already. ``interval`` is how often to look where no event comes.
    """
    owner, gone = _owner_handle(path)
    try:
        if not _INSTANCES.acquire(blocking=False):
            _sleep(owner, min(seconds, interval))
            return
        try:
            marker = _kernel.inotify(path)
        except FileNotFoundError:
            return
        except OSError:
            _sleep(owner, min(seconds, interval))
            return
        else:
            try:
                local = _kernel.is_local(os.path.dirname(path) or ".")
                _sleep(owner, min(seconds, PATIENCE if local and not gone else interval), marker)
            finally:
                os.close(marker)
        finally:
            _INSTANCES.release()
    finally:
        if owner is not None:
            os.close(owner)


def _owner_handle(path: str) -> tuple[int | None, bool]:
    """A pidfd of the living owner, where there can be one; and whether the owner is gone.

    An owner who is gone while the marker is still there announces nothing any more.
    """
    try:
        descriptor, text = read(path)
        os.close(descriptor)
        owner = decode(text)
        if owner is None or owner.host != host():
            return None, False
        handle = os.pidfd_open(owner.pid)
    except ProcessLookupError:
        return None, True
    except (OSError, AttributeError):
        return None, False
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    if poll.poll(0):
        os.close(handle)
        return None, True
    return handle, False


def _sleep(owner: int | None, seconds: float, *others: int) -> None:
    poll = select.poll()
    for descriptor in (owner, *others):
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
    # poll(2) counts in milliseconds and Python rounds them up; the rest is less than one.
    if seconds >= 0.001:
        poll.poll(seconds * 1000)
    else:
        time.sleep(max(seconds, 0))
