from __future__ import annotations

from pathlib import Path

import pytest

from tests.malformed_gguf import write_small_gguf


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_gguf(tmp_path_factory.mktemp("gguf") / "small.gguf")
