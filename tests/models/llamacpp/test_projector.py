"""A projector's images against libmtmd's own way through its helper, `mtmd_helper_eval_chunks`."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from models.errors import LlamaCppError, ModelLoadError
from models.gguf.info import read_gguf_info, require_projector_for
from models.llamacpp import projector as projector_module
from models.llamacpp.batch import EmbeddingBatch, TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from models.llamacpp.projector import ImageChunk, Projector, is_available
from tests.quantize.projectors.checkpoints import SIGHTS, TEXT, Sight
from tests.quantize.projectors.checkpoints import write_projector as write_made_projector
from tests.server.images.samples import fields
from tests.vision_models import WAYS, Way, write_projector, write_text_model

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not is_available(), reason="this build of llama.cpp has no libmtmd"),
]
BEFORE, AFTER = "the cat sees ", " and the dog"
SIZES = {"llava": (50, 31), "gemma3": (64, 32), "qwen2vl": (88, 40)}


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture(scope="module")
def model(way: Way, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model.load(write_text_model(tmp_path_factory.mktemp("text") / f"{way}.gguf", way)) as model:
        yield model


@pytest.fixture(scope="module")
def projector(way: Way, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Projector]:
    path = write_projector(tmp_path_factory.mktemp("eyes") / f"mmproj-{way}.gguf", way)
    with Projector(path, model, on_gpu=False, n_threads=1, flash_attn="auto") as projector:
        yield projector


def theirs(
    model: Model, projector: Projector, pixels: tuple[int, int, bytes]
) -> tuple[list[int], np.ndarray[Any, Any], int]:
    """The text tokens, the logits at the end, and the position there, of libmtmd's own helper."""
    native: ModuleType = projector._native
    width, height, rgb = pixels
    text = (BEFORE + "<image>" + AFTER).encode()
    data = ctypes.cast(ctypes.c_char_p(rgb), ctypes.POINTER(ctypes.c_uint8))
    bitmap = native.mtmd_bitmap_init(width, height, data)
    chunks = native.mtmd_input_chunks_init()
    wish = native.mtmd_input_text(text=text, text_len=len(text), add_special=True, parse_special=True)
    bitmaps = (ctypes.c_void_p * 1)(bitmap)
    assert native.mtmd_tokenize(projector._pointer, chunks, ctypes.byref(wish), bitmaps, 1) == 0
    tokens: list[int] = []
    for i in range(native.mtmd_input_chunks_size(chunks)):
        chunk = native.mtmd_input_chunks_get(chunks, i)
        if native.mtmd_input_chunk_get_type(chunk) == 0:
            count = ctypes.c_size_t()
            found = native.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
            tokens += [int(found[at]) for at in range(count.value)]
    end = ctypes.c_int32(0)
    with Context(model, n_ctx=512, n_batch=256, n_ubatch=256, n_threads=1) as context:
        status = native.mtmd_helper_eval_chunks(
            projector._pointer, context.pointer, chunks, 0, 0, 256, True, ctypes.byref(end)
        )
        assert status == 0
        logits = np.ctypeslib.as_array(
            ctypes.cast(context._logits(context.pointer), ctypes.POINTER(ctypes.c_float)), (context.n_vocab,)
        ).copy()
    native.mtmd_input_chunks_free(chunks)
    native.mtmd_bitmap_free(bitmap)
    return tokens, logits, end.value


def test_logits_are_those_of_libmtmds_own_way(way: Way, model: Model, projector: Projector) -> None:
    image = fields(*SIZES[way])
    pixels = (*image.size, image.tobytes())
    their_tokens, their_logits, their_end = theirs(model, projector, pixels)
    pieces = projector.read_image(*pixels)
    begin, _ = model.vocab.added_tokens

    def tokens_of(text: str) -> list[int]:
        return model.vocab.tokenize(text, add_special=False, parse_special=True)

    whole: list[list[int] | ImageChunk] = [[*begin, *tokens_of(BEFORE)], *pieces, tokens_of(AFTER)]
    text = [token for piece in whole if isinstance(piece, list) for token in piece]
    assert text == their_tokens
    position = 0
    with Context(model, n_ctx=512, n_batch=256, n_ubatch=256, n_threads=1) as context:
        for piece in whole:
            if isinstance(piece, ImageChunk):
                projector.decode(context, piece, projector.encode(piece), position, 0)
                position += piece.n_positions
            elif piece:
                batch = TokenBatch(len(piece))
                batch.add_many(piece, position, 0, output_last=True)
                context.decode(batch)
                position += len(piece)
        logits = context.logits()[-1].copy()
    assert position == their_end
    # To rounding: another test of this process may have put our kernels into ggml's list.
    np.testing.assert_allclose(logits, their_logits, rtol=1e-3, atol=5e-4)


def test_what_an_image_shows_changes_the_logits(way: Way, model: Model, projector: Projector) -> None:
    first, second = (
        projector.read_image(*SIZES[way], fields(*SIZES[way], seed=seed).tobytes()) for seed in (1, 2)
    )
    one, other = (
        projector.encode(next(piece for piece in pieces if isinstance(piece, ImageChunk)))
        for pieces in (first, second)
    )
    assert one.shape == other.shape == (one.shape[0], projector.width)
    assert np.abs(one - other).max() > 1e-3


def test_sizes_and_positions(way: Way, projector: Projector) -> None:
    (chunk,) = (
        piece
        for piece in projector.read_image(*SIZES[way], fields(*SIZES[way]).tobytes())
        if isinstance(piece, ImageChunk)
    )
    assert projector.uses_mrope == (way == "qwen2vl")
    assert projector.attends_both_ways == (way == "gemma3")
    positions = chunk.positions(7, mrope=projector.uses_mrope)
    if way == "qwen2vl":
        rows, columns = 5, 11
        assert (chunk.n_tokens, chunk.n_positions) == (rows * columns, columns)
        assert positions.shape == (4, rows * columns)
        assert set(positions[0]) == {7}
        assert (positions[1].max(), positions[2].max()) == (7 + rows - 1, 7 + columns - 1)
    else:
        assert chunk.n_tokens == chunk.n_positions == {"llava": 16, "gemma3": 4}[way]
        assert list(positions) == list(range(7, 7 + chunk.n_tokens))


def test_pixels_that_arent_all_there_are_refused(projector: Projector) -> None:
    for width, height, n_bytes in ((4, 4, 47), (0, 4, 0), (4, -4, 48)):
        with pytest.raises(LlamaCppError, match="an image of"):
            projector.read_image(width, height, bytes(n_bytes))


def test_every_size_is_prepared(projector: Projector) -> None:
    for width, height in ((1, 1), (1, 200), (200, 1), (3, 500), (1000, 7)):
        pieces = projector.read_image(width, height, bytes(3 * width * height))
        assert all(
            piece.n_tokens > 0 and len(projector.encode(piece)) == piece.n_tokens
            for piece in pieces
            if isinstance(piece, ImageChunk)
        )


@pytest.mark.parametrize("sight", [sight for sight in SIGHTS if sight.name != "qwen3vl"], ids=str)
def test_every_kind_that_is_made_here_sees(sight: Sight, tmp_path: Path) -> None:
    """All but Qwen3-VL's, whose embeddings are wider than these text models."""
    text_way: Way = "qwen2vl" if sight.name.startswith("qwen") else "llava"
    text = write_text_model(tmp_path / "text.gguf", "gemma3" if sight.name == "gemma3" else text_way, TEXT)
    path = write_made_projector(tmp_path / "mmproj.gguf", tmp_path, sight=sight)
    require_projector_for(read_gguf_info(path), read_gguf_info(text))
    with (
        Model.load(text) as model,
        Projector(path, model, on_gpu=False, n_threads=1, flash_attn="auto") as projector,
    ):
        for image in (fields(70, 50), fields(1, 1)):
            pieces = projector.read_image(*image.size, image.tobytes())
            found = [projector.encode(piece) for piece in pieces if isinstance(piece, ImageChunk)]
            assert found
            assert all(np.isfinite(embeddings).all() and embeddings.std() > 0 for embeddings in found)


def test_another_models_projector_is_refused(model: Model, way: Way, tmp_path: Path) -> None:
    path = write_projector(tmp_path / "mmproj.gguf", way, width=96)
    with pytest.raises(ModelLoadError, match="no projector for"):
        Projector(path, model, on_gpu=False, n_threads=1, flash_attn="auto")
    with pytest.raises(ModelLoadError, match="is not a file"):
        Projector(tmp_path / "none.gguf", model, on_gpu=False, n_threads=1, flash_attn="auto")


def test_an_image_that_is_too_large_for_a_step_is_refused(
    way: Way, model: Model, projector: Projector
) -> None:
    if way != "gemma3":
        pytest.skip("only images whose embeddings see each other are computed at once")
    (chunk,) = (piece for piece in projector.read_image(8, 8, bytes(192)) if isinstance(piece, ImageChunk))
    with (
        Context(model, n_ctx=64, n_batch=2, n_ubatch=2, n_threads=1) as context,
        pytest.raises(LlamaCppError, match="raise --n-ubatch"),
    ):
        projector.decode(context, chunk, projector.encode(chunk), 0, 0)


def test_embeddings_without_their_positions_are_refused() -> None:
    with pytest.raises(LlamaCppError, match="positions"):
        EmbeddingBatch(np.zeros((2, 4), np.float32), np.zeros(3, np.int32), 0)


def test_without_the_library_it_is_said_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector_module, "_loaded_modules", [])

    def missing(name: str) -> ModuleType:
        raise FileNotFoundError(name)

    monkeypatch.setattr("models.llamacpp.projector.importlib.import_module", missing)
    assert not is_available()
    with pytest.raises(LlamaCppError, match=r"no libmtmd.*make setup"):
        projector_module._load()
