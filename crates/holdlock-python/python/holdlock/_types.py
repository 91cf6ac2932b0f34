"""The types of options. Each option is declared here once; its default is in ``_options``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Literal, Optional, TypedDict, Union

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures import Executor

#: What is raised if the body of a ``with`` statement and the release both fail: the error of the
#: release with the body's error as its context, or both in an exception group.
ContextErrorPolicy = Literal["chain", "group"]
#: What to do if closing a file descriptor fails.
CloseErrorPolicy = Literal["default", "raise", "suppress"]
#: What a lock becomes on a file system that has no locks; see :class:`FileLock`.
Fallback = Literal["error", "soft"]
#: How the threads of a process use one lock object; see :class:`FileLock`.
ThreadLocal = Union[bool, Literal["mutex"]]


class Options(TypedDict, total=False):
    """The options of every lock that can only be passed by name."""

    blocking: bool
    is_singleton: bool
    poll_interval: float
    lifetime: Optional[float]
    context_error_policy: ContextErrorPolicy
    close_error_policy: CloseErrorPolicy
    fallback_to_soft: bool
    preserve_lock_file: bool
    on_acquired: Optional[Callable[[int], None]]


class LockOptions(Options, total=False):
    """The options of every lock, for programs that keep them in a dictionary."""

    timeout: float
    mode: int
    thread_local: ThreadLocal


class NativeOptions(Options, total=False):
    """The options of :class:`FileLock` that can only be passed by name."""

    shared: bool
    fair: bool
    record: bool
    note: Optional[str]
    upgradeable: bool
    fallback: Fallback


class AsyncOptions(Options, total=False):
    """The options of asynchronous locks that can only be passed by name."""

    loop: Optional[AbstractEventLoop]
    run_in_executor: bool
    executor: Optional[Executor]


class AsyncNativeOptions(NativeOptions, AsyncOptions, total=False):
    """The options of :class:`AsyncFileLock` that can only be passed by name."""
