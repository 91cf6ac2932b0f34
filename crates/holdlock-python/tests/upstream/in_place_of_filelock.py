"""A pytest plugin: replaces ``filelock`` by holdlock, and records the outcome of each test."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator
from pathlib import Path

import filelock  # from ``stand_in``, before any other plugin could import the real one
import holdlock
import pytest
from holdlock import _compat, _read_write_base

assert isinstance(filelock, _compat._Standin), filelock
# Fixtures empty it before and after a test.
holdlock.ReadWriteLock._instances = _read_write_base._singletons  # type: ignore[attr-defined]

#: Where the runner finds the outcomes, also of a run that a test has ended.
PLACE = Path(os.environ["HOLDLOCK_UPSTREAM_OUTCOMES"])
outcomes: dict[str, str] = {}


def record(test: str, outcome: str) -> None:
    """One line for each test; the last line of a test counts."""
    outcomes[test] = outcome
    with PLACE.open("a", encoding="utf-8") as file:
        file.write(json.dumps([test, outcome]) + "\n")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what an earlier run has done, and the tests of filelock's inside."""
    lines = PLACE.read_text(encoding="utf-8").splitlines() if PLACE.exists() else []
    done = {json.loads(line)[0] for line in lines}
    if "HOLDLOCK_UPSTREAM_SOURCE" in os.environ:
        import black_box

        for item in items:
            if item.nodeid not in done and (reason := black_box.left_out(item)):
                done.add(item.nodeid)
                record(item.nodeid, f"left out: {reason}")
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
    items[:] = [item for item in items if item.nodeid not in done]


def pytest_runtest_logstart(nodeid: str) -> None:
    """A test that ends the run is one that did not return from this."""
    record(nodeid, "ended the run")
    outcomes[nodeid] = "passed"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """Ends only the test, and not the run, if a test lets out its KeyboardInterrupt."""
    try:
        return (yield)
    except KeyboardInterrupt as error:
        raise AssertionError("KeyboardInterrupt got out of the test") from error


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot be imported counts as one failing test, named like the file."""
    if report.failed:
        private = re.search(r"has no attribute '_[a-z]", str(report.longrepr))
        record(report.nodeid, "left out: needs a private attribute" if private else "failed")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """The worst of a test's phases is its outcome."""
    order = ("passed", "skipped", "failed")
    outcome = max(outcomes[report.nodeid], report.outcome, key=order.index)
    outcomes[report.nodeid] = outcome
    if report.when == "teardown":
        record(report.nodeid, outcome)
