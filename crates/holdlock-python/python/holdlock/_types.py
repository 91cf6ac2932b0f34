"""The types of options."""

from __future__ import annotations

from typing import Callable, Literal, Optional, TypedDict, Union

#: What is raised when the body of a ``with`` and the release both fail: the release's error
#: with the body's as its context, or both in a group.
ContextErrorPolicy = Literal["chain", "group"]
#: What becomes of a failure to close a descriptor that is not needed any more.
CloseErrorPolicy = Literal["default", "raise", "suppress"]
#: What the threads of a process are to one object; see :class:`FileLock`.
ThreadLocal = Union[bool, Literal["mutex"]]


class LockOptions(TypedDict, total=False):
    """The keyword arguments of a lock."""

    timeout: float
    mode: int
    thread_local: ThreadLocal
    blocking: bool
    is_singleton: bool
    poll_interval: float
    lifetime: Optional[float]
    context_error_policy: ContextErrorPolicy
    close_error_policy: CloseErrorPolicy
    fallback_to_soft: bool
    preserve_lock_file: bool
    on_acquired: Optional[Callable[[int], None]]
