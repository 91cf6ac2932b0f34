"""Opens locks by name: by a path, or by the URL of a lock between hosts."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Union, overload

from ._file_lock import FileLock

if TYPE_CHECKING:
    from typing_extensions import TypeGuard

    from ._async_engine_lock import AsyncEngineLock
    from ._async_file_lock import AsyncFileLock
    from ._engine_lock import EngineLock

__all__ = ["open", "open_async"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@overload
def open(name: os.PathLike[str], timeout: float = -1, **options: Any) -> FileLock: ...
@overload
def open(name: str, timeout: float = -1, **options: Any) -> Union[FileLock, EngineLock]: ...


def open(
    name: Union[str, os.PathLike[str]], timeout: float = -1, **options: Any
) -> Union[FileLock, EngineLock]:
    """The lock with this name, which is not acquired yet.

    A URL makes an :class:`EngineLock`, a lock between hosts; any other name is the path of a
    :class:`FileLock`. The options are those of the class. Both are acquired in the same way:

    >>> import tempfile
    >>> with open(tempfile.mkdtemp() + "/nightly.lock", timeout=5):
    ...     print("no other process is here")
    no other process is here
    >>> open("postgres://ann@db.example/app#nightly", timeout=5)
    <EngineLock 'postgres://db.example/app#nightly', not held>

    Raises ValueError if a URL is not understood.
    """
    if _is_url(name):
        from ._engine_lock import EngineLock

        return EngineLock(name, timeout, **options)
    return FileLock(name, timeout, **options)


@overload
def open_async(name: os.PathLike[str], timeout: float = -1, **options: Any) -> AsyncFileLock: ...
@overload
def open_async(
    name: str, timeout: float = -1, **options: Any
) -> Union[AsyncFileLock, AsyncEngineLock]: ...


def open_async(
    name: Union[str, os.PathLike[str]], timeout: float = -1, **options: Any
) -> Union[AsyncFileLock, AsyncEngineLock]:
    """As :func:`open`, for asynchronous code.

    >>> open_async("postgres://ann@db.example/app#nightly")
    <AsyncEngineLock 'postgres://db.example/app#nightly', not held>
    """
    if _is_url(name):
        from ._async_engine_lock import AsyncEngineLock

        return AsyncEngineLock(name, timeout, **options)
    from ._async_file_lock import AsyncFileLock

    return AsyncFileLock(name, timeout, **options)


def _is_url(name: Any) -> TypeGuard[str]:
    return isinstance(name, str) and _URL.match(name) is not None
