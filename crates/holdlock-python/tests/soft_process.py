"""Another process, which does one soft lock operation at a time, on command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType

from from_pypi import environment

SCRIPT = '''
import fcntl, importlib, os, sys
package = importlib.import_module(sys.argv[1])
lock = getattr(package, sys.argv[3])(sys.argv[2], thread_local=False)
# A process that is inside holds a lock of the kernel, which cannot be left behind.
witness = os.open(os.path.dirname(sys.argv[2]), os.O_RDONLY)
for line in sys.stdin:
    word, *rest = line.split()
    answer = "ok"
    try:
        if word == "acquire":
            lock.acquire(timeout=float(rest[0]), poll_interval=float(rest[1]))
        elif word == "release":
            lock.release()
        elif word == "hammer":
            for _ in range(int(rest[0])):
                with lock:
                    fcntl.flock(witness, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    fcntl.flock(witness, fcntl.LOCK_UN)
    except package.Timeout:
        answer = "timeout"
    except BaseException as error:
        answer = repr(error).replace("\\n", " ")
    print(answer, flush=True)
'''


class SoftProcess:
    """A process with a soft lock, ours or one of a ``filelock`` release."""

    def __init__(
        self,
        path: Path,
        *,
        package: str = "holdlock",
        kind: str = "SoftFileLock",
        where: Path | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, package, str(path), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=None if where is None else environment(where),
        )

    def tell(self, *words: object) -> None:
        """Sends a command; :meth:`answer` waits for its result."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        """The result of the last command."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def acquire(self, timeout: float = 0, poll_interval: float = 0.01) -> str:
        """``ok`` or ``timeout``."""
        self.tell("acquire", timeout, poll_interval)
        return self.answer()

    def release(self) -> None:
        """Releases the lock."""
        self.tell("release")
        assert self.answer() == "ok"

    def die(self) -> str:
        """Kills the process and reaps it; returns its last output."""
        assert self.process.stdout is not None
        self.process.kill()
        said = self.process.stdout.read()
        self.process.wait()
        return said

    def __enter__(self) -> SoftProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()
