"""The tables in docs/python-filelock.md are complete and true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from from_pypi import NEWEST, directory, environment

import holdlock
from holdlock import _compat

PAGE = Path(__file__).resolve().parents[3] / "docs" / "python-filelock.md"

LOOK = """
import inspect, json, filelock
lock, soft = filelock.FileLock, filelock.SoftFileLock
public = lambda kind: [name for name in dir(kind) if not name.startswith("_")]
print(json.dumps({
    "names": filelock.__all__,
    "parameters": [name for name in inspect.signature(lock.__init__).parameters if name != "self"],
    "members": sorted({*public(lock), *public(soft)}),
}))
"""


def table(heading: str) -> dict[str, str]:
    """The names in one of the page's tables, with its word for each."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (same|better|absent) \|", section, re.MULTILINE))


@pytest.fixture(scope="module")
def theirs() -> dict[str, list[str]]:
    look = [sys.executable, "-c", LOOK]
    place = environment(directory(NEWEST))
    output = subprocess.run(look, env=place, capture_output=True, check=True).stdout
    return dict(json.loads(output))


def test_every_name_is_in_the_table(theirs: dict[str, list[str]]) -> None:
    assert sorted(table("Every public name")) == sorted(theirs["names"])


def test_every_parameter_and_member_is_in_its_table(theirs: dict[str, list[str]]) -> None:
    assert list(table("What a lock is made with")) == theirs["parameters"]
    assert sorted(table("What a lock does")) == theirs["members"]


def test_names_exist_exactly_as_the_table_says() -> None:
    said = table("Every public name")
    wrong = [name for name, what in said.items() if hasattr(holdlock, name) == (what == "absent")]
    assert not wrong
    members = {*dir(holdlock.FileLock), *dir(holdlock.SoftFileLock)}
    assert not set(table("What a lock does")) - members


def test_what_will_stay_absent_says_so() -> None:
    absent = {name for name, what in table("Every public name").items() if what == "absent"}
    assert set(_compat.ABSENT) <= absent
