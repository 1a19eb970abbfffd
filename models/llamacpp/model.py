"""`Model`: a loaded GGUF file, with weights, metadata and vocabulary (llama_model)."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, Self

from models.closing import Closing
from models.errors import ModelLoadError
from models.llamacpp import library
from models.llamacpp.errors import reason
from models.llamacpp.remote_layers import RemoteLayers
from models.llamacpp.tensor_placement import kept_on_cpu
from models.llamacpp.vocab import Vocab

Progress = Callable[[float], bool]
"""It is called with 0.0 to 1.0 while loading, on the loading thread; False cancels."""


class Closable(Protocol):
    """An object that uses a model and must be closed before it (`models.llamacpp.context.Context`)."""

    def close(self) -> None: ...


class Model(Closing):
    """A loaded model. It owns one llama_model until `close`, which first closes the contexts made of it.

    `load` and `close` belong to one thread; everything else is immutable and may be read from any.
    """

    def __init__(
        self,
        pointer: int,
        path: Path,
        *,
        n_gpu_layers: int,
        vocab_only: bool,
        no_alloc: bool,
        stop_tokens: Sequence[int] = (),
        cpu_experts: Collection[int] = (),
        has_further_layers: bool = False,
    ) -> None:
        """Take ownership of `pointer`. Use `Model.load`."""
        self._pointer: int | None = pointer
        self._native: ModuleType = library.load()
        self._contexts: weakref.WeakSet[Closable] = weakref.WeakSet()
        self.path = path
        self.n_gpu_layers = n_gpu_layers
        self.vocab_only = vocab_only
        self.no_alloc = no_alloc
        self.stop_tokens = stop_tokens
        self.cpu_experts = frozenset(cpu_experts)
        self.has_further_layers = has_further_layers

    @classmethod
    def load(  # noqa: PLR0913  # llama.cpp's own parameters, all by keyword
        cls,
        path: Path | str,
        *,
        n_gpu_layers: int = 0,
        use_mmap: bool = True,
        use_mlock: bool = False,
        use_extra_bufts: bool = True,
        use_host_buffers: bool = True,
        cpu_experts: Collection[int] = (),
        remote: RemoteLayers | None = None,
        vocab_only: bool = False,
        no_alloc: bool = False,
        load_further_layers: bool = False,
        stop_tokens: Sequence[int] = (),
        progress: Progress | None = None,
    ) -> Self:
        """Load a GGUF file; of a split one, give the first part. Blocks without the GIL.

        `cpu_experts`: the experts of these layers stay in the host's memory where the layers go to a GPU.
        `remote`: the layers go to devices of other machines, and the output matrix stays here: of a row of
        logits only what makes it crosses the network.
        `use_extra_bufts=False` avoids weight repacking and AMX (slower; the way out of the AMX trap).
        `use_host_buffers`: beside a GPU, weights that stay lie where it can fetch them for many tokens at
        once; False: where the CPU's own kernels, also ours, find them repacked.
        `vocab_only`: tokenizer and metadata. `no_alloc`: metadata and simulated memory, no weights.
        `load_further_layers`: also the layers that predict further tokens (MTP), if the file has any.
        `stop_tokens`: what ends an answer in addition to what llama.cpp knows (`GGUFInfo.stop_tokens`).
        Raises ModelLoadError with llama.cpp's reason, or when `progress` returned False; an
        exception of `progress` stops the load and comes out here.
        """
        path = Path(path)
        native = library.load()
        params = native.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        # enum llama_load_mode: 0 none, 1 mmap, 2 mlock, 3 both. Simulated memory can't be mapped.
        params.load_mode = 0 if no_alloc else (1 if use_mmap else 0) + (2 if use_mlock else 0)
        params.use_extra_bufts = use_extra_bufts
        params.no_host = not use_host_buffers
        if remote is not None:
            remote.write_to(params)
        overrides = kept_on_cpu(cpu_experts, output=remote is not None)
        params.tensor_buft_overrides = None if overrides is None else ctypes.addressof(overrides)
        params.vocab_only = vocab_only
        params.no_alloc = no_alloc
        params.load_mtp = load_further_layers
        watch = _ProgressWatch(progress)
        callback = native.llama_progress_callback(watch.on_progress)
        params.progress_callback = callback
        if not path.is_file():
            raise ModelLoadError(f"{path} is not a file; give a GGUF file, or `corral list` for those here")
        with library.capture_errors() as lines:
            pointer = native.llama_model_load_from_file(os.fsencode(path), params)
        if watch.error is not None:
            if pointer:
                native.llama_model_free(pointer)
            raise watch.error
        if not pointer:
            if watch.cancelled:
                raise ModelLoadError(f"loading {path.name} was cancelled")
            why = reason(lines) or "llama.cpp gives no reason"
            raise ModelLoadError(f"{path.name} doesn't load: {why}; pull or quantize it again")
        return cls(
            pointer,
            path,
            n_gpu_layers=n_gpu_layers,
            vocab_only=vocab_only,
            no_alloc=no_alloc,
            stop_tokens=stop_tokens,
            cpu_experts=cpu_experts,
            has_further_layers=load_further_layers and native.llama_model_n_layer_nextn(pointer) > 0,
        )

    @property
    def pointer(self) -> int:
        """The llama_model*, valid until `close`."""
        if self._pointer is None:
            raise ModelLoadError(f"{self.path.name} has been closed")
        return self._pointer

    def close(self) -> None:
        """Free the contexts of this model and the weights. Safe to call twice."""
        for context in list(self._contexts):
            context.close()
        if self._pointer is not None:
            self._native.llama_model_free(self._pointer)
            self._pointer = None

    def attach(self, context: Closable) -> None:
        """Remember a context made of this model (`Context` calls it), to free it first."""
        self._contexts.add(context)

    @cached_property
    def vocab(self) -> Vocab:
        return Vocab(self)

    @property
    def n_ctx_train(self) -> int:
        """The longest context that the model was trained for, in tokens."""
        return int(self._native.llama_model_n_ctx_train(self.pointer))

    @property
    def n_embd(self) -> int:
        return int(self._native.llama_model_n_embd(self.pointer))

    @property
    def n_embd_inp(self) -> int:
        """The numbers of an embedding that takes a token's place; more than `n_embd` in some models."""
        return int(self._native.llama_model_n_embd_inp(self.pointer))

    @property
    def n_embd_out(self) -> int:
        """The numbers of an output's vector."""
        return int(self._native.llama_model_n_embd_out(self.pointer))

    @property
    def n_cls_out(self) -> int:
        """The scores of a classifier's head."""
        return int(self._native.llama_model_n_cls_out(self.pointer))

    @property
    def n_layer(self) -> int:
        return int(self._native.llama_model_n_layer(self.pointer))

    @property
    def n_head(self) -> int:
        return int(self._native.llama_model_n_head(self.pointer))

    @property
    def n_head_kv(self) -> int:
        return int(self._native.llama_model_n_head_kv(self.pointer))

    @property
    def n_swa(self) -> int:
        """Tokens of the sliding attention window; 0: all layers attend to everything."""
        return int(self._native.llama_model_n_swa(self.pointer))

    @property
    def n_params(self) -> int:
        return int(self._native.llama_model_n_params(self.pointer))

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return int(self._native.llama_model_size(self.pointer))

    @property
    def ftype(self) -> int:
        """The llama_ftype, 1024 added where it was guessed."""
        return int(self._native.llama_model_ftype(self.pointer))

    @property
    def desc(self) -> str:
        """llama.cpp's one-line name: architecture, size, type."""
        return _text(lambda buffer, size: self._native.llama_model_desc(self.pointer, buffer, size))

    @property
    def has_encoder(self) -> bool:
        return bool(self._native.llama_model_has_encoder(self.pointer))

    @property
    def has_decoder(self) -> bool:
        return bool(self._native.llama_model_has_decoder(self.pointer))

    @property
    def decoder_start_token(self) -> int | None:
        """The token that a decoder behind an encoder begins with; None if the file names none."""
        token = int(self._native.llama_model_decoder_start_token(self.pointer))
        return None if token < 0 else token

    @property
    def is_recurrent(self) -> bool:
        return bool(self._native.llama_model_is_recurrent(self.pointer))

    @property
    def is_hybrid(self) -> bool:
        return bool(self._native.llama_model_is_hybrid(self.pointer))

    @property
    def is_diffusion(self) -> bool:
        return bool(self._native.llama_model_is_diffusion(self.pointer))

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The GGUF's key-value pairs as text; llama.cpp abbreviates arrays."""
        native = self._native

        def key(index: int) -> str:
            return _text(
                lambda buffer, size: native.llama_model_meta_key_by_index(self.pointer, index, buffer, size)
            )

        def value(index: int) -> str:
            return _text(
                lambda buffer, size: native.llama_model_meta_val_str_by_index(
                    self.pointer, index, buffer, size
                )
            )

        return {key(index): value(index) for index in range(native.llama_model_meta_count(self.pointer))}

    def chat_template(self, name: str | None = None) -> str | None:
        """Return the Jinja source of the default chat template, or of that called `name`; None if absent."""
        template = self._native.llama_model_chat_template(self.pointer, name.encode() if name else None)
        return None if template is None else str(template.decode("utf-8", "replace"))


class _ProgressWatch:
    """A carrier of a cancel or an exception of the progress callback over the C frames between."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.cancelled = False
        self.error: BaseException | None = None

    def on_progress(self, fraction: float, _user_data: Any) -> bool:
        if self._progress is None:
            return True
        try:
            self.cancelled = not self._progress(fraction)
        except BaseException as error:  # noqa: BLE001  # nothing may unwind through C; `load` raises it
            self.error = error
            return False
        return not self.cancelled


def _text(read: Callable[[Any, int], int]) -> str:
    """Call `read(buffer, size)`, which works as snprintf, with a buffer that is large enough."""
    buffer = ctypes.create_string_buffer(256)
    length = int(read(buffer, len(buffer)))
    if length >= len(buffer):
        buffer = ctypes.create_string_buffer(length + 1)
        read(buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace")
