from __future__ import annotations

from pathlib import Path

import pytest

from models.paths import Paths
from models.store.store import ModelStore


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(Paths(home=tmp_path / "corral", hf_cache=tmp_path / "hub"))
