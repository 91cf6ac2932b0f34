"""A soft lock is taken over from a provably dead owner, and from no other."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from soft_process import SoftProcess

from holdlock import SoftFileLock, SoftFileLockLifetimeWarning, Timeout
from holdlock._soft import _kernel, _owner
from holdlock._soft._marker import Owner, encode

LONG_AGO = (946684800, 946684800)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.lock"


def dead_owner() -> Owner:
    """The owner record of a process that has ended."""
    program = "import os; from holdlock._soft import _owner; print(*_owner.this_process())"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    pid, host, start = output.stdout.decode().split()
    return Owner(int(pid), host, int(start))


@pytest.fixture
def dead() -> Owner:
    return dead_owner()


def held(path: Path) -> bool:
    """Whether the lock cannot be acquired, and its marker stays unchanged."""
    before = path.read_bytes()
    try:
        SoftFileLock(path, timeout=0).acquire().lock.release()
    except Timeout:
        assert path.read_bytes() == before
        return True
    return False


def test_from_a_dead_owner(path: Path, dead: Owner) -> None:
    path.write_bytes(encode(dead))
    with SoftFileLock(path, timeout=0) as lock:
        assert lock.is_lock_held_by_us
    assert list(path.parent.iterdir()) == []


def test_from_a_dead_owner_whose_start_nobody_wrote_down(path: Path, dead: Owner) -> None:
    path.write_bytes(encode(dead._replace(start=None)))
    assert not held(path)


def test_from_an_owner_whose_number_belongs_to_another_process_now(path: Path) -> None:
    ours = _owner.this_process()
    assert ours.start is not None
    path.write_bytes(encode(ours._replace(start=ours.start - 1)))
    assert not SoftFileLock(path).is_lock_held_by_us
    assert not held(path)


def test_from_an_owner_before_the_last_boot(
    path: Path, dead: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(encode(dead._replace(start=1 << 64 | 5)))
    # On a shared file system it may be another machine of the same name, and alive.
    monkeypatch.setattr(_owner, "is_local", lambda directory: False)
    assert held(path)
    monkeypatch.undo()
    if not _kernel.is_local(str(path.parent)):
        pytest.skip("the temporary directory is on a file system shared with others")
    assert not held(path)


def test_not_from_a_living_owner_however_old_the_marker_is(path: Path) -> None:
    with SoftProcess(path) as owner:
        assert owner.acquire() == "ok"
        os.utime(path, LONG_AGO)
        assert held(path)
        with pytest.warns(SoftFileLockLifetimeWarning, match="ignores lifetime"):
            impatient = SoftFileLock(path, timeout=0.2, lifetime=0.01)
        with pytest.raises(Timeout):
            impatient.acquire()
        assert impatient.pid == owner.process.pid


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"my own notes",
        b"17\nhost",
        b"0\nhost\n",
        b"17\nhost\n-1\n",
        b"filelock/2\npid=1\nhost=here\nmode=pact\n",
        b"1\nfilelock-strict-v1\x00\n0\n",
        b"\xff\n\xfe\n",
        b"9" * 5000,
    ],
)
def test_not_a_file_that_names_no_owner(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    os.utime(path, LONG_AGO)
    assert held(path)
    assert SoftFileLock(path).pid is None


def test_not_from_another_host(path: Path, dead: Owner) -> None:
    path.write_bytes(encode(dead._replace(host=dead.host + "-elsewhere")))
    assert held(path)
    path.write_bytes(encode(dead._replace(host=dead.host + "?pidns-f0000001")))
    assert held(path)


@pytest.mark.skipif("pidns" in _owner.this_process().host, reason="this is a container itself")
def test_not_from_a_process_that_a_container_calls_by_that_number(
    path: Path, dead: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older filelock in a container with this host's name wrote its number in the container."""
    monkeypatch.setattr(_owner, "_innermost_number", lambda pid: dead.pid)
    path.write_bytes(encode(dead._replace(start=None)))
    assert held(path)


def test_a_marker_of_the_second_format_by_a_dead_owner(path: Path, dead: Owner) -> None:
    text = f"filelock/2\npid={dead.pid}\nhost={dead.host}\nmode=exclusive\nstart={dead.start}\n"
    path.write_text(text)
    assert not held(path)


def test_break_lock_frees_what_proves_nothing(path: Path) -> None:
    path.write_bytes(b"")
    lock = SoftFileLock(path, timeout=0)
    lock.break_lock()
    with lock:
        pass
    lock.break_lock()  # nothing there: nothing done


def test_one_of_many_takes_over(path: Path) -> None:
    """Owners die again and again, and never more than one process takes over."""
    processes = [SoftProcess(path) for _ in range(5)]
    for process in processes:
        process.tell("hammer", 100)
    for _ in range(15):
        with SoftProcess(path) as mortal:
            assert mortal.acquire(60) == "ok"
            mortal.die()
    assert [process.answer() for process in processes] == ["ok"] * 5
    for process in processes:
        process.die()
    with SoftFileLock(path, timeout=0):  # the last one to die may have died last of all
        pass
    assert list(path.parent.iterdir()) == []


def test_a_reclaimer_that_died_in_the_middle_leaves_the_lock_to_its_holder(
    path: Path, dead: Owner
) -> None:
    """The dead process had exchanged a living holder's marker, which now lies aside."""
    with SoftProcess(path) as holder:
        assert holder.acquire() == "ok"
        aside = path.with_name(f"job.lock.break.{dead.pid}.{'0a' * 16}")
        path.rename(aside)
        path.write_bytes(encode(dead))
        assert held(path)
        assert aside.exists()
        holder.release()
        with SoftFileLock(path, timeout=0):
            assert not aside.exists()


def test_the_marker_of_a_reclaimer_that_died_before_the_exchange_is_removed(
    path: Path, dead: Owner
) -> None:
    def aside(owner: Owner) -> Path:
        return path.with_name(f"job.lock.break.{owner.pid}.{'0a' * 16}")

    alive, reclaimer = _owner.this_process(), dead_owner()
    for owner in (alive, reclaimer):
        aside(owner).write_bytes(encode(owner))
    path.write_bytes(encode(dead))
    with SoftFileLock(path, timeout=0):
        assert not aside(reclaimer).exists()
    # A living one goes on with the exchange.
    assert list(path.parent.iterdir()) == [aside(alive)]


def test_a_wrong_exchange_is_undone(
    path: Path, dead: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filelock process takes the dead owner's place between our judgement and our exchange."""
    path.write_bytes(encode(dead))
    with SoftProcess(path) as rival:
        exchange = _kernel.exchange

        def late(one: str, other: str) -> None:
            monkeypatch.undo()
            path.unlink()
            assert rival.acquire() == "ok"
            exchange(one, other)

        monkeypatch.setattr(_kernel, "exchange", late)
        with pytest.raises(Timeout):
            SoftFileLock(path, timeout=0).acquire()
        assert SoftFileLock(path).pid == rival.process.pid
        assert [entry.name for entry in path.parent.iterdir()] == ["job.lock"]


def test_a_file_that_was_exchanged_wrongly_returns_even_if_our_marker_was_removed(
    path: Path, dead: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's file comes to the path before our exchange, and our marker goes after it."""
    path.write_bytes(encode(dead))
    exchange = _kernel.exchange

    def late(one: str, other: str) -> None:
        monkeypatch.undo()
        path.unlink()
        path.write_text("a stranger's")
        exchange(one, other)
        path.unlink()

    monkeypatch.setattr(_kernel, "exchange", late)
    with pytest.raises(Timeout):
        SoftFileLock(path, timeout=0).acquire()
    assert path.read_text() == "a stranger's"
    assert [entry.name for entry in path.parent.iterdir()] == ["job.lock"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM])
def test_where_names_cannot_be_exchanged_the_marker_stays(
    path: Path, dead: Owner, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """EPERM: the directory is sticky, and the marker another user's."""

    def refuse(one: str, other: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_kernel, "exchange", refuse)
    path.write_bytes(encode(dead))
    assert held(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["job.lock"]
