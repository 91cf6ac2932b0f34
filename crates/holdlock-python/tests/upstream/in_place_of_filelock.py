"""A pytest plugin: replaces ``filelock`` by holdlock, and records the outcome of each test."""

from __future__ import annotations

import json
import os

import pytest

import holdlock

# Before pytest imports a test, and before any other plugin could import the real one.
holdlock.install_as_filelock()

outcomes: dict[str, str] = {}


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot be imported counts as one failing test, named like the file."""
    if report.failed:
        outcomes[report.nodeid] = "failed"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """The worst of a test's phases is its outcome."""
    order = ("passed", "skipped", "failed")
    before = outcomes.get(report.nodeid, "passed")
    outcomes[report.nodeid] = max(before, report.outcome, key=order.index)


def pytest_sessionfinish() -> None:
    """Leaves the outcomes where the runner looks for them."""
    with open(os.environ["HOLDLOCK_UPSTREAM_OUTCOMES"], "w", encoding="utf-8") as file:
        json.dump(outcomes, file)
