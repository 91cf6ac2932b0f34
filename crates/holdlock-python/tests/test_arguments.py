"""Wrong arguments: the error names the argument, says what is wrong, and nothing is created."""

import os
import pathlib

import pytest

from holdlock import FileLock, LockSet, Semaphore, TokenGate, record

BAD_PATHS = [b"x.lock", None, 3, object()]
MAKERS = {
    "FileLock": FileLock,
    "Semaphore": lambda path: Semaphore(path, 1),
    "TokenGate": TokenGate,
    "record": record,
}


@pytest.mark.parametrize("maker", sorted(MAKERS))
@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda path: type(path).__name__)
def test_a_path_of_another_type_is_named(maker, path):
    with pytest.raises(TypeError, match=r"(lock_file|path) must be a str or an os\.PathLike"):
        MAKERS[maker](path)


def test_an_error_of_the_path_object_itself_arrives(path):
    class Broken(os.PathLike):
        def __fspath__(self):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        FileLock(Broken())


@pytest.mark.parametrize("option", ["shared", "fair", "record", "upgradeable"])
@pytest.mark.parametrize("value", ["no", 1, None])
def test_a_switch_is_a_bool(path, option, value):
    with pytest.raises(TypeError, match=f"{option} must be a bool, not {type(value).__name__}"):
        FileLock(path, **{option: value})


@pytest.mark.parametrize("timeout", ["5", True, b"1", float("nan"), 10**400])
def test_a_limit_is_a_number_of_seconds(path, timeout):
    gate, lock = TokenGate(path), FileLock(path, upgradeable=True)
    with pytest.raises((TypeError, ValueError), match="timeout .*number of seconds"):
        gate.enter(1, timeout)
    assert not os.path.exists(path)
    with lock.acquire_upgradeable() as guard:
        with pytest.raises((TypeError, ValueError), match="timeout .*number of seconds"):
            guard.upgrade(timeout)
        assert guard.exclusive is False
        guard.upgrade(None)


@pytest.mark.parametrize(
    "token, error, words",
    [
        (None, TypeError, "not None: a lock has a token if it is made with record=True"),
        ("3", TypeError, "token must be an int, not str"),
        (1.5, TypeError, "token must be an int, not float"),
        (-1, ValueError, "from 0 to"),
        (2**64, ValueError, "from 0 to"),
    ],
)
def test_a_token_is_a_number(path, token, error, words):
    with pytest.raises(error, match=words):
        TokenGate(path).enter(token)
    assert not os.path.exists(path)


@pytest.mark.parametrize("locks", ["abc", pathlib.Path("abc"), None, 3])
def test_a_set_is_made_of_a_list_and_not_of_the_letters_of_a_path(locks):
    with pytest.raises(TypeError, match="give a list of locks or paths"):
        LockSet(locks)


def test_a_member_is_a_lock_or_a_pair(path):
    with pytest.raises(ValueError, match="a pair is a lock and a mode"):
        LockSet([(path, "shared", 5)])
    with pytest.raises(TypeError, match="give a list of locks or paths, not a FileLock"):
        LockSet(FileLock(path))


def test_a_gate_in_which_the_thread_is_already_says_so(path):
    gate = TokenGate(path)
    with gate.enter(1) as inside:
        with pytest.raises(RuntimeError, match="inside the gate '.*', and asks to enter it again"):
            gate.enter(2)
        assert repr(inside) == f"<Inside '{path}', token 1, inside>"
    assert repr(inside) == f"<Inside '{path}', token 1, left>"


def test_a_holder_that_asks_for_the_right_to_upgrade_is_told_to_release(path):
    lock = FileLock(path, upgradeable=True)
    with lock, pytest.raises(RuntimeError, match="asks for a shared lock that it can upgrade"):
        lock.acquire_upgradeable()
