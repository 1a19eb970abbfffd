"""The memory and cores this process may use: the machine's, or less where a container limits it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_PROC_CGROUP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Memory:
    """Amounts in bytes; `available_bytes` can be had without swapping, page cache given back included."""

    total_bytes: int
    available_bytes: int


def memory(cgroup_root: Path = _CGROUP_ROOT, proc_cgroup: Path = _PROC_CGROUP) -> Memory:
    """Return the smaller of what the machine and every cgroup above this process (v2 or v1) allow."""
    machine = psutil.virtual_memory()
    total, available = int(machine.total), int(machine.available)
    for directory in _cgroup_directories(cgroup_root, proc_cgroup):
        limit = _number(directory / "memory.max") or _number(directory / "memory.limit_in_bytes")
        if limit is None or limit >= total:
            continue
        used = _number(directory / "memory.current") or _number(directory / "memory.usage_in_bytes") or 0
        total = limit
        available = min(available, max(limit - used + _reclaimable(directory), 0))
    return Memory(total, min(available, total))


def cpu_quota(cgroup_root: Path = _CGROUP_ROOT, proc_cgroup: Path = _PROC_CGROUP) -> float | None:
    """Return the cores that the tightest cgroup above this process lets it use at a time; None: no limit."""
    quotas = []
    for directory in _cgroup_directories(cgroup_root, proc_cgroup):
        match _words(directory / "cpu.max"):
            case [quota, period] if quota.isdigit() and period.isdigit() and int(period) > 0:
                quotas.append(int(quota) / int(period))
        quota_us, period_us = (
            _number(directory / "cpu.cfs_quota_us"),
            _number(directory / "cpu.cfs_period_us"),
        )
        if quota_us and period_us and quota_us > 0:
            quotas.append(quota_us / period_us)
    return min(quotas, default=None)


def _cgroup_directories(root: Path, proc_cgroup: Path) -> list[Path]:
    """Return the directories of this process's cgroups and all above them, the root last."""
    found = []
    try:
        lines = proc_cgroup.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _hierarchy, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if controllers and not {"memory", "cpu"} & set(names):
            continue
        base = root / controllers if controllers else root
        here = base / path.strip("/")
        while True:
            found.append(here)
            if here in (base, root) or base not in here.parents:
                break
            here = here.parent
    return found


def _reclaimable(directory: Path) -> int:
    """Return the bytes of page cache that the kernel takes back before the cgroup is out of memory."""
    for line in _lines(directory / "memory.stat"):
        name, _, value = line.partition(" ")
        if name in {"inactive_file", "total_inactive_file"} and value.isdigit():
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    match _words(path):
        case [text] if text.lstrip("-").isdigit():
            return int(text)
    return None


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
