"""The text of a marker.

Releases of ``filelock`` since 3.22 write the process id, the host's name and (newer releases) a
start token, each on a line of its own. Releases before 3.22 leave the marker empty. Other classes
of that package put their own records at the same path; a :class:`SoftFileLock` recognises them, and
leaves them alone.
"""

from __future__ import annotations

from typing import NamedTuple

#: A longer file is not a marker.
LONGEST = 1024

#: The text of a marker that its holder could not remove, because another process had moved it.
RELEASED = "filelock/released\n"

_SECOND_FORMAT = "filelock/2"
_PID_MAX = 2**31 - 1


class Owner(NamedTuple):
    """The process that wrote a marker."""

    pid: int
    host: str
    #: The start token: see ``_owner``.
    start: int | None = None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def encode(owner: Owner) -> bytes:
    r"""The text of a marker.

    >>> encode(Owner(42, "build-1", 7))
    b'42\nbuild-1\n7\n'
    """
    lines = [str(owner.pid), owner.host]
    if owner.start is not None:
        lines.append(str(owner.start))
    return "".join(line + "\n" for line in lines).encode("ascii")


def decode(text: bytes) -> Owner | None:
    r"""The owner that a marker names; None: it names no owner.

    A last line without its end is incomplete: half of a number would name another process.

    >>> decode(b"42\nbuild-1\n7\n")
    Owner(pid=42, host='build-1', start=7)
    >>> decode(b"42\nbuild-1\n")
    Owner(pid=42, host='build-1', start=None)
    >>> decode(b"42\nbuil") is decode(b"") is decode(b"my own notes\n") is None
    True
    >>> decode(b"filelock/2\npid=42\nhost=build-1\nmode=exclusive\n")
    Owner(pid=42, host='build-1', start=None)
    """
    if len(text) > LONGEST or not text.endswith(b"\n"):
        return None
    try:
        lines = text.decode("ascii").split("\n")[:-1]
    except UnicodeDecodeError:
        return None
    if lines[0] == _SECOND_FORMAT:
        return _second_format(lines[1:])
    if len(lines) not in (2, 3):
        return None
    return _owner(lines[0], lines[1], lines[2] if len(lines) == 3 else None)


def _second_format(lines: list[str]) -> Owner | None:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition("=")
        fields[name] = value
    # This version does not know the meaning of another mode.
    if fields.get("mode") not in ("exclusive", "lease"):
        return None
    return _owner(fields.get("pid", ""), fields.get("host", ""), fields.get("start"))


def _owner(pid: str, host: str, start: str | None) -> Owner | None:
    # The name of a host is printable ASCII. The marker of filelock's strict locks has a NUL there,
    # so that it names no owner.
    if not host or any(not "!" <= char <= "~" for char in host):
        return None
    number, token = _number(pid), None if start is None else _number(start)
    if number is None or not 1 <= number <= _PID_MAX or (start is not None and token is None):
        return None
    return Owner(number, host, token)


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None  # ASCII already
