"""Sleeping and waiting under the asynchronous library that runs the current task.

asyncio, and trio if it is loaded: nothing else is imported for it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Callable, Sequence, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Executor

T = TypeVar("T")


def _trio() -> Any:
    """trio, if the current task is one of its."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return None
    return trio


async def sleep(seconds: float) -> None:
    """Lets other tasks run for so long."""
    trio = _trio()
    if trio is not None:
        await trio.sleep(seconds)
        return
    import asyncio

    await asyncio.sleep(seconds)


async def readable(descriptors: Sequence[int], seconds: float) -> None:
    """Sleeps until one of the descriptors is readable, or for so long."""
    trio = _trio()
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

    loop = asyncio.get_running_loop()
    happened: asyncio.Future[None] = loop.create_future()

    def note() -> None:
        if not happened.done():
            happened.set_result(None)

    watched = []
    try:
        for descriptor in descriptors:
            loop.add_reader(descriptor, note)
            watched.append(descriptor)
        await asyncio.wait([happened], timeout=seconds)
    finally:
        for descriptor in watched:
            loop.remove_reader(descriptor)


async def in_thread(function: Callable[[], T], executor: Executor | None) -> T:
    """Calls the function in another thread, and ends only when it has ended.

    Also a cancelled task waits for it, and has its cancellation raised afterwards: by then the
    function's effects are there to be undone.
    """
    trio = _trio()
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
