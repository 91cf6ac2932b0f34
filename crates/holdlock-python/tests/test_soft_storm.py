"""Processes are killed and stopped at random; no two of them hold a soft lock at once."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from from_pypi import NEWEST, directory
from soft_process import SoftProcess

SECONDS = 4.0


def worker(path: Path, package: str) -> SoftProcess:
    where = None if package == "holdlock" else directory(NEWEST)
    process = SoftProcess(path, package=package, where=where)
    process.tell("hammer", 1_000_000_000)
    return process


@pytest.mark.parametrize("packages", [["holdlock"] * 5, ["holdlock", "filelock"] * 2])
def test_one_holder_at_a_time_in_a_storm(tmp_path: Path, packages: list[str]) -> None:
    path = tmp_path / "job.lock"
    workers = [worker(path, package) for package in packages]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(random.uniform(0, 0.1))
        number = random.randrange(len(workers))
        # A filelock process that is killed before it has written its marker leaves an empty one.
        if packages[number] == "filelock" or random.random() < 0.3:
            workers[number].process.send_signal(signal.SIGSTOP)
            time.sleep(random.uniform(0, 0.05))
            workers[number].process.send_signal(signal.SIGCONT)
        else:
            # One that found another one inside has said so.
            assert workers[number].die() == ""
            workers[number] = worker(path, packages[number])
    assert [one.die() for one in workers] == [""] * len(workers)
    if "filelock" in packages:
        return
    with SoftProcess(path) as last:
        assert last.acquire(30) == "ok"
        last.release()
    assert list(tmp_path.iterdir()) == []
