"""Lets a task wait for a slot or for a set of locks: a thread of the library waits meanwhile.

The tasks of a loop that wait for the same thing stand in a line. Only the first one has a thread
and descriptors; the others sleep until it has got what it waits for, or has given up.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Hashable, Optional

from . import _async_wakeups
from ._errors import Cancelled

if TYPE_CHECKING:
    from typing import Protocol

    from ._native import CancelToken, Pending, Task, Wakeups

    class Awaited(Protocol):
        """A semaphore or a set of locks."""

        @property
        def _line(self) -> Hashable:
            """The same for all objects whose waits are for the same thing."""
            ...

        @property
        def _first_file(self) -> str:
            """The file for errors."""
            ...

        def _try(self, may_wait: bool, task: Optional[Task], /) -> Any: ...

        def _queue(
            self,
            limit: float,
            task: Optional[Task],
            cancel: Optional[CancelToken],
            wakeups: Optional[Wakeups],
            /,
        ) -> Pending: ...


__all__ = ["is_awaited", "wait_for"]


def is_awaited(what: Awaited) -> bool:
    """Whether tasks of this loop stand in line for it."""
    wakeups = _async_wakeups.of_this_loop()
    return wakeups is not None and wakeups.has_line(what._line)


async def wait_for(
    what: Awaited, limit: float, task: Optional[Task], cancel: Optional[CancelToken]
) -> Any:
    """Waits for ``limit`` seconds, or (negative) without a limit. Returns the result of the request.

    None or False: the caller has to try again. When a cancelled task ends here, its request has
    left the queue, and what was acquired at the same time is released.
    """
    end = math.inf if limit < 0 else time.monotonic() + limit
    wakeups = _async_wakeups.enter(what._first_file)
    try:
        pending = what._queue(limit, task, cancel, wakeups.native)
    except BaseException:
        wakeups.leave()
        raise
    line, number, has_begun = what._line, pending.number, False
    wakeups.note(pending)
    wakeups.line_up(line, number)
    try:
        while not wakeups.is_first(line, number):
            woken = await wakeups.sleep(number, max(end - time.monotonic(), 0))
            if cancel is not None and cancel.cancelled:
                raise Cancelled(what._first_file)
            if wakeups.is_first(line, number):
                break
            if time.monotonic() >= end:
                # This makes the error of a request that is out of time.
                return what._try(False, task)
            if woken:
                return None  # a lock of the set can be joined
        has_begun = True
        while not pending.is_over():
            await wakeups.sleep(number, math.inf)
        return pending.finish()
    except GeneratorExit:  # the loop is gone
        raise
    except BaseException:
        pending.cancel()
        while has_begun and not pending.is_over():
            await wakeups.sleep_at_last(number)
        raise
    finally:
        pending.close()
        wakeups.step_out(line, number)
        wakeups.leave(pending)
