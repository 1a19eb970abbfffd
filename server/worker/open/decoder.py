"""The opener of decoder models: one context for all slots, and all that can go with it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from models.errors import LlamaCppError
from models.gguf.head_rules import HEAD_KIND
from models.gguf.info import read_gguf_info, require_projector_for
from models.llamacpp.context import Context
from models.llamacpp.projector import Projector
from models.llamacpp.thread_cores import cores_for
from models.machine.host_memory import memory
from server.engine.speculation.in_turn import InTurn
from server.engine.speculation.ngram import NgramProposer
from server.engine.speculation.speculation import Drafting, Speculation
from server.ipc.model_spec import Findings, ModelSpec
from server.kernels.outlook import is_in_panels
from server.worker.adapter_set import AdapterSet
from server.worker.images.reader import ImageReader
from server.worker.open.device_sampling import choose_device_sampling
from server.worker.open.heads import open_head, open_own_head
from server.worker.open.parts import LoadedFile, LoadedModel, describe, open_renderer, open_sampling
from server.worker.open.step_times import measure_steps
from server.worker.open.warm_up import WarmUpResult, warm_up
from server.worker.prefix.file import Bounds
from server.worker.prefix.open import kept_key, open_prefixes
from server.worker.prompts import PromptReader
from server.worker.run.adaptive_threads import AdaptiveThreads
from server.worker.run.context_decoder import DecodeListener
from server.worker.run.draft_head import HeadProposer
from server.worker.run.draft_model import load_draft
from server.worker.run.hidden_state_log import HiddenStateLog
from server.worker.run.kv_layout import KVLayout
from server.worker.run.prefill_context import PrefillContext, PrefillOptions, open_prefill_context
from server.worker.run.runner import LlamaRunner, RunnerParts
from server.worker.slot_files import SlotFiles

logger = logging.getLogger("corral.worker")

AUTO_STREAMS = 4
"""On auto, guesses are made while at most this many sequences generate: with more, the rows of a step have
work enough, and a guess for one lengthens the step of all."""


def open_decoder(file: LoadedFile, listener: DecodeListener) -> LoadedModel:
    """Open a decoder model. See `Opener`."""
    spec = file.spec
    adapters = AdapterSet(file.model)
    for adapter in spec.adapters:  # a model isn't served without what it is to be served with
        adapters.load(adapter)
    context = open_context(file)
    measured = _warm_up(file, context, adapters)
    projector = open_projector(file)
    known = spec.findings
    step_times = tuple(measure_steps(context)) if known is None else known.step_times
    prefill = _open_prefill(file, context, measured)
    on_device = choose_device_sampling(spec, context, has_head=file.model.has_further_layers)
    renderer = open_renderer(file)
    speculation, hidden_states = open_speculation(
        file, context, can_trim=measured.can_trim, on_device=on_device, sees_images=projector is not None
    )
    prefixes = open_prefixes(
        spec,
        file.info,
        file.placement,
        context,
        can_trim=measured.can_trim,
        adapters_key=adapters.key,
    )
    parts = RunnerParts(
        adapters=adapters,
        states=prefixes,
        prefill=prefill,
        threads=open_threads(context),
        layout=open_layout(file, context, prefill),
        listener=listener,
        projector=projector,
        hidden_states=hidden_states,
        on_device=on_device,
    )
    runner = LlamaRunner(
        context,
        file.placement.n_ctx,
        can_trim=measured.can_trim,
        can_rewind=measured.can_rewind,
        parts=parts,
    )
    return LoadedModel(
        runner=runner,
        info=describe(
            file,
            runner,
            renderer,
            sees_images=projector is not None,
            findings=Findings(step_times=step_times, prompt_side=prefill is not None),
        ),
        renderer=renderer,
        prompts=PromptReader(
            file.model.vocab,
            renderer,
            open_sampling(file),
            n_ctx=file.placement.n_ctx,
            reasoning=file.spec.options.reasoning,
            context_shift=file.spec.options.context_shift,
            finds_borders=runner.can_rewind and file.placement.checkpoints > 0,
            images=None if projector is None else ImageReader(projector, context.n_ubatch, _hosts(spec)),
        ),
        adapters=adapters,
        speculation=speculation,
        step_times=step_times,
        prefixes=prefixes,
        checkpoint_bytes=file.placement.checkpoints,
        slot_files=SlotFiles(
            runner,
            lambda: kept_key(spec, file.info, context),
            Bounds(runner.n_stream, runner.n_vocab),
        ),
    )


def open_context(file: LoadedFile) -> Context:
    """Open the context that all slots share. Raises ContextError."""
    options = file.spec.options
    n_threads_batch = options.threads_batch or file.n_threads
    on_cpu = file.model.n_gpu_layers == 0
    return Context(
        file.model,
        cores=cores_for(file.n_threads, n_threads_batch) if on_cpu else (),
        n_ctx=file.placement.n_cells,
        n_batch=max(options.n_batch, options.parallel + 1),
        n_ubatch=max(options.n_ubatch, options.parallel + 1),
        n_seq_max=options.parallel,
        n_threads=file.n_threads,
        n_threads_batch=n_threads_batch,
        kv_unified=file.placement.layout == "unified",
        swa_full=file.placement.swa_full,
        flash_attn=options.flash_attn,
        type_k=options.type_k,
        type_v=options.type_v,
    )


def open_projector(file: LoadedFile) -> Projector | None:
    """Load the model's projector, if it is served with one. Raises InvalidGGUF, LlamaCppError."""
    spec = file.spec
    if spec.projector_path is None:
        return None
    info = read_gguf_info(Path(spec.projector_path))
    require_projector_for(info, file.info)
    return Projector(
        info.path,
        file.model,
        on_gpu=file.model.n_gpu_layers > 0,
        n_threads=spec.options.threads_batch or file.n_threads,
        flash_attn=spec.options.flash_attn,
    )


def _hosts(spec: ModelSpec) -> list[str]:
    """Return the patterns of the hosts from which images are fetched."""
    return [host.strip() for host in (spec.options.image_hosts or "").split(",") if host.strip()]


def open_layout(file: LoadedFile, context: Context, prefill: PrefillContext | None) -> KVLayout | None:
    """Let the KV cells be divided anew where a request may be longer than a stream."""
    if file.placement.layout != "by_need":
        return None
    return KVLayout(context, prefill, lambda: memory().available_bytes)


def open_threads(context: Context) -> AdaptiveThreads | None:
    """Adapt the number of threads where several compute on the CPU alone."""
    on_cpu = context.model.n_gpu_layers == 0 and context.n_threads > 1
    return AdaptiveThreads(context.n_threads) if on_cpu else None


def open_speculation(
    file: LoadedFile, context: Context, *, can_trim: bool, on_device: bool, sees_images: bool = False
) -> tuple[Drafting | None, HiddenStateLog | None]:
    """Open the proposers that the settings ask for, and the log that a head among them wants, if any.

    With `on_device` rows of logits stay on the device, and drafts, which need whole rows, must be asked for.
    Raises ModelLoadError: a draft model or head can't.
    """
    spec = file.spec
    speculate, draft_max = spec.options.speculate, spec.options.draft_max
    if spec.draft_path is None and speculate == "off":
        return None, None
    is_asked_for = spec.draft_path is not None or speculate == "ngram"
    if not can_trim:
        level = logging.WARNING if is_asked_for else logging.INFO
        logger.log(level, "%s can't take back rejected guesses: it is served without speculation", spec.name)
        return None, None
    if spec.draft_path is not None and sees_images:
        logger.warning("%s sees images, and its draft model doesn't: it is served without that", spec.name)
        return Speculation(NgramProposer(), draft_max=draft_max), None
    if spec.draft_path is not None:
        info = read_gguf_info(Path(spec.draft_path))
        if info.kind != HEAD_KIND:
            return Speculation(load_draft(spec, context), draft_max=draft_max, clock_s=time.monotonic), None
        return _with_head(open_head(spec, info, file.info, context), spec)
    if is_asked_for:
        return Speculation(NgramProposer(), draft_max=draft_max), None
    if on_device:
        logger.info("%s is served without speculation: its logits stay on the GPU", spec.name)
        return None, None
    if file.model.has_further_layers:
        try:
            return _with_head(open_own_head(spec, context), spec)
        except LlamaCppError as error:
            logger.warning("%s doesn't draft with its further layer: %s", spec.name, error)
    return Speculation(NgramProposer(), draft_max=draft_max, n_streams_max=AUTO_STREAMS), None


def _with_head(head: HeadProposer, spec: ModelSpec) -> tuple[Drafting, HiddenStateLog]:
    """Let a head guess where what a sequence repeats doesn't say how it goes on, which costs nothing."""
    speculate, draft_max = spec.options.speculate, spec.options.draft_max
    by_head = Speculation(head, draft_max=draft_max, n_streams_max=AUTO_STREAMS, clock_s=time.monotonic)
    if speculate == "off":
        return by_head, head.log
    n_streams_max = None if speculate == "ngram" else AUTO_STREAMS
    return InTurn(
        [Speculation(NgramProposer(), draft_max=draft_max, n_streams_max=n_streams_max), by_head]
    ), head.log


def _warm_up(file: LoadedFile, context: Context, adapters: AdapterSet) -> WarmUpResult:
    """Warm up with all adapters, too: what crashes with them should do so here, not under a request."""
    if file.spec.adapters:
        adapters.use(context, tuple((adapter.id, 1.0) for adapter in file.spec.adapters))
        warm_up(context, file.placement.n_ctx)
        adapters.use(context, ())
    return warm_up(context, file.placement.n_ctx)


def _open_prefill(file: LoadedFile, context: Context, measured: WarmUpResult) -> PrefillContext | None:
    """Open the prefill context if it has a place, the KV cache can move and, on auto, where it pays.

    Corral's matrix kernels are the quicker ones for prompts, too: on auto it isn't opened beside them.
    """
    options, known = file.spec.options, file.spec.findings
    if options.prompt_side == "auto" and known is not None and not known.prompt_side:
        return None
    if not file.placement.prompt_side or not measured.can_trim or file.model.n_swa:
        return None
    if file.kernels.by == "corral" and is_in_panels(file.info, file.kernels.types):
        if options.prompt_side == "auto":
            return None
        logger.warning("prompt_side is on: prompts of %s do without Corral's quicker kernels", file.spec.name)
    prefill_options = PrefillOptions(
        n_threads=options.threads_batch or file.n_threads,
        flash_attn=options.flash_attn,
        type_k=options.type_k,
        type_v=options.type_v,
    )
    measure = options.prompt_side == "auto" and known is None
    return open_prefill_context(context, prefill_options, memory().available_bytes, measure=measure)
