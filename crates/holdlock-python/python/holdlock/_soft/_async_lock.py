"""``AsyncSoftFileLock``: held while a marker file exists, for asynchronous code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable

from .. import _async_library, _options
from .._async_base import BaseAsyncFileLock
from . import _kernel
from ._lock import SoftFileLock, check_options
from ._watch import Watch

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures import Executor

    from .._types import CloseErrorPolicy, ContextErrorPolicy, ThreadLocal

__all__ = ["AsyncSoftFileLock"]


class AsyncSoftFileLock(SoftFileLock, BaseAsyncFileLock):
    """A :class:`SoftFileLock` for asynchronous code, under asyncio or trio.

    A task that waits costs no thread: the loop watches for the marker's removal and the owner's
    death. Only where the marker is on a network's file system, which can keep a call waiting, are
    the calls made in another thread (``executor``, unless ``run_in_executor`` is False).

    >>> import asyncio, os, tempfile
    >>> async def main():
    ...     lock = AsyncSoftFileLock(os.path.join(tempfile.mkdtemp(), "job.lock"), timeout=5)
    ...     async with lock:
    ...         return lock.is_locked, lock.pid == os.getpid()
    >>> asyncio.run(main())
    (True, True)
    """

    def __init__(
        self,
        lock_file: str | os.PathLike[str],
        timeout: float = -1,
        mode: int = _options.UNSET_MODE,
        thread_local: ThreadLocal = False,
        *,
        blocking: bool = True,
        is_singleton: bool = False,
        poll_interval: float = 0.05,
        lifetime: float | None = None,
        context_error_policy: ContextErrorPolicy = "chain",
        close_error_policy: CloseErrorPolicy = "default",
        fallback_to_soft: bool = True,
        preserve_lock_file: bool = False,
        on_acquired: Callable[[int], None] | None = None,
        loop: AbstractEventLoop | None = None,
        run_in_executor: bool = True,
        executor: Executor | None = None,
    ) -> None:
        check_options(preserve_lock_file, on_acquired, lifetime)
        self._markers = {}
        BaseAsyncFileLock.__init__(
            self,
            lock_file,
            timeout,
            mode,
            thread_local,
            blocking=blocking,
            is_singleton=is_singleton,
            poll_interval=poll_interval,
            lifetime=lifetime,
            context_error_policy=context_error_policy,
            close_error_policy=close_error_policy,
            fallback_to_soft=fallback_to_soft,
            loop=loop,
            run_in_executor=run_in_executor,
            executor=executor,
        )

    def _may_block(self) -> bool:
        return not _kernel.is_local(os.path.dirname(self.lock_file) or ".")

    async def _pause_task(self, seconds: float, interval: float) -> None:
        with Watch(self.lock_file, interval) as watch:
            await _async_library.readable(watch.descriptors, min(seconds, watch.longest))
