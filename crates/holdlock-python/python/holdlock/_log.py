"""The debug log of locks: the messages and the logger of ``filelock``, which programs switch on.

Where nobody has imported ``logging``, nobody listens, and it is not imported for this.
"""

from __future__ import annotations

import sys

_DEBUG = 10

ATTEMPT = "Attempting to acquire lock %s on %s"
ACQUIRED = "Lock %s acquired on %s"
FAILED = "Failed to immediately acquire lock %s on %s"
CANCELLED = "Cancelled the wait for lock %s on %s"
TIMEOUT = "Timeout on acquiring lock %s on %s"
WAITING = "Lock %s not acquired on %s, waiting for it ..."
RELEASE = "Attempting to release lock %s on %s"
RELEASED = "Lock %s released on %s"


def debug(message: str, lock: object, path: str) -> None:
    """Logs one of the messages above, if anybody listens."""
    logging = sys.modules.get("logging")
    if logging is not None:
        logger = logging.getLogger("filelock")
        if logger.isEnabledFor(_DEBUG):
            logger.debug(message, id(lock), path)
