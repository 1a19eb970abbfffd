"""`load`: a `ModelSpec` becomes a model, loaded, warm and described."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelLoadError
from models.gguf.info import GGUFInfo, read_gguf_info
from models.llamacpp import library
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from models.llamacpp.vocab import Vocab
from models.machine.hardware import usable_cores
from models.machine.host_memory import memory
from server.chat.render import ChatRenderer
from server.engine.speculation.ngram import NgramProposer
from server.engine.speculation.speculation import Speculation
from server.ipc.model_spec import ModelInfo, ModelSpec
from server.model_facts import read_facts
from server.placement import FreeMemory, Placement, place
from server.worker.adapter_set import AdapterSet
from server.worker.open.device_sampling import open_device_sampling, output_is_on_gpu
from server.worker.prefix.open import open_prefixes
from server.worker.prefix.store import PrefixStore
from server.worker.run.draft_model import load_draft
from server.worker.run.encoder_decoder import open_encoder_decoder
from server.worker.run.prefill_context import SideOptions, open_prompt_side
from server.worker.run.runner import LlamaRunner
from server.worker.sampling.defaults import sampling_defaults

logger = logging.getLogger("corral.worker")

PROGRESS_STEP = 0.01


@dataclass(frozen=True)
class LoadedModel:
    model: Model
    runner: LlamaRunner
    renderer: ChatRenderer
    info: ModelInfo
    sampling: dict[str, float | int]
    """The model's own sampling defaults."""
    adapters: AdapterSet
    speculation: Speculation | None = None
    prefixes: PrefixStore | None = None


def load(spec: ModelSpec, on_progress: Callable[[float], None]) -> LoadedModel:
    """Check the file, load it, make its context and compute once. `on_progress` gets 0 to 1, in steps.

    Raises InvalidGGUF, ModelLoadError, ContextError and other LlamaCppErrors.
    """
    info = read_gguf_info(Path(spec.path))
    if info.kind != "model":
        raise ModelLoadError(
            f"{info.path.name} is of kind '{info.kind}', not a model; give a model's GGUF file"
        )
    library.load()
    options = spec.options
    placement = place_here(spec, info)
    say_placement(spec.name, info, placement)
    model = Model.load(
        info.path,
        n_gpu_layers=placement.gpu_layers,
        use_mmap=options.use_mmap,
        use_mlock=options.use_mlock,
        use_extra_bufts=options.use_extra_bufts,
        progress=_Progress(on_progress),
    )
    if not model.has_decoder or model.is_diffusion:
        raise ModelLoadError(f"{info.path.name} ({model.desc}) doesn't generate text; serve a decoder model")
    n_threads = options.threads or usable_cores()[0]
    adapters = load_adapters(spec, model)
    opened: tuple[Context, LlamaRunner] = (
        open_encoder_decoder(spec, model, placement.n_ctx, n_threads)
        if model.has_encoder
        else open_decoder(spec, model, placement, n_threads, adapters)
    )
    context, runner = opened
    if spec.adapters:  # what crashes with them should do so here, not under a request
        adapters.use(context, tuple((adapter.id, 1.0) for adapter in spec.adapters))
        runner.warm_up()
        adapters.use(context, ())
    runner.warm_up()
    if placement.prompt_side and runner.can_trim and not runner.n_swa:
        side_options = SideOptions(
            n_threads=options.threads_batch or n_threads,
            flash_attn=options.flash_attn,
            type_k=options.type_k,
            type_v=options.type_v,
        )
        measured = options.prompt_side == "auto"
        side = open_prompt_side(context, side_options, memory().available_bytes, measure=measured)
        if side is not None:
            runner.use_side(side)
    if not model.has_encoder:
        sample_on_device(spec, runner, context)
    vocab = model.vocab
    renderer = ChatRenderer(
        info.chat_template,
        special_text(vocab, vocab.bos) or "",
        special_text(vocab, vocab.eos) or "",
        spec.name,
        model.metadata,
        options.prompt_format,
    )
    renderer.warm_up()
    described = describe(spec, info, model, runner, renderer)
    speculation = speculation_for(spec, runner, context)
    sampling = sampling_defaults(info.metadata)
    prefixes = (
        None
        if model.has_encoder
        else open_prefixes(spec, info, placement.kv_bytes_per_token, context, runner, adapters)
    )
    return LoadedModel(model, runner, renderer, described, sampling, adapters, speculation, prefixes)


def open_decoder(
    spec: ModelSpec, model: Model, placement: Placement, n_threads: int, adapters: AdapterSet
) -> tuple[Context, LlamaRunner]:
    """The context that all slots share, and its runner. Raises ContextError."""
    options = spec.options
    context = Context(
        model,
        n_ctx=placement.n_cells,
        n_batch=max(options.n_batch, options.parallel + 1),
        n_ubatch=options.n_ubatch,
        n_seq_max=options.parallel,
        n_threads=n_threads,
        n_threads_batch=options.threads_batch or n_threads,
        kv_unified=options.kv_unified,
        flash_attn=options.flash_attn,
        type_k=options.type_k,
        type_v=options.type_v,
    )
    return context, LlamaRunner(context, placement.n_ctx, adapters)


def load_adapters(spec: ModelSpec, model: Model) -> AdapterSet:
    """Raises InvalidGGUF and ModelLoadError: a model isn't served without what it is to be served with."""
    adapters = AdapterSet(model)
    for adapter in spec.adapters:
        adapters.load(adapter)
    return adapters


def sample_on_device(spec: ModelSpec, runner: LlamaRunner, context: Context) -> bool:
    """Leave rows of logits on the device if that is asked for and possible. Raises DecodeError.

    On auto not with speculation: a draft needs whole rows.
    """
    if spec.options.device_sampling == "on":
        return open_device_sampling(runner, context, measure=False)
    speculates = spec.draft_path is not None or spec.options.speculate != "off"
    if spec.options.device_sampling == "off" or speculates:
        return False
    on_gpu = output_is_on_gpu(context.model, library.devices())
    return on_gpu and open_device_sampling(runner, context, measure=True)


def speculation_for(spec: ModelSpec, runner: LlamaRunner, context: Context) -> Speculation | None:
    """Who guesses for this model, if anybody does. Raises ModelLoadError for a draft model that can't."""
    if spec.draft_path is None and spec.options.speculate == "off":
        return None
    if not runner.can_trim:
        logger.warning("%s can't take back rejected guesses: it is served without speculation", spec.name)
        return None
    if spec.draft_path is None:
        return Speculation(NgramProposer(), draft_max=spec.options.draft_max)
    return Speculation(load_draft(spec, context), draft_max=spec.options.draft_max)


def place_here(spec: ModelSpec, info: GGUFInfo) -> Placement:
    """Place the model in the memory that is free now. Raises InvalidGGUF and ContextError."""
    free = FreeMemory(memory().available_bytes, library.devices())
    return place(read_facts(spec, info), spec.options, free)


def say_placement(name: str, info: GGUFInfo, placement: Placement) -> None:
    """Warn of a context that is long or was reduced, and of a model that doesn't fit."""
    wanted = placement.n_ctx_wanted
    if info.n_ctx_train and wanted > info.n_ctx_train:
        logger.warning(
            "a context of %d tokens; %s was trained for %d and may lose the thread beyond",
            wanted,
            name,
            info.n_ctx_train,
        )
    if placement.n_ctx < wanted:
        logger.warning(
            "the context of %s is %d tokens instead of %d per request, to fit the memory; --ctx chooses it",
            name,
            placement.n_ctx,
            wanted,
        )
    if not placement.verdict.fits:
        logger.warning("%s %s", name, placement.verdict.text)


def special_text(vocab: Vocab, token: int | None) -> str | None:
    return None if token is None else vocab.piece(token, special=True).decode("utf-8", "replace")


def describe(
    spec: ModelSpec, info: GGUFInfo, model: Model, runner: LlamaRunner, renderer: ChatRenderer
) -> ModelInfo:
    return ModelInfo(
        n_vocab=runner.n_vocab,
        n_ctx=runner.n_ctx,
        n_ctx_train=model.n_ctx_train,
        n_embd=model.n_embd,
        n_params=model.n_params,
        size_bytes=model.size_bytes,
        n_parallel=spec.options.parallel,
        n_gpu_layers=min(model.n_gpu_layers, model.n_layer + 1),
        description=model.desc,
        ftype=info.ftype or "unknown",
        prompt_format=renderer.name,
        bos_token=special_text(model.vocab, model.vocab.bos),
        eos_token=special_text(model.vocab, model.vocab.eos),
        chat_template=info.chat_template,
    )


class _Progress:
    """Passes on every hundredth part and the end; never stops the load."""

    def __init__(self, on_progress: Callable[[float], None]) -> None:
        self._on_progress = on_progress
        self._told = 0.0

    def __call__(self, fraction: float) -> bool:
        if fraction - self._told >= PROGRESS_STEP or (fraction >= 1.0 > self._told):
            self._told = fraction
            self._on_progress(fraction)
        return True
