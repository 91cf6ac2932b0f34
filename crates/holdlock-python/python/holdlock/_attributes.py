"""The properties of all locks: the options that a lock was made with, and its state."""

from __future__ import annotations

from . import _options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ._context import FileLockContext
    from ._types import CloseErrorPolicy, ContextErrorPolicy, ThreadLocal


class LockAttributes:
    """The properties of a lock. :class:`BaseFileLock` has the methods that change its state."""

    if TYPE_CHECKING:
        _lifetime_supported: bool
        _thread_local: ThreadLocal

        @property
        def _context(self) -> FileLockContext: ...
        def _after_fork(self) -> None: ...

    _is_singleton = False
    _context_error_policy: ContextErrorPolicy = "chain"
    _close_error_policy: CloseErrorPolicy = "default"
    _fallback_to_soft = True
    _preserve_lock_file = False
    _on_acquired: Callable[[int], None] | None = None

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
        """The number of acquisitions that are not yet released."""
        self._after_fork()
        return self._context.lock_counter

    @property
    def timeout(self) -> float:
        """The default limit of a wait in seconds; negative: no limit."""
        return self._context.timeout

    @timeout.setter
    def timeout(self, value: float | str) -> None:
        self._context.timeout = settable_timeout(value)

    @property
    def blocking(self) -> bool:
        """Whether a request waits by default."""
        return self._context.blocking

    @blocking.setter
    def blocking(self, value: bool) -> None:
        self._context.blocking = _options.blocking(value)

    @property
    def poll_interval(self) -> float:
        """The seconds between two attempts, if no event ends the wait."""
        return self._context.poll_interval

    @poll_interval.setter
    def poll_interval(self, value: float) -> None:
        self._context.poll_interval = _options.interval(value)

    @property
    def lifetime(self) -> float | None:
        """Kept for compatibility; only soft locks have one, and ignore it."""
        return self._context.lifetime

    @lifetime.setter
    def lifetime(self, value: float | None) -> None:
        kind = type(self)
        self._context.lifetime = _options.lifetime(value, kind._lifetime_supported, kind.__name__)

    @property
    def mode(self) -> int:
        """The permissions that were asked for; 0o644 if none were and the umask decides."""
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
        """What is raised if the body of a ``with`` statement and the release both fail."""
        return self._context_error_policy

    @property
    def close_error_policy(self) -> CloseErrorPolicy:
        """Kept for compatibility: what to do if closing the descriptor fails."""
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
        """The function that is called with a descriptor after each acquisition."""
        return self._on_acquired

    def is_thread_local(self) -> bool:
        """Whether each thread holds the lock for itself."""
        return self._thread_local is True

    def __repr__(self) -> str:
        held = "held" if self.is_locked else "not held"
        return f"<{type(self).__name__} {self.lock_file!r}, {held}>"

    def _option(self, name: str) -> Any:
        """The value of an option as the constructor takes it."""
        if name == "mode":
            return self._context.mode
        return self._thread_local if name == "thread_local" else getattr(self, name)


def settable_timeout(value: Any) -> float:
    if isinstance(value, (str, bytes, bytearray)):
        message = "setting timeout from a string is deprecated; use a number"
        _options.warn(message, DeprecationWarning)
        return float(value)
    return _options.seconds("timeout", value)
