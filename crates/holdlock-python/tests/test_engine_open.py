"""``holdlock.open``: a path or a URL, and the errors of both."""

import os
import pathlib
import pickle
import shutil
import socket
import subprocess
import sys

import pytest

import holdlock
from postgres import Server, name, server  # noqa: F401  # fixtures

URL = "postgres://ann@db.example/app#nightly"


@pytest.fixture
def engines():
    pytest.importorskip("holdlock._engine_native", reason="no locks between hosts")


def test_a_path_makes_a_file_lock(path):
    assert type(holdlock.open(path)) is holdlock.FileLock
    assert type(holdlock.open(pathlib.Path(path))) is holdlock.FileLock
    assert type(holdlock.open_async(path)) is holdlock.AsyncFileLock
    assert holdlock.open(path, 5, fair=True).fair
    with holdlock.open(path, timeout=0) as lock:
        assert lock.lock_file == path


def test_a_url_makes_an_engine_lock_and_does_not_connect(engines):
    lock = holdlock.open(URL, timeout=5)
    assert type(lock) is holdlock.EngineLock and lock.timeout == 5
    assert lock.name == "postgres://db.example/app#nightly"
    assert repr(lock) == f"<EngineLock '{lock.name}', not held>"
    assert type(holdlock.open_async(URL)) is holdlock.AsyncEngineLock


def test_a_bare_name_is_a_lock_of_the_engine_of_the_environment(engines, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOLDLOCK_ENGINE", "postgres://ann@db.example/app?ttl=20")
    lock = holdlock.open("nightly", timeout=5)
    assert type(lock) is holdlock.EngineLock and lock.timeout == 5
    assert lock.name == "postgres://db.example/app#nightly"
    assert type(holdlock.open_async("nightly")) is holdlock.AsyncEngineLock
    strange = "a b#c%41?ü"
    assert holdlock.open(strange).name == f"postgres://db.example/app#{strange}"
    assert holdlock.open(URL + "2").name.endswith("#nightly2")
    for path in ("./nightly", str(tmp_path / "nightly"), pathlib.Path("nightly"), ".", ".."):
        assert type(holdlock.open(path)) is holdlock.FileLock
    for value, words in (("db.example", "not the URL"), (URL, "leave `#` and the name out")):
        monkeypatch.setenv("HOLDLOCK_ENGINE", value)
        with pytest.raises(ValueError, match=words) as raised:
            holdlock.open("nightly")
        assert "HOLDLOCK_ENGINE" in str(raised.value) and value not in str(raised.value)
    monkeypatch.setenv("HOLDLOCK_ENGINE", "")
    assert type(holdlock.open("nightly")) is holdlock.FileLock


LET_GO_ON = """
import os, sys, threading, time
import holdlock
def let_go_on(thread, pipe):
    thread.start()
    while True:
        try:
            # Fails until the other thread waits for this one to open the pipe.
            return os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            time.sleep(0.01)
"""

SILENT_FILE = LET_GO_ON + """
def open_lock():
    try:
        holdlock.open(f"postgres://ann@db.example/app?sslmode=verify-ca&ca={sys.argv[1]}#n")
    except ValueError as error:
        print(error)
let_go_on(threading.Thread(target=open_lock), sys.argv[1])
"""


def test_other_threads_run_while_a_lock_reads_its_files(engines, tmp_path):
    pipe = str(tmp_path / "ca.pem")
    os.mkfifo(pipe)
    script = [sys.executable, "-c", SILENT_FILE, pipe]
    ran = subprocess.run(script, stdout=subprocess.PIPE, text=True, timeout=60)
    assert ran.returncode == 0 and "no certificate to check the server by" in ran.stdout


SILENT_NAME_SERVICE = LET_GO_ON + """
import asyncio
async def wait():
    await holdlock.open_async(sys.argv[2]).acquire()
def work():
    try:
        asyncio.run(wait())
    except OSError:
        print("no server")
if os.system(f"mount --bind '{sys.argv[1]}' /etc/passwd"):
    sys.exit("cannot mount")
let_go_on(threading.Thread(target=work), sys.argv[1])
"""


def test_other_threads_run_while_a_task_asks_for_the_name_of_the_user(engines, tmp_path):
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can mount")
    pipe = str(tmp_path / "passwd")
    os.mkfifo(pipe)
    url = "postgres://ann@127.0.0.1:1/app?sslmode=disable#n"
    script = ["unshare", "-m", sys.executable, "-c", SILENT_NAME_SERVICE, pipe, url]
    ran = subprocess.run(script, capture_output=True, text=True, timeout=60)
    if "cannot mount" in ran.stderr or "unshare" in ran.stderr:
        pytest.skip("this machine does not let us mount")
    assert (ran.returncode, ran.stdout) == (0, "no server\n"), ran.stderr


def test_a_star_import_does_not_replace_the_builtin():
    assert "open" not in holdlock.__all__ and "open" in dir(holdlock)


def test_wrong_arguments_are_refused(engines):
    for url in ("carrier-pigeon://loft#nightly", "postgres://db.example/app", URL + "\0"):
        with pytest.raises(ValueError):
            holdlock.open(url)
    with pytest.raises(ValueError, match="nonsense"):
        holdlock.open("postgres://db.example/app?nonsense=1#nightly")
    for wrong in ({"shared": 1}, {"timeout": "5"}, {"blocking": 0}, {"fair": True}, {"mode": 0o600}):
        with pytest.raises(TypeError):
            holdlock.open(URL, **wrong)
    with pytest.raises(ValueError, match="nan"):
        holdlock.open(URL, timeout=float("nan"))
    with pytest.raises(TypeError):
        holdlock.EngineLock(b"postgres://db.example/app#nightly")


def test_a_password_is_never_shown_and_is_warned_of(engines):
    with pytest.warns(UserWarning, match="password") as told:
        lock = holdlock.open("postgres://ann:hush@127.0.0.1:1/app#nightly", timeout=5)
    assert told[0].filename == __file__
    with pytest.raises(holdlock.EngineUnreachable) as raised:
        lock.acquire()
    for shown in (repr(lock), str(lock), lock.name, repr(raised.value), str(told[0].message)):
        assert "hush" not in shown


def test_an_engine_that_is_not_there_is_a_connection_error(engines):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"postgres://ann@127.0.0.1:{nobody.getsockname()[1]}/app#nightly"
        lock = holdlock.open(url)
        for use in (lock.acquire, lock.members):
            with pytest.raises(ConnectionError) as raised:
                use()
            assert isinstance(raised.value, holdlock.EngineUnreachable)
            assert isinstance(raised.value, holdlock.EngineError)
            assert raised.value.lock == raised.value.filename == lock.name
            assert str(raised.value).startswith(lock.name + ": cannot reach the engine")
            again = pickle.loads(pickle.dumps(raised.value))
            assert type(again) is type(raised.value) and str(again) == str(raised.value)
        assert not lock.is_locked


def test_a_login_that_is_refused_is_a_permission_error(server, name):
    if not server.sql("SELECT 1 FROM pg_roles WHERE rolname = 'secretive'"):
        server.sql("CREATE ROLE secretive LOGIN PASSWORD 'hush'")
    with pytest.raises(PermissionError) as raised:
        holdlock.open(server.url(name, user="secretive")).acquire()
    assert isinstance(raised.value, holdlock.LoginRefused)


def test_a_standby_is_refused(server, name):
    standby = Server(standby=True)
    try:
        with pytest.raises(holdlock.EngineUnsuitable, match="standby"):
            holdlock.open(standby.url(name)).acquire(timeout=60)
    finally:
        standby.stop()


LAZY = """
import sys, holdlock
loaded = [name for name in sys.modules if "engine" in name or name == "holdlock._open"]
assert loaded == [], loaded
holdlock.open(sys.argv[1])
loaded = [name for name in sys.modules if "engine" in name]
assert loaded == [], loaded
"""


def test_engines_are_loaded_by_the_first_url(path):
    subprocess.run([sys.executable, "-c", LAZY, path], check=True, timeout=60)


MISSING = """
import sys, types, holdlock, holdlock._native as native
if hasattr(native, "NativeEngineLock"):
    del native.NativeEngineLock
other = sys.modules["holdlock_engines"] = types.ModuleType("holdlock_engines")
if len(sys.argv) > 1:
    other._native = types.SimpleNamespace(__version__=sys.argv[1])
try:
    holdlock.open("postgres://ann@db.example/app#nightly")
except ImportError as error:
    print(error)
holdlock.LockLost, holdlock.EngineUnreachable  # programs can name them all the same
"""


def test_a_missing_package_or_another_version_is_named(path):
    def said(*version):
        ran = subprocess.run(
            [sys.executable, "-c", MISSING, *version], capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert "pip install holdlock[engines]" in said()
    ours = holdlock.__version__
    assert f"holdlock {ours} cannot use holdlock-engines 9.9.9" in said("9.9.9")
