from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from models.machine import hardware
from models.machine.device import Device
from models.machine.hardware import Cpu, available_cores, parse_cpuinfo, probe, probe_devices, usable_cores

X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu avx2 avx512f amx_bf16 amx_tile amx_int8
bugs\t\t: spectre_v1

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd sve i8mm\n\nHardware\t: x\nModel\t\t: Raspberry Pi 5 Model B\n"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_cpuinfo_of_x86() -> None:
    name, flags = parse_cpuinfo(X86)
    assert name == "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"
    assert flags == {"fpu", "avx2", "avx512f", "amx_bf16", "amx_tile", "amx_int8"}


def test_cpuinfo_of_arm() -> None:
    name, flags = parse_cpuinfo(ARM)
    assert name == "Raspberry Pi 5 Model B"
    assert "i8mm" in flags


def test_cpuinfo_that_says_nothing() -> None:
    assert parse_cpuinfo("") == ("", frozenset())


@pytest.mark.parametrize(
    ("physical", "logical", "allowed", "quota", "expected"),
    [
        (8, 16, 16, None, (8, 16)),
        (8, 8, 8, None, (8, 8)),
        (8, 16, 4, None, (2, 4)),
        (8, 16, 16, 3.5, (3, 3)),
        (8, 16, 16, 0.5, (1, 1)),
        (8, 16, 1, None, (1, 1)),
    ],
)
def test_cores_that_may_be_used(
    physical: int,
    logical: int,
    allowed: int,
    quota: float | None,
    expected: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(allowed)), raising=False)
    monkeypatch.setattr(hardware, "cpu_quota", lambda: quota)
    assert usable_cores(Cpu("x", frozenset(), physical, logical)) == expected


def test_cores_are_those_of_the_affinity_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 3, 5}, raising=False)
    assert available_cores() == 3


@pytest.mark.parametrize(("count", "expected"), [(6, 6), (None, 1)])
def test_cores_of_a_system_without_affinity(
    count: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert available_cores() == expected


def test_this_machine() -> None:
    found = probe()
    assert found.problems == ()
    assert found.cpu
    assert 1 <= found.cores <= found.threads
    assert 0 < found.memory_available <= found.memory_total
    assert [device.type for device in found.devices].count("cpu") == 1
    assert all(device.is_gpu for device in found.gpus)


def test_devices_are_read_after_a_drivers_chatter() -> None:
    device = {"name": "CUDA0", "description": "NVIDIA", "type": "gpu", "memory_total": 8, "memory_free": 6}
    answer = json.dumps({"devices": [device]})
    devices, problems = probe_devices(command=python(f"print('ggml_cuda_init: found 1'); print({answer!r})"))
    assert devices == [Device("CUDA0", "NVIDIA", "gpu", 8, 6)]
    assert problems == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (python("import os; os.kill(os.getpid(), 11)"), "died of SIGSEGV"),
        (python("import sys; sys.exit('no driver')"), "failed with status 1: no driver"),
        (python("print('{}')"), "answered nonsense"),
        (python("pass"), "answered nonsense"),
        (python("import time; time.sleep(60)"), "longer than 0.5 s"),
        (["/nonexistent/python"], "doesn't start"),
    ],
)
def test_a_child_that_fails_is_a_problem_and_no_device(command: list[str], words: str) -> None:
    found = probe(timeout_s=0.5 if "longer" in words else 30, command=command)
    assert found.devices == ()
    assert len(found.problems) == 1
    assert words in found.problems[0]
    assert found.cores >= 1


def test_a_system_without_cpuinfo_has_a_name(tmp_path: Path) -> None:
    cpu = hardware.probe_cpu(tmp_path / "absent")
    assert cpu.name
    assert cpu.physical <= cpu.logical
