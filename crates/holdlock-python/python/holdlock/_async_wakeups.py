"""How the waiting tasks of a loop are woken: by one pipe, which they share.

The pipe exists as long as a task of the loop waits for a lock. A task looks at its request before
each sleep, without letting the loop run in between. So no wake-up is lost: one that comes before
the look changes its result, and one that comes later finds the task asleep.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Hashable
from weakref import WeakValueDictionary

from ._async_library import running_trio
from ._loop_reader import LoopReader
from ._native import Wakeups

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

    from ._native import Pending, Waiter

#: Those of loops that have waiting tasks, by the identity of the loop. The loop and its waiting
#: tasks keep them: a loop that is forgotten can be collected, which ends the waits.
_all: WeakValueDictionary[int, AsyncioWakeups | TrioWakeups] = WeakValueDictionary()


def _running() -> tuple[Any, Any]:
    """The running loop, and trio if it is trio's."""
    trio = running_trio()
    if trio is not None:
        return trio.lowlevel.current_trio_token(), trio
    import asyncio

    return asyncio.get_running_loop(), None


def of_this_loop() -> AsyncioWakeups | TrioWakeups | None:
    """The wake-ups of the running loop, if a task of it waits."""
    loop, _ = _running()
    wakeups = _all.get(id(loop))
    # A child of fork must not take the wake-ups of its parent.
    return wakeups if wakeups is not None and wakeups.process == os.getpid() else None


def enter(lock_file: str) -> AsyncioWakeups | TrioWakeups:
    """The wake-ups of the running loop, until ``leave()``. An error names the lock file."""
    wakeups = of_this_loop()
    if wakeups is None:
        loop, trio = _running()
        native = Wakeups(lock_file)
        wakeups = AsyncioWakeups(loop, native) if trio is None else TrioWakeups(loop, native, trio)
        _all[id(loop)] = wakeups
    wakeups.users += 1
    return wakeups


class _Wakeups:
    def __init__(self, loop: Any, native: Wakeups) -> None:
        self.native = native
        self.process = os.getpid()
        #: How many tasks wait.
        self.users = 0
        self._loop = loop
        #: The requests of the waiting tasks, by the number of their wait.
        self._requests: dict[int, Waiter | Pending] = {}
        #: What the sleeping tasks wait for, by the number of their wait.
        self._sleeping: dict[int, Any] = {}
        #: The numbers of the waits for each thing, in their order.
        self._lines: dict[Hashable, OrderedDict[int, None]] = {}

    def note(self, request: Waiter | Pending) -> None:
        """The task waits for this request, until ``leave(request)``."""
        self._requests[request.number] = request

    def leave(self, request: Waiter | Pending | None = None) -> None:
        """The wait has ended, or has not begun. The last one closes the pipe."""
        if request is not None:
            del self._requests[request.number]
        self.users -= 1
        if self.users == 0:
            if _all.get(id(self._loop)) is self:
                del _all[id(self._loop)]
            # In a child of fork the loop still watches what its parent watches.
            if self.process == os.getpid():
                self._stop()
            self.native.close()

    def _give_up(self) -> None:
        """Ends all requests: the loop is closed, so no task will look at them."""
        for request in list(self._requests.values()):
            request.close()

    def has_line(self, line: Hashable) -> bool:
        """Whether a task waits for this."""
        return line in self._lines

    def line_up(self, line: Hashable, number: int) -> None:
        """Puts a wait at the end of the line, until ``step_out()``."""
        self._lines.setdefault(line, OrderedDict())[number] = None

    def is_first(self, line: Hashable, number: int) -> bool:
        """Whether this wait is the first one of its line."""
        return next(iter(self._lines[line])) == number

    def step_out(self, line: Hashable, number: int) -> None:
        """The wait has ended. The next one is woken."""
        numbers = self._lines[line]
        was_first = self.is_first(line, number)
        del numbers[number]
        if not numbers:
            del self._lines[line]
        elif was_first:
            try:
                self._wake_one(next(iter(numbers)))
            except RuntimeError:
                pass  # the loop is closed

    def _wake(self) -> None:
        """Wakes the waits that have news. An exception of a signal handler may end this anywhere:
        what was not forgotten keeps the pipe readable, and is woken again.
        """
        woken = self.native.woken()
        for number in woken:
            self._wake_one(number)
        self.native.forget(len(woken))

    def _wake_one(self, number: int) -> None:
        """Wakes this wait, if it sleeps."""
        raise NotImplementedError

    def _stop(self) -> None:
        """Stops watching the pipe."""
        raise NotImplementedError


class AsyncioWakeups(_Wakeups):
    """The wake-ups of an asyncio loop."""

    _loop: AbstractEventLoop

    def __init__(self, loop: AbstractEventLoop, native: Wakeups) -> None:
        super().__init__(loop, native)
        loop.add_reader(native.fileno(), LoopReader(loop, self._wake, self._give_up))

    def _wake_one(self, number: int) -> None:
        happened: Future[None] | None = self._sleeping.get(number)
        if happened is not None and not happened.done():
            happened.set_result(None)

    def _stop(self) -> None:
        try:
            self._loop.remove_reader(self.native.fileno())
        except RuntimeError:
            pass  # the loop is closed

    async def sleep(self, number: int, seconds: float) -> bool:
        """Sleeps until this wait is woken, at most for this time. True: it was woken."""
        import asyncio

        happened = self._sleeping[number] = self._loop.create_future()
        try:
            await asyncio.wait([happened], timeout=None if seconds == math.inf else seconds)
            return happened.done()
        finally:
            del self._sleeping[number]

    async def sleep_at_last(self, number: int) -> None:
        """Sleeps until this wait is woken, also in a task that has been cancelled."""
        import asyncio

        try:
            await self.sleep(number, math.inf)
        except asyncio.CancelledError:  # once more; the first one is still to be raised
            pass


class TrioWakeups(_Wakeups):
    """The wake-ups of a run of trio. A system task watches the pipe."""

    def __init__(self, loop: Any, native: Wakeups, trio: Any) -> None:
        super().__init__(loop, native)
        self._trio = trio
        trio.lowlevel.spawn_system_task(self._watch)

    async def _watch(self) -> None:
        try:
            while self.native.fileno() >= 0:
                await self._trio.lowlevel.wait_readable(self.native.fileno())
                self._wake()
        except self._trio.ClosedResourceError:
            pass  # all tasks have ended their waits

    def _wake_one(self, number: int) -> None:
        happened = self._sleeping.get(number)
        if happened is not None:
            happened.set()

    def _stop(self) -> None:
        try:
            self._trio.lowlevel.notify_closing(self.native.fileno())
        except RuntimeError:
            pass  # the run is over

    async def sleep(self, number: int, seconds: float) -> bool:
        """Sleeps until this wait is woken, at most for this time. True: it was woken."""
        happened = self._sleeping[number] = self._trio.Event()
        try:
            with self._trio.move_on_after(seconds):
                await happened.wait()
            return bool(happened.is_set())
        finally:
            del self._sleeping[number]

    async def sleep_at_last(self, number: int) -> None:
        """Sleeps until this wait is woken, also in a task that has been cancelled."""
        with self._trio.CancelScope(shield=True):
            await self.sleep(number, math.inf)
