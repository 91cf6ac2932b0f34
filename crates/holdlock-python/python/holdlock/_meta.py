"""How locks are made: options are looked at first, and singletons are found again."""

from __future__ import annotations

import os
from abc import ABCMeta
from _thread import RLock

from . import _options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from weakref import WeakValueDictionary

_POSITIONAL = ("timeout", "mode", "thread_local")
_CONTEXT_POLICIES = ("chain", "group")
_CLOSE_POLICIES = ("default", "raise", "suppress")


class FileLockMeta(ABCMeta):
    """The class of lock classes.

    A wrong option is found here, before there is an object whose finalizer could stumble over it.
    """

    #: Whether locks of this class may be taken away at an age.
    _lifetime_supported: bool
    #: What the constructor's ``thread_local`` is if nothing is said.
    _thread_local_default: bool
    _singletons: WeakValueDictionary[str, Any]

    if not TYPE_CHECKING:

        def __call__(cls, lock_file, *args, **options):
            if args:
                if len(args) > len(_POSITIONAL):
                    raise TypeError(
                        f"{cls.__name__}() takes at most {1 + len(_POSITIONAL)} positional arguments"
                    )
                for name, value in zip(_POSITIONAL, args):
                    if name in options:
                        raise TypeError(f"{cls.__name__}() got {name!r} twice")
                    options[name] = value
            if options:
                _check(cls, options)
                if options.get("is_singleton"):
                    return _singleton(cls, lock_file, options)
                _check_mode(cls, options)
            return ABCMeta.__call__(cls, lock_file, **options)

    @property
    def _instances(cls) -> WeakValueDictionary[str, Any]:
        """The living singletons of exactly this class, by path."""
        found: WeakValueDictionary[str, Any] | None = cls.__dict__.get("_singletons")
        if found is None:
            from weakref import WeakValueDictionary

            found = WeakValueDictionary()
            cls._singletons = found
            _classes.append(cls)
        return found


def _check(cls: FileLockMeta, options: dict[str, Any]) -> None:
    for name, value in options.items():
        if name == "timeout":
            options[name] = _options.seconds(name, value)
        elif name == "blocking":
            _options.blocking(value)
        elif name == "poll_interval":
            options[name] = _options.interval(value)
        elif name == "thread_local":
            options[name] = _options.thread_local(value)
        elif name == "lifetime":
            options[name] = _options.lifetime(value, cls._lifetime_supported, cls.__name__, 4)
        elif name == "context_error_policy":
            _options.one_of(name, value, _CONTEXT_POLICIES)
        elif name == "close_error_policy":
            _options.one_of(name, value, _CLOSE_POLICIES)


def _check_mode(cls: FileLockMeta, options: dict[str, Any]) -> None:
    if "mode" in options:
        _options.mode(options["mode"], cls.__name__)


_making = RLock()
#: The classes that have singletons.
_classes: list[FileLockMeta] = []


def _singleton(cls: FileLockMeta, lock_file: Any, options: dict[str, Any]) -> Any:
    key = _options.canonical(lock_file)
    with _making:
        singletons = cls._instances
        there = singletons.get(key)
        if there is None:
            _check_mode(cls, options)
            there = singletons[key] = ABCMeta.__call__(cls, lock_file, **options)
            return there
    differing = []
    for name, default in _options.DEFAULTS.items():
        if name == "thread_local":
            default = cls._thread_local_default
        ours, theirs = there._option(name), options.get(name, default)
        same = ours is theirs if name == "on_acquired" else ours == theirs
        if name == "timeout":
            same = same or (_for_ever(ours) and _for_ever(theirs)) or (ours != ours and theirs != theirs)
        if not same:
            differing.append(f"\n\t{name} (existing lock has {ours} but {theirs} was passed)")
    differing += there._differing(options)
    if differing:
        raise ValueError(
            "Singleton lock instances cannot be initialized with differing arguments\n"
            "Non-matching arguments: " + "".join(differing)
        )
    return there


def _for_ever(timeout: float) -> bool:
    return timeout < 0 or timeout == float("inf")


def _after_fork_in_child() -> None:
    global _making
    _making = RLock()
    # A child has singletons of its own: what the parent holds could not be acquired there.
    for cls in _classes:
        del cls._singletons
    _classes.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
