"""The options of locks between hosts, and their holders and waiters."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, TypedDict

from ._native import printable

__all__ = ["History", "Member", "Members"]


class EngineOptions(TypedDict, total=False):
    """The options of :class:`EngineLock` that can only be passed by name."""

    blocking: bool
    shared: bool
    note: Optional[str]
    command: Optional[str]


class Member(NamedTuple):
    """A process that holds a lock between hosts, or waits for it.

    What the process tells of itself is None if the engine hides it, and for programs other than
    holdlock.

    >>> print(Member("exclusive", "db1", 12, "ann", "nightly.py", "weekly report"))
    pid 12 (nightly.py) of ann on db1: weekly report
    >>> print(Member("shared", login="app from 10.0.0.7", session="4711"))
    a session (4711) of app from 10.0.0.7
    """

    #: "exclusive" or "shared".
    mode: str
    #: The name of the host that the process runs on.
    host: Optional[str] = None
    #: Its number on that host.
    pid: Optional[int] = None
    #: Its user on that host.
    user: Optional[str] = None
    #: The program or the command.
    command: Optional[str] = None
    #: What the process says about itself.
    note: Optional[str] = None
    #: When it acquired the lock or began to wait, by the clock of that host, in seconds since 1970.
    since: Optional[float] = None
    #: The token of a holder.
    token: Optional[int] = None
    #: The engine's name for the connection or lease.
    session: Optional[str] = None
    #: From where the connection comes, and as which user of the engine.
    login: Optional[str] = None

    def __str__(self) -> str:
        if self.pid is None:
            words = "a session"
            if self.session is not None:
                words += f" ({printable(self.session)})"
            return words if self.login is None else f"{words} of {printable(self.login)}"
        words = f"pid {self.pid}"
        if self.command is not None:
            words += f" ({printable(self.command)})"
        if self.user is not None:
            words += f" of {printable(self.user)}"
        if self.host is not None:
            words += f" on {printable(self.host)}"
        return words if self.note is None else f"{words}: {printable(self.note)}"


class History(NamedTuple):
    """What an engine remembers of earlier holders, as they have told it by ``record_run``."""

    #: How many seconds ago, on the engine's clock, the last run began that counts; None: none is
    #: remembered.
    last_run: Optional[float] = None
    #: The last holder that said that it was at work, if it has not said since that it has ended.
    at_work: Optional[Member] = None


class Members(NamedTuple):
    """The holders and the waiters of a lock between hosts."""

    #: Those who hold it.
    holders: List[Member]
    #: Those who wait for it, in the order in which they will be served.
    waiters: List[Member]
