from __future__ import annotations

from pathlib import Path

from models.doctor.tiny_model import write_tiny_gguf
from server.tuning.service import measured_bytes, room_of
from server.tuning.workload import Workload


def test_room_for_every_sequence_of_the_workload() -> None:
    assert room_of(Workload(prompt_tokens=64, output_tokens=96, streams=(1, 8))) == (256, 8)
    assert room_of(Workload(prompt_tokens=200, output_tokens=57, streams=(4,))) == (512, 4)


def test_a_candidate_takes_its_cache_too(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    small = measured_bytes(path, Workload(prompt_tokens=64, output_tokens=96, streams=(1,)))
    large = measured_bytes(path, Workload(prompt_tokens=4096, output_tokens=4096, streams=(64,)))
    cache = 2 * 2 * 128 * 2 * 8192 * 64  # layers, K and V, width, bytes of f16, tokens, sequences
    assert large - small > 0.9 * cache
