"""One process of one package: does what each line of its input says, and answers with a line."""

import sys
import time

PACKAGE, SERVER = sys.argv[1:]
NAME = "bench-" + PACKAGE


class OnRedis:
    """redis-py and python-redis-lock, whose locks have the same methods."""

    def __init__(self):
        import redis

        client = redis.Redis(port=int(SERVER))
        if PACKAGE == "redis":
            self.lock = client.lock(NAME, timeout=15)
        else:
            import redis_lock

            self.lock = redis_lock.Lock(client, NAME, expire=15, auto_renewal=True)

    def acquire(self):
        assert self.lock.acquire(blocking=True)

    def release(self):
        self.lock.release()


class Portalocker:
    """Its lock is a subscription: it ends with the connection."""

    def __init__(self):
        import portalocker
        import redis

        self.lock = portalocker.RedisLock(
            NAME, connection=redis.Redis(port=int(SERVER)), timeout=60
        )

    def acquire(self):
        self.lock.acquire()

    def release(self):
        self.lock.release()


class Advisory:
    """The functions of PostgreSQL, in a session that is kept."""

    def __init__(self):
        import psycopg

        self.session = psycopg.connect(SERVER, autocommit=True)

    def acquire(self):
        self.session.execute("SELECT pg_advisory_lock(7)")

    def release(self):
        self.session.execute("SELECT pg_advisory_unlock(7)")


lock = {"portalocker": Portalocker, "psycopg": Advisory}.get(PACKAGE, OnRedis)()


def cycle(count):
    start = time.perf_counter_ns()
    for _ in range(int(count)):
        lock.acquire()
        lock.release()
    return time.perf_counter_ns() - start


def take():
    lock.acquire()
    return "held"


def give():
    before = time.monotonic_ns()
    lock.release()
    return before


def wait():
    lock.acquire()
    after = time.monotonic_ns()
    lock.release()
    return after


print("ready", flush=True)
for line in sys.stdin:
    name, *arguments = line.split()
    print(globals()[name](*arguments), flush=True)
