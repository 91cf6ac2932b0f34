"""The signal of a lost lock between hosts, with the interface of an event."""

from __future__ import annotations

import math
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Callable, Optional

from . import _async_library, _options
from ._meta import uses_greenlets

if TYPE_CHECKING:
    from ._engine_errors import LockLost
    from ._native import NativeLost

__all__ = ["AsyncLostSignal", "LostSignal"]


#: How often a wait looks whether the program has closed the descriptors of the library, in seconds.
LOOK = 1.0


class LostSignalBase:
    """What the signals of both kinds of code have in common."""

    def __init__(self, native: NativeLost) -> None:
        self._native = native

    def is_set(self) -> bool:
        """Whether the lock was lost before it was released. Does not ask the engine."""
        return self.reason is not None

    @property
    def reason(self) -> Optional[LockLost]:
        """What is known about the loss; None: the lock was not lost."""
        return self._native.loss()

    def fileno(self) -> int:
        """A descriptor that is readable when the lock was lost, for select and poll. Do not read
        from it."""
        return self._native.fileno()

    def add_callback(self, function: Callable[[LockLost], object]) -> None:
        """Calls the function when the lock is lost, in a thread of its own; at once if it was lost
        already. A lock that is released before never calls it."""
        if not callable(function):
            raise TypeError(f"a callback must be callable, not {type(function).__name__}")
        # Signals are blocked in the threads of the library, and the programs that the callback
        # starts would inherit that.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())

        def call(error: LockLost) -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            function(error)

        self._native.add_callback(call)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'set' if self.is_set() else 'not set'}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"cannot pickle {type(self).__name__}: it belongs to a lock that this process holds"
        )


class LostSignal(LostSignalBase):
    """Set when a lock is lost before it is released. A signal that was set stays so.

    It is set at once when the engine ends the connection, and otherwise at the lock's deadline,
    before the engine frees the lock. In that second case the lock may turn out to have been kept,
    which :meth:`EngineLock.check` tells.
    """

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Sleeps until the lock is lost, at most for ``timeout`` seconds. Returns
        :meth:`is_set`, as :class:`threading.Event` does."""
        limit = math.inf if timeout is None else max(_options.seconds("timeout", timeout), 0.0)
        end = time.monotonic() + limit
        while not self.is_set():
            left = end - time.monotonic()
            if left <= 0 or wait_readable(self.fileno(), min(left, LOOK)):
                break
        return self.is_set()


class AsyncLostSignal(LostSignalBase):
    """A :class:`LostSignal` for asynchronous code."""

    async def wait(self, timeout: Optional[float] = None) -> bool:
        """Sleeps until the lock is lost, at most for ``timeout`` seconds, while other tasks run.
        Returns :meth:`is_set`."""
        limit = math.inf if timeout is None else max(_options.seconds("timeout", timeout), 0.0)
        if not self.is_set():
            # A loop watches a descriptor for one task only.
            own = os.dup(self.fileno())
            try:
                await _async_library.readable([own], limit)
            finally:
                os.close(own)
        return self.is_set()


def wait_readable(descriptor: int, seconds: float) -> bool:
    """Sleeps until the descriptor is readable, at most for this time, and returns whether it is.
    Handlers of signals run meanwhile, and other greenlets."""
    if uses_greenlets():
        from . import _greenlets

        return _greenlets.wait_readable(descriptor, seconds)
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
