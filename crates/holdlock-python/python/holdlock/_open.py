"""Opens locks by name: by a path, or by the URL of a lock between hosts."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Optional, Union, overload
from urllib.parse import quote

from ._file_lock import FileLock

if TYPE_CHECKING:
    from ._async_engine_lock import AsyncEngineLock
    from ._async_file_lock import AsyncFileLock
    from ._engine_lock import EngineLock

__all__ = ["open", "open_async"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

#: The variable with the URL of the engine to which bare names belong.
_ENGINE = "HOLDLOCK_ENGINE"


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

    If the variable HOLDLOCK_ENGINE has the URL of an engine, a ``str`` without a slash is the name of
    a lock of that engine, as for the command ``holdlock``. A path with a slash never is, such as
    ``./nightly``, and neither is a :class:`pathlib.Path`. An empty variable counts as none.

    Raises ValueError if a URL is not understood.
    """
    url = _url_of(name)
    if url is not None:
        from ._engine_lock import EngineLock

        return EngineLock(url, timeout, **options)
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
    url = _url_of(name)
    if url is not None:
        from ._async_engine_lock import AsyncEngineLock

        return AsyncEngineLock(url, timeout, **options)
    from ._async_file_lock import AsyncFileLock

    return AsyncFileLock(name, timeout, **options)


def _url_of(name: Any) -> Optional[str]:
    """The URL of the lock between hosts that the name means; None: it is the path of a file."""
    if not isinstance(name, str):
        return None
    if _URL.match(name):
        return name
    engine = os.environ.get(_ENGINE)
    # Names that no lock can have are refused as names of files.
    if not engine or "/" in name or name in ("", ".", ".."):
        return None
    # The value may contain a password, so no message shows it.
    if not _URL.match(engine):
        raise ValueError(
            f"{_ENGINE} is not the URL of an engine; write it as in postgres://host/database"
        )
    place, _, its_name = engine.partition("#")
    if its_name:
        raise ValueError(
            f"{_ENGINE} has the name of a lock behind `#`; leave `#` and the name out: the names "
            "are those that the program opens"
        )
    return f"{place}#{quote(name, safe='')}"
