"""`place`: the one decision on context, GPU's share, prompt side and memory of a served model. Pure.

The facts about files (`read_facts.py`) and machine are passed in. A worker decides by it before it loads
its model, the supervisor before it starts a worker, and the command line for what it shows.

Counted is what a worker allocates. Of the file's own pages, mapped a second time for the prompt side
(`server.worker.run.prefill_context`), only that they must have room: the system can drop them at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from models.machine.fit import (
    CELL_PADDING,
    GIB,
    MIB,
    MemoryEstimate,
    ModelFile,
    Verdict,
    estimate,
    estimate_pooled,
    fits_in_memory,
    pad_cells,
)
from models.machine.gpu_plan import GpuPlan, plan_gpu
from models.pooling import Pooling
from server.placement.facts import FreeMemory, ModelFacts
from server.placement.placement import Layout, Placement
from server.serve_options import ServeOptions

CTX_BASE = 4096
"""The cells are at least enough for so many tokens of every request, if the user chose no context and memory
allows it."""
CTX_MIN = 512
"""The tokens of every request are not reduced below this number for want of memory."""
CTX_AGENT = 32_768
"""A context of so many tokens is worth more than a prompt side: agents begin with half of it."""
GROWTH_SPARE_BYTES = 1 << 30
"""A context that the user didn't choose leaves at least so many bytes of the host's memory free."""
GPU_MARGIN_BYTES = 512 * MIB
"""Automatic GPU layers leave this many bytes free on each device."""
PROMPT_SIDE_SPARE_BYTES = 1 << 30
"""A worker opens a prompt side only if the weights and this many bytes find room beside the model."""

HEAD_KEPT_TOKENS = 256
"""For a head that drafts a worker keeps the states of so many of each slot's latest tokens, and at most of
twice as many."""

CHECKPOINT_SHARE = 0.25
"""The states to which slots go back take at most this fraction of what is free beside the model."""


def place(facts: ModelFacts, options: ServeOptions, memory: FreeMemory) -> Placement:
    """Decide how the model is served. Pure.

    A context that the user chose is kept whatever it takes; there may be fewer cells than all requests could
    fill. Otherwise each request gets cells for `CTX_BASE` tokens, halved until they fit, down to `CTX_MIN`;
    and as all requests' cells are one pool, a context is as long as they, or as the model was trained for.
    Where memory allows, and no layer has to leave a GPU for it, the pool grows until it is that.
    Layers with a sliding window keep only windows where that brings a longer context, more cells or more
    layers on a GPU; beside a projector never, as an image is computed at once and attends to all of itself.
    Raises ContextError for an unknown type of KV cache.
    """
    placer = _Placer(facts, options, memory)
    if facts.pooling is not None:
        return placer.pooled()
    placement = placer.for_text()
    if placement.has_all or options.swa_full or not facts.can_forget:
        return placement
    with_windows = replace(placer, swa_full=False).for_text()
    return with_windows if with_windows.worth > placement.worth else placement


def pooled_batch(n_cells: int, options: ServeOptions, pooling: Pooling) -> int:
    """Return the most tokens that a pooled model computes at once: an encoder's texts are computed whole."""
    return options.n_ubatch if pooling.is_causal else n_cells


@dataclass(frozen=True, slots=True)
class _Trial:
    """The bytes and the verdict for one size of the KV cache."""

    n_stream: int
    n_cells: int
    model: MemoryEstimate
    draft: int
    gpu: GpuPlan
    verdict: Verdict
    swa_full: bool


@dataclass(frozen=True, slots=True)
class _Placer:
    """Tries sizes of the KV cache of one model on one machine.

    `swa_full`: layers with a sliding window keep the cells of all tokens.
    """

    facts: ModelFacts
    options: ServeOptions
    memory: FreeMemory
    swa_full: bool = True

    def for_text(self) -> Placement:
        """Place a model that writes text."""
        ctx = self.options.ctx
        return self.for_context(ctx) if ctx is not None else self.default()

    def for_context(self, n_ctx: int) -> Placement:
        """Place a model whose context the user chose: as many cells as fit, up to that for every request."""
        most = pad_cells(n_ctx)
        least = most if self.facts.has_encoder else pad_cells(-(-n_ctx // self.options.parallel))
        trial = self._try(most)
        if not trial.verdict.fits:
            trial = self._largest(least, most, lambda trial: trial.verdict.fits)
        return self._placement(n_ctx, n_ctx, trial, trial.verdict)

    def default(self) -> Placement:
        """Place a model whose context nobody chose."""
        trained = self._longest
        n_each = min(trained, CTX_BASE)
        first = trial = self._try(pad_cells(n_each))
        while not trial.verdict.fits and n_each > CTX_MIN:
            n_each = max(CTX_MIN, n_each // 2)
            trial = self._try(pad_cells(n_each))
        if self.facts.has_encoder:
            return self._placement(n_each, min(trained, CTX_BASE), trial, first.verdict)
        if trial is first and trial.verdict.fits and trained > trial.n_cells:
            trial = self._grown(trial, trained)
        return self._placement(min(trained, trial.n_cells), trained, trial, first.verdict)

    def pooled(self) -> Placement:
        """Place a model that makes vectors: as many cells as its longest text and a step of short ones need.

        A context that the user didn't choose leaves memory for others.
        """
        wanted = self._longest
        spare_bytes = 0 if self.options.ctx is not None else GROWTH_SPARE_BYTES
        n_ctx = wanted
        first = trial = self._try_pooled(n_ctx)
        while (
            self.options.ctx is None
            and n_ctx > CTX_MIN
            and trial.verdict.needed_bytes > self.memory.available_bytes - spare_bytes
        ):
            n_ctx = max(CTX_MIN, n_ctx // 2)
            trial = self._try_pooled(n_ctx)
        return self._placement(n_ctx, wanted, trial, first.verdict)

    @property
    def _longest(self) -> int:
        """The context of a request if memory doesn't matter."""
        if self.options.ctx is not None:
            return self.options.ctx
        trained, told = self.facts.n_ctx_train or CTX_BASE, self.facts.n_ctx_told
        return trained if told is None else min(trained, told)

    def _grown(self, base: _Trial, trained: int) -> _Trial:
        """Return the trial with the largest pool that costs no layer and no experts on a GPU.

        It costs the prompt side only where without that the context would be short of `CTX_AGENT`.
        """
        spare_bytes = self.memory.available_bytes - GROWTH_SPARE_BYTES

        def fits(trial: _Trial) -> bool:
            return trial.gpu.has_all_of(base.gpu) and trial.verdict.needed_bytes <= spare_bytes

        def fits_with_side(trial: _Trial) -> bool:
            return fits(trial) and self._prompt_side_bytes(trial, min(trained, trial.n_cells)) > 0

        most = pad_cells(-(-trained // self.options.parallel))
        if self._prompt_side_bytes(base, base.n_stream):
            beside = self._largest(base.n_stream, most, fits_with_side)
            if beside.n_cells >= min(trained, CTX_AGENT):
                return beside
        return self._largest(base.n_stream, most, fits)

    def _largest(self, least: int, most: int, fits: Callable[[_Trial], bool]) -> _Trial:
        """Return the trial with most cells per request that fits; that with `least` if none does."""
        best = self._try(least)
        low, high = least // CELL_PADDING, most // CELL_PADDING
        while low < high:
            middle = (low + high + 1) // 2
            trial = self._try(middle * CELL_PADDING)
            if fits(trial):
                low, best = middle, trial
            else:
                high = middle - 1
        return best

    def _try(self, n_stream: int) -> _Trial:
        """Try `n_stream` cells for each request; working memory is counted for the layout that takes more."""
        facts, options = self.facts, self.options
        is_shared = options.kv_unified or (self._longest > n_stream and not facts.has_encoder)
        needs = estimate_at(n_stream, facts.model, options, kv_unified=is_shared, swa_full=self.swa_full)
        return self._judged(n_stream, n_stream * options.parallel, needs)

    def _try_pooled(self, n_ctx: int) -> _Trial:
        """Try a context of a model that makes vectors: one request's text, or a step of several'."""
        options, pooling = self.options, self.facts.pooling
        assert pooling is not None
        n_cells = pad_cells(max(n_ctx, options.n_ubatch))
        needs = estimate_pooled(
            self.facts.model,
            n_cells,
            pooled_batch(n_cells, options, pooling),
            has_memory=pooling.is_causal,
            type_k=options.type_k,
            type_v=options.type_v,
            flash_attn=options.flash_attn != "off",
        )
        return self._judged(n_cells, n_cells, needs)

    def _judged(self, n_stream: int, n_cells: int, needs: MemoryEstimate) -> _Trial:
        """Return the trial of what a model needs, with the layers that fit on GPUs and the verdict."""
        facts, memory, options = self.facts, self.memory, self.options
        draft = 0
        if facts.draft is not None:  # its sequences always share their cells
            draft = estimate_at(n_stream, facts.draft, options, kv_unified=True).total
        elif facts.drafts_itself:  # its weights are among the model's
            draft = max(needs.layer_kv, default=0) + needs.compute
        draft += 2 * HEAD_KEPT_TOKENS * options.parallel * facts.head_state_bytes
        extra_bytes = facts.adapter_bytes + draft + facts.projector_bytes
        n_cpu_experts = needs.n_layer if options.cpu_moe else options.n_cpu_moe
        if options.split:
            extra_bytes += needs.output_weights
            if n_cpu_experts == "auto":  # a layer in two places sends its tokens' states there and back
                n_cpu_experts = 0
        gpu = plan_gpu(
            needs,
            memory.devices,
            # Adapters and the draft model follow the layers: here they may be on either side, or on both.
            GPU_MARGIN_BYTES + extra_bytes,
            n_layers=options.gpu_layers,
            n_cpu_experts=n_cpu_experts,
        )
        verdict = fits_in_memory(
            needs, memory.available_bytes, gpu.n_layers, extra_bytes, cpu_experts=gpu.cpu_experts
        )
        return _Trial(n_stream, n_cells, needs, draft, gpu, verdict, self.swa_full)

    def _placement(self, n_ctx: int, wanted: int, trial: _Trial, wanted_verdict: Verdict) -> Placement:
        return Placement(
            n_ctx=n_ctx,
            n_ctx_wanted=wanted,
            n_cells=trial.n_cells,
            n_stream=trial.n_stream,
            layout=self._layout(n_ctx, trial.n_stream),
            swa_full=trial.swa_full,
            gpu_layers=trial.gpu.n_layers,
            gpu_layers_fit=trial.gpu.fits,
            cpu_experts=trial.gpu.cpu_experts,
            model=trial.model,
            adapters=self.facts.adapter_bytes,
            draft=trial.draft,
            projector=self.facts.projector_bytes,
            prompt_side=(side := self._prompt_side_bytes(trial, n_ctx)),
            checkpoints=self._checkpoint_bytes(trial, side),
            verdict=trial.verdict,
            wanted_verdict=wanted_verdict,
            is_split=bool(self.options.split),
        )

    def _layout(self, n_ctx: int, n_stream: int) -> Layout:
        """Return the layout that gives a request `n_ctx` tokens.

        Some models have other rotary factors in a longer context than they were first trained for: their
        states mean something else in another layout, so they have one alone.
        """
        if self.options.kv_unified or self.facts.pooling is not None:
            return "unified"
        if self.facts.has_encoder or n_ctx <= n_stream:
            return "streams"
        original = self.facts.model.hyperparameter("rope.scaling.original_context_length") or 0
        return "unified" if self.facts.is_recurrent or n_stream <= original else "by_need"

    def _prompt_side_bytes(self, trial: _Trial, n_ctx: int) -> int:
        """Bytes of the prompt side; 0 where it isn't opened, as far as the header and the free memory tell.

        None for a KV cache that all sequences always share, where a state that moves over may find no room;
        for layers on a GPU; for models that forget, by a sliding window or a recurrent state; beside a
        projector, whose images are computed where answers are; and on auto beside our matrix kernels, which
        are the quicker ones for prompts, too.
        """
        is_shared = self._layout(n_ctx, trial.n_stream) == "unified"
        is_needless = self.options.prompt_side == "auto" and self.facts.in_panels
        is_barred = (
            is_shared or trial.gpu.n_layers > 0 or self.facts.forgets or self.facts.projector_bytes > 0
        )
        if self.options.prompt_side == "off" or is_needless or is_barred:
            return 0
        needs = trial.model
        side_bytes = needs.kv + needs.compute + needs.output + needs.kv // self.options.parallel
        free_bytes = self.memory.available_bytes - needs.total - self.facts.adapter_bytes - trial.draft
        return side_bytes if max(needs.weights + PROMPT_SIDE_SPARE_BYTES, side_bytes) <= free_bytes else 0

    def _checkpoint_bytes(self, trial: _Trial, prompt_side: int) -> int:
        """Bytes for the states to which slots go back: what the user allows, of what is free beside all."""
        facts = self.facts
        if not facts.forgets or facts.has_encoder or facts.pooling is not None:
            return 0
        free_bytes = self.memory.available_bytes - trial.verdict.needed_bytes - prompt_side
        allowed_bytes = int(self.options.checkpoint_gib * GIB)
        return max(0, min(allowed_bytes, int(free_bytes * CHECKPOINT_SHARE)))


def estimate_at(
    n_stream: int, model: ModelFile, options: ServeOptions, *, kv_unified: bool, swa_full: bool = True
) -> MemoryEstimate:
    """Bytes of `model`, or of its draft model, with so many cells for each request. Raises ContextError.

    `swa_full`: that of a `Placement`.
    """
    return estimate(
        model,
        n_stream,
        options.parallel,
        type_k=options.type_k,
        type_v=options.type_v,
        n_ubatch=options.n_ubatch,
        kv_unified=kv_unified,
        flash_attn=options.flash_attn != "off",
        swa_full=swa_full,
    )
