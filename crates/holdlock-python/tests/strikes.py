"""Exceptions that strike the module anywhere, as those of signal handlers can."""

import gc
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

    def strike(count):
        def trace(frame, event, argument):
            if not _belongs(frame, files):
                return None
            if event == "line":
                count()
            return trace

        return trace

    return _again(act, strike, sys.gettrace, sys.settrace)


def at_each_return(act, files=None):
    """The same, but the exception comes when the next native function has returned and its caller
    does not have the result yet. There Python handles the signals that came during the call."""

    def strike(count):
        def profile(frame, event, argument):
            if event == "c_return" and _belongs(frame, files):
                count()

        return profile

    return _again(act, strike, sys.getprofile, sys.setprofile)


def _belongs(frame, files):
    directory, file = os.path.split(frame.f_code.co_filename)
    is_ours = directory in (PACKAGE, os.path.join(PACKAGE, "_soft"))
    return is_ours and (files is None or file in files)


def _again(act, strike, get, set):
    place, struck = 0, True
    while struck:
        place += 1
        left, struck = place, False

        def count():
            nonlocal left, struck
            left -= 1
            if left == 0:
                struck = True
                raise Struck

        before = get()
        # The strike would hit what the collector calls, of this test or of an earlier one.
        gc.disable()
        set(strike(count))
        kept = None
        try:
            act()
        except Struck as error:
            kept = error  # with the objects of its traceback
        finally:
            set(before)
            gc.enable()
        yield struck
        del kept
