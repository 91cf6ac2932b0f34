"""``AsyncSoftFileLock``: held while a marker file exists, for asynchronous code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .. import _async_library, _options
from .._async_base import BaseAsyncFileLock
from . import _kernel
from ._lock import SoftFileLock
from ._watch import Watch

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .._types import AsyncOptions, ThreadLocal

__all__ = ["AsyncSoftFileLock"]


class AsyncSoftFileLock(SoftFileLock, BaseAsyncFileLock):
    """A :class:`SoftFileLock` for asynchronous code, under asyncio or trio.

    A waiting task costs no thread: the loop watches for the marker's removal and the owner's death.
    On a network file system, where a call can block, another thread makes the calls (a thread of
    ``executor``, unless ``run_in_executor`` is False).

    >>> import asyncio, os, tempfile
    >>> async def main():
    ...     lock = AsyncSoftFileLock(os.path.join(tempfile.mkdtemp(), "job.lock"), timeout=5)
    ...     async with lock:
    ...         return lock.is_locked, lock.pid == os.getpid()
    >>> asyncio.run(main())
    (True, True)
    """

    if TYPE_CHECKING:  # the defaults differ from those of SoftFileLock

        def __init__(
            self,
            lock_file: str | os.PathLike[str],
            timeout: float = -1,
            mode: int = _options.UNSET_MODE,
            thread_local: ThreadLocal = False,
            **options: Unpack[AsyncOptions],
        ) -> None: ...

    else:

        def __init__(
            self, lock_file, timeout=-1, mode=_options.UNSET_MODE, thread_local=False, **options
        ):
            super().__init__(lock_file, timeout, mode, thread_local, **options)

    def _may_block(self) -> bool:
        return not _kernel.is_local(os.path.dirname(self._absolute_path))

    async def _pause_task(self, seconds: float, interval: float) -> None:
        with Watch(self._absolute_path, interval) as watch:
            await _async_library.readable(watch.descriptors, min(seconds, watch.longest))
