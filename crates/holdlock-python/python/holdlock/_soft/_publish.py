"""A marker appears whole or not at all, and only its own holder removes it.

Whoever creates a marker by its name and writes it afterwards shows an empty file for a moment, and
forever if it dies in that moment: an empty marker says nothing about its owner. Here the file gets
its contents while it has no name (O_TMPFILE), and its name by linkat(2), which fails if the name
is taken. Where a file system cannot do that (NFS), the file has another name until then.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Callable

from ._marker import LONGEST, RELEASED, encode
from ._owner import this_process

#: Whoever may write a marker can have it reclaimed, so nobody but the user may.
_WRITE_OF_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def publish(path: str, mode: int, *, exact: bool, lock: str | None = None) -> int | None:
    """Puts this process's marker at ``path``; None if something is there already.

    ``exact`` is whether the mode was asked for, so that the umask is not to thin it out; ``lock``
    what errors name, if not ``path``. The descriptor that comes back is open for writing and
    close-on-exec.
    """
    mode &= ~_WRITE_OF_OTHERS
    try:
        descriptor = _nameless(path, mode)
        if descriptor is not None:
            published = _filled(
                descriptor, mode, exact=exact, name_it=lambda: _name(descriptor, path)
            )
            if published is not None:
                return descriptor if published else None
        return _publish_by_another_name(path, mode, exact=exact)
    except OSError as error:
        raise OSError(error.errno, error.strerror, lock or path) from None


def _nameless(path: str, mode: int) -> int | None:
    """A new file without a name in the marker's directory; None where there are none."""
    directory = os.path.dirname(path) or "."
    try:
        return os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode)
    except OSError as error:
        # Linux before 3.11 ignores O_TMPFILE and finds a directory, which cannot be written.
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            return None
        raise


def _name(descriptor: int, path: str) -> bool | None:
    """Gives a nameless file its name: True; False if that is taken; None if it cannot be done."""
    try:
        # A source directory makes os.link call linkat with AT_SYMLINK_FOLLOW, as /proc needs.
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EXDEV, errno.EPERM):
            return None  # no /proc; or no links on this file system: then the other way says so
        raise
    return True


def _publish_by_another_name(path: str, mode: int, *, exact: bool) -> int | None:
    aside = f"{path}.new.{os.getpid()}.{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(aside, flags, mode)

    def name_it() -> bool:
        try:
            os.link(aside, path)
        except FileExistsError:
            return False
        return True

    try:
        return descriptor if _filled(descriptor, mode, exact=exact, name_it=name_it) else None
    finally:
        os.unlink(aside)


def _filled(
    descriptor: int, mode: int, *, exact: bool, name_it: Callable[[], bool | None]
) -> bool | None:
    """Fills a new marker and names it; without a name the descriptor is closed."""
    named: bool | None = False
    try:
        _fill(descriptor, mode, exact=exact)
        named = name_it()
        return named
    finally:
        if not named:
            os.close(descriptor)


def _fill(descriptor: int, mode: int, *, exact: bool) -> None:
    """Gives a new marker its mode and its text."""
    if exact:
        os.fchmod(descriptor, mode)
    text = encode(this_process())
    if os.write(descriptor, text) != len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def withdraw(path: str, descriptor: int, identity: tuple[int, int]) -> None:
    """Removes this process's marker from ``path``, and closes its descriptor.

    Whatever else is at the path stays; and so does what is behind the descriptor, if somebody has
    closed it and its number is another file's now.
    """
    if identity_of(descriptor) != identity:
        return
    try:
        # While the descriptor is open, no other file can have its inode number.
        if not _unlinked(path, identity) and os.fstat(descriptor).st_nlink:
            # Someone who took it for another one has it aside and will put it back: this text makes
            # it free there. The rest is cut off afterwards: an empty marker is never free.
            os.pwrite(descriptor, RELEASED.encode(), 0)
            os.ftruncate(descriptor, len(RELEASED))
    finally:
        os.close(descriptor)


def identity_of(descriptor: int) -> tuple[int, int] | None:
    """The device and inode number of an open file; None if it is not open."""
    try:
        there = os.fstat(descriptor)
    except OSError:
        return None
    return there.st_dev, there.st_ino


def _unlinked(path: str, identity: tuple[int, int]) -> bool:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    if (there.st_dev, there.st_ino) != identity:
        return False
    os.unlink(path)
    return True


def read(path: str) -> tuple[int, bytes]:
    """A descriptor of what is at ``path``, and its beginning. FileNotFoundError when nothing is.

    The descriptor keeps the file's inode number from meaning another file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileExistsError(errno.EEXIST, "Not a lock's marker but a special file", path)
        return descriptor, os.read(descriptor, LONGEST + 1)
    except BaseException:
        os.close(descriptor)
        raise
