"""The state of a lock that is written in Python, by thread.

An exception of a signal handler, such as KeyboardInterrupt, can arrive between any two steps of
Python code. Therefore one attribute, ``lock_file_fd``, decides whether a lock is held; the other
attributes may be out of date, and are checked against it.
"""

from __future__ import annotations

import _thread
import itertools
from _weakref import ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator
    from weakref import WeakValueDictionary


class FileLockContext:
    """The state of a lock in one thread, or in all threads if they share it."""

    def __init__(
        self,
        lock_file: str,
        timeout: float,
        mode: int,
        blocking: bool,
        poll_interval: float,
        lifetime: float | None,
    ) -> None:
        self.lock_file = lock_file
        self.timeout = timeout
        self.mode = mode
        self.blocking = blocking
        self.poll_interval = poll_interval
        self.lifetime = lifetime
        #: Not None while the lock is held.
        self.lock_file_fd: int | None = None
        #: The number of acquisitions that are not yet released.
        self.lock_counter = 0
        #: The thread that holds the lock.
        self.owner = 0
        #: The waits for the lock by thread, to notice a signal handler that would wait for its own
        #: thread. A wait is alive as long as its frame.
        self.waits: dict[int, ref[Wait]] = {}


class Acquisition:
    """What one ``acquire`` has done, also if an exception of a signal handler hides its result."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        #: Whether it has acquired the lock, so that an exception has to undo it.
        self.done = False


class Wait:
    """One wait of a thread."""

    __slots__ = ("__weakref__",)


class _Thread:
    """The record of a living thread. Only the thread refers to it."""

    __slots__ = ("__weakref__", "number")
    numbers = itertools.count(1)

    def __init__(self) -> None:
        self.number = next(_Thread.numbers)


def _by_thread() -> Any:
    """An object with a state for each thread; for each greenlet, if ``_local`` is patched."""

    class ThisThread(_thread._local):
        def __init__(self) -> None:
            self.thread = _Thread()
            #: The contexts whose locks this thread releases for ended threads, by lock.
            self.stand_ins: dict[int, FileLockContext] = {}
            self._taken: WeakValueDictionary[str, Any] | None = None

        @property
        def taken(self) -> WeakValueDictionary[str, Any]:
            """The locks that this thread has acquired last, by path. It may have released them."""
            if self._taken is None:
                from weakref import WeakValueDictionary

                self._taken = WeakValueDictionary()
            return self._taken

    return ThisThread()


# Other modules read these three from here at each use: see :func:`adapt_to_greenlets`.
this_thread = _by_thread()
get_ident = _thread.get_ident
#: Makes a lock for the threads that share an object.
make_gate: Callable[[], Any] = _thread.RLock


def adapt_to_greenlets() -> None:
    """Takes greenlets for threads from now on: a library has patched Python's threads.

    The program may have imported this module before. The caller keeps what it holds.
    """
    global this_thread, get_ident, make_gate
    import threading

    greenlets = _by_thread()
    greenlets.__dict__.update(this_thread.__dict__)
    # A gate of native threads would let two greenlets of a thread pass.
    this_thread, get_ident, make_gate = greenlets, _thread.get_ident, threading.RLock


class SharedContext:
    """One context for all threads."""

    def __init__(self, make: Callable[[], FileLockContext]) -> None:
        self._context = make()

    def current(self) -> FileLockContext:
        """The context of the calling thread."""
        return self._context

    def ended(self) -> Iterator[FileLockContext]:
        """The contexts of threads that have ended and still hold the lock."""
        return iter(())

    def every(self) -> list[FileLockContext]:
        """All contexts."""
        return [self._context]


class ThreadContexts(SharedContext):
    """A context for each thread. Those of ended threads stay while they hold the lock."""

    def __init__(self, make: Callable[[], FileLockContext]) -> None:
        self._make = make
        self._contexts: dict[int, tuple[ref[_Thread], FileLockContext]] = {}

    def current(self) -> FileLockContext:
        stand_in: FileLockContext | None = this_thread.stand_ins.get(id(self))
        # It counts only while it holds the lock, even if an exception has left it here.
        if stand_in is not None and stand_in.lock_file_fd is not None:
            return stand_in
        thread = this_thread.thread
        known = self._contexts.get(thread.number)
        if known is None:
            self._forget_ended()
            known = self._contexts.setdefault(thread.number, (ref(thread), self._make()))
        return known[1]

    def _forget_ended(self) -> None:
        for number, (thread, context) in list(self._contexts.items()):
            if thread() is None and context.lock_file_fd is None:
                self._contexts.pop(number, None)

    def ended(self) -> Iterator[FileLockContext]:
        for thread, context in list(self._contexts.values()):
            if thread() is None and context.lock_file_fd is not None:
                this_thread.stand_ins[id(self)] = context
                try:
                    yield context
                finally:
                    this_thread.stand_ins.pop(id(self), None)

    def every(self) -> list[FileLockContext]:
        return [context for _, context in list(self._contexts.values())]


def begin_wait(context: FileLockContext) -> Wait | None:
    """Notes that this thread waits; None if it already waits, and this is in a signal handler."""
    me = get_ident()
    known = context.waits.get(me)
    if known is not None and known() is not None:
        return None
    wait = Wait()
    context.waits[me] = ref(wait)
    return wait


def end_wait(context: FileLockContext) -> None:
    """Ends what :func:`begin_wait` began."""
    context.waits.pop(get_ident(), None)
