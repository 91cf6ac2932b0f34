"""The options of locks: declared once, shown to tools, and refused if they do not exist."""

import inspect
import typing
import warnings

import pytest

import holdlock
from holdlock import AsyncFileLock, AsyncSoftFileLock, FileLock, SoftFileLock, _options, _types

ALL = [FileLock, SoftFileLock, AsyncFileLock, AsyncSoftFileLock]


@pytest.mark.parametrize("kind", ALL)
def test_the_signature_shows_each_option_with_its_default(kind):
    parameters = inspect.signature(kind).parameters
    names = list(parameters)
    assert names[:5] == ["lock_file", "timeout", "mode", "thread_local", "blocking"]
    assert parameters["timeout"].default == -1
    assert parameters["poll_interval"].kind is inspect.Parameter.KEYWORD_ONLY
    assert ("shared" in names) == issubclass(kind, FileLock)
    assert ("executor" in names) == issubclass(kind, holdlock.BaseAsyncFileLock)
    assert parameters["thread_local"].default is not issubclass(kind, holdlock.BaseAsyncFileLock)


def test_the_types_and_the_defaults_name_the_same_options():
    def names(kind):
        return {*kind.__annotations__, "timeout", "mode", "thread_local"}

    assert names(_types.Options) == set(_options.DEFAULTS)
    assert names(_types.LockOptions) == set(_options.DEFAULTS)
    assert names(_types.NativeOptions) == set(_options.NATIVE_DEFAULTS)
    assert names(_types.AsyncOptions) == set(_options.ASYNC_DEFAULTS)
    assert names(_types.AsyncNativeOptions) == set(_options.ASYNC_NATIVE_DEFAULTS)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("singleton", [False, True])
def test_an_option_that_does_not_exist_is_refused(path, kind, singleton):
    lock = kind(path, is_singleton=singleton)
    with pytest.raises(TypeError, match=f"{kind.__name__}.*tiemout"):
        kind(path, is_singleton=singleton, tiemout=3)
    assert lock.lock_file == path


class Tagged(FileLock):
    def __init__(self, lock_file, tag=None, **options):
        super().__init__(lock_file, **options)
        self.tag = tag


def test_a_singleton_of_a_subclass_may_have_options_of_its_own(path):
    lock = Tagged(path, tag=1, is_singleton=True)
    assert Tagged(path, tag=1, is_singleton=True) is lock


class Narrow(FileLock):
    def __init__(self, lock_file):
        super().__init__(lock_file)


def test_a_narrower_constructor_may_be_called_with_the_defaults(path):
    assert Narrow(path, timeout=-1, blocking=True).timeout == -1
    with pytest.raises(TypeError):
        Narrow(path, timeout=3)
    assert list(inspect.signature(Narrow).parameters) == ["lock_file"]
    assert list(inspect.signature(Tagged).parameters) == ["lock_file", "tag", "options"]


@pytest.mark.parametrize("kind", [*ALL, Tagged])
def test_a_warning_names_the_line_that_caused_it(path, kind):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        lock = kind(path, lifetime=3)
        lock.lifetime = 4
        if not isinstance(lock, holdlock.BaseAsyncFileLock):
            lock.acquire(poll_intervall=1)
            lock.release()
    assert heard and {warning.filename for warning in heard} == {__file__}


def test_option_types_are_there_at_run_time():
    assert typing.get_type_hints(holdlock.LockOptions)["timeout"] is float
