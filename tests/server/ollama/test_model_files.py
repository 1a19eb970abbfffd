from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from server.ollama.model_files import FileSummary, vram_bytes
from server.supervisor.catalogue import CatalogueEntry
from tests.server.scripted_service import INFO

ENTRY = CatalogueEntry("m", Path("/m.gguf"), "Q4_K_M", 9000, 1)


@pytest.mark.parametrize(
    ("n_gpu_layers", "cpu_expert_bytes", "expected"),
    [(0, 0, 0), (3, 0, 3000), (9, 0, 9000), (99, 0, 9000), (9, 5000, 4000), (3, 5000, 0)],
)
def test_layers_and_output_count_alike_and_experts_that_stay_do_not(
    n_gpu_layers: int, cpu_expert_bytes: int, expected: int
) -> None:
    info = msgspec.structs.replace(INFO, n_gpu_layers=n_gpu_layers, cpu_expert_bytes=cpu_expert_bytes)
    assert vram_bytes(ENTRY, FileSummary("llama", 1, 8, ()), info) == expected
    assert vram_bytes(ENTRY, FileSummary("llama", 1, 8, ()), None) == 0
