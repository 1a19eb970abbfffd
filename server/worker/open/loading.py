"""`load`: makes a `ModelSpec` a model that is loaded, warm and described."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from models.errors import ModelLoadError
from models.gguf.head_rules import HEAD_KIND
from models.gguf.info import GGUFInfo, read_gguf_info
from models.llamacpp import library
from models.llamacpp.model import Model
from models.llamacpp.remote_layers import RemoteLayers
from models.machine.fit import format_bytes
from models.machine.hardware import usable_cores
from models.machine.host_memory import memory
from models.rpc.probe import RpcServer, devices_of
from server.ipc.model_spec import ModelSpec
from server.kernels.use import KernelChoice, choose_kernels
from server.placement.facts import FreeMemory
from server.placement.place import place
from server.placement.placement import Placement
from server.placement.read_facts import drafts_itself, read_facts
from server.worker.open.kinds import KINDS, Kind, kind_of
from server.worker.open.parts import LoadedFile, LoadedModel, Opener
from server.worker.open.servers import ask_servers, connect
from server.worker.run.context_decoder import DecodeListener

logger = logging.getLogger("corral.worker")

PROGRESS_STEP = 0.01
"""Progress is reported in steps of at least this fraction."""


def load(
    spec: ModelSpec,
    on_progress: Callable[[float], None],
    listener: DecodeListener,
    openers: Mapping[Kind, Opener] = KINDS,
) -> LoadedModel:
    """Check a model's file, load it and have the opener of its kind make it ready.

    `on_progress` gets 0 to 1, in steps; `listener` acts after each decode. Raises InvalidGGUF,
    ModelLoadError, ContextError and other LlamaCppErrors.
    """
    info = read_gguf_info(Path(spec.path))
    if info.kind != "model":
        fix = (
            "serve its model with --draft and this file" if info.kind == HEAD_KIND else "give a model's GGUF"
        )
        raise ModelLoadError(f"{info.path.name} is of kind '{info.kind}', not a model; {fix}")
    options = spec.options
    servers = ask_servers(options)
    library.load()
    placement = place_here(spec, info, servers)
    say_placement(spec.name, info, placement)
    remote = connect(servers, placement, options)
    choice = choose_kernels(options, is_all_on_gpu=placement.is_all_on_gpu, death=spec.kernels_death)
    model = _load(spec, info, placement, choice, remote, on_progress)
    try:
        kernels = choice.report()
    except ModelLoadError:
        model.close()
        raise
    n_threads = options.threads or usable_cores()[0]
    file = LoadedFile(
        spec=spec, info=info, model=model, placement=placement, n_threads=n_threads, kernels=kernels
    )
    return openers[kind_of(file)](file, listener)


def _load(
    spec: ModelSpec,
    info: GGUFInfo,
    placement: Placement,
    choice: KernelChoice,
    remote: RemoteLayers | None,
    on_progress: Callable[[float], None],
) -> Model:
    """Load the weights, those of a layer that drafts among them, unless that isn't whole."""

    def load_with(*, further_layers: bool) -> Model:
        return Model.load(
            info.path,
            n_gpu_layers=placement.gpu_layers,
            cpu_experts=placement.cpu_experts,
            remote=remote,
            use_host_buffers=not choice.computes(info, experts_stay=bool(placement.cpu_experts)),
            use_mmap=spec.options.use_mmap,
            use_mlock=spec.options.use_mlock,
            use_extra_bufts=spec.options.use_extra_bufts,
            load_further_layers=further_layers,
            stop_tokens=info.stop_tokens,
            progress=_Progress(on_progress),
        )

    if drafts_itself(spec, info):
        try:
            return load_with(further_layers=True)
        except ModelLoadError as error:
            logger.warning("%s is loaded without the layer that drafts: %s", spec.name, error.message)
    return load_with(further_layers=False)


def place_here(spec: ModelSpec, info: GGUFInfo, servers: Sequence[RpcServer] = ()) -> Placement:
    """Place the model in the memory that is free now: here and on GPUs, or on servers if there are any.

    Raises InvalidGGUF and ContextError.
    """
    devices = devices_of(servers) if servers else library.devices()
    free = FreeMemory(memory().available_bytes, devices)
    return place(read_facts(spec, info), spec.options, free)


def say_placement(name: str, info: GGUFInfo, placement: Placement) -> None:
    """Warn of a long or reduced context and of a model that doesn't fit; tell where experts stay."""
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
            "the context of %s is %d tokens, not the %d it was trained for, to fit the memory; see --ctx",
            name,
            placement.n_ctx,
            wanted,
        )
    if placement.cpu_experts:
        logger.info(
            "the experts of %d of %d layers of %s, %s, stay on the CPU, and %s on the GPU; see --n-cpu-moe",
            len(placement.cpu_experts),
            placement.model.n_layer,
            name,
            format_bytes(placement.model.experts_of(placement.cpu_experts)),
            "all else is"
            if placement.gpu_layers > placement.model.n_layer
            else f"{placement.gpu_layers} layers are",
        )
    if not placement.verdict.fits:
        logger.warning("%s %s", name, placement.verdict.text)


class _Progress:
    """Reports every step of progress and the end; never stops the load."""

    def __init__(self, on_progress: Callable[[float], None]) -> None:
        self._on_progress = on_progress
        self._reported = 0.0

    def __call__(self, fraction: float) -> bool:
        if fraction - self._reported >= PROGRESS_STEP or (fraction >= 1.0 > self._reported):
            self._reported = fraction
            self._on_progress(fraction)
        return True
