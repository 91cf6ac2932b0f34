"""``FileLock``: the lock that the kernel keeps, in native code."""

from __future__ import annotations

from . import _meta, _native, _options
from ._attributes import settable_timeout
from ._base import BaseFileLock
from ._native import NativeLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._native import CancelToken, Record, Task, UpgradeableGuard

__all__ = ["BaseFileLock", "FileLock", "UnixFileLock", "WindowsFileLock"]


class FileLock(NativeLock, BaseFileLock):
    """A lock that processes share by the path of a file.

    It is held in a ``with`` statement, by :meth:`acquire` and :meth:`release`, or by :meth:`lock`
    and :meth:`unlock`:

    >>> import os, tempfile
    >>> from holdlock import Timeout
    >>> path = os.path.join(tempfile.mkdtemp(), "backup.lock")
    >>> lock = FileLock(path)
    >>> with lock:
    ...     print(lock.locked)  # no other process on this machine is in here
    True
    >>> lock.locked
    False

    A request waits while another process or thread holds the lock: in the kernel's queue, without
    polling and without the interpreter's lock. After ``timeout`` seconds it raises
    :class:`Timeout`, which names the holder:

    >>> with lock, open(path) as other:
    ...     try:
    ...         FileLock(path).acquire(timeout=0.01)
    ...     except Timeout as error:
    ...         print(error.lock_file == path, error.holders[0].pid == os.getpid())
    True True

    The kernel releases the lock when its holder ends, however it ends. The file stays, and is
    written to only with ``record=True``. The holder may acquire the same object again; it has to
    release the object as often. A relative path means the working directory in which the object was
    made. The first request creates the file and missing directories. A released lock has no file
    open, unless it is released more than ten times a second.

    The options, besides ``lock_file``:

    * ``timeout``: the limit of a wait in seconds. Negative (the default): no limit. 0: do not wait.
      Each of ``timeout``, ``blocking`` and ``poll_interval`` is also a property, and an argument
      of :meth:`acquire`.
    * ``mode``: the permissions of a new file, whatever the umask is.
    * ``thread_local``: how the threads of this process use one object. ``True`` (the default): each
      thread holds the lock, and waits for it, by itself, with its own ``timeout`` and so on.
      ``False``: they hold the lock together, and each of them may release it; a thread that
      acquires a held object does not wait. ``"mutex"``: one of them holds the lock, the others
      wait, and :attr:`locked` is True for all of them; not together with ``shared``.
    * ``blocking``: False: do not wait.
    * ``is_singleton``: True: the same path gives the same object again.
    * ``poll_interval``: the seconds between two calls of a ``cancel_check``.
    * ``context_error_policy``: what is raised if the body of a ``with`` statement and the release
      both fail. ``"chain"`` (the default): the error of the release, with the other one as its
      context. ``"group"``: both in an exception group.
    * ``on_acquired``: a function that is called with a descriptor of the file after each
      acquisition. If it raises, the lock is released. If the file has a second name in a directory
      to which other users can write, the request raises PermissionError.
    * ``shared``: True: any number of processes can hold the lock at once, but not together with
      an exclusive holder.
    * ``fair``: True: requests are served in the order in which they arrive. By default a request
      that arrives just when the lock is released can be quicker than a waiter that wakes up, and a
      shared request can pass a waiting exclusive request. The order holds among fair requests. It
      costs two more system calls, and needs a writable file on a local file system.
    * ``record``: True: the lock file has a record of the last exclusive holder, from which come
      :attr:`token`, :attr:`abandoned` and :meth:`record`. The file has to be writable, and empty or
      with such a record; a file with other content is refused and stays as it is. An acquisition
      and a release cost one more system call each.
    * ``note``: the reason that the record gives. It is also an argument of :meth:`acquire`.
    * ``upgradeable``: True: of the shared holders, one at a time can have the right to upgrade:
      :meth:`acquire_upgradeable`. All readers have to use the option.
    * ``fallback``: what to do on a file system that has no locks (flock fails with ENOSYS or
      EOPNOTSUPP). ``"error"`` (the default): requests raise an OSError that is also a
      NotImplementedError. ``"soft"``: make a :class:`SoftFileLock` instead. A soft lock promises
      less: it excludes only programs that use soft locks on this path; the marker of a dead owner
      on another host stays; and an empty file that a failed native request has left at the path
      counts as a marker until it is removed. Therefore let all programs of a path use the same
      fallback. Not for subclasses, and not together with ``shared``, ``fair``, ``record``,
      ``upgradeable``, ``on_acquired`` or ``preserve_lock_file``.
    * ``lifetime``, ``close_error_policy``, ``fallback_to_soft``, ``preserve_lock_file``: accepted
      for compatibility with ``filelock``, and without effect.

    A child made by fork does not hold the lock and cannot release it. If the lock was held when the
    child was made, the child cannot acquire it by this object either. A pickled lock arrives in
    another process as a free lock with the same path and options.
    """

    _defaults = _options.NATIVE_DEFAULTS

    if not TYPE_CHECKING:  # native, so that it works while the interpreter ends
        __del__ = NativeLock._finalize

    def _acquire(self) -> None:
        raise NotImplementedError("this lock is acquired in native code")

    def _release(self) -> None:
        raise NotImplementedError("this lock is released in native code")

    def _requester(self) -> Task | None:
        """The greenlet that uses the lock, in programs with greenlets; None: the thread does."""
        return _meta.current_greenlet()

    @property
    def token(self) -> int | None:
        """The token of this acquisition, if the lock was made with ``record=True``.

        It is higher than that of every earlier exclusive acquisition of the lock, by whatever
        process, also across crashes and reboots. A :class:`TokenGate` refuses lower tokens. None if
        the lock is not held, or held shared.
        """
        return _native.token_of(self, self._requester())

    @property
    def abandoned(self) -> Record | None:
        """The record of the last holder, if that died without releasing the lock.

        Its work may be half done. Only the first holder after it gets the record. None if the lock
        is not held, or was not made with ``record=True``.
        """
        return _native.abandoned_before(self, self._requester())

    def record(self) -> Record | None:
        """The record in the lock file: the last exclusive holder, and whether it has released.

        None: the file is missing or has no record. Does not acquire the lock.
        """
        return _native.record(self._absolute_path)

    def record_run(self, exit: int | None = None) -> None:
        """Writes to the record that a run under the lock begins now, or that it has ended.

        exit: the exit code with which the run ends, or 128 + n if signal n ended it. None: the run
            begins.

        >>> import os, tempfile
        >>> lock = FileLock(os.path.join(tempfile.mkdtemp(), "nightly.lock"), record=True)
        >>> with lock:
        ...     lock.record_run()
        ...     lock.record_run(exit=0)  # the work is done
        >>> lock.record().last_run.exit
        0

        :attr:`Record.last_run` and :attr:`Record.last_success` tell of it, and ``holdlock run
        --at-most-every``. Raises ValueError if the lock was not made with ``record=True``,
        RuntimeError if it is not held exclusively, and OSError if the record cannot be written.
        """
        _native.record_run(self, exit, self._requester())

    def acquire_upgradeable(
        self,
        timeout: float | None = None,
        *,
        blocking: bool | None = None,
        cancel: CancelToken | None = None,
    ) -> UpgradeableGuard:
        """Acquires the shared lock with the right to upgrade it, for ``upgradeable=True``.

        One holder at a time has the right; others may share the lock meanwhile:

        >>> import os, tempfile
        >>> lock = FileLock(os.path.join(tempfile.mkdtemp(), "index.lock"), upgradeable=True)
        >>> with lock.acquire_upgradeable(timeout=5) as reader:
        ...     reader.upgrade()  # what was read before is still true
        ...     print(reader.exclusive)
        True

        The result holds the lock, and not this object; it may be passed to other threads. The
        arguments and errors are those of :meth:`acquire`. The thread that has acquired it counts as
        its holder: a request of this thread that would wait for the lock for ever raises
        :class:`Deadlock`. With ``thread_local=False`` no thread counts.
        """
        self._refuse_upgrade()
        limit, _ = _options.request(timeout, None, None, blocking, self._settings)
        if _meta.uses_greenlets():
            from . import _greenlets

            return _greenlets.acquire_upgradeable(self, limit, cancel)
        return _native.acquire_upgradeable(self, limit, cancel)

    def _refuse_upgrade(self) -> None:
        """Raises ValueError if the lock was not made for upgrades."""
        if not self.upgradeable:
            shown = _native.printable(self.lock_file)
            raise ValueError(f"cannot upgrade lock '{shown}': make it with upgradeable=True")

    def break_lock(self) -> None:
        """Raises RuntimeError: only a :class:`SoftFileLock` can be broken."""
        shown = _native.printable(self.lock_file)
        raise RuntimeError(
            f"cannot break lock '{shown}': that requires a soft fallback; the kernel releases this "
            "lock when its holder ends"
        )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # The native __enter__ and __exit__ do not call methods that a subclass has overridden.
        if cls.acquire is not NativeLock.acquire and cls.__enter__ is NativeLock.__enter__:
            cls.__enter__ = BaseFileLock.__enter__  # type: ignore[assignment, method-assign]
        if cls.release is not NativeLock.release and cls.__exit__ is NativeLock.__exit__:
            cls.__exit__ = BaseFileLock.__exit__  # type: ignore[assignment, method-assign]

    @property
    def timeout(self) -> float:
        """The default limit of a wait in seconds; negative: no limit."""
        return self._settings[0]

    @timeout.setter
    def timeout(self, value: float | str) -> None:
        self._set(timeout=settable_timeout(value))

    @property
    def blocking(self) -> bool:
        """Whether a request waits by default."""
        return self._settings[1]

    @blocking.setter
    def blocking(self, value: bool) -> None:
        self._set(blocking=_options.blocking(value))

    @property
    def poll_interval(self) -> float:
        """The seconds between two calls of a ``cancel_check``. The lock is not polled."""
        return self._settings[2]

    @poll_interval.setter
    def poll_interval(self, value: float) -> None:
        self._set(poll_interval=_options.interval(value))

    @property
    def lifetime(self) -> None:
        """None: the kernel releases the lock when its holder ends, and never because of its age."""
        return None

    @lifetime.setter
    def lifetime(self, value: float | None) -> None:
        _options.lifetime(value, False, type(self).__name__)

    def _option(self, name: str) -> Any:
        if name == "mode":
            return self._mode_setting
        if name == "record":
            return self.has_record
        if name == "fallback":
            return "error"  # or else this would be a SoftFileLock
        return self._thread_local_setting if name == "thread_local" else getattr(self, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _options.restore, _options.arguments(self), self._extra_state()

    def _extra_state(self) -> dict[str, Any] | None:
        """The attributes of the object that a subclass has added."""
        options = type(self)._defaults
        own = {name: value for name, value in self.__dict__.items() if name[1:] not in options}
        return own or None


UnixFileLock = FileLock


class WindowsFileLock(BaseFileLock):
    """The name of the lock of another operating system; here it cannot be acquired."""

    def _acquire(self) -> None:
        raise NotImplementedError("WindowsFileLock is for Windows")

    def _release(self) -> None:
        raise NotImplementedError("WindowsFileLock is for Windows")
