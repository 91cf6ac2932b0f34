"""The facts that a marker records about its process, and whether a recorded owner is dead.

A marker records the same two names as ``filelock``'s, so that each package finds the other's
owners:

* the host's name, with ``?pidns-…`` after it outside the first PID namespace: the numbers of two
  containers mean different processes even where the containers share a name;
* the start token, ``boot id << 64 | start time``: another process that later has the same number
  has another token.
"""

from __future__ import annotations

import os

from ._descriptors import opened
from ._kernel import is_local, readable
from ._marker import Owner

#: The inode numbers of the first PID and the first time namespace (linux/proc_ns.h).
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
_FIRST_TIME_NAMESPACE = 0xEFFFFFFA

_LOW = (1 << 64) - 1


def this_process() -> Owner:
    """The owner that a marker of this process names."""
    global _own_start
    pid = os.getpid()
    if _own_start is None or _own_start[0] != pid:
        _own_start = pid, start_token(pid)
    return Owner(pid, host(), _own_start[1])


def host() -> str:
    """This host's name, as markers have it.

    A character that is not printable ASCII, and ``?`` itself, is written ``?xx`` in hexadecimal.
    (filelock shortens names of over 253 characters; Linux has no such names.)
    """
    raw = os.fsencode(os.uname().nodename)
    name = "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x3F else f"?{byte:02x}" for byte in raw
    )
    namespace = _namespace("pid")
    if namespace not in (None, _FIRST_PID_NAMESPACE):
        name += f"?pidns-{namespace:x}"
    return name or "?"


def start_token(pid: int) -> int | None:
    """The start token of a process; None if this process cannot see a comparable one.

    A time namespace shifts the start times that its members read, so they are not compared there.
    """
    if _namespace("time") not in (None, _FIRST_TIME_NAMESPACE):
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
        # The name of the program stands in brackets and may itself have brackets and spaces; the
        # start time is the twentieth field after it.
        started = int(text[text.rindex(b")") + 1 :].split()[19])
    except (OSError, ValueError, IndexError):
        return None
    return _boot_id() << 64 | started


def is_this_process(owner: Owner) -> bool:
    """Whether this owner is this process."""
    if owner.pid != os.getpid() or owner.host != host():
        return False
    return owner.start is None or owner.start == start_token(owner.pid)


def is_dead(owner: Owner, directory: str) -> bool:
    """Whether this owner is provably dead. False: it is alive, or that is unknown.

    ``directory`` has the marker. On a network file system, another machine may have written it.
    """
    if owner.host != host():
        return False  # this host cannot see the processes of another
    boot = _boot_id()
    recorded_boot = 0 if owner.start is None else owner.start >> 64
    if boot and recorded_boot and recorded_boot != boot:
        # Written before the last boot, or by another machine with the same name.
        return is_local(directory)
    if _may_run(owner):
        return False
    # A name without a PID namespace may come from an older filelock in a container.
    return "?pidns-" in owner.host or not _may_run_in_a_container(owner)


def _may_run(owner: Owner) -> bool:
    """Whether the process with this number may be the owner."""
    try:
        handle = opened(os.pidfd_open, owner.pid)
    except ProcessLookupError:
        return False
    except (OSError, AttributeError):
        # No pidfd here (Linux before 5.3, or a filter of system calls): ask with signal 0.
        return _answers(owner.pid) and _same_start(owner)
    try:
        # Readable once every thread has ended; kill(2) would still find the zombie.
        return not readable([handle.fileno()], 0) and _same_start(owner)
    finally:
        handle.close()


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    return True


def _same_start(owner: Owner, pid: int | None = None) -> bool:
    """Whether process ``pid`` (by default the owner's) may have started when the owner did."""
    now = start_token(owner.pid if pid is None else pid)
    if owner.start is None or now is None:
        return True
    # If one side could not read the boot id, compare only the start times.
    if 0 in (now >> 64, owner.start >> 64):
        return now & _LOW == owner.start & _LOW
    return now == owner.start


def _may_run_in_a_container(owner: Owner) -> bool:
    """Whether a process with the recorded number in its own PID namespace may be the owner."""
    try:
        os.stat("/proc/1")  # missing if /proc hides other users' processes: nothing is proved then
        numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return True
    return any(
        pid != owner.pid and _innermost_number(pid) == owner.pid and _same_start(owner, pid)
        for pid in numbers
    )


def _innermost_number(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"NSpid:"):
                    return int(line.split()[-1])
    except (OSError, ValueError, IndexError):
        pass  # it ended meanwhile
    return None


def _namespace(kind: str) -> int | None:
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino
    except OSError:
        return None


def _boot_id() -> int:
    global _boot
    if _boot is None:
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                _boot = int(file.read().strip().replace("-", ""), 16)
        except (OSError, ValueError):
            _boot = 0
    return _boot


_boot: int | None = None
_own_start: tuple[int, int | None] | None = None
