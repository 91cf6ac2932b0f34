"""``import filelock`` gives holdlock: in the test process, and in the processes it starts.

The tests import more than holdlock has: from modules inside filelock, and names that holdlock does
not serve. Here these come from filelock itself, so that a file of tests can be imported; the tests
that use them are left out (see ``black_box``).
"""

from __future__ import annotations

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location

import holdlock
from holdlock import _compat

from longer_limits import lengthen

#: The name of the package under test when it is imported as itself.
REAL = "filelock_itself"


def _real(place: str) -> object:
    there = sys.modules.get(REAL)
    if there is None:
        spec = spec_from_file_location(
            REAL, os.path.join(place, "__init__.py"), submodule_search_locations=[place]
        )
        assert spec is not None and spec.loader is not None
        there = sys.modules[REAL] = module_from_spec(spec)
        spec.loader.exec_module(there)
    return there


def _install(place: str | None) -> None:
    del sys.modules["filelock"]
    holdlock.install_as_filelock()
    if place is None:  # a release whose tests need nothing from inside it
        return
    served = sys.modules["filelock"]
    for name in _compat._MODULES:  # made for other packages, which import from older releases
        if name not in ("asyncio", "version"):
            sys.modules.pop(f"filelock.{name}", None)
            vars(served).pop(name, None)
    served.__path__ = [place]

    class Both(type(served)):  # type: ignore[misc]
        def __getattr__(self, name: str) -> object:
            if name in _compat.ABSENT:
                return getattr(_real(place), name)
            return super().__getattr__(name)

    served.__class__ = Both


lengthen()
_install(os.environ.get("HOLDLOCK_UPSTREAM_SOURCE"))
