"""The options of locks, their defaults, and the checks of their values."""

from __future__ import annotations

import math
import os
import sys
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping, Optional

    from ._native import CancelToken
    from ._types import ThreadLocal

#: The mode for which the umask decides.
UNSET_MODE = -1

#: The options of every lock, with their defaults. Their types are in ``_types``.
DEFAULTS: dict[str, Any] = {
    "timeout": -1,
    "mode": UNSET_MODE,
    "thread_local": True,
    "blocking": True,
    "is_singleton": False,
    "poll_interval": 0.05,
    "lifetime": None,
    "context_error_policy": "chain",
    "close_error_policy": "default",
    "fallback_to_soft": True,
    "preserve_lock_file": False,
    "on_acquired": None,
}
#: The options of locks that the kernel keeps.
NATIVE_DEFAULTS: dict[str, Any] = {
    **DEFAULTS,
    "shared": False,
    "fair": False,
    "record": False,
    "note": None,
    "upgradeable": False,
    "fallback": "error",
}
#: The options of locks for asynchronous code.
ASYNC_DEFAULTS: dict[str, Any] = {
    **DEFAULTS,
    "thread_local": False,
    "loop": None,
    "run_in_executor": True,
    "executor": None,
}
#: The options of locks for asynchronous code that the kernel keeps.
ASYNC_NATIVE_DEFAULTS: dict[str, Any] = {**NATIVE_DEFAULTS, **ASYNC_DEFAULTS}

#: The options that a constructor keeps in its own way, and not in an attribute ``_NAME``.
_KEPT_ELSEWHERE = frozenset(["blocking", "poll_interval", "lifetime", "shared", "fair", "record", "note", "upgradeable"])


def keep(lock: Any, options: Mapping[str, object]) -> None:
    """Stores the options of a new lock that differ from their defaults, as attributes ``_NAME``.

    The lock classes have the defaults as class attributes.
    """
    defaults = type(lock)._defaults
    for name, value in options.items():
        if name not in defaults:
            raise unknown(type(lock), name)
        if name not in _KEPT_ELSEWHERE and value is not defaults[name]:
            setattr(lock, "_" + name, value)


def arguments(lock: Any) -> tuple[type, str, dict[str, Any]]:
    """The arguments from which :func:`restore` makes a free lock like this one."""
    given = {}
    for name, default in type(lock)._defaults.items():
        # A loop and an executor belong to one process.
        if name not in ("loop", "executor") and lock._option(name) != default:
            given[name] = lock._option(name)
    return type(lock), lock._absolute_path, given


def restore(kind: Callable[..., Any], path: str, options: dict[str, Any]) -> Any:
    """Makes a lock that was pickled."""
    return kind(path, **options)


def unknown(owner: type, name: str) -> TypeError:
    """The error for an option that does not exist."""
    return TypeError(f"{owner.__name__}() got an unexpected keyword argument {name!r}")


def warn(message: str, category: type[Warning]) -> None:
    """Warns the caller of this package, at whatever depth of the package the warning is made."""
    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("holdlock."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def canonical(path: Any) -> str:
    """One name for a lock file, however its path is written. Links to the file are other names."""
    whole: str = os.path.abspath(os.fspath(path))
    directory, name = os.path.split(whole)
    return os.path.join(os.path.realpath(directory), name)


def seconds(name: str, value: Any) -> float:
    """A number of seconds as a float. Raises TypeError for strings and booleans."""
    if type(value) is float:
        return value
    if isinstance(value, (bool, str, bytes, bytearray)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large to be a number of seconds: {value!r}") from None
    except ValueError:  # Decimal's signalling NaN
        return math.nan
    # A negative number that is too small for a float is still negative.
    return -5e-324 if number == 0 and value < 0 else number


def blocking(value: Any) -> bool:
    """Whether a request may wait."""
    flag("blocking", value)
    return bool(value)


def flag(name: str, value: Any) -> None:
    """Accepts True or False only, because the text "no" would mean True."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")


def interval(value: Any) -> float:
    """A poll interval."""
    number = seconds("poll_interval", value)
    if not 0 <= number < math.inf:
        raise ValueError(f"poll_interval must be finite and non-negative, not {value!r}")
    from _thread import TIMEOUT_MAX

    if number > TIMEOUT_MAX:
        raise ValueError(
            f"poll_interval must be at most threading.TIMEOUT_MAX ({TIMEOUT_MAX} s), not {value!r}"
        )
    return number


def check_of(
    cancel_check: Optional[Callable[[], bool]], cancel: Optional[CancelToken]
) -> Optional[Callable[[], bool]]:
    """What a wait that polls has to call, for both of its arguments."""
    if cancel is None:
        return cancel_check
    return lambda: cancel.cancelled or (cancel_check is not None and cancel_check())


def limit(timeout: Any, may_wait: bool) -> float:
    """The limit of a wait in seconds. -1.0: no limit; 0.0: do not wait."""
    number = seconds("timeout", timeout)
    if not may_wait:
        return 0.0
    if math.isnan(number):
        raise ValueError("timeout must be a number of seconds, not nan")
    return -1.0 if number < 0 or number == math.inf else number


#: The warning for a spelling of older releases of filelock.
SPELLING = "use poll_interval instead of poll_intervall"


def request(
    timeout: Any, poll_interval: Any, poll_intervall: Any, may_wait: Any, stored: tuple[Any, ...]
) -> tuple[float, float]:
    """The limit and the interval of one request, from its arguments and the lock's settings."""
    if poll_intervall is not None:
        warn(SPELLING, DeprecationWarning)
        poll_interval = poll_intervall
    waits = blocking(stored[1] if may_wait is None else may_wait)
    pause = stored[2] if poll_interval is None else interval(poll_interval)
    return limit(stored[0] if timeout is None else timeout, waits), pause


def mode(value: Any, owner: str) -> int:
    """Permission bits that let the owner read and write."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"mode must be an int, not {type(value).__name__}")
    if value == UNSET_MODE:
        return value
    if not 0 <= value <= 0o777:
        raise ValueError(f"mode={value:#o} must be within 0o000-0o777 for {owner}")
    if value & 0o600 != 0o600:
        raise ValueError(f"mode={value:#o} must grant the owner read and write for {owner}")
    return value


def lifetime(value: Any, supported: bool, owner: str) -> Optional[float]:
    """The lifetime; None, with a warning, for locks that have none."""
    if value is None:
        return None
    number = value if type(value) is int else seconds("lifetime", value)
    if number < 0 or not (type(number) is int or math.isfinite(number)):
        raise ValueError(f"lifetime must be finite and non-negative, not {value!r}")
    if supported:
        return number
    warn(
        f"lifetime is ignored for {owner}: the kernel releases the lock when its holder ends, and "
        "never because of its age",
        UserWarning,
    )
    return None


def one_of(name: str, value: Any, values: tuple[str, ...]) -> Any:
    """One of these words."""
    if value not in values:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, values))}, got {value!r}")
    return value


def thread_local(value: Any) -> ThreadLocal:
    """True, False, or "mutex"."""
    if isinstance(value, str) and value != "mutex":
        raise ValueError(f"thread_local must be True, False or 'mutex', got {value!r}")
    return value if value == "mutex" else bool(value)
