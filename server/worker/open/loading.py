"""A `ModelSpec` becomes a model, loaded, warm and described. Choices for this machine are made here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelLoadError
from models.gguf.info import GGUFInfo, read_gguf_info
from models.llamacpp import library
from models.llamacpp.context import Context
from models.llamacpp.kv_cache import padded
from models.llamacpp.model import Model
from models.llamacpp.vocab import Vocab
from models.machine.fit import estimate, fits_in_memory, plan_gpu_layers
from models.machine.hardware import usable_cores
from models.machine.host_memory import memory
from server.chat.render import ChatRenderer
from server.engine.speculation.ngram import NgramProposer
from server.engine.speculation.speculation import Speculation
from server.ipc.model_spec import ModelInfo, ModelSpec
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

DEFAULT_CTX_MAX = 4096
"""Context of a request when nobody chose one and the model could do more."""
CTX_MIN = 512
"""What a chosen context is reduced to at most, for want of memory."""
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
    n_ctx, n_gpu_layers = choose_sizes(spec, info, library.devices(), memory().available_bytes)
    model = Model.load(
        info.path,
        n_gpu_layers=n_gpu_layers,
        use_mmap=spec.use_mmap,
        use_mlock=spec.use_mlock,
        use_extra_bufts=spec.use_extra_bufts,
        progress=_Progress(on_progress),
    )
    if not model.has_decoder or model.is_diffusion:
        raise ModelLoadError(f"{info.path.name} ({model.desc}) doesn't generate text; serve a decoder model")
    n_threads = spec.n_threads or usable_cores()[0]
    adapters = load_adapters(spec, model)
    opened: tuple[Context, LlamaRunner] = (
        open_encoder_decoder(spec, model, n_ctx, n_threads)
        if model.has_encoder
        else open_decoder(spec, model, n_ctx, n_threads, adapters)
    )
    context, runner = opened
    if spec.adapters:  # what crashes with them should do so here, not under a request
        adapters.use(context, tuple((adapter.id, 1.0) for adapter in spec.adapters))
        runner.warm_up()
        adapters.use(context, ())
    runner.warm_up()
    if spec.prompt_side != "off" and runner.can_trim and not runner.n_swa and model.n_gpu_layers == 0:
        options = SideOptions(
            n_threads=spec.n_threads_batch or n_threads,
            flash_attn=spec.flash_attn,
            type_k=spec.type_k,
            type_v=spec.type_v,
        )
        measured = spec.prompt_side == "auto"
        side = open_prompt_side(context, options, memory().available_bytes, measure=measured)
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
        spec.prompt_format,
    )
    renderer.warm_up()
    described = describe(spec, info, model, runner, renderer)
    speculation = speculation_for(spec, runner, context)
    sampling = sampling_defaults(info.metadata)
    prefixes = None if model.has_encoder else open_prefixes(spec, info, context, runner, adapters)
    return LoadedModel(model, runner, renderer, described, sampling, adapters, speculation, prefixes)


def open_decoder(
    spec: ModelSpec, model: Model, n_ctx: int, n_threads: int, adapters: AdapterSet
) -> tuple[Context, LlamaRunner]:
    """The context that all slots share, and its runner. Raises ContextError."""
    context = Context(
        model,
        n_ctx=padded(n_ctx) * spec.n_parallel,
        n_batch=max(spec.n_batch, spec.n_parallel + 1),
        n_ubatch=spec.n_ubatch,
        n_seq_max=spec.n_parallel,
        n_threads=n_threads,
        n_threads_batch=spec.n_threads_batch or n_threads,
        kv_unified=spec.kv_unified,
        flash_attn=spec.flash_attn,
        type_k=spec.type_k,
        type_v=spec.type_v,
    )
    return context, LlamaRunner(context, n_ctx, adapters)


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
    if spec.device_sampling == "on":
        return open_device_sampling(runner, context, measure=False)
    speculates = spec.draft_path is not None or spec.speculate != "off"
    if spec.device_sampling == "off" or speculates:
        return False
    on_gpu = output_is_on_gpu(context.model, library.devices())
    return on_gpu and open_device_sampling(runner, context, measure=True)


def speculation_for(spec: ModelSpec, runner: LlamaRunner, context: Context) -> Speculation | None:
    """Who guesses for this model, if anybody does. Raises ModelLoadError for a draft model that can't."""
    if spec.draft_path is None and spec.speculate == "off":
        return None
    if not runner.can_trim:
        logger.warning("%s can't take back rejected guesses: it is served without speculation", spec.name)
        return None
    if spec.draft_path is None:
        return Speculation(NgramProposer(), draft_max=spec.draft_max)
    return Speculation(load_draft(spec, context), draft_max=spec.draft_max)


def choose_sizes(
    spec: ModelSpec, info: GGUFInfo, devices: list[library.Device], available_bytes: int
) -> tuple[int, int]:
    """(context of one request, GPU layers). A context that the user chose is kept whatever it takes."""
    n_ctx = spec.n_ctx or min(info.n_ctx_train or DEFAULT_CTX_MAX, DEFAULT_CTX_MAX)
    if info.n_ctx_train and n_ctx > info.n_ctx_train:
        logger.warning(
            "a context of %d tokens; %s was trained for %d and may lose the thread beyond",
            n_ctx,
            spec.name,
            info.n_ctx_train,
        )
    wanted = n_ctx
    while True:
        kv_type = max(spec.type_k, spec.type_v, key=lambda kind: kind == "f32")
        needs = estimate(
            info, n_ctx, spec.n_parallel, kv_type, n_ubatch=spec.n_ubatch, kv_unified=spec.kv_unified
        )
        n_gpu_layers = plan_gpu_layers(needs, devices) if spec.n_gpu_layers == "auto" else spec.n_gpu_layers
        verdict = fits_in_memory(needs, available_bytes, n_gpu_layers)
        if verdict.fits or spec.n_ctx is not None or n_ctx <= CTX_MIN:
            break
        n_ctx = max(CTX_MIN, n_ctx // 2)
    if n_ctx < wanted:
        logger.warning(
            "the context of %s is %d tokens instead of %d per request, to fit the memory; --ctx chooses it",
            spec.name,
            n_ctx,
            wanted,
        )
    if not verdict.fits:
        logger.warning("%s %s", spec.name, verdict.text)
    return n_ctx, n_gpu_layers


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
        n_parallel=spec.n_parallel,
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
