"""The asynchronous libraries under which the locks work, for tests that run under each."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from typing import Any, Awaitable, Callable

import pytest


def _asyncio(main: Callable[[], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await main()

    return asyncio.run(run())


def _trio(main: Callable[[], Awaitable[Any]]) -> Any:
    return import_module("trio").run(main)


def _anyio(backend: str) -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    return lambda main: import_module("anyio").run(main, backend=backend)


def _uvloop(main: Callable[[], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await main()

    loop = import_module("uvloop").new_event_loop()
    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


_RUN = {
    "asyncio": (_asyncio, ()),
    "uvloop": (_uvloop, ("uvloop",)),
    "trio": (_trio, ("trio",)),
    "anyio-asyncio": (_anyio("asyncio"), ("anyio",)),
    "anyio-trio": (_anyio("trio"), ("anyio", "trio")),
}


class Loop:
    """One of the libraries, with the functions that tests need."""

    def __init__(self, name: str) -> None:
        self.name = name
        run, needed = _RUN[name]
        for module in needed:
            pytest.importorskip(module)
        self.run = run

    async def sleep(self, seconds: float) -> None:
        if "trio" in self.name:
            await import_module("trio").sleep(seconds)
        else:
            await asyncio.sleep(seconds)

    async def all_of(self, *functions: Callable[[], Awaitable[Any]]) -> None:
        """Runs each in a task of its own, until all have ended."""
        if self.name.startswith("anyio"):
            async with import_module("anyio").create_task_group() as group:
                for function in functions:
                    group.start_soon(function)
        elif self.name == "trio":
            async with import_module("trio").open_nursery() as nursery:
                for function in functions:
                    nursery.start_soon(function)
        else:
            await asyncio.gather(*(function() for function in functions))

    async def cancelled_after(
        self, seconds: float, function: Callable[[], Awaitable[Any]]
    ) -> bool:
        """Runs it, and cancels it after this time. True: it was cancelled before its end."""
        if self.name.startswith("anyio"):
            anyio = import_module("anyio")
            with anyio.move_on_after(seconds) as scope:
                await function()
            return bool(scope.cancelled_caught)
        if self.name == "trio":
            with import_module("trio").move_on_after(seconds) as scope:
                await function()
            return bool(scope.cancelled_caught)
        task = asyncio.ensure_future(function())
        asyncio.get_running_loop().call_later(seconds, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            return True
        return False


@pytest.fixture(params=sorted(_RUN))
def loop(request: pytest.FixtureRequest) -> Loop:
    if request.param == "uvloop" and sys.implementation.name != "cpython":
        pytest.skip("no uvloop")
    return Loop(request.param)
