"""A server of Redis for the tests, on a port of its own. It ends with the tests."""

import atexit
import shutil
import socket
import subprocess
import tempfile

import pytest

from conftest import until
from ports import free_port


class Server:
    """A server. When the test program ends, however it ends, a shell stops it and removes it."""

    def __init__(self):
        directory = tempfile.mkdtemp(prefix="holdlock-redis-", dir="/tmp")
        self.port = free_port()
        redis = f"redis-server --port {self.port} --bind 127.0.0.1 --dir '{directory}' --save ''"
        clean = f"{redis} & cat <&3; kill -9 $!; wait; rm -rf '{directory}'"
        self.cleaner = subprocess.Popen(
            ["sh", "-c", f"exec > /dev/null 2>&1; exec 3<&0; {clean}"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        until(self.is_ready)
        self.pretend_to_be_old()

    def is_ready(self):
        try:
            return self.ask("PING") == "+PONG"
        except OSError:
            return False

    def pretend_to_be_old(self):
        """Makes the server give locks at once. A server that has just started waits for the end of
        all leases that it may have forgotten.
        """
        info = dict(line.split(":", 1) for line in self.ask("INFO").split("\r\n") if ":" in line)
        us = f"{info['run_id']}:{info['master_replid']}"
        self.ask(f"HSET holdlock:server server {us} since 0")

    def ask(self, command):
        """The answer to a command, up to the end of the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(f"{command}\r\nQUIT\r\n".encode())
            with connection.makefile("rb") as answer:
                said = answer.read().decode()
        assert said.endswith("+OK\r\n") and not said.startswith("-"), said
        return said.removesuffix("+OK\r\n").rstrip()

    def stop(self):
        self.cleaner.stdin.close()
        self.cleaner.wait()

    def url(self, name):
        """The URL of a lock that outlasts a pause of a slow machine."""
        return f"redis://127.0.0.1:{self.port}/0?ttl=60&connect_timeout=30#{name}"

    def brief(self, name):
        """The URL for tests that wait for the end of a lease."""
        return self.url(name).replace("ttl=60", "ttl=3")


_shared = []


@pytest.fixture
def server():
    """The server of all tests."""
    pytest.importorskip("holdlock._engine_native", reason="no locks between hosts")
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    if not _shared:
        _shared.append(Server())
        atexit.register(_shared[0].stop)
    return _shared[0]
