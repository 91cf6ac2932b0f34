"""Descriptors that are closed even if an exception of a signal handler comes at the worst moment.

Such an exception can come between any two steps of Python code, so the number that ``os.open`` has
returned may be lost before it is stored. Here one call of C code makes the descriptor and the
object that owns it. The last reference to the object closes the descriptor, in C code again.
"""

from __future__ import annotations

import os
from typing import Callable, List, Protocol


class Descriptor(Protocol):
    """Owns a descriptor, and closes it when the last reference to this object goes."""

    def fileno(self) -> int: ...

    def close(self) -> None:
        """Closes it. Does nothing if it is closed."""


class _Plain(List[int]):
    """An owner in Python, if a library for greenlets has removed ``select.epoll``.

    An exception that comes during ``__del__`` still loses the descriptor.
    """

    def fileno(self) -> int:
        return self[0]

    def close(self) -> None:
        while self:
            os.close(self.pop())

    def __del__(self) -> None:
        self.close()


def own(make: Callable[..., int], *arguments: object) -> Descriptor | None:
    """The descriptor that this C function makes of the arguments; None: it has returned -1."""
    import select

    # Only next() is called from Python; it calls the others. fromfd(-1) would make an epoll.
    made = filter((-1).__ne__, map(make, *[(argument,) for argument in arguments]))
    if not hasattr(select, "epoll"):  # eventlet and gevent remove it
        return next(map(_Plain, zip(made)), None)
    # An epoll object owns any descriptor that it is given. A FileIO would warn if the last
    # reference closed it.
    return next(map(select.epoll.fromfd, made), None)


def opened(make: Callable[..., int], *arguments: object) -> Descriptor:
    """The descriptor that a function of :mod:`os` makes of the arguments."""
    descriptor = own(make, *arguments)
    assert descriptor is not None, "functions of os raise OSError instead of returning -1"
    return descriptor
