"""Soft locks: a marker file exists while the lock is held.

The kernel does not know of such a lock. Therefore it works on a file system that cannot lock, but
the kernel does not release the lock when its holder dies: the next process has to prove that death.
``_lock`` has the class; below it:

``_marker``
    the text of a marker, in the format of the ``filelock`` package
``_owner``
    what a marker records of this process, and whether a recorded owner is provably dead
``_publish``
    publishing a marker, by the native class ``Marker``, and reading one
``_reclaim``
    taking over a dead owner's marker, without a moment in which the path is free
``_watch``
    sleeping until the marker is removed or its owner dies
``_kernel``
    system calls that Python lacks
``_descriptors``
    descriptors that an exception of a signal handler cannot lose
"""

from __future__ import annotations
