"""``SoftFileLock``: held while a marker file exists."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

from .. import _options
from .._base import BaseFileLock
from .._context import FileLockContext
from .._errors import SoftFileLockLifetimeWarning, Timeout
from .._native import Marker
from . import _watch
from ._marker import Owner, decode
from ._owner import is_this_process
from ._publish import publish, read
from ._reclaim import reclaim

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .._types import Options, ThreadLocal

__all__ = ["SoftFileLock"]

#: Attributes that the constructors set, besides the options.
_STATE = frozenset(
    [
        "_absolute_path",
        "_busy",
        "_contexts",
        "_gate",
        "_inherited",
        "_make_context",
        "_pid",
        "_taker",
    ]
)


class _Context(FileLockContext):
    """The state of a soft lock: a held marker, which has the descriptor."""

    marker: Marker | None = None

    @property
    def lock_file_fd(self) -> int | None:
        return None if self.marker is None else self.marker.fileno()

    @lock_file_fd.setter
    def lock_file_fd(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, value: int | None
    ) -> None:
        assert value is None, "a marker's descriptor comes with the marker"
        self.marker = None


class SoftFileLock(BaseFileLock):
    """A lock for file systems that cannot lock: it is held while a marker file exists.

    The marker names its owner. This class and ``filelock``'s class of the same name respect each
    other's markers. Prefer :class:`FileLock` wherever the file system can lock: the kernel releases
    that lock when its holder dies, and hands it from waiter to waiter in their order.

    A marker that was left behind is taken over if its owner is *provably* dead: it ran on this
    host, and no process has its number and its start time. A marker is never taken over because of
    its age: ``lifetime`` is accepted for programs that pass it, and ignored with a warning. If a
    marker names no owner (an older ``filelock``'s, or a user's own file), it stays until
    :meth:`break_lock`.

    A wait ends when the marker is removed or its owner dies. The kernel reports both, so a waiter
    does not poll on a local file system; on other file systems it also looks every
    ``poll_interval`` seconds. A relative path means the working directory in which the object was
    made.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "job.lock")
    >>> with SoftFileLock(path, timeout=5) as lock:
    ...     os.path.exists(path), lock.pid == os.getpid()
    (True, True)
    >>> os.path.exists(path)
    False
    """

    _lifetime_supported = True
    _context_class = _Context

    if TYPE_CHECKING:

        @property
        def _context(self) -> _Context: ...

    def __init__(
        self,
        lock_file: str | os.PathLike[str],
        timeout: float = -1,
        mode: int = _options.UNSET_MODE,
        thread_local: ThreadLocal = True,
        **options: Unpack[Options],
    ) -> None:
        _check_options(options)
        # Not abspath: that takes ".." out of a path without asking whether it crosses a symlink.
        self._absolute_path = os.path.join(os.getcwd(), os.fspath(lock_file))
        super().__init__(lock_file, timeout, mode, thread_local, **options)

    @property
    def pid(self) -> int | None:
        """The process that the marker names; None if there is no marker, or it names no owner."""
        owner = self._owner()
        return None if owner is None else owner.pid

    @property
    def is_lock_held_by_us(self) -> bool:
        """Whether the marker names this process, whichever object took the lock."""
        owner = self._owner()
        return owner is not None and is_this_process(owner)

    def break_lock(self) -> None:
        """Removes the marker, even that of a living holder, which does not notice.

        Call it only if you know that the holder has ended and this package cannot know it. Does
        nothing if there is no marker.

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "job.lock")
        >>> open(path, "w").close()  # a marker that names no owner
        >>> lock = SoftFileLock(path, timeout=0)
        >>> lock.acquire()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        holdlock._errors.Timeout: The file lock '...' could not be acquired. It is held by ...
        >>> lock.break_lock()
        >>> lock.acquire().lock.release()
        """
        try:
            os.unlink(self._path())
        except FileNotFoundError:
            pass

    def _owner(self) -> Owner | None:
        try:
            descriptor, text = read(self._path())
        except OSError:
            return None
        descriptor.close()
        return decode(text)

    def _acquire(self) -> None:
        path = self._path()
        context = self._context
        exact = self.has_explicit_mode
        mode = self.mode if exact else 0o666
        # The marker has no other name: the traceback of an exception of a signal handler would keep
        # it there.
        if _is_taken(path):
            context.marker = reclaim(path, mode, exact=exact)
        else:
            try:
                context.marker = publish(path, mode, exact=exact)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                context.marker = publish(path, mode, exact=exact)

    def _release(self) -> None:
        marker = self._context.marker
        if marker is not None:
            marker.withdraw()
            self._context.marker = None

    def _path(self) -> str:
        """The path of the lock file, whatever the working directory is now."""
        if not self.lock_file:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.lock_file)
        return self._absolute_path

    def _real_path(self) -> str:
        return os.path.realpath(self._absolute_path)

    def _pause(self, seconds: float, interval: float) -> None:
        _watch.wait(self._absolute_path, seconds, interval)

    def __reduce__(self) -> tuple[Any, ...]:
        known = {"_" + name for name in type(self)._defaults}.union(_STATE)
        added = {name: value for name, value in self.__dict__.items() if name not in known}
        return _options.restore, _options.arguments(self), added or None

    def _timeout(self) -> Timeout:
        try:
            descriptor, text = read(self._path())
        except FileNotFoundError:
            return Timeout(self.lock_file)  # it went away just now
        except OSError as error:
            return Timeout(self.lock_file, f"a marker that cannot be read: {error.strerror}")
        descriptor.close()
        owner = decode(text)
        if owner is None:
            how = "an owner that recorded no PID; break_lock() removes its marker"
            return Timeout(self.lock_file, how)
        return Timeout(self.lock_file, str(owner))


def _check_options(options: Options) -> None:
    """Refuses options that a marker cannot serve, and warns of one that has no effect."""
    if options.get("preserve_lock_file"):
        raise ValueError("preserve_lock_file: releasing a soft lock removes its file")
    if options.get("on_acquired") is not None:
        raise ValueError("on_acquired: a soft lock does not lend the descriptor of its marker")
    if options.get("lifetime") is not None:
        _options.warn(
            "SoftFileLock ignores lifetime: a living holder keeps its lock, and the lock of a dead "
            "holder is free at once",
            SoftFileLockLifetimeWarning,
        )


def _is_taken(path: str) -> bool:
    """Whether a file is at the path. Raises OSError if it can never become a marker."""
    try:
        there = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False  # the creation succeeds, or finds what is wrong
    kind = stat.S_IFMT(there.st_mode)
    if kind == stat.S_IFLNK:
        raise OSError(errno.ELOOP, "Is a symbolic link, which cannot be a lock's marker", path)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if kind != stat.S_IFREG:
        what = "Is a special file, which cannot be a lock's marker"
        raise FileExistsError(errno.EEXIST, what, path)
    # Some network file systems report mtime 0 and mode 0 for a new file.
    if there.st_mtime and not there.st_mode & stat.S_IWUSR:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return True
