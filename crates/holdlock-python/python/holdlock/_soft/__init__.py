"""Soft locks: a marker file which is there while the lock is held.

The kernel knows nothing of such a lock, so it needs no file system that can lock; and it does not
free it when its holder dies, so that has to be proved by whoever wants it next. ``_lock`` is the
class; below it:

``_marker``
    what is in a marker, as the ``filelock`` package writes it
``_owner``
    who this process is in a marker, and whether a recorded owner is provably dead
``_publish``
    a marker appears whole or not at all, and only its own holder removes it
``_reclaim``
    a dead owner's marker becomes ours, without a moment in which the path is free
``_watch``
    sleeping until the marker goes away or its owner dies
``_kernel``
    three system calls which Python lacks
"""

from __future__ import annotations
