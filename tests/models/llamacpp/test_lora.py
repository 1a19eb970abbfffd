from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import InvalidGGUF, LlamaCppError, ModelLoadError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.lora import Adapter, set_adapters
from models.llamacpp.model import Model
from tests.adapter_gguf import adapter_tensors, write_adapter_gguf

pytestmark = pytest.mark.model

TOKENS = [1, 30, 40, 50]


@pytest.fixture
def model(pico_path: Path) -> Iterator[Model]:
    """A model of its own: what is loaded into it goes with it."""
    with Model.load(pico_path) as loaded:
        yield loaded


@pytest.fixture
def context(model: Model) -> Iterator[Context]:
    exact = {"flash_attn": "off", "type_k": "f32", "type_v": "f32"}
    with Context(model, n_ctx=256, n_batch=32, n_threads=1, **exact) as made:  # type: ignore[arg-type]
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_adapter_gguf(tmp_path / "a.gguf")


def logits(context: Context) -> npt.NDArray[np.float32]:
    context.clear()
    batch = TokenBatch(32)
    batch.add_many(TOKENS, 0, 0, output_last=True)
    context.decode(batch)
    return np.array(context.logits()[0])


def test_on_and_off_again(model: Model, context: Context, path: Path) -> None:
    plain = logits(context)
    adapter = Adapter.load(model, path)
    assert adapter.info.alpha == 4.0
    assert (logits(context) == plain).all(), "loading alone changes nothing"
    set_adapters(context, [(adapter, 1.0)])
    once = logits(context)
    assert np.abs(once - plain).max() > 0.1
    assert (logits(context) == once).all()
    set_adapters(context, [(adapter, 0.5)])
    assert np.abs(logits(context) - once).max() > 0.01
    set_adapters(context, [])
    assert (logits(context) == plain).all()


def test_two_are_the_same_as_one_with_the_sum_of_their_scales(
    model: Model, context: Context, path: Path
) -> None:
    first, second = Adapter.load(model, path), Adapter.load(model, path)
    set_adapters(context, [(first, 0.75)])
    whole = logits(context)
    set_adapters(context, [(first, 0.5), (second, 0.25)])
    assert np.abs(logits(context) - whole).max() < 1e-4


def test_alpha_over_rank(model: Model, context: Context, tmp_path: Path) -> None:
    """Without an alpha the product counts as it is."""
    tensors = adapter_tensors(rank=4)
    plain = Adapter.load(model, write_adapter_gguf(tmp_path / "plain.gguf", tensors, alpha=None))
    doubled = Adapter.load(model, write_adapter_gguf(tmp_path / "doubled.gguf", tensors, alpha=8.0))
    assert plain.info.alpha is None
    set_adapters(context, [(plain, 2.0)])
    meant = logits(context)
    set_adapters(context, [(doubled, 1.0)])
    assert np.abs(logits(context) - meant).max() < 1e-5


def test_one_loaded_and_freed_beside_others(model: Model, context: Context, path: Path) -> None:
    """Many times: graphs are planned anew for every set, and nothing of a freed one is left in them."""
    kept = Adapter.load(model, path)
    set_adapters(context, [(kept, 1.0)])
    meant = logits(context)
    for _ in range(5):
        with Adapter.load(model, path) as other:
            set_adapters(context, [(kept, 1.0), (other, -1.0)])
            assert np.abs(logits(context) - meant).max() > 0.01
            set_adapters(context, [(kept, 1.0)])
        assert (logits(context) == meant).all()


def test_closing(model: Model, path: Path) -> None:
    adapter = Adapter.load(model, path)
    adapter.close()
    adapter.close()
    with pytest.raises(LlamaCppError, match="has been closed"):
        _ = adapter.pointer


def test_the_model_takes_its_adapters_with_it(pico_path: Path, path: Path) -> None:
    with Model.load(pico_path) as model:
        adapter = Adapter.load(model, path)
    with pytest.raises(ModelLoadError):
        _ = adapter.pointer
    adapter.close()


def test_refusals(model: Model, context: Context, pico_path: Path, path: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidGGUF, match="'qwen2' and the model has 'llama'"):
        Adapter.load(model, write_adapter_gguf(tmp_path / "q.gguf", architecture="qwen2"))
    with pytest.raises(InvalidGGUF, match=r"general\.type is None"):
        Adapter.load(model, pico_path)
    with pytest.raises(InvalidGGUF, match="can't be read"):
        Adapter.load(model, tmp_path / "none.gguf")
    adapter = Adapter.load(model, path)
    with pytest.raises(LlamaCppError, match="given twice"):
        set_adapters(context, [(adapter, 1.0), (adapter, 1.0)])
    with Model.load(pico_path) as other, pytest.raises(LlamaCppError, match="another model"):
        set_adapters(context, [(Adapter.load(other, path), 1.0)])
