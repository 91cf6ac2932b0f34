"""A server of Redis for the tests, on a port of its own. It ends with the tests."""

import atexit
import shutil
import socket
import subprocess
import tempfile

import pytest

from conftest import until
from etcd import free_port


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

    def is_ready(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(100).startswith(b"+PONG")
        except OSError:
            return False

    def stop(self):
        self.cleaner.stdin.close()
        self.cleaner.wait()

    def url(self, name):
        """The URL of a lock with a short time limit."""
        return f"redis://127.0.0.1:{self.port}/0?ttl=3#{name}"


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
