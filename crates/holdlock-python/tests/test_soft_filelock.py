"""Processes with ``filelock``'s soft locks and processes with ours respect one another."""

from __future__ import annotations

from pathlib import Path

import pytest
from from_pypi import EMPTY_MARKERS, NEWEST, directory
from soft_process import SoftProcess

both = pytest.mark.parametrize("release", [NEWEST, EMPTY_MARKERS])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.lock"


def theirs(path: Path, release: str, kind: str = "SoftFileLock") -> SoftProcess:
    return SoftProcess(path, package="filelock", kind=kind, where=directory(release))


@both
def test_their_lock_keeps_us_out_until_its_release(path: Path, release: str) -> None:
    with theirs(path, release) as they, SoftProcess(path) as we:
        assert they.acquire() == "ok"
        before = path.read_bytes()
        assert we.acquire() == "timeout"
        assert path.read_bytes() == before
        we.tell("acquire", 60, 50)
        they.release()
        assert we.answer() == "ok"


@both
def test_our_lock_keeps_them_out_until_its_release(path: Path, release: str) -> None:
    with theirs(path, release) as they, SoftProcess(path) as we:
        assert we.acquire() == "ok"
        before = path.read_bytes()
        # They remove what they cannot read once they have seen it unchanged for two seconds.
        assert they.acquire(3) == "timeout"
        assert path.read_bytes() == before
        they.tell("acquire", 60, 0.01)
        we.release()
        assert they.answer() == "ok"


def test_we_take_over_from_a_dead_one_of_theirs(path: Path) -> None:
    with theirs(path, NEWEST) as they, SoftProcess(path) as we:
        assert they.acquire() == "ok"
        we.tell("acquire", 60, 50)
        they.die()
        assert we.answer() == "ok"


def test_they_take_over_from_a_dead_one_of_ours(path: Path) -> None:
    with theirs(path, NEWEST) as they, SoftProcess(path) as we:
        assert we.acquire() == "ok"
        they.tell("acquire", 60, 0.01)
        we.die()
        assert they.answer() == "ok"


def test_an_empty_marker_stays_for_its_owner_may_live(path: Path) -> None:
    with theirs(path, EMPTY_MARKERS) as they, SoftProcess(path) as we:
        assert they.acquire() == "ok"
        they.die()
        assert path.read_bytes() == b""
        assert we.acquire(0.1) == "timeout"
        assert path.exists()


@both
def test_mixed_processes_exclude_one_another(path: Path, release: str) -> None:
    processes = [SoftProcess(path), theirs(path, release), SoftProcess(path), theirs(path, release)]
    for process in processes:
        process.tell("hammer", 60)
    assert [process.answer() for process in processes] == ["ok"] * 4
    for process in processes:
        process.die()
    assert list(path.parent.iterdir()) == []


def test_mixed_processes_take_over_from_the_dead_one_at_a_time(path: Path) -> None:
    processes = [SoftProcess(path), theirs(path, NEWEST), SoftProcess(path), theirs(path, NEWEST)]
    for process in processes:
        process.tell("hammer", 80)
    for turn in range(10):
        with theirs(path, NEWEST) if turn % 2 else SoftProcess(path) as mortal:
            assert mortal.acquire(60) == "ok"
            mortal.die()
    assert [process.answer() for process in processes] == ["ok"] * 4
    for process in processes:
        process.die()
    with SoftProcess(path) as last:
        assert last.acquire() == "ok"
        last.release()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("kind", ["MarkerSoftFileLock", "SoftFileLease", "StrictSoftFileLock"])
def test_their_other_soft_locks_keep_us_out(path: Path, kind: str) -> None:
    with theirs(path, NEWEST, kind) as they, SoftProcess(path) as we:
        assert they.acquire() == "ok"
        before = path.read_bytes()
        assert we.acquire(0.1) == "timeout"
        assert path.read_bytes() == before
