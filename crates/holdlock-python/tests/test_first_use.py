"""Code that runs in the middle of the first use of a lock may use locks itself."""

import subprocess
import sys

import pytest

FROM_A_HANDLER = """
import logging, os, signal, sys
from holdlock import FileLock

class Signalling(logging.Logger):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        logging.setLoggerClass(logging.Logger)
        os.kill(os.getpid(), signal.SIGUSR1)

def handler(number, frame):
    with FileLock(sys.argv[1] + ".handler"):
        print("handled")

signal.signal(signal.SIGUSR1, handler)
logging.setLoggerClass(Signalling)
with FileLock(sys.argv[1]):
    print("held")
"""

FROM_THE_COLLECTOR = """
import gc, sys
from holdlock import FileLock

lock, other = FileLock(sys.argv[1]), FileLock(sys.argv[1] + ".other")
left = int(sys.argv[2])

def collecting(phase, info):
    global left
    left -= 1
    if left == 0:
        with other:
            pass

gc.callbacks.append(collecting)
gc.set_threshold(1, 1, 1)
with lock:
    pass
gc.set_threshold(0)
"""

FROM_A_CHILD = """
import logging, os, signal, sys, threading
from holdlock import FileLock

forked, begun, get = threading.Event(), threading.Event(), logging.getLogger

def get_logger(name):
    begun.set()
    forked.wait()
    return get(name)

def use():
    with FileLock(sys.argv[1]):
        pass

logging.getLogger = get_logger
thread = threading.Thread(target=use)
thread.start()
begun.wait()
pid = os.fork()
if pid == 0:
    logging.getLogger = get
    signal.alarm(60)
    with FileLock(sys.argv[1] + ".child"):
        os._exit(0)
forked.set()
thread.join()
print(os.waitpid(pid, 0)[1])
"""


def run(script, *arguments):
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_signal_handler_uses_a_lock_while_the_first_lock_is_acquired(path):
    assert run(FROM_A_HANDLER, path) == "handled\nheld\n"


@pytest.mark.parametrize("collection", range(1, 13))
def test_a_finalizer_uses_a_lock_while_the_first_lock_is_acquired(path, collection):
    run(FROM_THE_COLLECTOR, path, str(collection))


def test_a_child_that_is_forked_while_the_first_lock_is_acquired_does_not_hang(path):
    assert run(FROM_A_CHILD, path) == "0\n"
