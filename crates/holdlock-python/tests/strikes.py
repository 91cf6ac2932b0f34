"""Exceptions that strike the module at each of its lines, as those of signal handlers can."""

import importlib
import os
import pkgutil
import sys

import holdlock

PACKAGE = os.path.dirname(holdlock.__file__)

# Their lines count only while they are used, and not while they are loaded.
for module in pkgutil.iter_modules(holdlock.__path__):
    if module.name != "__main__":
        try:
            importlib.import_module("holdlock." + module.name)
        except ImportError:
            pass  # there are no locks between hosts


class Struck(BaseException):
    pass


def at_each_line(act, files=None):
    """Calls the function again and again, until nothing strikes it. Each time an exception comes at
    the next line of these files of the package; None: of all. Yields whether it has come."""
    line, struck = 0, True
    while struck:
        line += 1
        left, struck = line, False

        def trace(frame, event, argument):
            nonlocal left, struck
            directory, file = os.path.split(frame.f_code.co_filename)
            if directory != PACKAGE or (files is not None and file not in files):
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    struck = True
                    raise Struck
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            act()
        except Struck:
            pass
        finally:
            sys.settrace(before)
        yield struck
