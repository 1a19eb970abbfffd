"""The KV cache's types and size, checked before llama.cpp allocates it."""

from __future__ import annotations

from models.errors import ContextError
from models.llamacpp.model import Model
from models.llamacpp.quantization.ggml_types import blck_size, type_number, type_size
from models.machine.host_memory import memory
from models.quantization_types import KV_CACHE_TYPES


def kv_type(name: str) -> int:
    """The ggml type called `name`; raises ContextError if a cache can't be of it."""
    if name.lower() not in KV_CACHE_TYPES:
        raise ContextError(f"a KV cache can't be of type `{name}`; choose one of {', '.join(KV_CACHE_TYPES)}")
    return type_number(name)


def require_memory(model: Model, n_ctx: int, type_k: str, type_v: str) -> None:
    """Refuse what can't fit: the system would let it be allocated, and kill the process at first use."""
    available = memory().available_bytes
    if not model.no_alloc and n_ctx * _kv_bytes_per_token(model, type_k, type_v) > available:
        why = f"only {available / 2**30:,.1f} GiB of memory are free"
        raise ContextError(no_context(model, n_ctx, type_k, type_v, why))


def no_context(model: Model, n_ctx: int, type_k: str, type_v: str, why: str) -> str:
    """Return the message of a context that can't be made."""
    gib = n_ctx * _kv_bytes_per_token(model, type_k, type_v) / 2**30
    return (
        f"no context of {n_ctx:,} tokens for {model.path.name}: {why} "
        f"and its KV cache takes about {gib:,.1f} GiB; lower --ctx or --parallel"
    )


def _kv_bytes_per_token(model: Model, type_k: str, type_v: str) -> float:
    """An estimate for the message: every layer attends to everything with heads of one size."""
    n_embd_head = model.n_embd / max(model.n_head, 1)
    return sum(
        model.n_layer * model.n_head_kv * n_embd_head * type_size(kind) / blck_size(kind)
        for kind in (kv_type(type_k), kv_type(type_v))
    )
