"""Lets a task wait for a request that has a pipe of its own; :mod:`._line` is for the others."""

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
            await _async_library.readable([pending.fileno()], math.inf, pending.close)
        return pending.finish()
    except GeneratorExit:  # the loop is gone
        raise
    except BaseException:
        pending.cancel()
        while not pending.is_over():
            await _readable_at_last(pending.fileno())
        raise
    finally:
        pending.close()


async def _readable_at_last(descriptor: int) -> None:
    """Sleeps until the descriptor is readable, also in a task that has been cancelled."""
    trio = _async_library.running_trio()
    if trio is not None:
        with trio.CancelScope(shield=True):
            await trio.lowlevel.wait_readable(descriptor)
        return
    import asyncio

    try:
        await _async_library.readable([descriptor], math.inf)
    except asyncio.CancelledError:  # once more; the first one is still to be raised
        pass
