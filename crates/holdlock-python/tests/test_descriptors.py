"""Other code closes a lock's descriptor; or the process has no descriptors left."""

import asyncio
import errno
import fcntl
import os
import resource
import subprocess
import sys

import pytest
from conftest import run_forked

from holdlock import AsyncFileLock, FileLock, Timeout

CLOSED = """
import os, sys
from holdlock import FileLock

def close_all():
    HOW

path, log = sys.argv[1:3]
lock = FileLock(path)
with lock:
    pass
close_all()
files = [open(log, "a") for _ in range(30)]  # one file gets the number of the lock's descriptor
try:
    with lock:
        print("held")
        sys.stdin.readline()
        # And while the lock is held: then it is lost, and the release says so.
        for file in files:
            file.close()
        close_all()
        files = [open(log, "a") for _ in range(30)]
except OSError as error:
    assert error.filename == path and "closed the descriptor" in str(error), error
else:
    raise AssertionError("the lock was lost silently")
for file in files:
    file.write("still open\\n")
    file.close()
with lock:
    print("done")
"""

IDLE = """
import os, resource, sys
from holdlock import FileLock

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
locks = [FileLock(os.path.join(sys.argv[1], f"{number}.lock")) for number in range(1000)]
for lock in locks:
    with lock:
        pass
links = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")[:-1]]
assert not [link for link in links if link.startswith(sys.argv[1])], links
"""

GATE = """
import os, sys
from holdlock import TokenGate

gate = TokenGate(sys.argv[1])
inside = gate.enter(1)
os.closerange(3, 1024)
child = os.fork()
if child == 0:
    inside.leave()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
try:
    with inside:
        pass
except OSError as error:
    assert error.filename == sys.argv[1] and "closed the descriptor" in str(error), error
else:
    raise AssertionError("the gate was lost silently")
inside.leave()
with gate.enter(1):
    pass
"""

WAYS = {
    "closerange": "os.closerange(3, 1024)",
    "python-daemon": """
    import daemon
    streams = dict(stdin=sys.stdin, stdout=sys.stdout, stderr=sys.stderr)
    daemon.DaemonContext(detach_process=False, working_directory="/", **streams).open()
    """,
}


def test_a_token_gate_whose_descriptor_was_closed_says_so(path):
    subprocess.run([sys.executable, "-c", GATE, path], check=True, timeout=60)


def test_many_released_locks_take_no_descriptors(tmp_path):
    subprocess.run([sys.executable, "-c", IDLE, tmp_path], check=True, timeout=200)


@pytest.mark.parametrize("how", sorted(WAYS))
def test_a_lock_whose_descriptor_was_closed_still_excludes(path, tmp_path, child, how):
    if how == "python-daemon":
        pytest.importorskip("daemon")
    log = tmp_path / "log"
    other = child(CLOSED.replace("HOW", WAYS[how].strip()), path, str(log))
    other.expect("held")
    with pytest.raises(Timeout):
        FileLock(path).acquire(timeout=0)
    with open(log) as file:  # nothing has locked it
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_UN)
    other.tell()
    other.expect("done")
    assert other.ended() == 0
    assert log.read_text() == "still open\n" * 30


def test_the_error_says_that_no_descriptor_is_free(path, holder):
    holder(path)

    async def main():
        waits = [asyncio.ensure_future(AsyncFileLock(path).acquire()) for _ in range(20)]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        errors = [wait.exception() for wait in done]
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        assert errors
        for error in errors:
            assert type(error) is OSError and error.errno == errno.EMFILE
            assert error.filename == path and "os error" not in str(error)
            assert "Too many open files" in str(error)

    def with_few_descriptors():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        filling = []
        try:
            while True:
                filling.append(os.dup(0))
        except OSError:
            pass
        for descriptor in filling[-4:]:  # three are for the loop
            os.close(descriptor)
        asyncio.run(main())

    assert run_forked(with_few_descriptors) == ""


def test_a_failed_wait_that_is_kept_keeps_no_descriptor(path, holder):
    holder(path)

    async def main():
        locks = [AsyncFileLock(path, timeout=0.001) for _ in range(8)]
        kept = []
        for lock in locks:
            with pytest.raises(Timeout):
                await lock.acquire(timeout=0)  # opens the file
        before = len(os.listdir("/proc/self/fd"))
        for lock in locks:
            with pytest.raises(Timeout) as caught:
                await lock.acquire()
            kept.append(caught.value)
        assert len(os.listdir("/proc/self/fd")) - before < len(locks)

    asyncio.run(main())
