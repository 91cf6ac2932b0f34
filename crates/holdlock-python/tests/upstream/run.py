"""Runs filelock's own test suite against holdlock in its place.

    python tests/upstream/run.py

The tests are those of the last release before its rewrite, which look at the lock from outside
almost throughout. They come from the source distribution on PyPI. ``expected_failures.txt`` lists
the tests that may fail, each with the reason; a failure that is not listed fails the run, and so
does a listed one that passes: the list may only shrink.

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

HERE = Path(__file__).resolve().parent
RELEASE = "filelock-3.20.3"
SHA256 = "18c57ee915c7ec61cff0ecf7f0f869936c7c30191bb0cf406f1341778d0834e1"


def main() -> int:
    """Returns the exit status."""
    try:
        import holdlock
    except ImportError as error:
        print(f"holdlock is not installed for {sys.executable}: {error}")
        return 2
    print(f"holdlock {holdlock.__version__} in place of {RELEASE}")
    cache = _cache()
    if not (_tools(cache) and _source(cache)):
        return 0
    outcomes = _run(cache)
    return 1 if outcomes is None else _judge(outcomes, _expected())


def _cache() -> Path:
    root = os.environ.get("CARGO_TARGET_DIR") or HERE.parents[3] / "target"
    cache = Path(root) / "python-upstream"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _pip(*arguments: str) -> bool:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
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


def _source(cache: Path) -> bool:
    """Whether the source distribution's tests are in the cache, or could be fetched."""
    archive = cache / f"{RELEASE}.tar.gz"
    if not archive.exists():
        wanted = RELEASE.replace("-", "==")
        options = ["--no-binary", ":all:", "--no-deps", "--dest", str(cache)]
        if not _pip("download", *options, wanted):
            return False
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        archive.unlink()
        raise SystemExit(f"{archive.name} from PyPI is not the one this list was made for: {found}")
    tests = cache / "tests"
    shutil.rmtree(tests, ignore_errors=True)
    tests.mkdir()
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            # Only the tests: their package is not to be importable by accident.
            if member.isfile() and member.name.startswith(f"{RELEASE}/tests/"):
                target = tests / Path(member.name).name
                content = tar.extractfile(member)
                if content is not None:
                    target.write_bytes(content.read())
    return True


def _run(cache: Path) -> dict[str, str] | None:
    """Each test's outcome."""
    report = cache / "outcomes.json"
    report.unlink(missing_ok=True)
    environment = dict(os.environ, HOLDLOCK_UPSTREAM_OUTCOMES=str(report))
    path = [str(HERE), str(cache / "tools"), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    ours = cache / "pytest.ini"  # so that no other configuration is found
    ours.write_text("[pytest]\ntimeout = 120\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "in_place_of_filelock", "-c", str(ours)]
    command += ["--rootdir", str(cache / "tests"), "-q", "-p", "no:cacheprovider", "--tb=short"]
    command += ["-rs"]
    command += ["--continue-on-collection-errors", str(cache / "tests")]
    log = cache / "pytest.log"
    with log.open("w", encoding="utf-8") as output:
        subprocess.run(command, cwd=cache, env=environment, stdout=output, stderr=output)
    if not report.exists():
        print(log.read_text(encoding="utf-8")[-4000:])
        print("pytest did not get to its end")
        return None
    print(f"its output: {log}")
    for number, reason in re.findall(r"^SKIPPED \[(\d+)\] \S+: (.*)$", log.read_text("utf-8"), re.M):
        print(f"SKIPPED {number} of filelock's own tests: {reason}")
    return dict(json.loads(report.read_text(encoding="utf-8")))


def _expected() -> dict[str, str]:
    """The tests that may fail, with the reasons."""
    expected = {}
    for line in (HERE / "expected_failures.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            test, mark, reason = line.partition("  # ")
            if not mark or not reason.strip():
                raise SystemExit(f"expected_failures.txt: no reason given: {line}")
            expected[test.strip()] = reason.strip()
    return expected


def _judge(outcomes: dict[str, str], expected: dict[str, str]) -> int:
    failed = {test for test, outcome in outcomes.items() if outcome == "failed"}
    unexpected = sorted(failed - expected.keys())
    mended = sorted(test for test in expected if outcomes.get(test, "gone") in ("passed", "gone"))
    counts = {kind: list(outcomes.values()).count(kind) for kind in ("passed", "skipped")}
    print(
        f"{len(outcomes)} tests: {counts['passed']} passed, {counts['skipped']} skipped, "
        f"{len(failed & expected.keys())} failed as expected, {len(unexpected)} failed otherwise"
    )
    for test in unexpected:
        print(f"  FAILED {test}")
    for test in mended:
        print(f"  {outcomes.get(test, 'gone')}, so take it off expected_failures.txt: {test}")
    return 1 if unexpected or mended or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
