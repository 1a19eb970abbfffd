from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ModelLoadError
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from tests.models.llamacpp.conftest import CHAT_TEMPLATE

pytestmark = pytest.mark.model


def test_properties(pico: Model, pico_path: Path) -> None:
    assert (pico.n_embd, pico.n_layer, pico.n_head, pico.n_head_kv, pico.n_ctx_train) == (256, 2, 4, 2, 512)
    assert pico.size_bytes == pico.n_params * 4
    assert 0 < pico_path.stat().st_size - pico.size_bytes < 65536
    assert pico.metadata["general.name"] == "tiny spm"
    assert pico.metadata["llama.attention.head_count_kv"] == "2"
    assert pico.desc.startswith("llama")
    assert (pico.has_encoder, pico.has_decoder, pico.is_recurrent, pico.is_hybrid) == (
        False,
        True,
        False,
        False,
    )
    assert pico.n_swa == 0


def test_chat_template(pico: Model, pico_bpe: Model) -> None:
    assert pico.chat_template() == CHAT_TEMPLATE
    assert pico.chat_template("tool_use") is None
    assert pico_bpe.chat_template() is None


def test_progress_rises_to_one(pico_path: Path) -> None:
    seen: list[float] = []

    def progress(fraction: float) -> bool:
        seen.append(fraction)
        return True

    Model.load(pico_path, progress=progress).close()
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_progress_cancels(pico_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"spm\.gguf was cancelled"):
        Model.load(pico_path, progress=lambda _fraction: False)


def test_an_exception_of_progress_comes_out(pico_path: Path) -> None:
    def progress(_fraction: float) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Model.load(pico_path, progress=progress)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="is not a file"):
        Model.load(tmp_path / "none.gguf")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: b"no gguf" + data, "invalid magic"),
        (lambda data: data[: len(data) // 2], "not within the file bounds"),
        (lambda data: data.replace(b"attn_q.weight", b"attn_x.weight"), "attn_q.weight' not found"),
    ],
)
def test_a_damaged_file_is_refused_with_llama_cpps_reason(
    damage: object, why: str, pico_path: Path, tmp_path: Path
) -> None:
    assert callable(damage)
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damage(pico_path.read_bytes()))
    with pytest.raises(ModelLoadError, match=f"damaged.gguf doesn't load: .*{why}"):
        Model.load(path)


def test_vocab_only(pico_path: Path) -> None:
    with Model.load(pico_path, vocab_only=True) as model:
        assert model.vocab.n_tokens == 448
        with pytest.raises(Exception, match="loaded without weights"):
            Context(model, n_ctx=256)


def test_simulated_memory_loads_no_weights(pico_path: Path) -> None:
    with Model.load(pico_path, no_alloc=True) as model:
        assert model.n_params > 0


def test_closing_closes_contexts_and_is_final(pico_path: Path) -> None:
    model = Model.load(pico_path)
    context = Context(model, n_ctx=256)
    model.close()
    model.close()
    with pytest.raises(ModelLoadError, match="has been closed"):
        _ = model.n_embd
    with pytest.raises(Exception, match="has been closed"):
        _ = context.pointer


@pytest.mark.parametrize("options", [{"use_mmap": False}, {"use_extra_bufts": False}, {"use_mlock": True}])
def test_ways_of_loading(options: dict[str, bool], pico_path: Path) -> None:
    with Model.load(pico_path, **options) as model:  # type: ignore[arg-type]
        assert model.n_layer == 2
