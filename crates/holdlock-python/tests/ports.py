"""A port for a server of a test.

A port that is free when a test looks need not be free when the server starts: another test may have
chosen the same port, and the kernel gives ports to clients. Therefore a port here is reserved among
all tests of the machine, those in Rust as well, and lies below the ports of clients.
"""

import itertools
import os
import socket

# Programs that run at the same time begin at different places.
_numbers = itertools.count(os.getpid() * 101)

# They reserve the ports until the tests end.
_reserved = []


def free_port():
    ports = _below_those_of_clients()
    for _ in ports:
        port = ports[next(_numbers) % len(ports)]
        # A socket without a file, whose name only one process can have.
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0holdlock-test-port-{port}")
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            name.close()
        else:
            _reserved.append(name)
            return port
    raise AssertionError(f"each port of {ports} is in use")


def _below_those_of_clients():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            end = int(file.read().split()[0])
    except OSError:
        end = 0
    # If hardly any port is below them, the default has to do.
    return range(10_000, end if end >= 11_000 else 32_768)
