"""A lock as a decorator: the lock is held while the function runs."""

from __future__ import annotations

import inspect
from functools import wraps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    from ._async_base import BaseAsyncFileLock
    from ._async_engine_lock import AsyncEngineLock
    from ._uses import LockUses

    Function = TypeVar("Function", bound=Callable[..., Any])


def wrap(lock: LockUses, function: Function) -> Function:
    """Returns the function with the lock held while it runs.

    The call of a generator function or of an asynchronous function returns at once; the lock is
    held until the generator or the coroutine ends.
    """
    if inspect.isasyncgenfunction(function):

        @wraps(function)
        async def iterate(*args: Any, **kwargs: Any) -> Any:
            with lock:
                generator = function(*args, **kwargs)
                try:
                    async for item in generator:
                        yield item
                finally:
                    await generator.aclose()

        return iterate  # type: ignore[return-value]

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def run(*args: Any, **kwargs: Any) -> Any:
            with lock:
                return await function(*args, **kwargs)

        return run  # type: ignore[return-value]

    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def generate(*args: Any, **kwargs: Any) -> Any:
            with lock:
                return (yield from function(*args, **kwargs))

        return generate  # type: ignore[return-value]

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def wrap_async(lock: BaseAsyncFileLock | AsyncEngineLock, function: Function) -> Function:
    """Returns the asynchronous function with an asynchronous lock held while it runs."""
    if inspect.isasyncgenfunction(function):

        @wraps(function)
        async def iterate(*args: Any, **kwargs: Any) -> Any:
            async with lock:
                generator = function(*args, **kwargs)
                try:
                    async for item in generator:
                        yield item
                finally:
                    await generator.aclose()

        return iterate  # type: ignore[return-value]

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def run(*args: Any, **kwargs: Any) -> Any:
            async with lock:
                return await function(*args, **kwargs)

        return run  # type: ignore[return-value]

    raise TypeError("a lock for asynchronous code decorates asynchronous functions only")
