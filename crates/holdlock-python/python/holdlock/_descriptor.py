"""The kernel's lock on a descriptor that the caller has opened."""

from __future__ import annotations

from _thread import TIMEOUT_MAX

__all__ = ["lock_descriptor", "unlock_descriptor"]


def lock_descriptor(fd: int, *, blocking: bool = True, poll_interval: float = 0.05) -> bool:
    """Locks the open file exclusively, as a :class:`FileLock` on its path would.

    True: it is locked; False: another holder has the lock, and ``blocking`` is False. The wait is
    in the kernel, so ``poll_interval`` is checked but has no effect. Raises ``OSError``.

    >>> import tempfile
    >>> with tempfile.TemporaryFile() as file:
    ...     lock_descriptor(file.fileno())
    ...     unlock_descriptor(file.fileno())
    True
    """
    import fcntl

    from . import _options

    if not _options.blocking(blocking):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    if not 0 < _options.seconds("poll_interval", poll_interval) <= TIMEOUT_MAX:
        raise ValueError(
            "poll_interval must be greater than 0 and at most threading.TIMEOUT_MAX, "
            f"not {poll_interval!r}"
        )
    fcntl.flock(fd, fcntl.LOCK_EX)
    return True


def unlock_descriptor(fd: int) -> None:
    """Unlocks a file that :func:`lock_descriptor` has locked. The descriptor stays open.

    Raises ``OSError``.
    """
    import fcntl

    fcntl.flock(fd, fcntl.LOCK_UN)
