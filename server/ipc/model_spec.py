"""One model as its worker is started with it, and as it turns out once it is loaded. Plain data; the first
frame down and the last word of loading are made of these."""

from __future__ import annotations

from typing import Literal

import msgspec


class AdapterSpec(msgspec.Struct, frozen=True):
    """A LoRA adapter's GGUF file, and the id by which requests ask for it: never used for another one."""

    id: int
    path: str


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is started with. `None` means "choose for this machine"."""

    name: str
    path: str
    n_ctx: int | None = None
    """Context of one request, in tokens; None: the model's own, at most 4096."""
    n_parallel: int = 8
    n_gpu_layers: int | Literal["auto"] = "auto"
    n_batch: int = 2048
    n_ubatch: int = 512
    prefill_chunk_tokens: int = 512
    gap_s: float = 0.2
    """What a step with prompt tokens may take while other requests generate."""
    speculate: Literal["off", "ngram"] = "off"
    draft_path: str | None = None
    """A smaller model's file that guesses the next tokens."""
    draft_max: int = 31
    n_threads: int | None = None
    n_threads_batch: int | None = None
    kv_unified: bool = False
    flash_attn: Literal["auto", "on", "off"] = "auto"
    type_k: str = "f16"
    type_v: str = "f16"
    use_mmap: bool = True
    use_mlock: bool = False
    use_extra_bufts: bool = True
    prompt_side: Literal["auto", "on", "off"] = "auto"
    """Prompts on a second, unpacked mapping of the weights; auto: where that is faster and fits."""
    device_sampling: Literal["auto", "on", "off"] = "auto"
    """Rows of logits stay where they are computed; auto: on a GPU, where that is faster."""
    queue_size: int = 256
    prefix_folder: str | None = None
    """Where prefixes are kept over restarts; None: nowhere."""
    prefix_bytes_max: int = 0
    """What that folder may hold, of all models together."""
    prompt_format: str | None = None
    """Name in server.chat.prompt_formats, or None: chosen from the model's metadata and name."""
    adapters: tuple[AdapterSpec, ...] = ()
    """LoRA adapters to be ready from the start."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known once the model is loaded."""

    n_vocab: int
    n_ctx: int
    """Context of one request, in tokens."""
    n_ctx_train: int
    n_embd: int
    n_params: int
    size_bytes: int
    n_parallel: int
    n_gpu_layers: int
    description: str
    ftype: str
    prompt_format: str
    """The built-in format in use, or "template" for the GGUF's own Jinja."""
    bos_token: str | None = None
    eos_token: str | None = None
    chat_template: str | None = None
