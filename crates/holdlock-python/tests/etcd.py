"""A server of etcd for the tests, on ports of its own. It ends with the tests."""

import atexit
import os
import shutil
import subprocess
import tempfile
import urllib.request

import pytest

from conftest import until
from ports import free_port


class Server:
    """A server. When the test program ends, however it ends, a shell stops it and removes it."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="holdlock-etcd-", dir="/tmp")
        self.port = free_port()
        client = f"http://127.0.0.1:{self.port}"
        peer = f"http://127.0.0.1:{free_port()}"
        etcd = (
            f"etcd --name one --data-dir '{self.directory}/data' --listen-client-urls {client} "
            f"--advertise-client-urls {client} --listen-peer-urls {peer} "
            f"--initial-advertise-peer-urls {peer} --initial-cluster one={peer}"
        )
        clean = f"{etcd} & cat; kill -9 $!; wait; rm -rf '{self.directory}'"
        self.cleaner = subprocess.Popen(
            ["sh", "-c", f"exec > /dev/null 2>&1; exec 3<&0; {clean.replace('cat;', 'cat <&3;')}"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        until(self.is_ready)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as health:
                return b"true" in health.read()
        except OSError:
            return False

    def stop(self):
        self.cleaner.stdin.close()
        self.cleaner.wait()

    def url(self, name, options=""):
        """The URL of a lock that outlasts a pause of a slow machine."""
        where = f"etcd://127.0.0.1:{self.port}/tests"
        return f"{where}?ttl=60&connect_timeout=30{options}#{name}"

    def brief(self, name):
        """The URL for tests that wait for the end of a lease."""
        return self.url(name).replace("ttl=60", "ttl=3")

    def ctl(self, *arguments):
        where = f"--endpoints=127.0.0.1:{self.port}"
        ran = subprocess.run(
            ["etcdctl", where, "--command-timeout=60s", *arguments],
            env={**os.environ, "ETCDCTL_API": "3"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return ran.stdout.strip()

    def sessions(self, name):
        """How many keys of a lock there are."""
        return len(self.ctl("get", "--prefix", "--keys-only", f"tests/{name}#").split())

    def terminate(self, name):
        """Deletes them, as an administrator can."""
        self.ctl("del", "--prefix", f"tests/{name}#")

    def nothing_left(self, name):
        until(lambda: self.sessions(name) == 0)


_shared = []


@pytest.fixture
def server():
    """The server of all tests."""
    pytest.importorskip("holdlock._engine_native", reason="no locks between hosts")
    for program in ("etcd", "etcdctl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if not _shared:
        _shared.append(Server())
        atexit.register(_shared[0].stop)
    return _shared[0]
