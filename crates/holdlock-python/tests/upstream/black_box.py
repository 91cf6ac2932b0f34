"""Which tests of filelock look at a lock from outside only.

The newer suites test filelock's inside as well: they import its private modules, replace its
functions by mocks, and test classes that holdlock does not serve. Such tests say nothing about
another implementation. A test is left out if its code, its parameters, the fixtures that it uses,
or the helpers that these call

* use an object of a private module of filelock, or name such a module in a text;
* use a private attribute of an object, or name it in a text;
* use a public name that holdlock leaves out;
* replace functions of Python's own modules, which native code does not call;
* look into the database of filelock's ReadWriteLock, and at the links to it.
"""

from __future__ import annotations

import dis
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from holdlock import _compat

#: Private modules of filelock, and filelock itself as ``stand_in`` imports it.
_PRIVATE = re.compile(r"\bfilelock(\._|_itself)")
_ABSENT = re.compile(rf"\b({'|'.join(_compat.ABSENT)})\b")
#: The private names in filelock's source, without those that subclasses of its users define.
_INSIDE = {
    name
    for file in Path(os.environ["HOLDLOCK_UPSTREAM_SOURCE"]).rglob("*.py")
    for name in re.findall(r"(?<!os\.)(?<!sys\.)\b_[a-z]\w+", file.read_text(encoding="utf-8"))
} - {"_acquire", "_release", "_instances"}
#: What tests use to write the marker of a soft lock.
_MARKERS = {"host_name", "process_alive", "process_start_token"}


#: The files of tests about the database.
_DATABASE = re.compile(r"tests/sqlite/test_(connection|links)")


def left_out(item: Any) -> str | None:
    """Why this test says nothing about holdlock; None if it does."""
    if _DATABASE.match(item.nodeid):
        return "looks into the database"
    look = _Look()
    parts = [item.function, *getattr(getattr(item, "callspec", None), "params", {}).values()]
    for name, fixtures in item._fixtureinfo.name2fixturedefs.items():
        if not name.startswith("_"):  # these serve every test, whatever it tests
            parts += [fixture.func for fixture in fixtures]
    return next(filter(None, map(look.at, parts)), None)


class _Look:
    """One search for a reason, which looks at each object once."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def at(self, value: Any) -> str | None:
        """The reason in this object, or in what it uses."""
        if id(value) in self._seen:
            return None
        self._seen.add(id(value))
        if isinstance(value, str):
            return self._name(value)
        if isinstance(value, ModuleType):
            return self._name(value.__name__)
        where = getattr(value, "__module__", None)
        if isinstance(where, str) and _PRIVATE.match(where):
            name = getattr(value, "__name__", type(value).__name__)
            if name in _MARKERS:
                return None
            return self._name(name) or f"uses {where}.{name}"
        if isinstance(value, (tuple, list, set, frozenset)):
            return self._first(value)
        if isinstance(value, dict):
            return self._first([*value, *value.values()])
        if not isinstance(where, str) or where.partition(".")[0] != "tests":
            return None
        if isinstance(value, type):
            return self._first([*vars(value).values(), *value.__bases__])
        value = getattr(value, "__wrapped__", value)
        if isinstance(value, FunctionType):
            return self._code(value)
        return self._first(vars(value).values()) if hasattr(value, "__dict__") else None

    def _first(self, values: Any) -> str | None:
        return next(filter(None, map(self.at, values)), None)

    def _name(self, text: str) -> str | None:
        if found := _ABSENT.search(text):
            return f"uses {found[0]}"
        if text in _INSIDE or _PRIVATE.search(text):
            return f"names {text[:60]!r}"
        return "looks into the database" if re.search(r"\bsqlite3\b", text) else None

    def _code(self, function: FunctionType) -> str | None:
        closed = zip(function.__code__.co_freevars, function.__closure__ or ())
        known = {**function.__globals__, **{name: cell.cell_contents for name, cell in closed}}
        for code in _nested(function.__code__):
            for target in _patched(code):
                if "." in target or isinstance(known.get(target), ModuleType):
                    return f"replaces a function: {target}"
            for name in code.co_names + code.co_freevars:
                if reason := self._name(name):
                    return reason
                if name in known:
                    if reason := self.at(known[name]):
                        return reason
                elif name in _INSIDE:
                    return f"uses the private attribute {name}"
            for constant in code.co_consts:
                if isinstance(constant, (str, tuple)) and (reason := self.at(constant)):
                    return reason
        return None


@lru_cache(maxsize=None)
def _patched(code: CodeType) -> list[str]:
    """The names of what the code hands to mock's and pytest's functions that replace something."""
    loads = [step for step in dis.get_instructions(code) if step.opname.startswith("LOAD_")]
    replacing = ("setattr", "delattr", "patch", "object", "spy")
    pairs = [(method.argval, target.argval) for method, target in zip(loads, loads[1:])]
    return [target for method, target in pairs if method in replacing and isinstance(target, str)]


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
