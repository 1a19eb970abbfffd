from __future__ import annotations

from pathlib import Path

from server.engine.scheduling.prompt_budget import CHUNK_MULTIPLE, PANEL_CHUNK
from server.ipc.model_spec import KernelReport
from server.worker.worker import engine_config
from tests.server.worker.open.loaded import spec_of


def test_the_users_limits_and_chunks_that_suit_the_kernels() -> None:
    spec = spec_of(Path("any.gguf"), queue_size=7, gap_ms=50.0, prefill_chunk_tokens=128, n_ubatch=64)
    ours, theirs = (
        engine_config(spec, report) for report in (KernelReport(by="corral"), KernelReport(by="llama.cpp"))
    )
    assert (ours.queue_size, ours.gap_s, ours.prefill_chunk_tokens, ours.prefill_tokens_alone) == (
        7,
        0.05,
        128,
        128,
    )
    assert (ours.chunk_multiple, theirs.chunk_multiple) == (PANEL_CHUNK, CHUNK_MULTIPLE)
