"""Sleeps until the marker is removed or its owner dies.

Two events end a soft lock: inotify(7) reports the marker's removal, and a pidfd reports the owner's
death. A waiter sleeps in poll(2) on both, and wakes within microseconds instead of looking every 50
ms. Neither reports a change that another machine makes, nor the death of an owner in another
container; the waiter sees these by looking again: every :data:`PATIENCE` seconds on a local file
system, at the caller's interval on any other.
"""

from __future__ import annotations

import os
import time
from typing import Any
from weakref import ref

from . import _kernel
from ._descriptors import Descriptor, opened
from ._marker import decode
from ._owner import host
from ._publish import read

#: The longest sleep in seconds if an event is certain to come.
PATIENCE = 1.0

#: A user has 128 inotify instances for all processes. This process uses about so many; other waits
#: poll.
_MOST = 8

#: The watches that use one. No lock guards it, because an exception of a signal handler could come
#: before the lock is released: each change is one step, and a watch that is gone leaves by itself.
#: A reference with this callback is in the set before anything else refers to it: one that was
#: never hashed could not be once its watch is gone.
_watching: set[ref[Any]] = set()

os.register_at_fork(after_in_child=_watching.clear)


class Watch:
    """Watches for a marker's end, during a ``with`` statement.

    ``descriptors`` become readable when an event has happened. ``longest`` is the longest sleep in
    seconds that relies on the events; 0: the marker is already gone. ``interval`` is the time
    between two looks if no event can come.
    """

    def __init__(self, path: str, interval: float) -> None:
        self._owned: list[Descriptor] = []
        self.longest = interval
        try:
            owner, gone = _owner_handle(path)
            if owner is not None:
                self._owned.append(owner)
            self._watch_marker(path, gone)
        except BaseException:
            self.close()
            raise

    def _watch_marker(self, path: str, gone: bool) -> None:
        if len(_watching) >= _MOST:
            return
        _watching.add(ref(self, _watching.discard))
        try:
            self._owned.append(_kernel.inotify(path))
        except FileNotFoundError:
            self.longest = 0.0
        except OSError:
            pass  # no inotify, no right to read the marker, or no instance left
        else:
            if not gone and _kernel.is_local(os.path.dirname(path) or "."):
                self.longest = max(PATIENCE, self.longest)

    @property
    def descriptors(self) -> list[int]:
        return [descriptor.fileno() for descriptor in self._owned]

    def close(self) -> None:
        """Ends the watch."""
        while self._owned:
            self._owned.pop().close()
        _watching.discard(ref(self))

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def wait(path: str, seconds: float, interval: float) -> None:
    """Sleeps until the marker at ``path`` may be gone, at most this many seconds.

    Returns at once if it is gone already.
    """
    with Watch(path, interval) as watch:
        seconds = min(seconds, watch.longest)
        if seconds < 0.001:
            time.sleep(max(seconds, 0))  # poll(2) counts in milliseconds
            return
        _kernel.readable(watch.descriptors, seconds)


def _owner_handle(path: str) -> tuple[Descriptor | None, bool]:
    """A pidfd of the living owner, if there can be one; and whether the owner is gone.

    The kernel does not report an owner that is already gone.
    """
    try:
        descriptor, text = read(path)
        descriptor.close()
        owner = decode(text)
        if owner is None or owner.host != host():
            return None, False
        handle = opened(os.pidfd_open, owner.pid)
    except ProcessLookupError:
        return None, True
    except (OSError, AttributeError):
        return None, False
    if _kernel.readable([handle.fileno()], 0):
        handle.close()
        return None, True
    return handle, False
