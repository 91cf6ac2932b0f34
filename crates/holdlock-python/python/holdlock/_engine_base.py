"""The base of the two locks between hosts: the options, and the state that users see."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple

from . import _meta, _options
from ._engine_native import native

if TYPE_CHECKING:
    from ._native import Task

__all__ = ["EngineLockBase"]


class EngineLockBase(native.NativeEngineLock):
    """The URL, and the settings of requests."""

    def __init__(
        self,
        url: str,
        timeout: float = -1,
        *,
        blocking: bool = True,
        shared: bool = False,
        note: Optional[str] = None,
        command: Optional[str] = None,
    ) -> None:
        if not isinstance(url, str):
            raise TypeError(f"the URL of a lock must be a str, not {type(url).__name__}")
        if not isinstance(shared, bool):
            raise TypeError(f"shared must be a bool, not {type(shared).__name__}")
        _meta.notice_greenlets()
        self._adapt_to_greenlets()
        self._url = url
        self._command = command
        super().__init__(
            url,
            _options.limit(timeout, True),
            _options.blocking(blocking),
            shared,
            note,
            _program() if command is None else command,
        )
        for warning in self._warnings:
            _options.warn(f"{self.name}: {warning}", UserWarning)

    def _adapt_to_greenlets(self) -> None:
        """Lets greenlets use the lock, if the program uses them as threads."""

    def _requester(self) -> Optional[Task]:
        """The task or greenlet that uses the lock; None: the calling thread."""
        raise NotImplementedError

    @property
    def timeout(self) -> float:
        """The default limit of a wait in seconds; negative: no limit."""
        return self._settings[0]

    @timeout.setter
    def timeout(self, value: float) -> None:
        self._set(_options.limit(value, True), self.blocking)

    @property
    def blocking(self) -> bool:
        """Whether a request waits by default."""
        return self._settings[1]

    @blocking.setter
    def blocking(self, value: bool) -> None:
        self._set(self.timeout, _options.blocking(value))

    @property
    def is_locked(self) -> bool:
        """Whether this thread or task has acquired the lock and not yet released it. The lock may
        have been lost: see :meth:`is_valid`."""
        return self.lock_counter > 0

    @property
    def locked(self) -> bool:
        """:attr:`is_locked` by another name."""
        return self.is_locked

    @property
    def lock_counter(self) -> int:
        """How many times this thread or task has acquired the lock and not yet released it."""
        return self._counter(self._requester())

    @property
    def token(self) -> Optional[int]:
        """A number that is greater than those of all holders before; None: the lock is not held,
        or its engine has no such number.

        A store that refuses what comes with a smaller number than it has seen is safe even from a
        holder that did not notice the loss of its lock.
        """
        return self._token(self._requester())

    @property
    def deadline(self) -> Optional[float]:
        """Until when the lock is held for certain, whatever happens to the engine and the network;
        None: the lock is not held.

        In seconds of ``time.clock_gettime(time.CLOCK_BOOTTIME)``, which goes on while the machine
        is suspended. The deadline moves on with each renewal.
        """
        return self._deadline(self._requester())

    def is_valid(self) -> bool:
        """Whether the lock is certainly held now: its deadline has not passed, and the engine has
        not reported its loss. Reads a clock, and neither waits nor asks the engine."""
        return self._is_valid(self._requester())

    def ensure_held(self) -> None:
        """Raises :class:`LockLost` unless :meth:`is_valid`. Raises RuntimeError if the lock was not
        acquired."""
        self._ensure(self._requester())

    @staticmethod
    def _counted(ago: Optional[float], keep: Optional[float]) -> Optional[Tuple[float, float]]:
        """When a run began that counts, and for how long to remember it."""
        if ago is None and keep is None:
            return None
        if ago is None or keep is None:
            raise ValueError("ago and keep go together: give both or neither")
        return ago, keep

    def _limit(self, timeout: Optional[float], blocking: Optional[bool]) -> float:
        """How long a request may wait. -1.0: no limit; 0.0: not at all."""
        may_wait = _options.blocking(self.blocking if blocking is None else blocking)
        return _options.limit(self.timeout if timeout is None else timeout, may_wait)

    def __repr__(self) -> str:
        held = "not held"
        if self.is_locked:
            held = "held" if self.is_valid() else "lost"
        return f"<{type(self).__name__} {self.name!r}, {held}>"

    def __reduce__(self) -> Tuple[Any, ...]:
        options = {
            "timeout": self.timeout,
            "blocking": self.blocking,
            "shared": self.shared,
            "note": self.note,
            "command": self._command,
        }
        return _restore, (type(self), self._url, options)


def _restore(kind: Any, url: str, options: Dict[str, Any]) -> Any:
    return kind(url, **options)


def _program() -> Optional[str]:
    """The name of the script or module that runs; None: there is none."""
    script = (getattr(sys, "argv", None) or [""])[0]
    directory, name = os.path.split(script)
    if name == "__main__.py":
        name = os.path.basename(directory)
    return None if script == "-c" else name or None
