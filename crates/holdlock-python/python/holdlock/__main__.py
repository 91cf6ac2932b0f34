"""``python -m holdlock``: passes its arguments to the command ``holdlock``, if that is there."""

from __future__ import annotations

import os
import sys

HELP = """\
This is the Python module. The command `holdlock`, which runs other commands under a lock and
shows who holds which, is a program of its own; it is not on PATH here. To get it, in a copy of
https://github.com/holdlock/holdlock:

    cargo xtask install ~/.local
"""


def find() -> str | None:
    """Where the command is. The module's own entry point would not be it."""
    for directory in os.get_exec_path():
        path = os.path.join(directory, "holdlock")
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def main() -> int:
    path = find()
    if path is None:
        from . import __version__

        print(f"holdlock {__version__}, {os.path.dirname(__file__)}")
        sys.stderr.write(HELP)
        return 0 if len(sys.argv) == 1 else 127
    if len(sys.argv) == 1:
        print(path)
        return 0
    sys.stdout.flush()
    os.execv(path, ["holdlock", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
