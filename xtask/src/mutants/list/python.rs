//! Mutants of the Python part of the Python module.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "python",
    sources: "crates/holdlock-python/python/holdlock",
    mutants: &[
        Mutant {
            name: "a generator holds the lock to its end",
            file: "_decorate.py",
            with: "            with lock:\n                return (yield from",
            without: "            with lock:\n                pass\n            if True:\n                return (yield from",
            test: ("python/test_decorator.py", "a_generator_holds"),
        },
        Mutant {
            name: "an asynchronous function holds the lock to its end",
            file: "_decorate.py",
            with: "            with lock:\n                return await",
            without: "            with lock:\n                pass\n            if True:\n                return await",
            test: ("python/test_decorator.py", "an_async_function"),
        },
        Mutant {
            name: "a cancelled task leaves the queue",
            file: "_async_wait.py",
            with: "        waiter.cancel()\n        while not waiter.is_over():",
            without: "        while False:",
            test: ("python/test_async_waiting.py", "a_cancelled_wait_leaves"),
        },
        Mutant {
            name: "an acquire that is struck gives its slot back",
            file: "_semaphore.py",
            with: "            self._undo(before, requester)\n",
            without: "",
            test: (
                "python/test_interrupted.py",
                "an_acquire_that_is_struck_anywhere",
            ),
        },
        Mutant {
            name: "an acquire that is struck gives its soft lock back",
            file: "_base.py",
            with: "                self._release_once(context, False)\n",
            without: "                pass\n",
            test: (
                "python/test_interrupted.py",
                "an_acquire_that_is_struck_anywhere",
            ),
        },
        Mutant {
            name: "a task whose acquire is struck gives its read/write lock back",
            file: "_async_read_write.py",
            with: "(False, timeout, blocking)\n        try:\n            return await self._acquire(acquisition, timeout, blocking)\n        except BaseException:\n            acquisition.undo()\n",
            without: "(False, timeout, blocking)\n        try:\n            return await self._acquire(acquisition, timeout, blocking)\n        except BaseException:\n",
            test: (
                "python/test_interrupted_async.py",
                "an_asynchronous_acquire_that_is_struck",
            ),
        },
        Mutant {
            name: "an acquire that is struck before it has its result gives the lock back",
            file: "_async_file_lock.py",
            with: "        try:\n            taken = acquisition.attempt(limit != 0)\n",
            without: "        taken = acquisition.attempt(limit != 0)\n        try:\n",
            test: (
                "python/test_interrupted_async.py",
                "an_asynchronous_acquire_that_is_struck",
            ),
        },
        Mutant {
            name: "an object releases only what was acquired by it",
            file: "_async_read_write.py",
            with: "            acquisition.undo()\n        self._forget_undone(task)\n",
            without: "            _native.release(self._lock, False, task)\n        self._forget_undone(task)\n",
            test: (
                "python/test_interrupted_async.py",
                "what_the_task_holds_by_another_object",
            ),
        },
        Mutant {
            name: "a task of a closed loop leaves the queue",
            file: "_loop_reader.py",
            with: "        if self._loop.is_closed():",
            without: "        if False:",
            test: ("python/test_async_loops.py", "kept_never_gets_the_lock"),
        },
        Mutant {
            name: "a task that would wait for itself gets an error",
            file: "_async_wait.py",
            with: "    if any(one is not but and",
            without: "    if False and any(one is not but and",
            test: ("python/test_async_waiting.py", "a_task_that_would_wait"),
        },
        Mutant {
            name: "a greenlet that would wait for itself gets an error",
            file: "_greenlets.py",
            with: "        _async_wait.refuse_upgrade(guard, current())\n",
            without: "        pass\n",
            test: ("python/test_greenlets.py", "an_upgrade_does_not_wait"),
        },
        Mutant {
            name: "another task releases what an ended task holds",
            file: "_async_wait.py",
            with: "            record.end()\n",
            without: "            pass\n",
            test: ("python/test_ended_tasks.py", "another_task_releases"),
        },
        Mutant {
            name: "the locks of a log handler are not logged",
            file: "_log.py",
            with: " or _is_writing():",
            without: ":",
            test: ("python/test_log.py", "a_handler_may_use"),
        },
        Mutant {
            name: "a soft lock whose time is over at once is logged as a wait",
            file: "_base.py",
            with: "if begins or not is_over:",
            without: "if not is_over:",
            test: ("python/test_log.py", "a_wait_is_logged"),
        },
        Mutant {
            name: "the marker of a process that died before its exchange is removed",
            file: "_soft/_reclaim.py",
            with: "if owner is None or owner.pid",
            without: "if True or owner is None or owner.pid",
            test: ("python/test_soft_reclaim.py", "died_before_the_exchange"),
        },
        Mutant {
            name: "the marker of a process before its exchange stays",
            file: "_soft/_reclaim.py",
            with: " or not _is_free(text, path):\n                continue",
            without: ":\n                continue",
            test: ("python/test_soft_reclaim.py", "died_before_the_exchange"),
        },
        Mutant {
            name: "cancel_check ends a wait",
            file: "_async_wait.py",
            with: "if cancel_check is not None and cancel_check():",
            without: "if False:",
            test: ("python/test_async_waiting.py", "cancel_check_and"),
        },
    ],
};
