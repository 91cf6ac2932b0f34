"""The ways to use a lock: in a ``with`` statement, as a decorator, and by lock() and unlock()."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, TypeVar

    from typing_extensions import Self

    from ._types import ContextErrorPolicy

    Function = TypeVar("Function", bound=Callable[..., Any])


class LockUses:
    """The ways to use a lock that follow from its methods ``acquire`` and ``release``."""

    if TYPE_CHECKING:
        _context_error_policy: ContextErrorPolicy

        @property
        def is_locked(self) -> bool: ...
        def acquire(self) -> Any: ...
        def release(self, force: bool = False) -> Any: ...

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.release()
        except Exception as error:
            self._failed_release(exc_value, error)
            raise

    def _failed_release(self, body: BaseException | None, release: BaseException) -> None:
        """Raises both errors, if the policy asks for it."""
        if body is None or self._context_error_policy == "chain":
            return
        import builtins

        group: Any = getattr(builtins, "BaseExceptionGroup")  # from Python 3.11 on
        raise group("the body and the release both failed", [body, release]) from None

    def __call__(self, function: Function) -> Function:
        """Decorates a function: the lock is held while the function runs.

        The lock is held until a generator is exhausted or closed, or until an async function ends.
        """
        from ._decorate import wrap

        return wrap(self, function)

    # The plain interface

    def lock(self) -> Self:
        """Acquires the lock, unless this object holds it already. Returns the object."""
        if not self.is_locked:
            self.acquire()
        return self

    def unlock(self) -> None:
        """Releases the lock, however often it was acquired. Does nothing if it is not held."""
        self.release(force=True)

    @property
    def locked(self) -> bool:
        """Whether this object holds the lock: :attr:`is_locked` by another name."""
        return self.is_locked
