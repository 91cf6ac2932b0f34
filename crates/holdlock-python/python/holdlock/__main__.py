"""``python -m holdlock``: runs the command ``holdlock`` with the same arguments."""

from __future__ import annotations

import os
import sys

HELP = """\
This is the Python module. The command `holdlock` runs other commands under a lock and shows the
holders of locks. It is another program, and is not on PATH. Install it from a clone of this
repository:

    cargo xtask install ~/.local
"""


def find() -> str | None:
    """The path of the command; None: it is not on PATH."""
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
