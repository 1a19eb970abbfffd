"""`place`: the one decision on context, GPU layers, prompt side and memory of a served model. Pure.

The facts about files (`server.model_facts`) and machine are passed in. A worker decides by it before it loads
its model, the supervisor before it starts a worker, and the command line for what it shows.

Counted is what a worker allocates. Of the file's own pages, mapped a second time for the prompt side
(`server.worker.run.prefill_context`), only that they must have room: the system can drop them at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.machine.fit import (
    MIB,
    DeviceLike,
    MemoryEstimate,
    ModelFile,
    Verdict,
    estimate,
    fits_in_memory,
    pad_cells,
    plan_gpu_layers,
)
from server.serve_options import ServeOptions

CTX_DEFAULT_MAX = 4096
"""The context of a request has at most this many tokens if the user chose none."""
CTX_MIN = 512
"""A context that the user didn't choose is reduced to no fewer tokens for want of memory."""
GPU_MARGIN_BYTES = 512 * MIB
"""Automatic GPU layers leave this many bytes free on each device."""
PROMPT_SIDE_SPARE_BYTES = 1 << 30
"""A worker opens a prompt side only if the weights and this many bytes find room beside the model."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The files that a worker loads: the model's header, its adapters' bytes, its draft model's header."""

    model: ModelFile
    adapter_bytes: int = 0
    draft: ModelFile | None = None

    @property
    def n_ctx_train(self) -> int | None:
        """The context in tokens that the model was trained for, if its header says."""
        return self.model.hyperparameter("context_length")


@dataclass(frozen=True, slots=True)
class FreeMemory:
    """The memory that a worker finds: bytes available on the host, and the devices with their free bytes."""

    available_bytes: int
    devices: Sequence[DeviceLike] = ()

    @property
    def has_gpu(self) -> bool:
        return any(device.type in ("gpu", "igpu") for device in self.devices)


@dataclass(frozen=True, slots=True)
class Placement:
    """The sizes with which a model is served, and the bytes that each part takes at most."""

    n_ctx: int
    """The context of one request has this many tokens."""
    n_ctx_wanted: int
    """It would have this many if memory didn't matter."""
    n_cells: int
    """The KV cache has this many cells, those of all requests together."""
    gpu_layers: int
    """llama.cpp puts this many layers on GPUs, counted from the end, the output first; 0 without a GPU."""
    gpu_layers_fit: bool
    """True if all layers that were wanted there, on auto all of the model's, fit the GPUs' free memory."""
    model: MemoryEstimate
    """The model's weights, KV cache and working memory take these bytes."""
    adapters: int
    """The LoRA adapters take this many bytes."""
    draft: int
    """The draft model takes this many bytes, its KV cache for as many tokens included; 0 without one."""
    prompt_side: int
    """The prompt side takes this many bytes: a KV cache, working memory, and the state that moves over to the
    main context. 0 if the worker opens none."""
    verdict: Verdict
    """The host's memory takes the model, the adapters and the draft model at `n_ctx`, or it doesn't."""
    wanted_verdict: Verdict
    """The same at `n_ctx_wanted`."""

    @property
    def fits_as_wanted(self) -> bool:
        """True if nothing has to be reduced: neither the context nor the layers on GPUs."""
        return self.wanted_verdict.fits and self.gpu_layers_fit

    @property
    def extra(self) -> int:
        """Bytes beside the model's own."""
        return self.adapters + self.draft + self.prompt_side

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes that a token takes in the KV cache; a recurrent state is divided among its cells."""
        return self.model.kv / self.n_cells


def place(facts: ModelFacts, options: ServeOptions, memory: FreeMemory) -> Placement:
    """Decide how the model is served. Pure.

    A context that the user chose is kept whatever it takes; another one is halved until it fits, down to
    `CTX_MIN`. A prompt side never makes a model not fit: without room for it there is none.
    Raises ContextError for an unknown type of KV cache.
    """
    wanted = n_ctx = options.ctx or min(facts.n_ctx_train or CTX_DEFAULT_MAX, CTX_DEFAULT_MAX)
    first = tried = _Trial.at(n_ctx, facts, options, memory)
    while not tried.verdict.fits and options.ctx is None and n_ctx > CTX_MIN:
        n_ctx = max(CTX_MIN, n_ctx // 2)
        tried = _Trial.at(n_ctx, facts, options, memory)
    return Placement(
        n_ctx=n_ctx,
        n_ctx_wanted=wanted,
        n_cells=pad_cells(n_ctx) * options.parallel,
        gpu_layers=tried.gpu_layers,
        gpu_layers_fit=tried.gpu_layers_fit,
        model=tried.model,
        adapters=facts.adapter_bytes,
        draft=tried.draft,
        prompt_side=_prompt_side_bytes(tried, facts, options, memory),
        verdict=tried.verdict,
        wanted_verdict=first.verdict,
    )


def estimate_at(n_ctx: int, model: ModelFile, options: ServeOptions, *, kv_unified: bool) -> MemoryEstimate:
    """Bytes of `model`, or of its draft model, for requests of `n_ctx` tokens. Raises ContextError."""
    return estimate(
        model,
        n_ctx,
        options.parallel,
        type_k=options.type_k,
        type_v=options.type_v,
        n_ubatch=options.n_ubatch,
        kv_unified=kv_unified,
        flash_attn=options.flash_attn != "off",
    )


@dataclass(frozen=True, slots=True)
class _Trial:
    """The bytes and the verdict for one context."""

    model: MemoryEstimate
    draft: int
    gpu_layers: int
    gpu_layers_fit: bool
    verdict: Verdict

    @classmethod
    def at(cls, n_ctx: int, facts: ModelFacts, options: ServeOptions, memory: FreeMemory) -> _Trial:
        needs = estimate_at(n_ctx, facts.model, options, kv_unified=options.kv_unified)
        draft = 0
        if facts.draft is not None:  # its sequences never share cells
            draft = estimate_at(n_ctx, facts.draft, options, kv_unified=False).total
        extra_bytes = facts.adapter_bytes + draft
        gpu_layers, fit = 0, True
        if memory.has_gpu:
            # Adapters and the draft model follow the layers: here they may be on either side, or on both.
            fitting = plan_gpu_layers(needs, memory.devices, GPU_MARGIN_BYTES + extra_bytes)
            wanted = needs.n_layer + 1 if options.gpu_layers == "auto" else options.gpu_layers
            gpu_layers = fitting if options.gpu_layers == "auto" else options.gpu_layers
            fit = fitting >= min(wanted, needs.n_layer + 1)
        verdict = fits_in_memory(needs, memory.available_bytes, gpu_layers, extra_bytes)
        return cls(needs, draft, gpu_layers, fit, verdict)


def _prompt_side_bytes(tried: _Trial, facts: ModelFacts, options: ServeOptions, memory: FreeMemory) -> int:
    """Bytes of the prompt side; 0 where it isn't opened, as far as the header and the free memory tell.

    None for a KV cache shared by all sequences, where a state that moves over may find no room; for layers on
    a GPU; and for models that forget, by a sliding window or a recurrent state.
    """
    forgets = any(facts.model.hyperparameter(key) for key in ("attention.sliding_window", "ssm.state_size"))
    if options.prompt_side == "off" or options.kv_unified or tried.gpu_layers or forgets:
        return 0
    needs = tried.model
    side_bytes = needs.kv + needs.compute + needs.output + needs.kv // options.parallel
    free_bytes = memory.available_bytes - needs.total - facts.adapter_bytes - tried.draft
    return side_bytes if max(needs.weights + PROMPT_SIDE_SPARE_BYTES, side_bytes) <= free_bytes else 0
