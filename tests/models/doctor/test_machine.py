from __future__ import annotations

import platform
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from models.doctor import machine
from models.doctor.check import Status
from models.machine.device import Device
from models.machine.fit import GIB
from models.machine.hardware import Hardware
from models.machine.native_facts import NativeFacts, ask

FACTS = NativeFacts("0.3.36", "/lib/libllama.so", frozenset({"AVX2", "FMA", "OPENMP"}), ())


HARDWARE = Hardware("Zen", 8, 16, frozenset(), 32 * GIB, 20 * GIB, (), ())


GPU = Device("CUDA0", "NVIDIA L4", "gpu", 24 * GIB, 22 * GIB)


def test_a_library_that_doesnt_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libllama.so").write_bytes(b"not a library")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    facts = ask()
    assert isinstance(facts, str)
    assert "can't be loaded" in facts
    assert machine.check_library(facts).status is Status.FAIL


def test_a_build_without_the_library_of_images_is_told() -> None:
    assert machine.check_images(FACTS).status is Status.OK
    blind = machine.check_images(replace(FACTS, sees_images=False))
    assert (blind.status, "libmtmd" in blind.fact) == (Status.WARNING, True)
    assert "make setup" in (blind.fix or "")


@pytest.mark.parametrize(
    ("version", "status"), [((3, 10), Status.FAIL), ((3, 11), Status.OK), ((3, 13), Status.OK)]
)
def test_python(version: tuple[int, int], status: Status) -> None:
    assert machine.check_python(version).status is status


@pytest.mark.parametrize(
    ("features", "flags", "status", "words"),
    [
        ({"AVX2", "FMA"}, {"avx2", "fma"}, Status.OK, "AVX2, FMA"),
        ({"AVX2"}, {"avx2", "fma", "avx512f", "avx512_vnni"}, Status.WARNING, "FMA, AVX512, AVX512_VNNI"),
        ({"AVX2", "AVX512"}, {"avx2"}, Status.FAIL, "compiled for AVX512"),
        ({"AVX2"}, {"avx2", "avx512_bf16"}, Status.OK, "AVX2"),
        ({"AVX2"}, set(), Status.OK, "AVX2"),
        ({"AVX2", "AMX_INT8"}, {"avx2"}, Status.OK, "AMX_INT8"),
        ({"AVX2"}, {"avx2", "amx_int8", "amx_tile"}, Status.WARNING, "AMX_INT8"),
    ],
)
def test_features_of_build_and_cpu(
    features: set[str], flags: set[str], status: Status, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    found = machine.check_features(replace(FACTS, features=frozenset(features)), frozenset(flags))
    assert found.status is status
    assert words in found.fact


def test_memory() -> None:
    assert machine.check_memory(HARDWARE).fact == "20.0 GiB of 32.0 GiB available"
    assert machine.check_memory(replace(HARDWARE, memory_available=2 * GIB)).status is Status.WARNING


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that isn't there yet is asked of the one that will hold it."""
    asked: list[Path] = []

    def disk_usage(path: Path) -> Usage:
        asked.append(path)
        return Usage(100 * GIB, 50 * GIB, 50 * GIB)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    found = machine.check_disk(tmp_path / "corral" / "home")
    assert found.status is Status.OK
    assert "50.0 GiB free" in found.fact
    assert asked == [tmp_path]
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(1, 1, GIB))
    assert machine.check_disk(tmp_path).status is Status.WARNING


def test_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_nvidia_devices", lambda: "")
    assert machine.check_gpus(HARDWARE).fact == "none; the CPU serves"
    found = machine.check_gpus(replace(HARDWARE, devices=(GPU,)))
    assert found.fact == "NVIDIA L4 (CUDA0), 22.0 GiB of 24.0 GiB free"
    failed = machine.check_gpus(replace(HARDWARE, problems=("the process died of SIGSEGV",)))
    assert (failed.status, failed.fact) == (Status.WARNING, "the process died of SIGSEGV")
    monkeypatch.setattr(machine, "_nvidia_devices", lambda: "1 NVIDIA GPU")
    unused = machine.check_gpus(HARDWARE)
    assert unused.status is Status.WARNING
    assert "GGML_CUDA" in (unused.fix or "")


def test_the_drivers_list(tmp_path: Path) -> None:
    assert machine._nvidia_devices(tmp_path / "absent") == ""
    (tmp_path / "0000:01:00.0").mkdir()
    assert machine._nvidia_devices(tmp_path) == "1 NVIDIA GPU"
    (tmp_path / "0000:02:00.0").mkdir()
    assert machine._nvidia_devices(tmp_path) == "2 NVIDIA GPUs"


def test_the_hubs_settings() -> None:
    assert machine.check_hub({}).status is Status.OK
    assert "mirror.example" in machine.check_hub({"HF_ENDPOINT": "https://mirror.example"}).fact
    assert machine.check_hub({"HF_HUB_OFFLINE": "1"}).status is Status.WARNING
    assert "secret" not in machine.check_hub({"HF_ENDPOINT": "https://me:secret@mirror.example"}).fact
    unclear = machine.check_hub({"HF_ENDPOINT": "me:secret@mirror.example"})
    assert unclear.status is Status.FAIL
    assert "secret" not in f"{unclear.fact} {unclear.fix}"
    spoiled = machine.check_hub({"HF_TOKEN": "hf_sec ret"})
    assert spoiled.status is Status.FAIL
    assert "sec" not in f"{spoiled.fact} {spoiled.fix}".replace("secret alone", "")
    token = machine.check_hub({"HF_TOKEN": "hf_secret\n"})
    assert "secret" not in token.fact
