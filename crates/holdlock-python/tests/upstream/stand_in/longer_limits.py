"""Lengthens the limits within which filelock's tests expect other processes, threads and tasks.

They were made for a machine that does nothing else. A limit of a second or more is only there to
end a test that hangs; a shorter one may be a pause of the test. The locks' own time limits stay.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import multiprocessing.connection
import multiprocessing.process
import subprocess
import threading
from typing import Any

#: Some tests that fail wait so long, and no test may take longer than two minutes.
_OF_PROCESSES = 10
_OF_THREADS = 4


def lengthen() -> None:
    """From now on, each such limit of this process is longer."""
    for name in ("communicate", "wait"):
        _lengthen(subprocess.Popen, name, _OF_PROCESSES)
    _lengthen(multiprocessing.process.BaseProcess, "join", _OF_PROCESSES)
    _lengthen(multiprocessing.connection.Connection, "poll", _OF_PROCESSES)
    _lengthen(threading.Event, "wait", _OF_THREADS)
    _lengthen(threading.Thread, "join", _OF_THREADS)
    _lengthen(concurrent.futures.Future, "result", _OF_THREADS)
    _lengthen(asyncio, "wait_for", _OF_THREADS)


def _lengthen(owner: Any, name: str, times: int) -> None:
    function = getattr(owner, name)
    signature = inspect.signature(function)

    @functools.wraps(function)
    def longer(*arguments: Any, **named: Any) -> Any:
        call = signature.bind(*arguments, **named)
        limit = call.arguments.get("timeout")
        if limit is not None and limit >= 1:
            call.arguments["timeout"] = limit * times
        return function(*call.args, **call.kwargs)

    setattr(owner, name, longer)
