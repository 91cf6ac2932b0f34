"""``FileLock``: the lock that the kernel keeps, in native code."""

from __future__ import annotations

from . import _options
from ._attributes import settable_timeout
from ._base import BaseFileLock
from ._native import NativeLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BaseFileLock", "FileLock", "UnixFileLock", "WindowsFileLock"]


class FileLock(NativeLock, BaseFileLock):
    """A lock that processes share by the path of a file.

    It is held in a ``with`` statement, by :meth:`acquire` and :meth:`release`, or by :meth:`lock`
    and :meth:`unlock`:

    >>> import os, tempfile
    >>> from holdlock import Timeout
    >>> path = os.path.join(tempfile.mkdtemp(), "backup.lock")
    >>> lock = FileLock(path)
    >>> with lock:
    ...     print(lock.locked)  # nobody else is here, on the whole machine
    True
    >>> lock.locked
    False

    Who asks while another process, or another thread, holds the lock waits: in the kernel's
    queue, without polling and without the interpreter's lock. With a ``timeout`` in seconds it
    raises :class:`Timeout` in the end, which says who the holder is:

    >>> with lock, open(path) as other:
    ...     try:
    ...         FileLock(path).acquire(timeout=0.01)
    ...     except Timeout as error:
    ...         print(error.lock_file == path, error.holders[0].pid == os.getpid())
    True True

    The kernel releases the lock when its holder ends, however it ends; the file stays, and is
    never written to. The same object may be acquired again by its holder, and is then released
    as often. The path is made absolute when the object is made; the file is created, and with it
    missing directories, when the lock is first acquired, and stays open until the object goes.

    ``thread_local`` says what the threads of this process are to one object:

    * ``True``: each holds, and waits, for itself, and has its own ``timeout`` and so on.
    * ``False``: they hold it together; any of them may release it. Another thread that acquires
      it while it is held does not wait.
    * ``"mutex"``: one of them holds it, the others wait. :attr:`locked` tells all of them. Not
      together with ``shared``.

    ``shared=True`` makes a lock that any number of processes can hold at once, but none together
    with one that is exclusive.

    ``fair=True`` serves requests in the order in which they come. Otherwise whoever asks just
    when the lock becomes free can be quicker than the one that is woken: most of all who has
    released it and asks again, and who asks for a shared lock while an exclusive request waits.
    It concerns those who ask for it, costs two more system calls, and needs a file that can be
    written to, on a local file system.

    In a child process made by fork the lock is not held, and nothing there can release it; if it
    was held when the child was made, it cannot be acquired there. A lock that is pickled, for
    another process, arrives as a free one with the same path and options.
    """

    _defaults = _options.NATIVE_DEFAULTS

    if not TYPE_CHECKING:  # called without a detour through Python code
        __del__ = NativeLock._finalize

    def _acquire(self) -> None:
        raise NotImplementedError("this lock is acquired in native code")

    def _release(self) -> None:
        raise NotImplementedError("this lock is released in native code")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # The native ways into and out of a `with` do not call methods that a subclass has changed.
        if cls.acquire is not NativeLock.acquire and cls.__enter__ is NativeLock.__enter__:
            cls.__enter__ = BaseFileLock.__enter__  # type: ignore[assignment, method-assign]
        if cls.release is not NativeLock.release and cls.__exit__ is NativeLock.__exit__:
            cls.__exit__ = BaseFileLock.__exit__  # type: ignore[assignment, method-assign]

    @property
    def timeout(self) -> float:
        """How many seconds to wait if nothing else is said; negative: for ever."""
        return self._settings[0]

    @timeout.setter
    def timeout(self, value: float | str) -> None:
        self._set(timeout=settable_timeout(value))

    @property
    def blocking(self) -> bool:
        """Whether to wait at all if nothing else is said."""
        return self._settings[1]

    @blocking.setter
    def blocking(self, value: bool) -> None:
        self._set(blocking=_options.blocking(value))

    @property
    def poll_interval(self) -> float:
        """How many seconds lie between two calls of a ``cancel_check``. The lock is not polled."""
        return self._settings[2]

    @poll_interval.setter
    def poll_interval(self, value: float) -> None:
        self._set(poll_interval=_options.interval(value))

    @property
    def lifetime(self) -> None:
        """None: the kernel's lock cannot be broken by age, and ends with its holder."""
        return None

    @lifetime.setter
    def lifetime(self, value: float | None) -> None:
        _options.lifetime(value, False, type(self).__name__)

    def _option(self, name: str) -> Any:
        if name == "mode":
            return self._mode_setting
        return self._thread_local_setting if name == "thread_local" else getattr(self, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _options.restore, _options.arguments(self), self._extra_state()

    def _extra_state(self) -> dict[str, Any] | None:
        """The attributes of the object that a subclass has added."""
        options = type(self)._defaults
        own = {name: value for name, value in self.__dict__.items() if name[1:] not in options}
        return own or None


UnixFileLock = FileLock


class WindowsFileLock(BaseFileLock):
    """The name of the lock of another operating system; here it cannot be acquired."""

    def _acquire(self) -> None:
        raise NotImplementedError("WindowsFileLock is for Windows")

    def _release(self) -> None:
        raise NotImplementedError("WindowsFileLock is for Windows")
