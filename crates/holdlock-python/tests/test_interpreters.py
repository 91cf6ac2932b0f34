"""Several interpreters in one process."""

import sys

import pytest


@pytest.mark.skipif(sys.version_info < (3, 13), reason="needs subinterpreters: Python 3.13")
def test_an_interpreter_with_a_gil_of_its_own_is_refused_with_a_reason():
    import _interpreters

    code = """
try:
    import holdlock
except ImportError as error:
    assert "_native does not support loading in subinterpreters" in str(error), error
else:
    raise AssertionError("it was imported")
"""
    interpreter = _interpreters.create("isolated")
    assert _interpreters.exec(interpreter, code) is None
    _interpreters.destroy(interpreter)
