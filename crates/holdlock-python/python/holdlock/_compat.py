"""``filelock`` for packages that import it: the names that this package has, and the absent ones.

:func:`install_as_filelock` puts a module named ``filelock`` in ``sys.modules`` whose names are
this package's. The module looks each name up here when a program asks for it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from . import _log

__all__ = ["install_as_filelock", "uninstall_as_filelock"]

#: The release of ``filelock`` whose interface this is: the value of ``filelock.__version__``.
INTERFACE = "4.3.1"

_BY_AGE = "it lets a process take a lock from a living holder"
_BY_DIRECTORY = "its protocol works among filelock's own processes only"
_INTERNAL = "it belongs to the inside of filelock's locks"
_STRICT = "it belongs to StrictSoftFileLock"
_DOCS = "docs/python-filelock.md says what to use instead"

#: The public names of ``filelock`` that are not here, and why.
ABSENT = {
    "AcquireWait": _INTERNAL,
    "AsyncAcquireSoftReadWriteReturnProxy": _BY_AGE,
    "AsyncSoftFileLease": _BY_AGE,
    "AsyncSoftReadWriteLock": _BY_AGE,
    "AsyncStrictSoftFileLock": _BY_DIRECTORY,
    "CompromiseReason": _BY_AGE,
    "FileLockContext": _INTERNAL,
    "InFlight": _INTERNAL,
    "LeaseClaim": _BY_AGE,
    "LeaseCompromise": _BY_AGE,
    "LeaseHeartbeat": _BY_AGE,
    "LeaseSettingsMismatch": _BY_AGE,
    "MarkerSoftFileLock": "filelock's own SoftFileLock removes its marker as invalid",
    "OwnerMode": "it belongs to MarkerSoftFileLock",
    "OwnerRecord": "it belongs to MarkerSoftFileLock",
    "ReleasePendingError": _STRICT,
    "SoftFileLease": _BY_AGE,
    "SoftFileLockProtocolError": _STRICT,
    "SoftReadWriteLock": _BY_AGE,
    "StrictRelease": _STRICT,
    "StrictSoftFileClaim": _BY_DIRECTORY,
    "StrictSoftFileClaimState": _BY_DIRECTORY,
    "StrictSoftFileLock": _BY_DIRECTORY,
}

#: The modules inside ``filelock`` from which other packages import, and their names.
_MODULES = {
    "_api": ("AcquireReturnProxy", "BaseFileLock"),
    "_async_read_write": ("AsyncAcquireReadWriteReturnProxy", "AsyncReadWriteLock"),
    "_descriptor": ("lock_descriptor", "unlock_descriptor"),
    "_error": ("SoftFileLockLifetimeWarning", "Timeout"),
    "_read_write": ("ReadWriteLock",),
    "_soft": ("SoftFileLock",),
    "_unix": ("UnixFileLock", "has_fcntl"),
    "_windows": ("WindowsFileLock",),
    "asyncio": (
        "AsyncAcquireReturnProxy",
        "AsyncFileLock",
        "AsyncSoftFileLock",
        "AsyncUnixFileLock",
        "AsyncWindowsFileLock",
        "BaseAsyncFileLock",
    ),
    "version": (),
}

#: The names of ``filelock`` that are in none of those modules.
_ELSEWHERE = ("CloseErrorPolicy", "ContextErrorPolicy", "FileLock", "LockOptions", "__version__")


def missing(module: str, name: str) -> AttributeError:
    """The error for a name that a module does not have, with the reason if it is in ABSENT.

    >>> missing("holdlock", "SoftFileLease").args[0].partition(":")[0]
    "module 'holdlock' has no attribute 'SoftFileLease'"
    """
    message = f"module {module!r} has no attribute {name!r}"
    if name in ABSENT:
        message += f": {ABSENT[name]}; {_DOCS}"
    if sys.version_info >= (3, 10):
        return AttributeError(message, name=name)
    return AttributeError(message)


class _Standin(ModuleType):
    """A module whose names are looked up in ``holdlock``."""

    def __init__(self, name: str, names: tuple[str, ...]) -> None:
        super().__init__(name, "Served by holdlock; see holdlock.install_as_filelock.")
        self._names = names
        # importlib.util.find_spec asks for it.
        self.__spec__ = ModuleSpec(name, None, is_package=name == "filelock")
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name in ("__version__", "version"):
            return INTERFACE
        if name not in self._names:
            raise missing(self.__name__, name)
        value = getattr(import_module("holdlock"), name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._names})


def install_as_filelock() -> None:
    """Makes ``import filelock`` give this package, in this process, from now on.

    Call it before any code imports the real package. A module that has imported the real package
    keeps it, and the two packages would lock the same files without knowing about each other's
    threads. Therefore the call raises RuntimeError if the real package was imported. A second call
    does nothing. A process that ``multiprocessing`` starts by spawn or forkserver has to call it,
    too.

    >>> install_as_filelock()
    >>> import filelock
    >>> import holdlock
    >>> filelock.FileLock is holdlock.FileLock
    True
    >>> from filelock._error import Timeout
    >>> Timeout is holdlock.Timeout
    True
    >>> uninstall_as_filelock()
    """
    there = sys.modules.get("filelock")
    if isinstance(there, _Standin):
        return
    real = sorted(name for name in sys.modules if name.partition(".")[0] == "filelock")
    if real:
        origin = getattr(there, "__file__", None) or "an unknown place"
        raise RuntimeError(
            f"filelock was imported already, from {origin}; call holdlock.install_as_filelock() "
            "before anything imports it"
        )
    _log.log_as("filelock")
    here = set(dir(import_module("holdlock")))
    wanted = {*_ELSEWHERE, *(name for names in _MODULES.values() for name in names)}
    every = tuple(sorted(wanted & here))
    package = _Standin("filelock", every)
    package.__dict__["__all__"] = [*every, "asyncio"]
    sys.modules["filelock"] = package
    for name, names in _MODULES.items():
        module = _Standin(f"filelock.{name}", tuple(one for one in names if one in here))
        sys.modules[module.__name__] = module
        # ``filelock.version`` is the text, as in the real package.
        if name != "version":
            setattr(package, name, module)


def uninstall_as_filelock() -> None:
    """Undoes :func:`install_as_filelock`. Modules that have imported the stand-in keep it.

    Does nothing if the stand-in is not installed.
    """
    for name in [name for name, module in sys.modules.items() if isinstance(module, _Standin)]:
        del sys.modules[name]
    _log.log_as("holdlock")

