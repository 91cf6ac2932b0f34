"""Runs filelock's own test suites against holdlock in its place.

    python tests/upstream/run.py

There are two: that of the last release before filelock's rewrite, which looks at the lock from
outside almost throughout, and that of the newest release, of which ``black_box`` chooses the tests
that do. They come from the source distributions on PyPI. ``failures-RELEASE.txt`` lists the tests
that may fail, each with the reason; a failure that is not listed fails the run, and so does a
listed one that passes: the lists may only shrink.

Run it with a Python that has holdlock and pip; what the tests need besides comes from PyPI into a
directory beside them. Without PyPI it says SKIPPED and succeeds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent


class Release(NamedTuple):
    """A release of filelock, and how its tests are run."""

    version: str
    sha256: str
    python: tuple[int, int]
    #: Whether the tests import filelock's inside too, so that some are left out.
    looks_inside: bool
    ini: str

    @property
    def name(self) -> str:
        return f"filelock-{self.version}"


RELEASES = [
    Release(
        "3.20.3",
        "18c57ee915c7ec61cff0ecf7f0f869936c7c30191bb0cf406f1341778d0834e1",
        (3, 9),
        False,
        "timeout = 120",
    ),
    Release(
        "4.3.1",
        "4c5ee627c401f1863ac6a0de9a14a28d3bb5f8c730b45e2fd6e5dbc79cf34b9e",
        (3, 11),
        True,
        """timeout = 120
pythonpath = . tasks
asyncio_default_fixture_loop_scope = session
markers = requires_hard_links: needs os.link
filterwarnings =
    error
    ignore:ResourceTracker called reentrantly for resource cleanup:UserWarning""",
    ),
]

#: How often a run is started again after a test that has ended it.
MOST_ENDS = 5


def main() -> int:
    """Returns the exit status."""
    try:
        import holdlock
    except ImportError as error:
        print(f"holdlock is not installed for {sys.executable}: {error}")
        return 2
    cache = _cache()
    if not _tools(cache):
        return 0
    status = 0
    for release in RELEASES:
        print(f"holdlock {holdlock.__version__} in place of {release.name}")
        if sys.version_info < release.python:
            needed = ".".join(map(str, release.python))
            print(f"SKIPPED the tests of {release.name}: they need Python {needed}")
        elif _source(cache, release):
            outcomes = _run(cache, release)
            status |= 1 if outcomes is None else _judge(outcomes, release)
    return status


def _cache() -> Path:
    root = os.environ.get("CARGO_TARGET_DIR") or HERE.parents[3] / "target"
    cache = Path(root) / "python-upstream"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _pip(*arguments: str, **environment: str) -> bool:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    result = subprocess.run(
        command,
        env=dict(os.environ, **environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or ["no message"]
        print(f"SKIPPED filelock's test suite: pip {arguments[0]} failed: {lines[-1]}")
    return result.returncode == 0


def _tools(cache: Path) -> bool:
    """Whether pytest and its plugins are in the cache, or could be installed there."""
    wanted = HERE / "requirements.txt"
    installed = cache / "tools" / "requirements.txt"
    if installed.exists() and installed.read_bytes() == wanted.read_bytes():
        return True
    shutil.rmtree(installed.parent, ignore_errors=True)
    if not _pip("install", "--target", str(installed.parent), "-r", str(wanted)):
        return False
    installed.write_bytes(wanted.read_bytes())
    return True


def _source(cache: Path, release: Release) -> bool:
    """Whether the source distribution is in the cache, or could be fetched; unpacks it."""
    archive = cache / f"{release.name}.tar.gz"
    if not archive.exists():
        wanted = f"filelock=={release.version}"
        options = ["--no-binary", "filelock", "--no-deps", "--no-build-isolation"]
        # pip asks the build system of what it downloads for the version.
        path = str(HERE / "download")
        if not _pip("download", *options, "--dest", str(cache), wanted, PYTHONPATH=path):
            return False
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != release.sha256:
        archive.unlink()
        raise SystemExit(f"{archive.name} from PyPI is not the one this list was made for: {found}")
    shutil.rmtree(cache / release.name, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(cache, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return True


def _run(cache: Path, release: Release) -> dict[str, str] | None:
    """Each test's outcome."""
    source = cache / release.name
    report = cache / f"outcomes-{release.version}.txt"
    report.unlink(missing_ok=True)
    environment = dict(os.environ, HOLDLOCK_UPSTREAM_OUTCOMES=str(report))
    if release.looks_inside:
        environment["HOLDLOCK_UPSTREAM_SOURCE"] = str(source / "src" / "filelock")
    path = [str(HERE / "stand_in"), str(HERE), str(cache / "tools"), os.environ.get("PYTHONPATH")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    ini = source / "pytest.ini"  # so that no other configuration is found
    ini.write_text(f"[pytest]\n{release.ini}\n", encoding="utf-8")
    root = source if release.looks_inside else source / "tests"
    command = [sys.executable, "-m", "pytest", "-p", "in_place_of_filelock", "-c", str(ini)]
    command += ["--rootdir", str(root), "-q", "-p", "no:cacheprovider", "--tb=short", "-rs"]
    command += ["--continue-on-collection-errors", str(source / "tests")]
    log = cache / f"pytest-{release.version}.log"
    for _ in range(MOST_ENDS):
        with log.open("a" if report.exists() else "w", encoding="utf-8") as output:
            status = subprocess.run(
                command, cwd=source, env=environment, stdout=output, stderr=output
            ).returncode
        if status in (0, 1):  # the tests were run to the end
            break
    else:
        print(log.read_text(encoding="utf-8")[-4000:])
        print(f"pytest did not get to its end in {MOST_ENDS} runs")
        return None
    print(f"its output: {log}")
    for number, reason in re.findall(r"^SKIPPED \[(\d+)\] \S+: (.*)$", log.read_text("utf-8"), re.M):
        print(f"SKIPPED {number} of {release.name}'s own tests: {reason}")
    lines = report.read_text(encoding="utf-8").splitlines()
    return dict(json.loads(line) for line in lines)


def _expected(release: Release) -> tuple[set[str], set[str]]:
    """The tests that fail, and those (marked ~) that fail sometimes.

    The reason is a heading above them (##), or it is on the line of the test.
    """
    listed = HERE / f"failures-{release.version}.txt"
    always: set[str] = set()
    sometimes: set[str] = set()
    reason = ""
    for line in listed.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            reason = line[3:].strip()
        elif line.strip() and not line.startswith("#"):
            test, _, own_reason = line.partition("  # ")
            if not (own_reason.strip() or reason):
                raise SystemExit(f"{listed.name}: no reason given: {line}")
            kind = sometimes if test.startswith("~ ") else always
            kind.add(test.removeprefix("~ ").strip())
    return always, sometimes


def _judge(outcomes: dict[str, str], release: Release) -> int:
    always, sometimes = _expected(release)
    expected = always | sometimes
    left_out = {test for test, outcome in outcomes.items() if outcome.startswith("left out")}
    failed = {test for test, outcome in outcomes.items() if outcome in ("failed", "ended the run")}
    unexpected = sorted(failed - expected)
    # Another machine may skip a test that fails here.
    mended = sorted(test for test in always if outcomes.get(test, "gone") in ("passed", "gone"))
    counts = {kind: list(outcomes.values()).count(kind) for kind in ("passed", "skipped")}
    print(
        f"{len(outcomes) - len(left_out)} tests: {counts['passed']} passed, "
        f"{counts['skipped']} skipped, {len(failed & expected)} failed as expected, "
        f"{len(unexpected)} failed otherwise"
    )
    if left_out:
        print(f"{len(left_out)} more tests look inside filelock: outcomes-{release.version}.txt")
    for test in unexpected:
        print(f"  FAILED {test}")
    for test in mended:
        outcome = outcomes.get(test, "gone")
        print(f"  {outcome}, so take it off failures-{release.version}.txt: {test}")
    return 1 if unexpected or mended or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
