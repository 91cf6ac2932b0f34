"""The base of the two sets of locks: the members, and the settings of requests."""

from __future__ import annotations

import os
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Generic,
    Hashable,
    Iterable,
    List,
    Optional,
    Tuple,
    TypeVar,
)

from . import _meta, _options
from ._file_lock import FileLock
from ._native import NativeLockSet

if TYPE_CHECKING:
    from typing import Union

    from ._native import Task

    Path = Union[str, os.PathLike[str]]
    Mode = str

__all__ = ["LockSetBase"]

Lock = TypeVar("Lock", bound=FileLock)

_MODES = {"exclusive": False, "shared": True}


class LockSetBase(NativeLockSet, Generic[Lock]):
    """The members of a set, and the settings of its requests."""

    #: The class of the members.
    _kind: type[FileLock]
    #: The members, and whether each is shared.
    _members: List[Tuple[Lock, bool]] = []

    def __init__(
        self,
        locks: Iterable[Union[Lock, Path, Tuple[Union[Lock, Path], Mode]]],
        *,
        timeout: float = -1,
        blocking: bool = True,
    ) -> None:
        _meta.notice_greenlets()
        self._adapt_to_greenlets()
        self._members = self._checked(locks)
        limit = _options.seconds("timeout", timeout)
        super().__init__(self._members, limit, _options.blocking(blocking))

    def _checked(self, locks: Iterable[Any]) -> List[Tuple[Lock, bool]]:
        """Each lock once, and whether it is shared."""
        if isinstance(locks, (str, os.PathLike)) or not hasattr(locks, "__iter__"):
            kind = type(locks).__name__
            raise TypeError(f"{type(self).__name__}: give a list of locks or paths, not a {kind}")
        found: Dict[int, Tuple[Any, bool]] = {}
        for member in locks:
            lock, shared = self._member(member)
            known = found.get(id(lock))
            found[id(lock)] = lock, shared and (known is None or known[1])
        return list(found.values())

    def _member(self, member: Any) -> Tuple[Any, bool]:
        if not isinstance(member, (tuple, list)):
            member = member, None
        elif len(member) != 2:
            raise ValueError(f"{type(self).__name__}: a pair is a lock and a mode, not {member!r}")
        lock, mode = member
        if isinstance(lock, (str, os.PathLike)):
            lock = self._kind(lock)
        name, kind = type(self).__name__, self._kind.__name__
        if not isinstance(lock, self._kind) or self._is_of_the_other_kind(lock):
            raise TypeError(f"{name}: a member must be {kind} or a path, not {type(lock).__name__}")
        if lock.on_acquired is not None:
            raise ValueError(f"{name}: on_acquired of '{lock.lock_file}' would not be called")
        if mode is None:
            return lock, lock.shared
        if mode not in _MODES:
            raise ValueError(f"{name}: a mode is 'exclusive' or 'shared', not {mode!r}")
        return lock, _MODES[mode]

    def _is_of_the_other_kind(self, lock: FileLock) -> bool:
        return False

    def _adapt_to_greenlets(self) -> None:
        """Lets greenlets use the set, if the program uses them as threads."""

    @property
    def locks(self) -> Tuple[Lock, ...]:
        """The locks, each once, in the order in which they were given."""
        return tuple(lock for lock, _ in self._members)

    @property
    def timeout(self) -> float:
        """The default limit of a wait for all locks, in seconds; negative: no limit."""
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
    def locked(self) -> bool:
        """Whether this thread or task has acquired the set."""
        return self._is_held(self._requester())

    def _requester(self) -> Optional[Task]:
        """The task or greenlet that uses the set; None: the calling thread."""
        return _meta.current_greenlet()

    @property
    def _line(self) -> Hashable:
        return frozenset((lock._absolute_path, shared) for lock, shared in self._members)

    @property
    def _first_file(self) -> str:
        return self._members[0][0].lock_file if self._members else ""

    def _limit(self, timeout: Optional[float], blocking: Optional[bool]) -> float:
        """How long a request may wait. -1.0: no limit; 0.0: not at all."""
        may_wait = _options.blocking(self.blocking if blocking is None else blocking)
        return _options.limit(self.timeout if timeout is None else timeout, may_wait)

    def __repr__(self) -> str:
        names = [
            f"{lock.lock_file!r} (shared)" if shared else repr(lock.lock_file)
            for lock, shared in self._members
        ]
        held = "held" if self.locked else "not held"
        return f"<{type(self).__name__} of {', '.join(names) or 'nothing'}, {held}>"

    def __reduce__(self) -> Tuple[Any, ...]:
        members = [(lock, "shared" if shared else "exclusive") for lock, shared in self._members]
        options = {"timeout": self.timeout, "blocking": self.blocking}
        return _restore, (type(self), members, options)


def _restore(kind: Any, members: List[Any], options: Dict[str, Any]) -> Any:
    return kind(members, **options)


def left(limit: float, began: float, now: float) -> float:
    """How much of a time limit is left; negative: there is no limit."""
    return limit if limit < 0 else max(began + limit - now, 0.0)
