"""The base of the two read/write locks: the kernel's lock, with requests served in their order.

The lock is flock(2) on the file, shared for readers and exclusive for writers. The kernel lets new
readers pass a waiting writer, so that writers could wait for ever. Therefore these locks are fair:
requests queue for their turn first. On a network file system, and for a file that cannot be written
to, fair locks are not possible, and the kernel's order applies.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Optional, Tuple
from weakref import WeakValueDictionary

from . import _meta, _options
from ._errors import Cancelled
from ._file_lock import FileLock
from ._native import CancelToken, held, printable
from ._soft._kernel import is_local

if TYPE_CHECKING:
    from typing import List, Type, Union

    from ._native import Process, Task

__all__ = ["ReadWriteBase"]

_HOW = {True: "held for reading", False: "held for writing", None: "not held"}

_KIND = {True: "read", False: "write"}

_singletons: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()


class _ReadWriteMeta(type):
    """Checks the options first, and finds singletons again."""

    if not TYPE_CHECKING:

        def __call__(cls, lock_file, timeout=-1, *, blocking=True, is_singleton=True, **options):
            timeout = _options.seconds("timeout", timeout)
            _options.blocking(blocking)
            options = dict(options, timeout=timeout, blocking=blocking, is_singleton=is_singleton)
            if not (is_singleton and cls._may_be_singleton):
                return type.__call__(cls, lock_file, **options)
            # A child of fork makes its own singletons.
            key = (os.getpid(), cls, _options.canonical(lock_file))
            with _meta._making:
                there = _singletons.get(key)
                if there is None:
                    there = _singletons[key] = type.__call__(cls, lock_file, **options)
                    return there
            same = _meta._same("timeout", there.timeout, timeout)
            if not same or there.blocking != blocking:
                raise ValueError(
                    f"Singleton lock created with timeout={there.timeout}, "
                    f"blocking={there.blocking}, not with timeout={timeout}, blocking={blocking}"
                )
            return there


class ReadWriteBase(metaclass=_ReadWriteMeta):
    """The path, the settings of requests, and the lock."""

    _may_be_singleton = True

    def __init__(
        self,
        lock_file: str | os.PathLike[str],
        timeout: float = -1,
        *,
        blocking: bool = True,
        is_singleton: bool = True,
    ) -> None:
        self.lock_file = os.fspath(lock_file)
        self.timeout = timeout
        self.blocking = blocking
        self._is_singleton = is_singleton
        self._pid = os.getpid()
        self._closed = False
        #: Ends the waits when the lock is closed.
        self._closing = CancelToken()
        self._lock = FileLock(lock_file, fair=_may_be_fair(os.path.abspath(lock_file)))

    def holders(self) -> List[Process]:
        """The processes that hold the lock or are next, as far as this process can see them."""
        return self._lock.holders()

    def _request(self, timeout: Optional[float], blocking: Optional[bool]) -> float:
        """How long a request may wait. Raises RuntimeError if the lock was closed."""
        if self._closed:
            raise self._closed_error()
        may_wait = _options.blocking(self.blocking if blocking is None else blocking)
        limit = self.timeout if timeout is None else timeout
        if may_wait and _options.seconds("timeout", limit) < 0 and limit != -1:
            raise ValueError(f"timeout must be a non-negative number or -1, not {float(limit)}")
        return _options.limit(limit, may_wait)

    def __repr__(self) -> str:
        what = "closed" if self._closed else _HOW[held(self._lock, self._requester())]
        return f"<{type(self).__name__} {self.lock_file!r}, {what}>"

    def _requester(self) -> Optional[Task]:
        """The task or greenlet that uses the lock; None: the calling thread."""
        return _meta.current_greenlet()

    def _closed_error(self) -> RuntimeError:
        return RuntimeError(f"lock '{printable(self.lock_file)}' was closed")

    def _explain(self, error: BaseException) -> BaseException:
        """The error of a request, or another one if the lock was closed meanwhile."""
        return self._closed_error() if self._closed and isinstance(error, Cancelled) else error

    def _close(self) -> None:
        self._closed = True
        self._closing.cancel()

    def _refuse_other_mode(self, held: bool, wanted: bool, requester: str) -> None:
        if held != wanted:
            change = "upgrade" if held else "downgrade"
            raise RuntimeError(
                f"Cannot acquire the {_KIND[wanted]} lock '{printable(self.lock_file)}': this "
                f"{requester} is already holding a {_KIND[held]} lock ({change} not allowed)"
            )

    def _refuse_release(self, requester: str) -> None:
        shown = printable(self.lock_file)
        raise RuntimeError(f"Cannot release the lock '{shown}': it is not held by this {requester}")

    def _inherited(self) -> bool:
        """Whether this process is a child, made by fork after the lock."""
        return self._pid != os.getpid()

    def __reduce__(self) -> Tuple[Any, ...]:
        options = {
            "timeout": self.timeout,
            "blocking": self.blocking,
            "is_singleton": self._is_singleton,
        }
        return _restore, (type(self), self._lock._absolute_path, options)


def _may_be_fair(path: str) -> bool:
    if os.path.lexists(path) and not (os.path.isfile(path) and os.access(path, os.W_OK)):
        return False
    directory = os.path.dirname(path)
    while not os.path.isdir(directory) and directory != os.path.dirname(directory):
        directory = os.path.dirname(directory)
    return is_local(directory)


def _restore(kind: Type[Any], path: Union[str, os.PathLike[str]], options: dict[str, Any]) -> Any:
    return kind(path, **options)
