"""Sleeps and waits under the asynchronous library that runs the current task.

The libraries are asyncio, and trio if it is loaded; this module does not import trio.
"""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING, Any, Callable, Sequence, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Executor

T = TypeVar("T")


def running_trio() -> Any:
    """trio, if it runs the current task."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return None
    return trio


async def sleep(seconds: float) -> None:
    """Sleeps for this time, and lets other tasks run."""
    trio = running_trio()
    if trio is not None:
        await trio.sleep(seconds)
        return
    import asyncio

    await asyncio.sleep(seconds)


def current_task() -> Any:
    """The current task; None outside of a task."""
    trio = running_trio()
    if trio is not None:
        return trio.lowlevel.current_task()
    asyncio = sys.modules.get("asyncio")
    try:
        return None if asyncio is None else asyncio.current_task()
    except RuntimeError:
        return None


async def readable(
    descriptors: Sequence[int], seconds: float, closed: Callable[[], object] = lambda: None
) -> None:
    """Sleeps until one of the descriptors is readable, at most for this time.

    ``closed`` is called if a loop of asyncio is closed meanwhile: the task does not run again.
    """
    trio = running_trio()
    if trio is not None and len(descriptors) == 1:
        with trio.move_on_after(seconds):
            await trio.lowlevel.wait_readable(descriptors[0])
        return
    if trio is not None:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:

                async def one(descriptor: int) -> None:
                    await trio.lowlevel.wait_readable(descriptor)
                    nursery.cancel_scope.cancel()

                for descriptor in descriptors:
                    nursery.start_soon(one, descriptor)
                await trio.sleep_forever()
        return
    import asyncio

    from ._loop_reader import LoopReader

    loop = asyncio.get_running_loop()
    happened: asyncio.Future[None] = loop.create_future()

    def note() -> None:
        if not happened.done():
            happened.set_result(None)

    watched = []
    process = os.getpid()
    try:
        for descriptor in descriptors:
            loop.add_reader(descriptor, LoopReader(loop, note, closed))
            watched.append(descriptor)
        await asyncio.wait([happened], timeout=None if seconds == math.inf else seconds)
    finally:
        # A child of fork shares the epoll object: removing the reader would make the parent deaf.
        if process == os.getpid():
            for descriptor in watched:
                loop.remove_reader(descriptor)


async def in_thread(function: Callable[[], T], executor: Executor | None) -> T:
    """Calls the function in another thread, and ends when the function has ended.

    A cancelled task also waits for that, and is cancelled afterwards, so that the caller can undo
    the effects of the function.
    """
    trio = running_trio()
    if trio is not None:
        result: T = await trio.to_thread.run_sync(function)
        return result
    import asyncio

    call = asyncio.get_running_loop().run_in_executor(executor, function)
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        while not call.done():
            try:
                await asyncio.wait([call])
            except asyncio.CancelledError:
                continue
        raise
