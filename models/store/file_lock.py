"""A lock file that is held by the kernel, or where the file system has no locks, by being there."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from filelock import BaseFileLock, FileLock, SoftFileLock

_NO_LOCKS: Final = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
"""A file system without locks (some of NFS and FUSE) answers with one of these."""


def acquire(path: Path, timeout_s: float = 0.0, poll_s: float = 0.05) -> BaseFileLock:
    """Take the lock and return it, held by the process, not the thread. A negative timeout waits for ever.

    Without the kernel's locks it is a SoftFileLock beside `path`, which forgets holders that died on this
    machine. (Where flock is missing altogether filelock turns to one by itself, as it does for
    huggingface_hub.) Raises filelock's Timeout, and OSError for a folder that can't be written.
    """
    lock: BaseFileLock = FileLock(path, timeout=timeout_s, thread_local=False)
    try:
        lock.acquire(poll_interval=poll_s)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        lock = SoftFileLock(path.with_name(f"{path.name}.soft"), timeout=timeout_s, thread_local=False)
        lock.acquire(poll_interval=poll_s)
    return lock
