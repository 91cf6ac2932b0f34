from os import PathLike
from types import GenericAlias, TracebackType
from typing import Any, Callable, Generic, List, Optional, TypeVar, Union

from typing_extensions import Self, final

from ._types import CloseErrorPolicy, ContextErrorPolicy, ThreadLocal

__version__: str

_Lock = TypeVar("_Lock", covariant=True)

@final
class AcquireReturnProxy(Generic[_Lock]):
    def __new__(cls, lock: _Lock) -> Self: ...
    @property
    def lock(self) -> _Lock: ...
    def __enter__(self) -> _Lock: ...
    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...

@final
class CancelToken:
    def __new__(cls) -> Self: ...
    def cancel(self) -> None: ...
    @property
    def cancelled(self) -> bool: ...

@final
class Process:
    def __new__(
        cls,
        pid: int,
        command: Optional[str] = None,
        user: Optional[str] = None,
        uid: Optional[int] = None,
        started: Optional[float] = None,
        state: Optional[str] = None,
        parent: Optional[int] = None,
    ) -> Self: ...
    @property
    def pid(self) -> int: ...
    @property
    def command(self) -> Optional[str]: ...
    @property
    def user(self) -> Optional[str]: ...
    @property
    def uid(self) -> Optional[int]: ...
    @property
    def started(self) -> Optional[float]: ...
    @property
    def state(self) -> Optional[str]: ...
    @property
    def parent(self) -> Optional[int]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Conflict:
    def holders(self) -> List[Process]: ...
    def description(self) -> Optional[str]: ...

class NativeLock:
    def __init__(
        self,
        lock_file: Union[str, PathLike[str]],
        timeout: float = -1,
        mode: int = -1,
        thread_local: ThreadLocal = True,
        *,
        blocking: bool = True,
        is_singleton: bool = False,
        poll_interval: float = 0.05,
        lifetime: Optional[float] = None,
        context_error_policy: ContextErrorPolicy = "chain",
        close_error_policy: CloseErrorPolicy = "default",
        fallback_to_soft: bool = True,
        preserve_lock_file: bool = False,
        on_acquired: Optional[Callable[[int], None]] = None,
        shared: bool = False,
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None: ...
    def acquire(
        self,
        timeout: Optional[float] = None,
        poll_interval: Optional[float] = None,
        *,
        poll_intervall: Optional[float] = None,
        blocking: Optional[bool] = None,
        cancel_check: Optional[Callable[[], bool]] = None,
        shared: Optional[bool] = None,
        cancel: Optional[CancelToken] = None,
    ) -> AcquireReturnProxy[Self]: ...
    def release(self, force: bool = False) -> None: ...
    @property
    def is_locked(self) -> bool: ...
    @property
    def locked(self) -> bool: ...
    @property
    def lock_counter(self) -> int: ...
    @property
    def lock_file(self) -> str: ...
    @property
    def shared(self) -> bool: ...
    @property
    def mode(self) -> int: ...
    @property
    def has_explicit_mode(self) -> bool: ...
    def is_thread_local(self) -> bool: ...
    def holders(self) -> List[Process]: ...
    def waiters(self) -> List[Process]: ...
    def _finalize(self) -> None: ...
    @property
    def _absolute_path(self) -> str: ...
    @property
    def _mode_setting(self) -> int: ...
    @property
    def _thread_local_setting(self) -> ThreadLocal: ...
    _timeout_setting: float
    _blocking_setting: bool
    _poll_interval_setting: float
