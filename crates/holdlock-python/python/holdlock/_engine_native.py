"""The native library with locks between hosts.

It is the package's own if that was built with the feature ``engines``. Otherwise it comes with the
package ``holdlock-engines``: not everybody needs it, and it is as large as all the rest.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Iterator, Optional
from weakref import WeakKeyDictionary

from . import _native

if TYPE_CHECKING:
    from ._native import CancelToken, Task

    native = _native
else:
    native = _native
    if not hasattr(native, "NativeEngineLock"):
        try:
            from holdlock_engines import _native as native
        except ImportError as error:
            raise ImportError(
                "locks between hosts need the package holdlock-engines: "
                f"pip install holdlock[engines] ({error})",
                name="holdlock_engines",
            ) from None
        if native.__version__ != _native.__version__:
            raise ImportError(
                f"holdlock {_native.__version__} cannot use holdlock-engines {native.__version__}; "
                "install the same version of both"
            )

__all__ = ["cancelled_by", "native", "task_of"]

_tasks: WeakKeyDictionary[Any, Task] = WeakKeyDictionary()


def task_of(owner: Any) -> Optional[Task]:
    """What the library knows of a task or a greenlet; None: the calling thread."""
    if owner is None:
        return None
    task = _tasks.get(owner)
    if task is None:
        task = _tasks[owner] = native.Task()
    return task


@contextmanager
def cancelled_by(token: Optional[CancelToken]) -> Iterator[Optional[CancelToken]]:
    """The library's own token, which the user's token cancels."""
    if token is None or native is _native:
        yield token
        return
    if not isinstance(token, _native.CancelToken):
        raise TypeError(f"cancel must be a CancelToken, not {type(token).__name__}")
    own = native.CancelToken()
    number = token._add(own.cancel)
    try:
        yield own
    finally:
        token._forget(number)
