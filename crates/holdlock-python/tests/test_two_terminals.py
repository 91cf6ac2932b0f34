"""The example with two terminals: one worker of six is inside at a time."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENT = Path(__file__).resolve().parents[1] / "examples" / "two_terminals.py"


class Terminal:
    """A session on a pseudo-terminal, in which the example runs."""

    def __init__(self, *arguments):
        self.screen, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, EXPERIMENT, *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def shows(self):
        """The lines on the screen when the example has ended."""
        assert self.process.wait(timeout=120) == 0
        text = b""
        while True:
            try:
                text += os.read(self.screen, 4096)
            except OSError:  # the other side is closed, and all is read
                os.close(self.screen)
                return text.decode().split()


def in_order(lines):
    """Whether each worker went out before another went in."""
    pairs = zip(lines[::2], lines[1::2])
    return len(lines) % 2 == 0 and all(
        entered[0] == "+" and left == "-" + entered[1:] for entered, left in pairs
    )


def run(directory, *more):
    """What both terminals showed, and the lines of both in the order of their writing."""
    log = directory / "log"
    log.unlink(missing_ok=True)
    common = ["--lock", directory / "lock", "--log", log, "--longest", 0.02, *more]
    terminals = [Terminal("--names", names, *common) for names in ("123", "456")]
    screens = [terminal.shows() for terminal in terminals]
    return [*screens, log.read_text().split()]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_two_terminals_at_once_are_in_order(tmp_path, method):
    first, second, both = run(tmp_path, "--start", method)
    assert [len(first), len(second), len(both)] == [18, 18, 36]
    assert in_order(first) and in_order(second) and in_order(both)


def test_without_the_lock_they_are_not(tmp_path):
    """Else the test before would say nothing."""
    assert any(not in_order(run(tmp_path, "--without")[2]) for _ in range(20))


def test_what_is_called_a_mess_is_one():
    assert in_order(["+[1]", "-[1]", "+[2]", "-[2]"])
    for mess in (["+[1]", "+[2]", "-[1]", "-[2]"], ["+[1]"], ["+[1]", "-[2]"]):
        assert not in_order(mess)
