from __future__ import annotations

from pathlib import Path

import pytest

from models.machine.fit import GIB, MIB
from models.machine.host_memory import cpu_quota, memory


def write_files(directory: Path, files: dict[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)


@pytest.fixture
def v2(tmp_path: Path) -> tuple[Path, Path]:
    """A process in /system/service of a cgroup v2 hierarchy."""
    proc = tmp_path / "cgroup"
    proc.write_text("0::/system/service\n")
    (tmp_path / "fs" / "system" / "service").mkdir(parents=True)
    return tmp_path / "fs", proc


@pytest.fixture
def v1(tmp_path: Path) -> tuple[Path, Path]:
    proc = tmp_path / "cgroup"
    proc.write_text("5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n")
    return tmp_path / "fs", proc


def test_without_limits_it_is_the_machines(v2: tuple[Path, Path], tmp_path: Path) -> None:
    machine = memory(*v2)
    assert machine.total_bytes >= machine.available_bytes > 0
    assert memory(tmp_path, tmp_path / "absent").total_bytes == machine.total_bytes
    assert cpu_quota(*v2) is None
    assert cpu_quota(tmp_path, tmp_path / "absent") is None


def test_a_limit_above_the_process_counts(v2: tuple[Path, Path]) -> None:
    root, proc = v2
    write_files(root / "system" / "service", {"memory.max": "max\n", "cpu.max": "max 100000\n"})
    write_files(
        root / "system",
        {
            "memory.max": f"{256 * MIB}\n",
            "memory.current": f"{200 * MIB}\n",
            "memory.stat": f"anon 1\ninactive_file {50 * MIB}\n",
            "cpu.max": "150000 100000\n",
        },
    )
    found = memory(root, proc)
    assert (found.total_bytes, found.available_bytes) == (256 * MIB, 106 * MIB)
    assert cpu_quota(root, proc) == 1.5


def test_version_1_of_cgroups(v1: tuple[Path, Path]) -> None:
    root, proc = v1
    write_files(
        root / "memory" / "docker" / "abc",
        {"memory.limit_in_bytes": f"{256 * MIB}", "memory.usage_in_bytes": f"{300 * MIB}"},
    )
    write_files(
        root / "cpu,cpuacct" / "docker" / "abc", {"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000"}
    )
    found = memory(root, proc)
    assert (found.total_bytes, found.available_bytes) == (256 * MIB, 0)
    assert cpu_quota(root, proc) == 0.5


def test_no_quota_and_a_limit_beyond_the_machine(v1: tuple[Path, Path]) -> None:
    root, proc = v1
    write_files(root / "memory" / "docker" / "abc", {"memory.limit_in_bytes": str(2**63 - 4096)})
    write_files(
        root / "cpu,cpuacct" / "docker" / "abc", {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}
    )
    assert memory(root, proc).total_bytes < 2**50
    assert cpu_quota(root, proc) is None


def test_units() -> None:
    assert GIB == 1024 * MIB == 2**30
