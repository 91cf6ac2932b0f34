"""lock(), unlock(), locked: the interface of the script from which all this began."""

import os
import subprocess
import sys

from conftest import until, waits

from holdlock import FileLock


def test_lock_and_unlock(path):
    lock = FileLock(path)
    assert not lock.locked
    assert lock.lock() is lock
    assert lock.locked
    lock.unlock()
    assert not lock.locked


def test_a_second_lock_while_holding_returns(path):
    lock = FileLock(path)
    lock.lock()
    lock.lock()
    lock.unlock()
    assert not lock.locked


def test_unlocking_a_free_lock_does_nothing(path):
    FileLock(path).unlock()


def test_the_file_is_created_and_stays_as_it_is(path):
    with FileLock(path):
        assert os.path.getsize(path) == 0
    with open(path, "w") as file:
        file.write("not ours")
    with FileLock(path):
        pass
    with open(path) as file:
        assert file.read() == "not ours"


def test_lock_waits_for_another_process(path, child):
    with FileLock(path):
        other = child(
            "import sys; from holdlock import FileLock\n"
            "lock = FileLock(sys.argv[1]).lock(); print('mine'); lock.unlock()",
            path,
        )
        until(lambda: waits(path, other.pid))
    other.expect("mine")


#: Three processes go in and out three times each, and say so before and after they yield.
EXPERIMENT = """
import multiprocessing, random, sys, time
from holdlock import FileLock

def work(lock, name):
    for _ in range(3):
        with lock:
            out(f"+[{name}]")
            time.sleep(random.random() / 100)
            out(f"-[{name}]")
            time.sleep(random.random() / 100)

def out(line):
    with open(sys.argv[2], "a") as file:  # the two terminals, side by side
        file.write(line + "\\n")
    print(line, flush=True)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[4])
    lock = FileLock(sys.argv[1])
    names = [f"{sys.argv[3]}{number}" for number in (1, 2, 3)]
    workers = [multiprocessing.Process(target=work, args=[lock, name]) for name in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
"""


def test_two_terminals_at_once_are_in_order(path, tmp_path):
    script = tmp_path / "experiment.py"
    script.write_text(EXPERIMENT)
    for method in ("fork", "spawn", "forkserver"):
        both = tmp_path / f"{method}.txt"
        terminals = [
            subprocess.Popen(
                [sys.executable, script, path, both, name, method],
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in "ab"
        ]
        outputs = [terminal.communicate()[0].split() for terminal in terminals]
        for lines in (*outputs, both.read_text().split()):
            for entered, left in zip(lines[::2], lines[1::2]):
                assert entered[0] == "+" and left == "-" + entered[1:]
        assert [len(lines) for lines in outputs] == [18, 18]
