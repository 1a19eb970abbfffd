from __future__ import annotations

from pathlib import Path

from models.doctor.tiny_model import write_tiny_gguf
from server.tuning.service import candidate_bytes, options_for
from server.tuning.workload import Workload


def test_room_for_every_sequence_of_the_workload() -> None:
    short = options_for(Workload(prompt_tokens=64, output_tokens=96, streams=(1, 8)))
    assert (short.ctx, short.parallel) == (256, 8)
    long = options_for(Workload(prompt_tokens=200, output_tokens=57, streams=(4,)), n_ubatch=64)
    assert (long.ctx, long.parallel, long.n_ubatch) == (512, 4, 64)


def test_a_candidate_takes_its_cache_too(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    small = candidate_bytes(path, Workload(prompt_tokens=64, output_tokens=96, streams=(1,)))
    large = candidate_bytes(path, Workload(prompt_tokens=4096, output_tokens=4096, streams=(64,)))
    cache = 2 * 2 * 128 * 2 * 8192 * 64  # layers, K and V, width, bytes of f16, tokens, sequences
    assert large - small > 0.9 * cache
