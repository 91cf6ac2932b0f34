"""``SoftFileLock``: held while a marker file exists."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from .. import _options
from .._base import BaseFileLock
from .._errors import SoftFileLockLifetimeWarning, Timeout
from . import _watch
from ._marker import Owner, decode
from ._owner import is_this_process
from ._publish import identity_of, publish, read, withdraw
from ._reclaim import reclaim

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .._types import Options, ThreadLocal

__all__ = ["SoftFileLock"]


class SoftFileLock(BaseFileLock):
    """A lock which needs nothing of the file system but that creating a file can fail.

    It is held while a marker file exists, which names its owner; processes that use ``filelock``'s
    class of the same name respect it, and theirs are respected. Prefer :class:`FileLock` wherever
    the file system can lock: the kernel frees that one when its holder dies, and hands it from
    waiter to waiter in the order of their coming.

    A marker which was left behind is taken over when its owner is *provably* dead: when it ran on
    this host, and no process has its number and its start. Never by age: ``lifetime`` is accepted
    for the sake of programs that pass it, and ignored with a warning. A marker that names no owner
    (an older ``filelock``'s, or somebody's own file) stays until :meth:`break_lock`.

    A wait ends with the marker's removal or its owner's death: the kernel reports both, nothing is
    polled on a local file system. On others it looks every ``poll_interval`` seconds besides.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "job.lock")
    >>> with SoftFileLock(path, timeout=5) as lock:
    ...     os.path.exists(path), lock.pid == os.getpid()
    (True, True)
    >>> os.path.exists(path)
    False
    """

    _lifetime_supported = True

    def __init__(
        self,
        lock_file: str | os.PathLike[str],
        timeout: float = -1,
        mode: int = _options.UNSET_MODE,
        thread_local: ThreadLocal = True,
        **options: Unpack[Options],
    ) -> None:
        _check_options(options)
        #: By descriptor, where its marker is (the working directory may change) and which file.
        self._markers: dict[int, tuple[str, tuple[int, int] | None]] = {}
        super().__init__(lock_file, timeout, mode, thread_local, **options)

    @property
    def pid(self) -> int | None:
        """The process that the marker names; None if there is no marker, or one without a name."""
        owner = self._owner()
        return None if owner is None else owner.pid

    @property
    def is_lock_held_by_us(self) -> bool:
        """Whether the marker names this process, whichever object took the lock."""
        owner = self._owner()
        return owner is not None and is_this_process(owner)

    def break_lock(self) -> None:
        """Removes whatever marker is there, also a living holder's, which will not notice.

        For an operator who knows that the holder is gone, where this package cannot know it. Does
        nothing when there is no marker.

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "job.lock")
        >>> open(path, "w").close()  # a marker that names nobody
        >>> lock = SoftFileLock(path, timeout=0)
        >>> lock.acquire()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        holdlock._errors.Timeout: The file lock '...' could not be acquired. It is held by ...
        >>> lock.break_lock()
        >>> lock.acquire().lock.release()
        """
        try:
            os.unlink(self.lock_file)
        except FileNotFoundError:
            pass

    def _owner(self) -> Owner | None:
        try:
            descriptor, text = read(self.lock_file)
        except OSError:
            return None
        os.close(descriptor)
        return decode(text)

    def _acquire(self) -> None:
        path = _absolute(self.lock_file)
        exact = self.has_explicit_mode
        mode = self.mode if exact else 0o666
        if _is_taken(path):
            descriptor = reclaim(path, mode, exact=exact)
        else:
            try:
                descriptor = publish(path, mode, exact=exact)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                descriptor = publish(path, mode, exact=exact)
        if descriptor is not None:
            self._markers[descriptor] = path, identity_of(descriptor)
            self._context.lock_file_fd = descriptor

    def _release(self) -> None:
        descriptor = self._context.lock_file_fd
        if descriptor is None:
            return
        path, identity = self._markers.pop(descriptor)
        try:
            if identity is not None:
                withdraw(path, descriptor, identity)
        finally:
            self._context.lock_file_fd = None

    def _forget_inherited(self) -> None:
        # Not closed: a child may have closed them all already, and use the numbers for others.
        self._markers = {}

    def _pause(self, seconds: float, interval: float) -> None:
        _watch.wait(self.lock_file, seconds, interval)

    def _timeout(self) -> Timeout:
        try:
            descriptor, text = read(self.lock_file)
        except FileNotFoundError:
            return Timeout(self.lock_file)  # it went away just now
        except OSError as error:
            return Timeout(self.lock_file, f"a marker that cannot be read: {error.strerror}")
        os.close(descriptor)
        owner = decode(text)
        return Timeout(
            self.lock_file,
            "a marker that names no owner; break_lock() removes it" if owner is None else str(owner),
        )


def _check_options(options: Options) -> None:
    """Refuses what a marker cannot do; warns of what it will not do."""
    if options.get("preserve_lock_file"):
        raise ValueError("preserve_lock_file: a soft lock is released by removing its file")
    if options.get("on_acquired") is not None:
        raise ValueError("on_acquired: the descriptor of a soft lock's marker is not lent")
    if options.get("lifetime") is not None:
        _options.warn(
            "SoftFileLock ignores lifetime: a living holder keeps its lock, and the lock of a dead "
            "holder is free at once",
            SoftFileLockLifetimeWarning,
        )


def _absolute(path: str) -> str:
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    # Not abspath: that takes ".." out of a path without asking whether it crosses a symlink.
    return os.path.join(os.getcwd(), path)


def _is_taken(path: str) -> bool:
    """Whether something is at the path; an error if it can never become a marker."""
    try:
        there = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False  # for the creation to succeed, or to find what is wrong
    kind = stat.S_IFMT(there.st_mode)
    if kind == stat.S_IFLNK:
        raise OSError(errno.ELOOP, "A symlink is not followed to a lock's marker", path)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if kind != stat.S_IFREG:
        raise FileExistsError(errno.EEXIST, "A special file is not a lock's marker", path)
    # Some network file systems say mtime 0 and mode 0 of a file they know nothing of yet.
    if there.st_mtime and not there.st_mode & stat.S_IWUSR:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return True
