"""Semaphores: at most n holders over processes and threads, each with a slot number of its own."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

import holdlock
from conftest import run_forked, until
from holdlock import CancelToken, Cancelled, Deadlock, DifferentSlots, FileLock, Semaphore, Timeout

HOLDER = """
import sys
from holdlock import Semaphore
semaphore = Semaphore(sys.argv[1], int(sys.argv[2]))
with semaphore as slot:
    print(slot)
    sys.stdin.readline()
print("released")
sys.stdin.readline()
"""


@pytest.fixture
def slot_holder(child):
    """Another process that holds a slot; the second result is the number of the slot."""

    def start(path, n):
        one = child(HOLDER, path, str(n))
        return one, int(one.process.stdout.readline())

    return start


def test_the_holders_of_all_slots_have_different_numbers(path, slot_holder):
    numbers = {slot_holder(path, 3)[1] for _ in range(3)}
    assert numbers == {0, 1, 2}
    with pytest.raises(Timeout):
        Semaphore(path, 3).acquire(timeout=0)


def test_a_killed_holder_loses_its_slot_and_no_other(path, slot_holder):
    holders = [slot_holder(path, 3) for _ in range(3)]
    victim, slot = holders[1]
    semaphore = Semaphore(path, 3)
    for _ in range(3):
        with pytest.raises(Timeout):
            semaphore.acquire(blocking=False)
        os.kill(victim.pid, signal.SIGKILL)
        with semaphore.acquire(timeout=60) as ours:
            assert ours == slot
        victim, slot = slot_holder(path, 3)
        assert slot == ours
    assert semaphore.slot is None


def test_a_slot_that_becomes_free_wakes_a_waiter(path, child, slot_holder):
    holders = [slot_holder(path, 2) for _ in range(2)]
    waiter = child(HOLDER, path, "2")
    semaphore = Semaphore(path, 2)
    until(lambda: any(one.pid == waiter.pid for one in semaphore.waiters()))
    holders[1][0].tell()
    waiter.expect(str(holders[1][1]))


def test_threads_of_one_object_exclude_one_another(path):
    semaphore = Semaphore(path, 3)
    inside, most = set(), []
    lock = threading.Lock()
    three = threading.Barrier(3, timeout=100)

    def work():
        for number in range(20):
            with semaphore as slot:
                with lock:
                    assert slot not in inside
                    inside.add(slot)
                    most.append(len(inside))
                if number == 0:
                    three.wait()
                time.sleep(0.0005)
                with lock:
                    inside.remove(slot)

    threads = [threading.Thread(target=work) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 180 and max(most) == 3


CROWD = """
import os, sys
from holdlock import Semaphore
semaphore = Semaphore(sys.argv[1] + "/lock", 3, timeout=100)
for _ in range(40):
    with semaphore as slot:
        mark = f"{sys.argv[1]}/slot-{slot}"
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails if another one has the slot
        os.unlink(mark)
"""


def test_no_two_processes_ever_have_the_same_slot(tmp_path):
    crowd = [
        subprocess.Popen([sys.executable, "-c", CROWD, str(tmp_path)], stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    for one in crowd:
        assert one.communicate(timeout=200)[1] == b""
        assert one.returncode == 0


def test_each_acquisition_takes_one_more_slot(path):
    semaphore = Semaphore(path, 2)
    assert semaphore.slot is None and not semaphore.locked
    with semaphore as first:
        with semaphore.acquire() as second:
            assert {first, second} == {0, 1}
            assert semaphore.slot == second
        assert semaphore.slot == first and semaphore.locked
    assert semaphore.slot is None


def test_another_number_of_slots_is_refused_while_a_slot_is_held(path, slot_holder):
    holder, _ = slot_holder(path, 4)
    with pytest.raises(DifferentSlots) as caught:
        Semaphore(path, 2).acquire(timeout=5)
    error = caught.value
    assert (error.slots, error.in_use, error.filename) == (2, 4, path)
    assert [one.pid for one in error.holders] == [holder.pid]
    text = str(error)
    assert "2 slots" in text and "in use with 4" in text and f"pid {holder.pid}" in text
    copied = pickle.loads(pickle.dumps(error))
    assert (copied.slots, copied.in_use, str(copied)) == (2, 4, text)

    holder.tell()
    holder.expect("released")
    with Semaphore(path, 2) as slot:
        assert slot in (0, 1)


def test_a_timeout_says_that_all_slots_are_taken_and_by_whom(path, slot_holder):
    holders = {slot_holder(path, 2)[0].pid for _ in range(2)}
    with pytest.raises(Timeout) as caught:
        Semaphore(path, 2).acquire(timeout=0.05)
    error = caught.value
    assert {one.pid for one in error.holders} == holders
    assert "all 2 slots are taken" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_slots_and_an_exclusive_lock_exclude_each_other(path, slot_holder):
    holder, _ = slot_holder(path, 2)
    with pytest.raises(Timeout):
        FileLock(path).acquire(timeout=0)
    FileLock(path, shared=True).acquire(timeout=0).lock.release()
    holder.tell()
    holder.expect("released")
    with FileLock(path), pytest.raises(Timeout):
        Semaphore(path, 2).acquire(timeout=0)


def test_a_thread_that_holds_all_slots_does_not_wait_for_itself(path):
    semaphore = Semaphore(path, 2)
    with semaphore, semaphore:
        with pytest.raises(Deadlock, match="all 2 slots"):
            semaphore.acquire()
    assert semaphore.slot is None


def test_messages_about_one_slot_are_good_english(path, slot_holder):
    with Semaphore(path, 1) as _, pytest.raises(Deadlock, match="holds the only slot of"):
        Semaphore(path, 1).acquire()
    assert repr(Semaphore(path, 1)) == f"<Semaphore {path!r}, 1 slot, not held>"
    slot_holder(path, 4)
    with pytest.raises(DifferentSlots, match="with 1 slot: it is in use with 4") as caught:
        Semaphore(path, 1).acquire(timeout=5)
    assert caught.value.strerror.startswith("cannot use 1 slot: ")


def test_another_thread_can_release_a_slot_by_its_number(path):
    semaphore = Semaphore(path, 1)
    slots = []
    thread = threading.Thread(target=lambda: slots.append(semaphore.acquire()))
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match="this thread holds none"):
        semaphore.release()
    slots[0].release()
    with pytest.raises(RuntimeError, match="slot 0"):
        slots[0].release()
    with semaphore as slot:
        assert slot == 0


def test_a_slot_that_was_given_back_does_not_give_back_that_of_the_next_holder(path):
    semaphore = Semaphore(path, 1)
    slot = semaphore.acquire()
    slot.release()
    inside, done = threading.Event(), threading.Event()

    def work():
        with semaphore:
            inside.set()
            done.wait()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    with pytest.raises(RuntimeError, match="slot 0 .*given back before"):
        slot.release()
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(slot)
    with pytest.raises(Timeout):
        Semaphore(path, 1).acquire(timeout=0)
    done.set()
    thread.join()


def test_a_token_ends_a_wait(path, slot_holder):
    slot_holder(path, 1)
    semaphore, token = Semaphore(path, 1), CancelToken()

    def cancel():
        until(lambda: semaphore.waiters())
        token.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Cancelled):
        semaphore.acquire(cancel=token)
    thread.join()


def test_a_child_of_fork_has_slots_of_its_own(path):
    semaphore = Semaphore(path, 2)
    with semaphore as slot:

        def in_child():
            assert semaphore.slot is None
            with semaphore as other:
                assert other != slot
            semaphore.release()  # the end of the block that the parent has entered

        assert run_forked(in_child) == ""
        assert semaphore.slot == slot
        with pytest.raises(Timeout):
            with semaphore, semaphore.acquire(timeout=0):
                pass


def test_a_semaphore_can_be_pickled_and_is_then_free(path):
    semaphore = Semaphore(path, 2, timeout=3, blocking=False, mode=0o600)
    with semaphore:
        for copied in (pickle.loads(pickle.dumps(semaphore)), copy.copy(semaphore)):
            assert (copied.lock_file, copied.n) == (path, 2)
            assert (copied.timeout, copied.blocking) == (3, False)
            assert copied.slot is None
    assert oct(os.stat(path).st_mode & 0o777) == "0o600"


def test_it_decorates_functions_and_shows_its_state(path):
    semaphore = Semaphore(path, 2)

    @semaphore
    def work():
        return repr(semaphore)

    assert work() == f"<Semaphore {path!r}, 2 slots, slot 0>"
    assert repr(semaphore) == f"<Semaphore {path!r}, 2 slots, not held>"


def test_a_collected_semaphore_gives_its_slots_back(path):
    semaphore = Semaphore(path, 1)
    semaphore.acquire()
    del semaphore
    Semaphore(path, 1).acquire(timeout=0).release()


@pytest.mark.parametrize(
    "arguments, options, error",
    [
        ((0,), {}, ValueError),
        ((holdlock._native.max_slots + 1,), {}, ValueError),
        ((-1,), {}, ValueError),
        ((True,), {}, TypeError),
        (("3",), {}, TypeError),
        ((2,), {"timeout": "5"}, TypeError),
        ((2,), {"blocking": 1}, TypeError),
        ((2,), {"mode": 0o7777}, ValueError),
        ((2,), {"follow_symlinks": "no"}, TypeError),
    ],
)
def test_wrong_options_are_refused_and_create_nothing(path, arguments, options, error):
    with pytest.raises(error):
        Semaphore(path, *arguments, **options)
    assert not os.path.exists(path)


def test_a_file_that_cannot_be_opened_is_an_error_with_its_path(tmp_path):
    with pytest.raises(IsADirectoryError) as caught:
        Semaphore(tmp_path, 2).acquire()
    assert caught.value.filename == str(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    with pytest.raises(OSError) as caught:
        Semaphore(link, 2).acquire()
    assert caught.value.filename == str(link)
    with Semaphore(link, 2, follow_symlinks=True):
        assert (tmp_path / "target").exists()
