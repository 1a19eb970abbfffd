"""What warming a context up measures, and that it leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.worker.open.warm_up import warm_up
from tests.memory_models import write_hybrid_gguf, write_recurrent_gguf, write_windowed_gguf
from tests.server.worker.session import N_CTX, f32_context

pytestmark = pytest.mark.model


def positions(context: Context) -> list[int | None]:
    return [context.seq_pos_max(slot) for slot in range(context.n_seq_max)]


@pytest.mark.parametrize("kv_unified", [False, True], ids=["streams", "unified"])
def test_a_kv_cache_can_be_trimmed_and_is_left_empty(model: Model, kv_unified: bool) -> None:
    with f32_context(model, n_seq_max=4, kv_unified=kv_unified) as context:
        measured = warm_up(context, N_CTX)
        assert (measured.can_trim, measured.can_rewind) == (True, False)
        assert positions(context) == [None] * 4


def test_a_recurrent_state_cannot_be_trimmed(tmp_path: Path) -> None:
    path = write_recurrent_gguf(tmp_path / "recurrent.gguf")
    with Model.load(path) as model, f32_context(model, n_seq_max=2) as context:
        measured = warm_up(context, N_CTX)
        assert (measured.can_trim, measured.can_rewind) == (False, True)
        assert positions(context) == [None] * 2


@pytest.mark.parametrize("kv_unified", [False, True], ids=["streams", "unified"])
@pytest.mark.parametrize("write", [write_hybrid_gguf, write_windowed_gguf])
def test_what_forgets_can_go_back(tmp_path: Path, write: Callable[[Path], Path], kv_unified: bool) -> None:
    with (
        Model.load(write(tmp_path / "model.gguf")) as model,
        f32_context(model, n_seq_max=2, kv_unified=kv_unified) as context,
    ):
        assert warm_up(context, N_CTX).can_rewind
        assert positions(context) == [None] * 2


def test_a_context_of_few_tokens(model: Model) -> None:
    with f32_context(model) as context:
        assert warm_up(context, 2).can_trim
