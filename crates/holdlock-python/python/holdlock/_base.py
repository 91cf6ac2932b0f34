"""``BaseFileLock``: what all locks have in common, and all of it for those written in Python.

A lock written in Python supplies ``_acquire()``, which makes one attempt and, if that succeeds,
stores a descriptor in ``self._context.lock_file_fd``; and ``_release()``, which gives the lock
back and stores None there. Everything else is here: reentrancy, time limits, threads, forks,
singletons, decorators. :class:`FileLock` does the same in native code, without polling.
"""

from __future__ import annotations

import os
import time
from _thread import RLock, _local, get_ident
from abc import abstractmethod

from . import _log, _options
from ._errors import Cancelled, Deadlock, Timeout
from ._meta import FileLockMeta
from ._native import AcquireReturnProxy, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, TypeVar

    from typing_extensions import Self, Unpack

    from ._types import CloseErrorPolicy, ContextErrorPolicy, Options, ThreadLocal

    Function = TypeVar("Function", bound=Callable[..., Any])

__all__ = ["BaseFileLock"]


class FileLockContext:
    """What is known of a lock in one thread, or in all if they share it."""

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
        #: How many times it was acquired and not yet released.
        self.lock_counter = 0
        #: The thread that holds it.
        self.owner = 0
        #: Who waits for it, to notice a signal handler that would wait for its own thread.
        self.acquiring: set[int] = set()
        #: Where the holding thread noted that it holds this path.
        self.noted_in: dict[str, tuple[int, int]] | None = None
        self.path = ""


class _ThreadLocalContext(FileLockContext, _local):
    """Made anew, with the same arguments, in each thread that looks at it."""


class _Held(_local):
    """The paths that this thread holds: by which lock, in which process."""

    def __init__(self) -> None:
        self.paths: dict[str, tuple[int, int]] = {}


_held = _Held()
_live: Any = None


class BaseFileLock(metaclass=FileLockMeta):
    """The root of all lock classes; see the module's description for how to derive from it."""

    _lifetime_supported = False
    _defaults = _options.DEFAULTS
    _is_singleton = False
    _context_error_policy: ContextErrorPolicy = "chain"
    _close_error_policy: CloseErrorPolicy = "default"
    _fallback_to_soft = True
    _preserve_lock_file = False
    _on_acquired: Callable[[int], None] | None = None

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
        self._gate = RLock()
        self._thread_local = thread_local
        self._inherited = False
        kind = _ThreadLocalContext if thread_local is True else FileLockContext
        self._context = kind(
            os.fspath(lock_file),
            timeout,
            mode,
            options.get("blocking", True),
            options.get("poll_interval", 0.05),
            options.get("lifetime"),
        )

    # Acquiring

    @abstractmethod
    def _acquire(self) -> None:
        """One attempt; when it succeeds, ``self._context.lock_file_fd`` is not None."""

    @abstractmethod
    def _release(self) -> None:
        """Gives the lock back; ``self._context.lock_file_fd`` is None then."""

    def acquire(
        self,
        timeout: float | None = None,
        poll_interval: float | None = None,
        *,
        poll_intervall: float | None = None,
        blocking: bool | None = None,
        cancel_check: Callable[[], bool] | None = None,
    ) -> AcquireReturnProxy[Self]:
        """Takes the lock, and waits for it if need be.

        What is returned can be used in a ``with`` statement, or ignored. See
        :meth:`FileLock.acquire`; this one tries again every ``poll_interval`` seconds.
        """
        self._after_fork()
        if self._inherited:
            raise RuntimeError(
                f"lock '{printable(self.lock_file)}' was held when this process was forked off; "
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
        if not self._attempt_told(context):
            self._wait(context, pause, limit, began, may_wait, cancel_check)
        return AcquireReturnProxy(self)

    def _attempt_told(self, context: FileLockContext) -> bool:
        """One attempt, of which the debug log hears."""
        held = context.lock_file_fd is not None
        if not held:
            _log.debug(_log.ATTEMPT, self, context.lock_file)
        taken = self._attempt(context)
        if taken and not held:
            _log.debug(_log.ACQUIRED, self, context.lock_file)
        return taken

    def _attempt(self, context: FileLockContext) -> bool:
        """One attempt, in which the threads that share the lock take turns."""
        if self._thread_local is True:
            return self._attempt_alone(context)
        with self._gate:
            return self._attempt_alone(context)

    def _attempt_alone(self, context: FileLockContext) -> bool:
        me = get_ident()
        if context.lock_file_fd is None:
            try:
                self._acquire()
            except BaseException:
                if context.lock_file_fd is not None:
                    self._release()
                raise
            if context.lock_file_fd is None:
                return False
            context.lock_counter = 0
            context.owner = me
            self._note(context)
            context.lock_counter = 1
            if self._on_acquired is not None:
                self._call_hook(context)
            return True
        if self._thread_local == "mutex" and context.owner != me:
            return False
        context.lock_counter += 1
        return True

    def _call_hook(self, context: FileLockContext) -> None:
        try:
            if self._on_acquired is not None and context.lock_file_fd is not None:
                self._on_acquired(context.lock_file_fd)
        except BaseException:
            self._give_back(context)
            raise

    def _wait(
        self,
        context: FileLockContext,
        pause: float,
        limit: float,
        began: float,
        may_wait: bool,
        cancel_check: Callable[[], bool] | None,
    ) -> None:
        me = get_ident()
        if me in context.acquiring:
            raise Deadlock(
                f"Deadlock: lock '{printable(self.lock_file)}' is acquired again by a signal "
                "handler of the thread that waits for it"
            )
        if limit < 0:
            holder = _held.paths.get(os.path.realpath(self.lock_file))
            if holder is not None and holder[0] == os.getpid() and holder[1] != id(self):
                raise Deadlock(
                    f"Deadlock: lock '{printable(self.lock_file)}' is already held by this "
                    "thread, by another lock object; use one object, or is_singleton=True, to acquire it again"
                )
        context.acquiring.add(me)
        try:
            while True:
                if not may_wait:
                    _log.debug(_log.FAILED, self, context.lock_file)
                    raise self._timeout()
                if cancel_check is not None and cancel_check():
                    raise Cancelled(self.lock_file)
                left = began + limit - time.monotonic() if limit >= 0 else 1e9
                if limit >= 0 and left <= 0:
                    _log.debug(_log.TIMEOUT, self, context.lock_file)
                    raise self._timeout()
                _log.debug(_log.WAITING, self, context.lock_file)
                self._pause(min(pause, left) if cancel_check else left, pause)
                if self._attempt_told(context):
                    return
        finally:
            context.acquiring.discard(me)

    def _pause(self, seconds: float, interval: float) -> None:
        """Sleeps at most so long before the next attempt; a subclass may know what to wait for."""
        time.sleep(min(seconds, interval))

    def _timeout(self) -> Timeout:
        """What is raised when the time is over; a subclass may know the holder."""
        return Timeout(self.lock_file)

    def _note(self, context: FileLockContext) -> None:
        global _live
        context.path = os.path.realpath(context.lock_file)
        context.noted_in = _held.paths
        _held.paths[context.path] = (os.getpid(), id(self))
        if _live is None:
            import atexit
            from weakref import WeakSet

            _live = WeakSet()
            atexit.register(_release_all)
        _live.add(self)

    # Releasing

    def release(self, force: bool = False) -> None:
        """Gives the lock back, if it was acquired as often as it was released, or by ``force``.

        Of a lock that is not held: nothing.
        """
        self._after_fork()
        context = self._context
        if context.lock_file_fd is None:
            return
        if self._thread_local is True:
            self._release_counted(context, force)
        else:
            with self._gate:
                self._release_counted(context, force)

    def _release_counted(self, context: FileLockContext, force: bool) -> None:
        if context.lock_file_fd is None:
            return
        if self._thread_local == "mutex" and context.owner != get_ident() and not force:
            raise RuntimeError(f"lock '{printable(self.lock_file)}' is held by another thread")
        if context.lock_counter > 1 and not force:
            context.lock_counter -= 1
            return
        _log.debug(_log.RELEASE, self, context.lock_file)
        self._give_back(context)
        _log.debug(_log.RELEASED, self, context.lock_file)

    def _give_back(self, context: FileLockContext) -> None:
        try:
            self._release()
        finally:
            if context.lock_file_fd is None:
                context.lock_counter = 0
                noted, context.noted_in = context.noted_in, None
                if noted is not None and noted.get(context.path) == (os.getpid(), id(self)):
                    del noted[context.path]

    def _after_fork(self) -> None:
        """In a child of fork: forgets what the parent has."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._gate = RLock()
            context = self._context
            self._inherited = self._inherited or context.lock_file_fd is not None
            self._forget_inherited()
            context.lock_file_fd = None
            context.lock_counter = 0
            context.acquiring = set()
            context.noted_in = None

    def _forget_inherited(self) -> None:
        """In a child, before the descriptor of the parent's hold is forgotten."""

    def _release_at_end(self) -> None:
        """When the object is collected, or the process ends."""
        self.release(force=True)

    def __del__(self) -> None:
        if "_context" in self.__dict__ and self._pid == os.getpid():
            try:
                self._release_at_end()
            except Exception:  # nobody is there to be told
                pass

    # As a context, as a decorator

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.release()
        except Exception as error:
            self._failed_release(exc_value, error)
            raise

    def _failed_release(self, body: BaseException | None, release: BaseException) -> None:
        """Raises both errors where the policy asks for it."""
        if body is None or self._context_error_policy == "chain":
            return
        import builtins

        group: Any = getattr(builtins, "BaseExceptionGroup")  # from Python 3.11 on
        raise group("the body and the release both failed", [body, release]) from None

    def __call__(self, function: Function) -> Function:
        """As a decorator: the lock is held while the function runs.

        Of a generator until it is exhausted or closed, of an async function until it is done.
        """
        from ._decorate import wrap

        return wrap(self, function)

    # The plain interface

    def lock(self) -> Self:
        """Takes the lock; while it is held already, does nothing. Returns the lock."""
        if not self.is_locked:
            self.acquire()
        return self

    def unlock(self) -> None:
        """Gives the lock back, however often it was acquired; if it is free, does nothing."""
        self.release(force=True)

    @property
    def locked(self) -> bool:
        """Whether this object holds the lock: :attr:`is_locked` by another name."""
        return self.is_locked

    # What is known of it

    @property
    def is_locked(self) -> bool:
        """Whether this object holds the lock (in this thread, unless threads share it)."""
        self._after_fork()
        return self._context.lock_file_fd is not None

    @property
    def lock_file(self) -> str:
        """The path, as it was given."""
        return self._context.lock_file

    @property
    def lock_counter(self) -> int:
        """How many times the lock was acquired and not yet released."""
        self._after_fork()
        return self._context.lock_counter

    @property
    def timeout(self) -> float:
        """How many seconds to wait if nothing else is said; negative: for ever."""
        return self._context.timeout

    @timeout.setter
    def timeout(self, value: float | str) -> None:
        self._context.timeout = _settable_timeout(value)

    @property
    def blocking(self) -> bool:
        """Whether to wait at all if nothing else is said."""
        return self._context.blocking

    @blocking.setter
    def blocking(self, value: bool) -> None:
        self._context.blocking = _options.blocking(value)

    @property
    def poll_interval(self) -> float:
        """How many seconds lie between two looks, where somebody has to look."""
        return self._context.poll_interval

    @poll_interval.setter
    def poll_interval(self, value: float) -> None:
        self._context.poll_interval = _options.interval(value)

    @property
    def lifetime(self) -> float | None:
        """The age at which a waiter may take the lock away; only soft locks have one."""
        return self._context.lifetime

    @lifetime.setter
    def lifetime(self, value: float | None) -> None:
        kind = type(self)
        self._context.lifetime = _options.lifetime(value, kind._lifetime_supported, kind.__name__)

    @property
    def mode(self) -> int:
        """The permissions that were asked for; 0o644 where none were, and the umask decides."""
        mode = self._context.mode
        return 0o644 if mode == _options.UNSET_MODE else mode

    @property
    def has_explicit_mode(self) -> bool:
        """Whether permissions were asked for."""
        return self._context.mode != _options.UNSET_MODE

    @property
    def is_singleton(self) -> bool:
        """Whether the same path gives the same object again."""
        return self._is_singleton

    @property
    def context_error_policy(self) -> ContextErrorPolicy:
        """What is raised when the body of a ``with`` and the release both fail."""
        return self._context_error_policy

    @property
    def close_error_policy(self) -> CloseErrorPolicy:
        """What becomes of a failure to close the descriptor, where it is closed."""
        return self._close_error_policy

    @property
    def fallback_to_soft(self) -> bool:
        """Kept for compatibility; a native lock never turns into a soft one."""
        return self._fallback_to_soft

    @property
    def preserve_lock_file(self) -> bool:
        """Kept for compatibility; the file of a native lock always stays."""
        return self._preserve_lock_file

    @property
    def on_acquired(self) -> Callable[[int], None] | None:
        """What is called with the descriptor when the lock was taken."""
        return self._on_acquired

    def is_thread_local(self) -> bool:
        """Whether each thread holds the lock by itself."""
        return self._thread_local is True

    def _option(self, name: str) -> Any:
        """The value of an option as the constructor takes it."""
        if name == "mode":
            return self._context.mode
        return self._thread_local if name == "thread_local" else getattr(self, name)


def _settable_timeout(value: Any) -> float:
    if isinstance(value, (str, bytes, bytearray)):
        _options.warn("a timeout is a number; strings will be refused", DeprecationWarning)
        return float(value)
    return _options.seconds("timeout", value)


def _release_all() -> None:
    """At exit."""
    for lock in list(_live):
        try:
            lock._release_at_end()
        except Exception:  # the next one still has to be released
            pass
