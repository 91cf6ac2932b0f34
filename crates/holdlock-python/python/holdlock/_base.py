"""``BaseFileLock``: the base of all lock classes, and the logic of those written in Python.

A lock that is written in Python supplies ``_acquire()``, which makes one attempt and, if that
succeeds, stores a descriptor in ``self._context.lock_file_fd``; and ``_release()``, which releases
the lock and stores None there. Everything else is here: reentrancy, time limits, threads, forks,
singletons, decorators. :class:`FileLock` does the same in native code, without polling.
"""

from __future__ import annotations

import os
import sys
import time
from abc import abstractmethod
from functools import partial

from . import _context, _log, _options
from ._context import (
    Acquisition,
    FileLockContext,
    SharedContext,
    ThreadContexts,
    begin_wait,
    end_wait,
)
from ._attributes import LockAttributes
from ._errors import Cancelled, Deadlock, Timeout
from ._meta import FileLockMeta
from ._native import AcquireReturnProxy, keep_markers, printable
from ._uses import LockUses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, TypeVar

    from typing_extensions import Self, Unpack

    from ._native import CancelToken
    from ._types import CloseErrorPolicy, ContextErrorPolicy, Options, ThreadLocal

    Function = TypeVar("Function", bound=Callable[..., Any])

__all__ = ["BaseFileLock"]


_live: Any = None


class BaseFileLock(LockUses, LockAttributes, metaclass=FileLockMeta):
    """The base of all lock classes; the module's docstring says how to derive from it."""

    _context_class = FileLockContext

    _lifetime_supported = False
    _defaults = _options.DEFAULTS

    def __init__(
        self,
        lock_file: str | os.PathLike[str],
        timeout: float = -1,
        mode: int = _options.UNSET_MODE,
        thread_local: ThreadLocal = True,
        **options: Unpack[Options],
    ) -> None:
        _options.keep(self, options)
        self._pid = os.getpid()
        self._gate = _context.make_gate()
        self._thread_local = thread_local
        self._inherited = False
        self._make_context = partial(
            self._context_class,
            os.fspath(lock_file),
            timeout,
            mode,
            options.get("blocking", True),
            options.get("poll_interval", 0.05),
            options.get("lifetime"),
        )
        kind = ThreadContexts if thread_local is True else SharedContext
        self._contexts = kind(self._make_context)

    @property
    def _context(self) -> FileLockContext:
        """The state of the lock in this thread."""
        return self._contexts.current()

    # Acquiring

    @abstractmethod
    def _acquire(self) -> None:
        """Makes one attempt; if it succeeds, ``self._context.lock_file_fd`` is not None."""

    @abstractmethod
    def _release(self) -> None:
        """Releases the lock; after that, ``self._context.lock_file_fd`` is None."""

    def acquire(
        self,
        timeout: float | None = None,
        poll_interval: float | None = None,
        *,
        poll_intervall: float | None = None,
        blocking: bool | None = None,
        cancel_check: Callable[[], bool] | None = None,
        cancel: CancelToken | None = None,
    ) -> AcquireReturnProxy[Self]:
        """Acquires the lock, and waits until it is free.

        The result may be used in a ``with`` statement. The arguments are those of
        :meth:`FileLock.acquire`; this method tries again every ``poll_interval`` seconds.
        """
        self._after_fork()
        if self._inherited:
            raise RuntimeError(
                f"lock '{printable(self.lock_file)}' was held when this process was forked; "
                "make a new lock in the child"
            )
        context = self._context
        if poll_intervall is not None:
            _options.warn(_options.SPELLING, DeprecationWarning)
            poll_interval = poll_intervall
        may_wait = _options.blocking(context.blocking if blocking is None else blocking)
        pause = context.poll_interval if poll_interval is None else _options.interval(poll_interval)
        limit = _options.limit(context.timeout if timeout is None else timeout, may_wait)
        began = time.monotonic()
        acquisition = Acquisition()
        try:
            if not self._attempt_told(context, acquisition):
                check = _options.check_of(cancel_check, cancel)
                self._wait(context, acquisition, pause, limit, began, may_wait, check)
            return AcquireReturnProxy(self)
        except BaseException:
            if acquisition.done:
                # An exception of a signal handler has come after the acquisition.
                self._release_once(context, False)
            raise

    def _attempt_told(self, context: FileLockContext, acquisition: Acquisition) -> bool:
        """Makes one attempt, and logs it."""
        held = context.lock_file_fd is not None
        if not held:
            _log.debug(_log.ATTEMPT, self, context.lock_file)
        taken = self._attempt(context, acquisition)
        if taken and not held:
            _log.debug(_log.ACQUIRED, self, context.lock_file)
        return taken

    def _attempt(self, context: FileLockContext, acquisition: Acquisition) -> bool:
        """Makes one attempt. Threads that share the lock make theirs one after the other."""
        if self._thread_local is True:
            return self._attempt_alone(context, acquisition)
        with self._gate:
            return self._attempt_alone(context, acquisition)

    def _attempt_alone(self, context: FileLockContext, acquisition: Acquisition) -> bool:
        before = 0 if context.lock_file_fd is None else context.lock_counter
        try:
            acquisition.done = self._acquire_alone(context)
            return acquisition.done
        except BaseException:
            # The hook has failed, or an exception of a signal handler has come.
            acquisition.done = False
            if context.lock_file_fd is not None:
                if before == 0:
                    self._give_back(context)
                elif context.lock_counter > before:
                    context.lock_counter = before
            raise

    def _acquire_alone(self, context: FileLockContext) -> bool:
        me = _context.get_ident()
        if context.lock_file_fd is not None:
            if self._thread_local == "mutex" and context.owner != me:
                return False
            context.lock_counter += 1
            return True
        self._acquire()
        if context.lock_file_fd is None:
            return False
        context.lock_counter = 1
        context.owner = me
        self._note(context)
        if self._on_acquired is not None:
            self._call_hook(context)
        return True

    def _call_hook(self, context: FileLockContext) -> None:
        if self._on_acquired is not None and context.lock_file_fd is not None:
            self._on_acquired(context.lock_file_fd)
        if context.lock_file_fd is None:
            shown = printable(self.lock_file)
            raise RuntimeError(
                f"on_acquired has released lock '{shown}', and an acquire of it is still running"
            )

    def _wait(
        self,
        context: FileLockContext,
        acquisition: Acquisition,
        pause: float,
        limit: float,
        began: float,
        may_wait: bool,
        cancel_check: Callable[[], bool] | None,
    ) -> None:
        if limit < 0:
            self._refuse_own_lock()
        wait = None
        try:
            # The name keeps it alive: it ends with this frame.
            wait = begin_wait(context)
            if wait is None:
                raise Deadlock(
                    f"Deadlock: a signal handler acquires lock '{printable(self.lock_file)}', for "
                    "which its own thread waits"
                )
            begins = limit != 0
            while True:
                if not may_wait:
                    _log.debug(_log.FAILED, self, context.lock_file)
                    raise self._timeout()
                if cancel_check is not None and cancel_check():
                    _log.debug(_log.CANCELLED, self, context.lock_file)
                    raise Cancelled(self.lock_file)
                left = began + limit - time.monotonic() if limit >= 0 else 1e9
                is_over = limit >= 0 and left <= 0
                # Also a request whose time has run out during its first attempt has waited.
                if begins or not is_over:
                    _log.debug(_log.WAITING, self, context.lock_file)
                if is_over:
                    _log.debug(_log.TIMEOUT, self, context.lock_file)
                    raise self._timeout()
                begins = False
                self._pause(min(pause, left) if cancel_check else left, pause)
                if self._attempt_told(context, acquisition):
                    return
        finally:
            if wait is not None:
                end_wait(context)

    def _refuse_own_lock(self) -> None:
        """Raises Deadlock if this thread holds the lock by another object."""
        other = _context.this_thread.taken.get(self._real_path())
        if other is not None and other is not self and other.is_locked:
            raise Deadlock(
                f"Deadlock: lock '{printable(self.lock_file)}' is already held by this "
                "thread, by another lock object; use one object, or is_singleton=True, to acquire "
                "it again"
            )

    def _real_path(self) -> str:
        return os.path.realpath(self.lock_file)

    def _pause(self, seconds: float, interval: float) -> None:
        """Sleeps before the next attempt; a subclass may wait for an event instead."""
        time.sleep(min(seconds, interval))

    def _timeout(self) -> Timeout:
        """The error of a request that has run out of time; a subclass may know the holder."""
        return Timeout(self.lock_file)

    def _note(self, context: FileLockContext) -> None:
        global _live
        _context.this_thread.taken[self._real_path()] = self
        if _live is None:
            import atexit
            from weakref import WeakSet

            _live = WeakSet()
            atexit.register(_release_all)
        _live.add(self)

    # Releasing

    def release(self, force: bool = False) -> None:
        """Undoes one acquisition. The lock is released when all acquisitions are undone.

        With ``force``, releases the lock at once, and the locks that ended threads hold by this
        object. Does nothing if the lock is not held.
        """
        self._after_fork()
        if force:
            self._release_ended()
        context = self._context
        if context.lock_file_fd is None:
            return
        self._release_once(context, force)

    def _release_once(self, context: FileLockContext, force: bool) -> None:
        if self._thread_local is True:
            self._release_counted(context, force)
        else:
            with self._gate:
                self._release_counted(context, force)

    def _release_counted(self, context: FileLockContext, force: bool) -> None:
        if context.lock_file_fd is None:
            return
        if self._thread_local == "mutex" and context.owner != _context.get_ident() and not force:
            raise RuntimeError(f"lock '{printable(self.lock_file)}' is held by another thread")
        if context.lock_counter > 1 and not force:
            context.lock_counter -= 1
            return
        try:
            _log.debug(_log.RELEASE, self, context.lock_file)
        finally:
            self._give_back(context)
        _log.debug(_log.RELEASED, self, context.lock_file)

    def _give_back(self, context: FileLockContext) -> None:
        try:
            self._release()
        finally:
            if context.lock_file_fd is None:
                context.lock_counter = 0

    def _release_ended(self) -> None:
        """Releases what threads hold that have ended."""
        for context in self._contexts.ended():
            try:
                self._give_back(context)
            except Exception:  # as for a hold that its own thread has lost
                pass

    def _after_fork(self) -> None:
        """In a child of fork: forgets what the parent has."""
        if self._pid != os.getpid():
            self._gate = _context.make_gate()
            held = [one for one in self._contexts.every() if one.lock_file_fd is not None]
            self._inherited = self._inherited or bool(held)
            settings = self._context
            self._contexts = type(self._contexts)(self._make_context)
            fresh = self._context
            fresh.timeout, fresh.blocking = settings.timeout, settings.blocking
            fresh.poll_interval, fresh.lifetime = settings.poll_interval, settings.lifetime
            # Last: an exception of a signal handler may have come before.
            self._pid = os.getpid()

    def _release_at_end(self) -> None:
        """Releases the lock when the object is collected, or the process ends."""
        self.release(force=True)

    def _is_held_by_another_thread(self) -> bool:
        """Whether a thread that is still running holds what the threads share."""
        owner = self._context.owner
        return owner != _context.get_ident() and owner in sys._current_frames()

    def __del__(self) -> None:
        # While the interpreter ends, modules may be gone already; the process releases the lock.
        if "_contexts" not in self.__dict__ or sys is None or sys.is_finalizing():
            return
        if self._pid == os.getpid():
            try:
                self._release_at_end()
            except Exception:  # a finalizer cannot raise
                pass


def _release_all() -> None:
    """At exit. A daemon thread that still runs keeps what it holds until the process has ended."""
    for lock in list(_live):
        try:
            if not lock._is_held_by_another_thread():
                lock._release_at_end()
        except Exception:  # the next lock still has to be released
            pass
    keep_markers()
