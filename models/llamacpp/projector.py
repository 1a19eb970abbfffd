"""`Projector`: a model's eyes (a GGUF, `mmproj`), through llama.cpp's libmtmd: pixels to embeddings.

libmtmd is a library of its own beside libllama, and not in every build: `is_available` tells. What it is
given has been checked: pixels come decoded, of the size that is told.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from models.closing import Closing
from models.errors import LlamaCppError, ModelLoadError
from models.llamacpp import library
from models.llamacpp.batch import EmbeddingBatch
from models.llamacpp.context import Context
from models.llamacpp.errors import reason
from models.llamacpp.model import Model
from models.llamacpp.row_ends import read_row_end, restore_row_ends

_MARKER = b"<image>"
_IMAGE = 1  # MTMD_INPUT_CHUNK_TYPE_IMAGE
_SECTIONS = 4
_MISSING = (
    "this build of llama.cpp has no libmtmd, which models need to see images; `make setup` builds it with it"
)

_lock = threading.Lock()
_loaded_modules: list[ModuleType] = []  # none or one


def is_available() -> bool:
    """Return True if this build of llama.cpp can see images. Loads it."""
    try:
        _load()
    except LlamaCppError:
        return False
    return True


def _load() -> ModuleType:
    """Load libmtmd once, and take over its log. Raises LlamaCppError if it isn't there."""
    with _lock:
        if not _loaded_modules:
            library.load()
            try:
                native = importlib.import_module("llama_cpp.mtmd_cpp")
            except (ImportError, OSError, RuntimeError, AttributeError) as error:
                raise LlamaCppError(_MISSING) from error
            library.take_over_log(native.mtmd_helper_log_set)  # of both
            _loaded_modules.append(native)
        return _loaded_modules[0]


class ImageChunk:
    """An image, or a tile of one, made ready to be encoded. Freed with its last reference; any thread."""

    def __init__(self, native: ModuleType, chunk: Any, owner: object) -> None:
        """`owner` keeps the native chunks alive."""
        self._native = native
        self._owner = owner
        self.pointer = chunk
        self._tokens = native.mtmd_input_chunk_get_tokens_image(chunk)
        self.n_tokens = int(native.mtmd_input_chunk_get_n_tokens(chunk))
        """The number of embeddings, each in a cell of the KV cache."""
        self.n_positions = int(native.mtmd_input_chunk_get_n_pos(chunk))
        """The number of positions that they take: with M-RoPE fewer than there are embeddings."""

    def positions(self, first: int, *, mrope: bool) -> npt.NDArray[np.int32]:
        """Return where the embeddings stand [n_tokens], with M-RoPE [4, n_tokens]; the first at `first`."""
        if not mrope:
            return np.arange(first, first + self.n_tokens, dtype=np.int32)
        position = self._native.mtmd_image_tokens_get_decoder_pos
        found = [position(self._tokens, first, i) for i in range(self.n_tokens)]
        rows = ([one.t for one in found], [one.y for one in found], [one.x for one in found])
        return np.array([*rows, [one.z for one in found]], np.int32)


class _Chunks:
    """libmtmd's list of the pieces of one prompt, freed with this."""

    def __init__(self, native: ModuleType) -> None:
        self.pointer = native.mtmd_input_chunks_init()
        if not self.pointer:
            raise LlamaCppError("llama.cpp has no memory for an image")
        weakref.finalize(self, native.mtmd_input_chunks_free, self.pointer)


class Projector(Closing):
    """The projector of a loaded model, which must outlive it. It owns one mtmd_context until `close`.

    `read_image` may be called by any thread, the rest by the one that decodes.
    """

    def __init__(self, path: Path, model: Model, *, on_gpu: bool, n_threads: int, flash_attn: str) -> None:
        """Load the file, and try it once. Raises ModelLoadError: it isn't this model's, or can't be loaded.

        LlamaCppError: this build can't see.
        """
        native = self._native = _load()
        params = native.mtmd_context_params_default()
        params.use_gpu = on_gpu
        params.print_timings = False
        params.n_threads = n_threads
        params.media_marker = _MARKER
        params.flash_attn_type = {"auto": -1, "off": 0, "on": 1}[flash_attn]
        params.warmup = True
        if not path.is_file():
            raise ModelLoadError(f"{path} is not a file; give a projector's GGUF file (mmproj)")
        with library.capture_errors() as lines:
            pointer = native.mtmd_init_from_file(os.fsencode(path), model.pointer, params)
        if not pointer:
            why = reason(lines) or "llama.cpp gives no reason"
            raise ModelLoadError(f"{path.name} is no projector for {model.path.name}: {why}")
        self._pointer: Any = pointer
        self._row_end = read_row_end(path)
        self.path = path
        self.width = model.n_embd_inp
        """The numbers of one embedding."""
        if not native.mtmd_support_vision(pointer):
            self.close()
            raise ModelLoadError(
                f"{path.name} is a projector of sound alone, which this server has no use for"
            )
        self.uses_mrope = bool(native.mtmd_decode_use_mrope(pointer))
        """Positions have several parts: a row and a column of the image, and a time."""
        self.attends_both_ways = bool(native.mtmd_decode_use_non_causal(pointer, None))
        """An image's embeddings see each other in both directions, so they are computed at once."""

    def close(self) -> None:
        """Free it. Safe to call twice."""
        pointer, self._pointer = self._pointer, None
        if pointer:
            self._native.mtmd_free(pointer)

    def read_image(self, width: int, height: int, rgb: bytes) -> list[list[int] | ImageChunk]:
        """Return an image as the model is to have it: chunks, and the tokens around and between them.

        `rgb` has three bytes for each pixel. Raises LlamaCppError for an image that libmtmd can't prepare.
        """
        if width < 1 or height < 1 or len(rgb) != 3 * width * height:
            raise LlamaCppError(f"an image of {width} x {height} pixels with {len(rgb):,} bytes")
        native = self._native
        pixels = ctypes.cast(ctypes.c_char_p(rgb), ctypes.POINTER(ctypes.c_uint8))
        bitmap = native.mtmd_bitmap_init(width, height, pixels)
        if not bitmap:
            raise LlamaCppError("llama.cpp has no memory for an image")
        chunks = _Chunks(native)
        text = native.mtmd_input_text(
            text=_MARKER, text_len=len(_MARKER), add_special=False, parse_special=True
        )
        try:
            with library.capture_errors() as lines:
                status = native.mtmd_tokenize(
                    self._pointer, chunks.pointer, ctypes.byref(text), (ctypes.c_void_p * 1)(bitmap), 1
                )
        finally:
            native.mtmd_bitmap_free(bitmap)
        if status:
            why = reason(lines) or f"llama.cpp's status is {status}"
            raise LlamaCppError(f"an image of {width} x {height} pixels can't be prepared: {why}")
        return [_piece(native, chunks, i) for i in range(int(native.mtmd_input_chunks_size(chunks.pointer)))]

    def encode(self, chunk: ImageChunk) -> npt.NDArray[np.float32]:
        """Return a chunk's embeddings [n_tokens, width]. Blocks without the GIL. Raises LlamaCppError."""
        with library.capture_errors() as lines:
            status = self._native.mtmd_encode_chunk(self._pointer, chunk.pointer)
        if status:
            raise LlamaCppError(f"an image can't be encoded: {reason(lines) or 'no reason given'}")
        found = self._native.mtmd_get_output_embd(self._pointer)
        rows: npt.NDArray[np.float32] = np.ctypeslib.as_array(found, (chunk.n_tokens, self.width)).copy()
        restore_row_ends(rows, self._row_end)
        return rows

    def decode(
        self,
        context: Context,
        chunk: ImageChunk,
        embeddings: npt.NDArray[np.float32],
        position: int,
        seq_id: int,
    ) -> None:
        """Compute a chunk's embeddings in the model, as those of `seq_id` from `position` on; no logits.

        Raises DecodeError; those that were computed before it are in the KV cache then.
        """
        n_most = context.n_ubatch if self.attends_both_ways else context.n_batch
        if self.attends_both_ways and chunk.n_tokens > n_most:
            raise LlamaCppError(
                f"an image of {chunk.n_tokens} tokens, and steps of {n_most}: raise --n-ubatch"
            )
        positions = chunk.positions(position, mrope=self.uses_mrope)
        if self.attends_both_ways:
            context.set_causal(causal=False)
        try:
            for start in range(0, chunk.n_tokens, n_most):
                part = slice(start, start + n_most)
                context.decode(EmbeddingBatch(embeddings[part], positions[..., part], seq_id))
        finally:
            if self.attends_both_ways:
                context.set_causal(causal=True)


def _piece(native: ModuleType, chunks: _Chunks, index: int) -> list[int] | ImageChunk:
    chunk = native.mtmd_input_chunks_get(chunks.pointer, index)
    if native.mtmd_input_chunk_get_type(chunk) == _IMAGE:
        return ImageChunk(native, chunk, chunks)
    count = ctypes.c_size_t()
    tokens = native.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
    return [int(tokens[i]) for i in range(count.value)]


def chunks_of(pieces: Sequence[list[int] | ImageChunk]) -> list[ImageChunk]:
    """Return the chunks among the pieces of an image."""
    return [piece for piece in pieces if isinstance(piece, ImageChunk)]
