"""`connection_limit`: the number of connections that this process has files for."""

from __future__ import annotations

import resource

MOST_CONNECTIONS = 4096
"""No server takes more connections than this at the same time."""
FILES_FOR_OTHERS = 128
"""This many files are left for workers, models and the log, or half of all where there are few."""
ENOUGH_FILES = MOST_CONNECTIONS + FILES_FOR_OTHERS


def connection_limit() -> int:
    """Return the limit, after raising the process's own limit of open files as far as it is allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(ENOUGH_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(MOST_CONNECTIONS, soft - min(FILES_FOR_OTHERS, soft // 2))
