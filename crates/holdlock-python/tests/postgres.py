"""A server of PostgreSQL for the tests, on a port of its own. It ends with the tests."""

import atexit
import glob
import itertools
import os
import subprocess
import tempfile

import pytest

from conftest import until
from ports import free_port

# PostgreSQL refuses to run as root.
OTHER = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}


def tools():
    """The directory with initdb; None: PostgreSQL is not installed."""
    places = glob.glob("/usr/lib/postgresql/*/bin") + os.environ.get("PATH", "").split(":")
    return next((place for place in places if os.path.isfile(f"{place}/initdb")), None)


class Server:
    """A server. When the test program ends, however it ends, a shell stops it and removes it."""

    def __init__(self, standby=False):
        self.directory = tempfile.mkdtemp(prefix="holdlock-postgres-", dir="/tmp")
        if OTHER:
            os.chown(self.directory, OTHER["user"], OTHER["group"])
        data = self.directory + "/data"
        self.run("initdb", "-D", data, "-U", "boss", "-A", "trust", "-N", "-E", "UTF8")
        self.port = free_port()
        with open(data + "/pg_hba.conf", "w") as access:
            access.write("local all all trust\nhost all secretive all scram-sha-256\n")
            access.write("host all all all trust\n")
        with open(data + "/postgresql.conf", "a") as settings:
            settings.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nfsync = off\n")
            settings.write(f"unix_socket_directories = '{self.directory}'\nautovacuum = off\n")
        if standby:
            with open(data + "/standby.signal", "w"):
                pass
        stop = (
            f"cat; '{tools()}/pg_ctl' -D '{data}' -m immediate stop; rm -rf '{self.directory}'"
        )
        self.cleaner = subprocess.Popen(
            ["sh", "-c", f"exec > /dev/null 2>&1; {stop}"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            **OTHER,
        )
        self.run("pg_ctl", "-D", data, "-w", "-l", self.directory + "/log", "start")

    def run(self, tool, *arguments):
        ran = subprocess.run(
            [f"{tools()}/{tool}", *arguments],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if tool == "psql" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            cwd="/",
            text=True,
            **OTHER,
        )
        assert ran.returncode == 0, (tool, arguments, ran.stdout)
        return (ran.stdout or "").strip()

    def stop(self):
        self.cleaner.stdin.close()
        self.cleaner.wait()

    def url(self, name, options="", user="boss"):
        """The URL of a lock whose holder is not given up at each pause of a slow machine.

        After its start, the server gives no locks for as long.
        """
        where = f"postgres://{user}@127.0.0.1:{self.port}/postgres"
        return f"{where}?ttl=10&connect_timeout=30&sslmode=disable{options}#{name}"

    def sql(self, statement):
        """Asks the server, by its socket."""
        where = ("-h", self.directory, "-p", str(self.port), "-U", "boss", "-d", "postgres")
        return self.run("psql", *where, "-X", "-At", "-c", statement)

    def sessions(self, name):
        """How many connections there are for a lock."""
        return int(self.sql(f"SELECT count(*) {self._sessions(name)}"))

    def terminate(self, name):
        """Ends them, as an administrator can."""
        self.sql(f"SELECT pg_terminate_backend(pid) {self._sessions(name)}")

    def nothing_left(self, name):
        """Waits until there is none, and with that no advisory lock."""
        until(lambda: self.sessions(name) == 0)

    def _sessions(self, name):
        return f"FROM pg_stat_activity WHERE application_name = 'holdlock:{name}'"


_shared = []


def shared():
    """The server of all tests that do not disturb it."""
    pytest.importorskip("holdlock._engine_native", reason="no locks between hosts")
    if tools() is None:
        pytest.skip("PostgreSQL (initdb, pg_ctl) is not installed")
    if not _shared:
        import holdlock

        _shared.append(Server())
        atexit.register(_shared[0].stop)
        # After its start a server gives no locks for a while.
        with holdlock.open(_shared[0].url("first")):
            pass
    return _shared[0]


@pytest.fixture
def server():
    return shared()


_numbers = itertools.count()


@pytest.fixture
def name(request):
    """A name for the lock of one test."""
    # PostgreSQL has no longer names of sessions, and the tests of one function begin alike.
    begin = request.node.name[:30].replace("[", "-").replace("]", "")
    return f"{begin}-{os.getpid()}-{next(_numbers)}"
