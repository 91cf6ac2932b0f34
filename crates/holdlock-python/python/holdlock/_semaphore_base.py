"""The base of the two semaphores: the options, and the state that users see."""

from __future__ import annotations

import os
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Generic,
    Hashable,
    NoReturn,
    Optional,
    Tuple,
    TypeVar,
)

from . import _meta, _options
from ._errors import counted
from ._native import max_slots, NativeSemaphore

if TYPE_CHECKING:
    from ._native import Task

__all__ = ["SemaphoreBase", "SlotBase"]

AnySemaphore = TypeVar("AnySemaphore", bound="SemaphoreBase")

class SemaphoreBase(NativeSemaphore):
    """The path, the number of slots, and the settings of requests."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        n: int,
        *,
        timeout: float = -1,
        blocking: bool = True,
        mode: int = _options.UNSET_MODE,
        follow_symlinks: bool = False,
    ) -> None:
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            raise TypeError(f"n must be a number of slots, not {type(n).__name__}")
        if not 1 <= n <= max_slots:
            raise ValueError(f"a semaphore has 1 to {max_slots} slots, not {n}")
        if not isinstance(follow_symlinks, bool):
            kind = type(follow_symlinks).__name__
            raise TypeError(f"follow_symlinks must be a bool, not {kind}")
        _meta.notice_greenlets()
        self._adapt_to_greenlets()
        self._mode = _options.mode(mode, type(self).__name__)
        self._follow_symlinks = follow_symlinks
        super().__init__(
            path,
            n,
            _options.seconds("timeout", timeout),
            _options.blocking(blocking),
            mode,
            follow_symlinks,
        )

    def _adapt_to_greenlets(self) -> None:
        """Lets greenlets use the semaphore, if the program uses them as threads."""

    @property
    def timeout(self) -> float:
        """The default limit of a wait in seconds; negative: no limit."""
        return self._settings[0]

    @timeout.setter
    def timeout(self, value: float) -> None:
        self._set(_options.seconds("timeout", value), self.blocking)

    @property
    def blocking(self) -> bool:
        """Whether a request waits by default."""
        return self._settings[1]

    @blocking.setter
    def blocking(self, value: bool) -> None:
        self._set(self.timeout, _options.blocking(value))

    @property
    def slot(self) -> Optional[int]:
        """The number of the slot that this thread or task has acquired last; None: it holds none.

        The numbers are those from 0 to ``n`` - 1. No two holders have the same number at a time.
        """
        slots = self._slots_of(self._requester())
        return slots[-1] if slots else None

    @property
    def locked(self) -> bool:
        """Whether this thread or task holds a slot."""
        return self.slot is not None

    def _requester(self) -> Optional[Task]:
        """The task or greenlet that uses the semaphore; None: the calling thread."""
        return _meta.current_greenlet()

    @property
    def _line(self) -> Hashable:
        return self._absolute_path, self.n

    @property
    def _first_file(self) -> str:
        return self.lock_file

    def _limit(self, timeout: Optional[float], blocking: Optional[bool]) -> float:
        """How long a request may wait. -1.0: no limit; 0.0: not at all."""
        may_wait = _options.blocking(self.blocking if blocking is None else blocking)
        return _options.limit(self.timeout if timeout is None else timeout, may_wait)

    def __repr__(self) -> str:
        slots = self._slots_of(self._requester())
        held = "slot " + ", ".join(map(str, slots)) if slots else "not held"
        return f"<{type(self).__name__} {self.lock_file!r}, {counted(self.n)}, {held}>"

    def __reduce__(self) -> Tuple[Any, ...]:
        options = {
            "timeout": self.timeout,
            "blocking": self.blocking,
            "mode": self._mode,
            "follow_symlinks": self._follow_symlinks,
        }
        return _restore, (type(self), self._absolute_path, self.n, options)


class SlotBase(Generic[AnySemaphore]):
    """A slot that was acquired."""

    def __init__(self, semaphore: AnySemaphore, slot: int, acquisition: int) -> None:
        #: The semaphore.
        self.semaphore = semaphore
        #: The number of the slot.
        self.slot = slot
        # The slot may be given back, and be another holder's by now.
        self._acquisition = acquisition

    def _give_back(self) -> None:
        semaphore = self.semaphore
        semaphore._give_back(self.slot, semaphore._requester(), self._acquisition)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.slot} of {self.semaphore.lock_file!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object: it belongs to one process")


def _restore(kind: Any, path: str, n: int, options: Dict[str, Any]) -> Any:
    return kind(path, n, **options)
