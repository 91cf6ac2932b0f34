"""The debug log of locks: the messages of ``filelock``, written by the logger ``holdlock``.

Under :func:`holdlock.install_as_filelock` it is the logger ``filelock``, which programs configure.
This module does not import ``logging``: a program that has not imported it reads no log.
"""

from __future__ import annotations

import sys
from _thread import _local

from ._native import log_as_filelock

_DEBUG = 10

#: Has the attribute ``frame``, that of :func:`debug`, while its thread writes a message.
_writing = _local()

#: The name of the logger.
name = "holdlock"


def log_as(logger: str) -> None:
    """Changes the name of the logger, here and in native code."""
    global name
    name = logger
    log_as_filelock(logger == "filelock")


ATTEMPT = "Attempting to acquire lock %s on %s"
ACQUIRED = "Lock %s acquired on %s"
FAILED = "Failed to immediately acquire lock %s on %s"
CANCELLED = "Cancellation requested for lock %s on %s"
TIMEOUT = "Timeout on acquiring lock %s on %s"
WAITING = "Lock %s not acquired on %s, waiting for it ..."
RELEASE = "Attempting to release lock %s on %s"
RELEASED = "Lock %s released on %s"


def debug(message: str, lock: object, path: str) -> None:
    """Logs one of the messages above, if the program uses ``logging``.

    A handler may use a lock, for example to protect the file of the log. That is not logged: the
    message would call the handler again, which would use the lock again, without end.

    An error of the log is not an error of the lock, which could stay held because of it.
    """
    logging = sys.modules.get("logging")
    if logging is None or _is_writing():
        return
    logger = logging.getLogger(name)
    try:
        _writing.frame = sys._getframe()
        if logger.isEnabledFor(_DEBUG):
            logger.debug(message, id(lock), path)
    except Exception:
        pass
    finally:
        if hasattr(_writing, "frame"):
            del _writing.frame


def _is_writing() -> bool:
    """Whether :func:`debug` has called this, through a handler.

    The attribute alone does not tell: an exception of a signal handler, which may come at any line,
    can leave it behind.
    """
    writer = getattr(_writing, "frame", None)
    if writer is None:
        return False
    frame = sys._getframe().f_back
    while frame is not None and frame is not writer:
        frame = frame.f_back
    return frame is writer
