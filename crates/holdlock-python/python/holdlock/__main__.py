"""``python -m holdlock``: runs the command ``holdlock`` with the same arguments."""

from __future__ import annotations

import os
import sys
import sysconfig

HELP = """\
This is the Python module. The command `holdlock` runs other commands under a lock and shows the
holders of locks. A wheel brings it along; this installation has been made without it, and it is not
on PATH. Install the wheel, or build the command from a clone of the repository:

    cargo xtask install ~/.local
"""


def find() -> str | None:
    """The path of the command: the one that was installed with this module, or on PATH.

    None if there is none.
    """
    installed = [os.path.join(place, "holdlock") for place in _scripts()]
    on_path = [os.path.join(directory, "holdlock") for directory in os.get_exec_path()]
    # A file of that name in the working directory is nobody's installation.
    found = (path for path in installed + on_path if os.path.isabs(path) and _is_program(path))
    return next(found, None)


def _scripts() -> list[str]:
    """Where the scripts of this installation are."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # pip's --target and --prefix put them in "bin" below the directory that they are given.
    places = [os.path.join(here, "bin"), os.path.join(here, *[os.pardir] * 3, "bin")]
    if here in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        places.insert(0, sysconfig.get_path("scripts"))
    return [os.path.normpath(place) for place in places]


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


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
