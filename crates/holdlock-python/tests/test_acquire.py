"""acquire() and release(): arguments, counting, what they return."""

import math
import threading
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from holdlock import (
    AcquireReturnProxy,
    BaseFileLock,
    FileLock,
    LockSet,
    Semaphore,
    Timeout,
    UnixFileLock,
)


def test_acquire_returns_a_proxy_that_releases_once(path):
    lock = FileLock(path)
    proxy = lock.acquire()
    assert isinstance(proxy, AcquireReturnProxy)
    assert proxy.lock is lock
    with proxy as inner:
        assert inner is lock
        assert lock.is_locked
    assert not lock.is_locked


def test_a_lock_acquired_twice_is_held_until_the_second_release(path):
    lock = FileLock(path)
    with lock:
        with lock.acquire():
            assert lock.lock_counter == 2
        assert lock.is_locked
        assert lock.lock_counter == 1
    assert lock.lock_counter == 0


def test_force_releases_all(path):
    lock = FileLock(path)
    lock.acquire()
    lock.acquire()
    lock.release(force=True)
    assert not lock.is_locked
    lock.release()
    assert lock.lock_counter == 0


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": 0.02}, {"blocking": False}])
def test_a_held_lock_is_a_timeout(path, holder, options):
    holder(path)
    with pytest.raises(Timeout):
        FileLock(path).acquire(**options)
    with pytest.raises(Timeout):
        FileLock(path, **options).acquire()
    with pytest.raises(Timeout), FileLock(path, **options):
        pass
    lock = FileLock(path, **options)
    assert (lock.is_locked, lock.lock_counter) == (False, 0)


def test_an_argument_of_acquire_overrides_the_setting(path, holder):
    other = holder(path)
    with pytest.raises(Timeout):
        FileLock(path, timeout=-1).acquire(timeout=0)
    with pytest.raises(Timeout):
        FileLock(path, timeout=10).acquire(blocking=False)
    lock = FileLock(path, timeout=0)
    other.tell()
    lock.acquire(timeout=20).lock.release()


@pytest.mark.parametrize("endless", [-1, -5, -0.1, math.inf, 1e300])
def test_negative_and_infinite_timeouts_have_no_limit(path, holder, endless):
    other = holder(path)
    other.tell()
    with FileLock(path).acquire(timeout=endless):
        pass


@pytest.mark.parametrize("number", [1, 1.5, Decimal("0.5"), Fraction(1, 2)])
def test_numbers_of_all_kinds_are_seconds(path, number):
    lock = FileLock(path, timeout=number)
    assert lock.timeout == float(number)
    with lock.acquire(timeout=number, poll_interval=number):
        pass


@pytest.mark.parametrize("wrong", [True, "1", None, [1]])
def test_a_timeout_that_is_not_a_number_is_a_type_error(path, wrong):
    with pytest.raises(TypeError, match="timeout must be a number of seconds"):
        FileLock(path, timeout=wrong)
    if wrong is not None:
        with pytest.raises(TypeError, match="timeout must be a number of seconds"):
            FileLock(path).acquire(timeout=wrong)
        with pytest.raises(TypeError, match="poll_interval must be a number of seconds"):
            FileLock(path).acquire(poll_interval=wrong)


@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf, 1e30])
def test_an_interval_is_finite_and_not_negative(path, wrong):
    with pytest.raises(ValueError, match="poll_interval"):
        FileLock(path, poll_interval=wrong)
    with pytest.raises(ValueError, match="poll_interval"):
        FileLock(path).acquire(poll_interval=wrong)


def test_nan_is_refused_only_where_it_matters(path):
    with pytest.raises(ValueError, match="nan"):
        FileLock(path).acquire(timeout=math.nan)
    with FileLock(path, timeout=math.nan).acquire(blocking=False):
        pass


def make_set(path, **options):
    return LockSet([FileLock(path)], **options)


def make_semaphore(path, **options):
    return Semaphore(path, 1, **options)


@pytest.mark.parametrize("make", [FileLock, make_set, make_semaphore])
def test_a_block_refuses_nan_while_the_lock_is_held(path, holder, make):
    holder(path)
    lock = make(path, timeout=math.nan)
    result = []

    def wait():
        try:
            with lock:
                result.append(None)
        except ValueError as error:
            result.append(str(error))

    # In a thread, because a wait without limit has to fail this test and not to stop it.
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(10)
    assert result == ["timeout must be a number of seconds, not nan"]
    with make(path + "2", timeout=math.nan, blocking=False):
        pass


@pytest.mark.parametrize("wrong", ["no", 0, 1, None])
def test_blocking_is_a_bool(path, wrong):
    with pytest.raises(TypeError, match="blocking must be a bool"):
        FileLock(path, blocking=wrong)
    if wrong is not None:
        with pytest.raises(TypeError, match="blocking must be a bool"):
            FileLock(path).acquire(blocking=wrong)


@pytest.mark.parametrize(
    ("wrong", "error"), [(0o1666, ValueError), (0o444, ValueError), (True, TypeError), ("6", TypeError)]
)
def test_a_mode_lets_the_owner_read_and_write(path, wrong, error):
    with pytest.raises(error, match="mode"):
        FileLock(path, mode=wrong)


def test_wrong_values_of_options_are_refused(path):
    with pytest.raises(ValueError, match="context_error_policy"):
        FileLock(path, context_error_policy="both")
    with pytest.raises(ValueError, match="close_error_policy"):
        FileLock(path, close_error_policy="ignore")
    with pytest.raises(ValueError, match="thread_local"):
        FileLock(path, thread_local="no")
    with pytest.raises(TypeError):
        FileLock(path, colour="red")


def test_the_misspelled_argument_is_deprecated(path):
    with pytest.warns(DeprecationWarning, match="poll_interval"):
        FileLock(path).acquire(poll_intervall=0.1)


def test_settings_can_be_read_and_set(path):
    lock = FileLock(path, 2, 0o600, blocking=False, poll_interval=0.5)
    assert (lock.timeout, lock.mode, lock.blocking, lock.poll_interval) == (2, 0o600, False, 0.5)
    assert lock.has_explicit_mode and lock.is_thread_local() and not lock.is_singleton
    lock.timeout, lock.blocking, lock.poll_interval = 3, True, 1
    assert (lock.timeout, lock.blocking, lock.poll_interval) == (3, True, 1)
    with pytest.warns(DeprecationWarning):
        lock.timeout = "4"
    assert lock.timeout == 4
    for name, value in [("timeout", True), ("blocking", 1), ("poll_interval", "x")]:
        with pytest.raises(TypeError):
            setattr(lock, name, value)
    assert (lock.context_error_policy, lock.close_error_policy) == ("chain", "default")
    assert lock.fallback_to_soft and not lock.preserve_lock_file and lock.on_acquired is None


def test_a_lifetime_is_ignored_with_a_warning(path):
    with pytest.warns(UserWarning, match="lifetime is ignored"):
        lock = FileLock(path, lifetime=3)
    assert lock.lifetime is None
    with pytest.warns(UserWarning, match="lifetime is ignored"):
        lock.lifetime = 4
    assert lock.lifetime is None


def test_no_other_option_warns(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with FileLock(Path(path), timeout=1, mode=0o644, thread_local=False):
            pass


def test_lock_file_is_the_path_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lock = FileLock("here.lock")
    assert lock.lock_file == "here.lock"
    assert FileLock(tmp_path / "b.lock").lock_file == str(tmp_path / "b.lock")
    monkeypatch.chdir("/")
    with lock:  # where it was made, not where we are now
        assert (tmp_path / "here.lock").exists()


def test_the_classes_are_related():
    assert UnixFileLock is FileLock
    assert issubclass(FileLock, BaseFileLock)
    with pytest.raises(TypeError):
        BaseFileLock("x")


def test_a_collected_lock_is_released(path):
    lock = FileLock(path)
    lock.acquire()
    del lock
    FileLock(path).acquire(timeout=0)
