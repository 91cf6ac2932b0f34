"""Lets a task wait for a slot or for a set of locks: a thread of the library waits meanwhile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import _async_library

if TYPE_CHECKING:
    from ._native import Pending

__all__ = ["wait_for"]


async def wait_for(pending: Pending) -> Any:
    """The result of the request.

    When a cancelled task ends here, its request has left the queue, and what was acquired at the
    same time is released.
    """
    try:
        while not pending.is_over():
            await _async_library.readable([pending.fileno()], math.inf)
        return pending.finish()
    except GeneratorExit:  # the loop is gone
        raise
    except BaseException:
        pending.cancel()
        while not pending.is_over():
            await _async_library.readable_at_last(pending.fileno())
        raise
    finally:
        pending.close()
