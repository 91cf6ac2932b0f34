"""Makes locks: checks the options first, and finds singletons again."""

from __future__ import annotations

import os
import sys
from abc import ABCMeta

from . import _context, _options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inspect import Signature
    from typing import Any
    from weakref import WeakValueDictionary

    from ._async_wait import TaskRecord

_POSITIONAL = ("timeout", "mode", "thread_local")
_CONTEXT_POLICIES = ("chain", "group")
_CLOSE_POLICIES = ("default", "raise", "suppress")
_FALLBACKS = ("error", "soft")
_FLAGS = ("shared", "fair", "record", "upgradeable")


class FileLockMeta(ABCMeta):
    """The class of lock classes.

    It refuses wrong options before there is an object whose finalizer could fail because of them.
    """

    #: Whether locks of this class may have a ``lifetime``.
    _lifetime_supported: bool
    #: The options of this class, with their defaults.
    _defaults: dict[str, Any]
    _singletons: WeakValueDictionary[str, Any]
    #: See :func:`_takes_all_options`.
    _is_plain: bool

    if not TYPE_CHECKING:

        def __call__(cls, lock_file, *args, **options):
            notice_greenlets()
            if args:
                if len(args) > len(_POSITIONAL):
                    most = 1 + len(_POSITIONAL)
                    raise TypeError(f"{cls.__name__}() takes at most {most} positional arguments")
                for name, value in zip(_POSITIONAL, args):
                    if name in options:
                        raise TypeError(f"{cls.__name__}() got {name!r} twice")
                    options[name] = value
            if options:
                _check(cls, options)
                if "fallback" in options and "fallback" in cls._defaults:
                    from ._fallback import lock_for

                    return lock_for(cls, lock_file, options)
                if options.get("is_singleton"):
                    return _singleton(cls, lock_file, options)
                _check_mode(cls, options)
                if not _takes_all_options(cls):
                    options = _accepted(cls, options)
            return ABCMeta.__call__(cls, lock_file, **options)

        @property
        def __signature__(cls):
            return _signature(cls)

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


#: Whether the program uses greenlets as threads; see ``_greenlets``.
_adapted = False


def uses_greenlets() -> bool:
    """Whether locks belong to greenlets in this program."""
    return _adapted


def current_greenlet() -> TaskRecord | None:
    """The greenlet that makes a request, in programs with greenlets; None: the thread does."""
    if not _adapted:
        return None
    from ._greenlets import current

    return current()


def notice_greenlets() -> None:
    """Adapts the locks, if the program uses greenlets as threads."""
    global _adapted, _making
    if not _adapted and "greenlet" in sys.modules:
        from . import _file_lock, _greenlets

        if _greenlets.adapt(_file_lock.FileLock):
            _context.adapt_to_greenlets()
            _making = _context.make_gate()
            _adapted = True


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
            options[name] = _options.lifetime(value, cls._lifetime_supported, cls.__name__)
        elif name == "context_error_policy":
            _options.one_of(name, value, _CONTEXT_POLICIES)
        elif name == "close_error_policy":
            _options.one_of(name, value, _CLOSE_POLICIES)
        elif name in _FLAGS:
            _options.flag(name, value)
        elif name == "fallback":
            _options.one_of(name, value, _FALLBACKS)


def _check_mode(cls: FileLockMeta, options: dict[str, Any]) -> None:
    if "mode" in options:
        _options.mode(options["mode"], cls.__name__)


def _takes_all_options(cls: FileLockMeta) -> bool:
    """Whether the constructor is one of this package's, and not a subclass's own."""
    known: bool | None = cls.__dict__.get("_is_plain")
    if known is None:
        definer = next(kind for kind in cls.__mro__ if "__init__" in kind.__dict__)
        known = cls._is_plain = definer.__module__.partition(".")[0] == "holdlock"
    return known


def _constructor(cls: FileLockMeta) -> Signature:
    """The signature of a subclass's own constructor, without ``self``."""
    import inspect

    signature = inspect.signature(cls.__init__)  # type: ignore[misc]
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _accepted(cls: FileLockMeta, options: dict[str, Any]) -> dict[str, Any]:
    """The options without those that a subclass does not take and that have their default value.

    A subclass may have a constructor with fewer options than its base.
    """
    parameters = _constructor(cls).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return options

    def is_left_out(name: str) -> bool:
        defaults = cls._defaults
        if name in parameters or name not in defaults:
            return False
        return _same(name, defaults[name], options[name])

    return {name: value for name, value in options.items() if not is_left_out(name)}


def _signature(cls: FileLockMeta) -> Signature:
    """The signature for ``inspect.signature`` and ``help``: each option with its default."""
    from inspect import Parameter, Signature

    if not _takes_all_options(cls):
        return _constructor(cls)
    parameters = [Parameter("lock_file", Parameter.POSITIONAL_OR_KEYWORD)]
    for name, default in cls._defaults.items():
        positional = name in _POSITIONAL
        kind = Parameter.POSITIONAL_OR_KEYWORD if positional else Parameter.KEYWORD_ONLY
        parameters.append(Parameter(name, kind, default=default))
    return Signature(parameters)


_making = _context.make_gate()
#: The classes that have singletons.
_classes: list[FileLockMeta] = []


def _singleton(cls: FileLockMeta, lock_file: Any, options: dict[str, Any]) -> Any:
    key = _options.canonical(lock_file)
    with _making:
        singletons = cls._instances
        there = singletons.get(key)
        if there is None:
            _check_mode(cls, options)
            if not _takes_all_options(cls):
                options = _accepted(cls, options)
            there = singletons[key] = ABCMeta.__call__(cls, lock_file, **options)
            return there
    _refuse_unknown(cls, options)
    differing = []
    for name, default in _defaults_of(cls).items():
        ours, theirs = there._option(name), options.get(name, default)
        if not _same(name, ours, theirs):
            differing.append(f"\n\t{name} (existing lock has {ours} but {theirs} was passed)")
    if differing:
        raise ValueError(
            "Singleton lock instances cannot be initialized with differing arguments\n"
            "Non-matching arguments: " + "".join(differing)
        )
    return there


def _defaults_of(cls: FileLockMeta) -> dict[str, Any]:
    """The values of the options that a caller leaves out: a subclass may have its own defaults."""
    if _takes_all_options(cls):
        return cls._defaults
    parameters = _constructor(cls).parameters
    own = {name: one.default for name, one in parameters.items() if one.default is not one.empty}
    return {name: own.get(name, default) for name, default in cls._defaults.items()}


def _refuse_unknown(cls: FileLockMeta, options: dict[str, Any]) -> None:
    """Refuses what the constructor would refuse, if it were called for a known singleton."""
    unknown = [name for name in options if name not in cls._defaults]
    if unknown and _takes_all_options(cls):
        raise _options.unknown(cls, unknown[0])
    if unknown:
        parameters = _constructor(cls).parameters
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        for name in unknown:
            if name not in parameters and not takes_any:
                raise _options.unknown(cls, name)


def _same(name: str, one: Any, other: Any) -> bool:
    """Whether two values of an option mean the same."""
    if name in ("on_acquired", "loop", "executor"):
        return one is other
    if name == "timeout":
        both_nan = one != one and other != other
        return one == other or (_for_ever(one) and _for_ever(other)) or both_nan
    return bool(one == other)


def _for_ever(timeout: float) -> bool:
    return timeout < 0 or timeout == float("inf")


def _after_fork_in_child() -> None:
    global _making
    _making = _context.make_gate()
    # A child makes its own singletons: it could not acquire what the parent holds by the old ones.
    for cls in _classes:
        del cls._singletons
    _classes.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
