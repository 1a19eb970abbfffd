"""`Context`: a model at work, with its KV cache, decoding and logits (llama_context)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from models.closing import Closing
from models.errors import ContextError, LlamaCppError
from models.llamacpp import library
from models.llamacpp.batch import EmbeddingBatch, TokenBatch
from models.llamacpp.device_top_k import DeviceTopK
from models.llamacpp.errors import decode_error, reason
from models.llamacpp.eval_callback import MatmulObserver, observe
from models.llamacpp.kv_cache import kv_type, no_context, require_memory
from models.llamacpp.model import Model
from models.llamacpp.sequences import Sequences
from models.llamacpp.thread_cores import ThreadCores
from models.pooling import POOLING_NAMES, PoolingName

FlashAttention = Literal["auto", "on", "off"]

_FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
_MAX_SEQUENCES = 256  # LLAMA_MAX_SEQ
_MTP = 1  # LLAMA_CONTEXT_TYPE_MTP
_NO_VIEW: tuple[int | None, npt.NDArray[np.float32]] = None, np.empty((0, 0), np.float32)
"""The address of the logits and the rows that were looked at there: none yet."""


class Context(Sequences, Closing):
    """A model's state of computation. It owns one llama_context until `close`; the model must outlive it.

    All methods belong to one thread at a time, the one that decodes. Sequence ids run from 0 to
    n_seq_max - 1, positions from 0; a range is [p0, p1), where p1 None means to the end.
    """

    def __init__(  # noqa: PLR0913  # llama.cpp's own parameters, all by keyword
        self,
        model: Model,
        *,
        n_ctx: int,
        n_batch: int = 2048,
        n_ubatch: int = 512,
        n_seq_max: int = 1,
        n_threads: int = 4,
        n_threads_batch: int | None = None,
        kv_unified: bool = False,
        swa_full: bool = True,
        flash_attn: FlashAttention = "auto",
        type_k: str = "f16",
        type_v: str = "f16",
        offload_kqv: bool = True,
        embeddings: bool = False,
        pooling: PoolingName | None = None,
        observer: MatmulObserver | None = None,
        cores: Sequence[int] = (),
        lender: Context | None = None,
        predicts_further: bool = False,
    ) -> None:
        """Allocate `n_ctx` KV cells in all; without `kv_unified` each sequence has n_ctx / n_seq_max of them.

        llama.cpp rounds n_ctx up, see the property. Without `swa_full`, layers with a sliding window have
        cells only for each sequence's window and a step. `pooling`: of vectors, None for the file's own.
        `observer` looks on at every decode, which costs time. `cores`: each of the `n_threads` stays on one.
        `lender`: of a draft head's model, whose embeddings and output it has, for as long as this lives. With
        `predicts_further` the layers compute that predict further tokens (MTP), and no others.
        Raises ContextError with llama.cpp's reason, what the KV cache would need, and the fix.
        """
        if model.vocab_only:
            raise ContextError(f"{model.path.name} was loaded without weights; load it whole")
        _check_positive(n_ctx=n_ctx, n_batch=n_batch, n_ubatch=n_ubatch, n_threads=n_threads)
        if not 1 <= n_seq_max <= _MAX_SEQUENCES:
            raise ContextError(
                f"{n_seq_max} sequences; llama.cpp's limit is {_MAX_SEQUENCES}: lower --parallel"
            )
        native = library.load()
        self.model = model
        self._native = native
        params = native.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = n_batch
        params.n_ubatch = min(n_ubatch, n_batch)
        params.n_seq_max = n_seq_max
        params.n_threads = n_threads
        params.n_threads_batch = n_threads_batch or n_threads
        params.flash_attn_type = _FLASH_ATTENTION[flash_attn]
        params.type_k = kv_type(type_k)
        params.type_v = kv_type(type_v)
        params.swa_full = swa_full
        params.offload_kqv = offload_kqv
        params.embeddings = embeddings
        if pooling is not None:
            params.pooling_type = POOLING_NAMES.index(pooling)
        self._observer = observer  # C calls it as long as the context lives
        observe(params, observer)
        params.no_perf = True
        params.n_outputs_max_per_seq = 1  # where a sampler is set; more would reserve a graph of all of them
        if lender is not None:
            params.ctx_other = lender.pointer
        if predicts_further:
            params.ctx_type = _MTP
        self._params = params
        self._lender = lender
        self._openings: list[Callable[[int], None]] = []
        self._kv_types = type_k, type_v
        self.forgets = model.n_swa > 0 and not swa_full
        """True if a sequence's cells before its window are given to other tokens."""
        self._pointer: int | None = None
        self.n_threads = n_threads
        self.n_threads_batch = n_threads_batch or n_threads
        self.embeddings = embeddings
        self.cores = tuple(cores)
        """The core of each thread, or none."""
        self._thread_cores: ThreadCores | None = None
        self._bind_functions()
        self._outputs: bytes = b""
        """One byte for each token of the last batch: 1 if it has output, else 0."""
        self._log = library.error_log()
        self._top_k: DeviceTopK | None = None
        self._logits_view = _NO_VIEW
        self._open(kv_unified=kv_unified)
        model.attach(self)

    def reopen(self, *, kv_unified: bool) -> None:
        """Allocate the same cells anew, shared or not; what they held is lost, and adapters are off.

        Device top-k is off, too. Raises ContextError if llama.cpp can't allocate it: then the context is
        closed.
        """
        self.close()
        self._top_k = None
        self._open(kv_unified=kv_unified)

    def _open(self, *, kv_unified: bool) -> None:
        self._params.kv_unified = kv_unified
        pointer = _create(self.model, self._params, *self._kv_types)
        self.kv_unified = kv_unified
        self._pointer = pointer
        self._memory = self._native.llama_get_memory(pointer)
        self._outputs = b""
        self._logits_view = _NO_VIEW
        self._read_sizes(pointer)
        if self.cores:
            self._thread_cores = ThreadCores(self.cores)
            self._thread_cores.attach(pointer, self.n_threads)
        for act in self._openings:
            act(pointer)

    def at_each_opening(self, act: Callable[[int], None]) -> None:
        """Call `act` with the llama_context* now, and whenever another one takes its place."""
        self._openings.append(act)
        act(self.pointer)

    def _read_sizes(self, pointer: int) -> None:
        """Take the sizes that llama.cpp has made of those requested."""
        native = self._native
        self.n_ctx = int(native.llama_n_ctx(pointer))
        self.n_ctx_seq = int(native.llama_n_ctx_seq(pointer))
        self.n_batch = int(native.llama_n_batch(pointer))
        self.n_ubatch = int(native.llama_n_ubatch(pointer))
        self.n_seq_max = int(native.llama_n_seq_max(pointer))
        self.n_vocab = self.model.vocab.n_tokens

    def _bind_functions(self) -> None:
        """Bind the functions that every step calls."""
        self._decode, self._encode = (
            library.bind(name, ctypes.c_int32, ctypes.c_void_p, self._native.llama_batch)
            for name in ("llama_decode", "llama_encode")
        )
        self._logits, self._embeddings = (
            library.bind(name, ctypes.c_void_p, ctypes.c_void_p)
            for name in ("llama_get_logits", "llama_get_embeddings")
        )
        self._embeddings_seq = library.bind(
            "llama_get_embeddings_seq", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32
        )

    @property
    def pointer(self) -> int:
        """The llama_context*, valid until `close`."""
        if self._pointer is None:
            raise ContextError(f"the context of {self.model.path.name} has been closed")
        return self._pointer

    def close(self) -> None:
        """Free the KV cache and the compute buffers; views of logits become invalid. Safe to call twice."""
        if self._pointer is not None:
            self._native.llama_free(self._pointer)
            self._pointer = None
            self._memory = None
            if self._top_k is not None:
                self._top_k.free()
            if self._thread_cores is not None:
                self._thread_cores.close()
                self._thread_cores = None

    def decode(self, batch: TokenBatch | EmbeddingBatch) -> None:
        """Compute `batch` and add it to the KV cache; runs without the GIL.

        Invalidates earlier views of logits. Raises DecodeError: status 1, no free cells, nothing
        changed; 2, aborted, and -2 or less, failed: the cache keeps the parts that were done, look
        with `seq_pos_max`; -1, refused (token, sequence or position out of order).
        """
        self._compute(self._decode, batch, self.n_batch)
        self._outputs = b"\1" * batch.n_tokens if self.embeddings else batch.output_flags

    def encode(self, batch: TokenBatch) -> None:
        """Run the encoder of a model that has one; later decodes attend to its result, not to earlier ones.

        Leaves vectors with embeddings=True, never logits. Raises DecodeError, as `decode`; LlamaCppError:
        more than `n_ubatch` tokens.
        """
        self._compute(self._encode, batch, self.n_ubatch)
        self._outputs = b"\1" * batch.n_tokens if self.embeddings else b""

    def _compute(self, function: Callable[..., int], batch: TokenBatch | EmbeddingBatch, n_most: int) -> None:
        pointer = self.pointer
        self._outputs = b""
        if self.model.no_alloc:
            raise LlamaCppError(f"{self.model.path.name} was loaded with simulated memory; load it whole")
        if batch.n_tokens > n_most:
            raise LlamaCppError(f"a batch of {batch.n_tokens} tokens; this context takes {n_most}")
        batch.native.n_tokens = batch.n_tokens
        lines = self._log.capture_from_now()
        status = function(pointer, batch.native)
        if self._thread_cores is not None:
            self._thread_cores.release()
        if status:
            raise decode_error(status, n_tokens=batch.n_tokens, n_ctx=self.n_ctx, lines=lines)
        if self._observer is not None:
            self._observer.raise_error()

    def has_output(self, i: int) -> bool:
        """True if token i of the last decoded batch has logits."""
        return 0 <= i < len(self._outputs) and bool(self._outputs[i])

    def output_place(self, i: int) -> tuple[int, int]:
        """Return (row, number of rows) of token i among the outputs of the last batch.

        Raises LlamaCppError.
        """
        if not self.has_output(i):
            raise LlamaCppError(f"token {i} of the last batch has no logits; add it with output=True")
        return self._outputs.count(1, 0, i), self._outputs.count(1)

    def logits(self, n_rows: int | None = None) -> npt.NDArray[np.float32]:
        """Return the first `n_rows` (None: all) output rows of the last batch: a view [n_rows, n_vocab] f32.

        Rows in the order of the batch; valid until the next decode or close.
        """
        n_outputs = self._outputs.count(1)
        n_rows = n_outputs if n_rows is None else n_rows
        if not 0 <= n_rows <= n_outputs:
            raise LlamaCppError(f"{n_rows} rows of logits; the last batch has {n_outputs}")
        if n_rows == 0:
            return np.empty((0, self.n_vocab), np.float32)
        address = self._logits(self.pointer)
        known, rows = self._logits_view
        if known != address or len(rows) < n_rows:
            floats = (ctypes.c_float * (n_rows * self.n_vocab)).from_address(address)
            rows = np.frombuffer(memoryview(floats), np.float32).reshape(n_rows, self.n_vocab)
            self._logits_view = address, rows
        return rows[:n_rows]

    def device_top_k(self, k: int) -> DeviceTopK:
        """Return what lets the device find the k largest logits of some sequences' rows: at first of none.

        `k` is fixed from the first call on; 1 to n_vocab.
        """
        if not 1 <= k <= self.n_vocab:
            raise LlamaCppError(f"the {k} largest logits; this model has {self.n_vocab}")
        if self._top_k is None:
            self._top_k = DeviceTopK(self, k)
        return self._top_k

    def embedding_rows(self) -> npt.NDArray[np.float32]:
        """Return the last batch's vectors [n_tokens, n_embd_out]: a view, valid until the next decode.

        Only with embeddings=True and the pooling "none". Raises LlamaCppError if there are none.
        """
        return self._floats(self._embeddings(self.pointer), len(self._outputs), self.model.n_embd_out)

    def scores_seq(self, seq_id: int) -> npt.NDArray[np.float32]:
        """Return a view [n_cls_out] of a sequence's scores in the last batch, with the pooling "rank"."""
        address = self._embeddings_seq(self.pointer, self._check(seq_id))
        scores: npt.NDArray[np.float32] = self._floats(address, 1, self.model.n_cls_out)[0]
        return scores

    def _floats(self, address: int | None, n_rows: int, width: int) -> npt.NDArray[np.float32]:
        if not address:
            raise LlamaCppError("the last batch left no vectors; make the context with embeddings=True")
        n_floats = n_rows * width
        # A type for each length would have to be made; what is beyond the rows is never looked at.
        floats = (ctypes.c_float * (1 << (n_floats - 1).bit_length())).from_address(address)
        rows: npt.NDArray[np.float32] = np.frombuffer(memoryview(floats), np.float32, n_floats)
        return rows.reshape(n_rows, width)

    def embeddings_row(self, i: int) -> npt.NDArray[np.float32]:
        """Return a copy [n_embd] of the last batch's embedding of token i (no pooling, embeddings=True)."""
        if not self.has_output(i):
            raise LlamaCppError(f"token {i} of the last batch has no embedding; add it with output=True")
        return self._embedding(self._native.llama_get_embeddings_ith(self.pointer, i))

    def embeddings_seq(self, seq_id: int) -> npt.NDArray[np.float32]:
        """Return a copy [n_embd] of the last batch's pooled embedding of a sequence (embeddings=True)."""
        return self._embedding(self._native.llama_get_embeddings_seq(self.pointer, self._check(seq_id)))

    def _embedding(self, pointer: Any) -> npt.NDArray[np.float32]:
        if not pointer:
            raise LlamaCppError(
                "the last batch left no such embedding; make the context with embeddings=True"
            )
        return np.ctypeslib.as_array(pointer, (self.model.n_embd_out,)).copy()

    def synchronize(self) -> None:
        """Wait for a device to finish; reading logits does so by itself."""
        self._native.llama_synchronize(self.pointer)

    @property
    def has_memory(self) -> bool:
        """True if it keeps what it has computed: an encoder's context has no KV cache."""
        return self._memory is not None

    def set_causal(self, *, causal: bool) -> None:
        """Let tokens of the following decodes attend to earlier ones alone, or to all of their batch."""
        self._native.llama_set_causal_attn(self.pointer, causal)

    def set_n_threads(self, n_threads: int, n_threads_batch: int | None = None) -> None:
        self._native.llama_set_n_threads(self.pointer, n_threads, n_threads_batch or n_threads)
        if self._thread_cores is not None:
            self._thread_cores.attach(self.pointer, n_threads)


def _check_positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if not 0 < value < 2**31:
            raise ContextError(f"{name} is {value}; it must be at least 1")


def _create(model: Model, params: Any, type_k: str, type_v: str) -> int:
    """Return a new llama_context*. Raises ContextError with llama.cpp's reason."""
    n_ctx = int(params.n_ctx)
    if model.n_gpu_layers == 0 and params.swa_full and params.ctx_type != _MTP:  # that has one layer's cells
        require_memory(model, n_ctx, type_k, type_v)
    with library.capture_errors() as lines:
        pointer: int | None = library.load().llama_init_from_model(model.pointer, params)
    if not pointer:
        why = reason(lines) or "llama.cpp gives no reason"
        raise ContextError(no_context(model, n_ctx, type_k, type_v, why))
    return pointer
