"""The frozen parts of a served model, and what the openers of all kinds have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from models.gguf.info import GGUFInfo
from models.llamacpp.model import Model
from models.llamacpp.vocab import Vocab
from models.pooling import Pooling
from server.chat.prompt_formats import TEMPLATE
from server.chat.render import ChatRenderer
from server.chat.template_file import read_template
from server.engine.runner import ModelRunner
from server.engine.sampling_params import SamplingParams
from server.engine.speculation.speculation import Drafting
from server.file_sampling import sampling_defaults
from server.ipc.model_spec import Findings, KernelReport, ModelInfo, ModelSpec
from server.placement.placement import Placement
from server.serve_options import ServeOptions
from server.worker.adapter_set import AdapterSet
from server.worker.pooled.reader import PooledReader
from server.worker.pooled.runner import PooledRunner
from server.worker.prefix.store import PrefixStore
from server.worker.prompts import PromptReader
from server.worker.run.context_decoder import DecodeListener
from server.worker.slot_files import SlotFiles


@dataclass(frozen=True, kw_only=True)
class LoadedFile:
    """A model's file that llama.cpp has loaded, and how it is to be served."""

    spec: ModelSpec
    info: GGUFInfo
    model: Model
    placement: Placement
    n_threads: int
    """A decode uses this many threads."""
    kernels: KernelReport
    """The model's matrices are computed with these."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model that is warm and described: all that the worker needs of it."""

    runner: ModelRunner | PooledRunner
    info: ModelInfo
    renderer: ChatRenderer
    prompts: PromptReader
    """It prepares requests as this kind of model needs them, with the model's own sampling defaults."""
    adapters: AdapterSet
    speculation: Drafting | None = None
    step_times: tuple[tuple[int, float], ...] = ()
    """(tokens, seconds) of steps that were tried at the start; see `StepCost`."""
    prefixes: PrefixStore | None = None
    checkpoint_bytes: int = 0
    """The states to which slots go back may have this many bytes."""
    slot_files: SlotFiles | None = None
    """Files for what slots hold; None: this kind of model's slots can't be kept."""
    pooled: PooledReader | None = None
    """It prepares the requests of a pooled model, whose `runner` is a `PooledRunner`; None for others."""


class Opener(Protocol):
    """Makes the parts of a served model from its file; there is one opener per kind of model."""

    def __call__(self, file: LoadedFile, listener: DecodeListener, /) -> LoadedModel:
        """Open contexts, warm them up and join the parts. `listener` acts after each decode.

        Raises InvalidGGUF, ModelLoadError, ContextError and other LlamaCppErrors.
        """


def open_renderer(file: LoadedFile) -> ChatRenderer:
    """Start the renderer of the model's chat template and warm it up."""
    vocab, options = file.model.vocab, file.spec.options
    template, tool_use_template = own_template(options), None
    if template is None:
        template, tool_use_template = file.info.chat_template, file.info.tool_use_template
    renderer = ChatRenderer(
        template,
        _special_text(vocab, vocab.bos) or "",
        _special_text(vocab, vocab.eos) or "",
        file.spec.name,
        file.model.metadata,
        options.prompt_format or (TEMPLATE if own_template(options) else None),
        tool_use_template=tool_use_template,
    )
    renderer.warm_up()
    return renderer


def own_template(options: ServeOptions) -> str | None:
    """Return the chat template that the user wants in place of the file's. Raises InvalidTemplateFile."""
    if options.chat_template_file is not None:
        return read_template(Path(options.chat_template_file))
    return options.chat_template


def open_sampling(file: LoadedFile) -> dict[str, Any]:
    """Return the sampling parameters that requests leave open: the user's settings, then the file's."""
    return {**sampling_defaults(file.info.metadata), **file.spec.options.sampling}


def describe(
    file: LoadedFile,
    runner: ModelRunner | PooledRunner,
    renderer: ChatRenderer,
    pooling: Pooling | None = None,
    *,
    sees_images: bool = False,
    findings: Findings | None = None,
) -> ModelInfo:
    """Return the facts about the loaded model that the supervisor gets."""
    model = file.model
    return ModelInfo(
        n_vocab=runner.n_vocab,
        n_ctx=runner.n_ctx,
        n_ctx_train=model.n_ctx_train,
        n_embd=model.n_embd,
        n_params=model.n_params,
        size_bytes=model.size_bytes,
        n_parallel=file.spec.options.parallel,
        n_gpu_layers=min(model.n_gpu_layers, model.n_layer + 1),
        servers=file.spec.options.split,
        n_cpu_expert_layers=len(file.placement.cpu_experts),
        cpu_expert_bytes=file.placement.model.experts_of(file.placement.cpu_experts),
        description=model.desc,
        ftype=file.info.ftype or "unknown",
        prompt_format=renderer.name,
        bos_token=_special_text(model.vocab, model.vocab.bos),
        eos_token=_special_text(model.vocab, model.vocab.eos),
        chat_template=own_template(file.spec.options) or file.info.chat_template,
        kernels=file.kernels,
        pooling=pooling,
        path=file.spec.path,
        sees_images=sees_images,
        findings=findings,
        sampling=SamplingParams(**open_sampling(file)),
    )


def _special_text(vocab: Vocab, token: int | None) -> str | None:
    return None if token is None else vocab.piece(token, special=True).decode("utf-8", "replace")
