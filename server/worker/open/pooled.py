"""The opener of models that make vectors or scores: encoders, causal embedders, cross-encoders."""

from __future__ import annotations

from models.errors import ModelLoadError
from models.gguf.pooling import has_head, pooling_of
from models.llamacpp.context import Context
from models.pooling import Pooling
from server.placement.place import pooled_batch
from server.worker.adapter_set import AdapterSet
from server.worker.open.decoder import open_threads
from server.worker.open.parts import LoadedFile, LoadedModel, describe, open_renderer
from server.worker.pooled.reader import PooledReader
from server.worker.pooled.runner import PooledRunner
from server.worker.pooled.segments import SegmentEmbeddings
from server.worker.prompts import PromptReader
from server.worker.run.context_decoder import DecodeListener

MOST_TEXTS = 256
"""At most so many texts are computed together: llama.cpp's limit of sequences."""


def open_pooled(file: LoadedFile, listener: DecodeListener) -> LoadedModel:
    """Open a model that makes vectors or scores; see `Opener`. Adapters, drafts, kept prefixes: none."""
    pooling = pooling_of(file.info, file.spec.options.pooling)
    assert pooling is not None, "the kind is pooled"
    if pooling.name == "rank" and not has_head(file.info):
        raise ModelLoadError(
            f"{file.model.path.name} has no classifier's head and gives no scores; choose another --pooling"
        )
    if file.model.has_encoder and file.model.has_decoder:
        raise ModelLoadError(
            f"{file.model.path.name} has an encoder and a decoder: it makes no vectors; leave --pooling out"
        )
    refusal = (
        f"{file.model.path.name} makes vectors: LoRA adapters are for models that write text;"
        " merge it when quantizing, with --lora"
    )
    adapters = AdapterSet(file.model, refusal=refusal)
    for adapter in file.spec.adapters:
        adapters.load(adapter)
    n_ctx = file.placement.n_ctx
    context = open_context(file, pooling)
    segments = SegmentEmbeddings.of(file.info) if pooling.name == "rank" else None
    threads = open_threads(context)
    runner = PooledRunner(context, pooling, n_ctx, file.spec.options.n_ubatch, listener, segments, threads)
    runner.warm_up()
    renderer = open_renderer(file)
    vocab = file.model.vocab
    return LoadedModel(
        runner=runner,
        info=describe(file, runner, renderer, pooling),
        renderer=renderer,
        prompts=PromptReader(vocab, renderer, n_ctx=n_ctx),
        adapters=adapters,
        pooled=PooledReader(vocab, pooling, file.info.metadata, n_ctx=n_ctx, width=runner.width),
    )


def open_context(file: LoadedFile, pooling: Pooling) -> Context:
    """Open a context with room for the longest text, and for a step of short ones. Raises ContextError.

    An encoder computes a text at once, so its micro-batch is as long as its context.
    """
    options = file.spec.options
    n_cells = file.placement.n_cells
    n_batch = pooled_batch(n_cells, options, pooling)
    return Context(
        file.model,
        n_ctx=n_cells,
        n_batch=n_batch,
        n_ubatch=n_batch,
        n_seq_max=min(MOST_TEXTS, n_batch),
        n_threads=file.n_threads,
        n_threads_batch=options.threads_batch or file.n_threads,
        kv_unified=True,
        flash_attn=options.flash_attn,
        type_k=options.type_k,
        type_v=options.type_v,
        embeddings=True,
        pooling="rank" if pooling.name == "rank" else "none",
    )


def generates_no_text(file: LoadedFile) -> ModelLoadError:
    """Return the error for a model that can't be served because it doesn't generate text."""
    return ModelLoadError(
        f"{file.info.path.name} ({file.model.desc}) doesn't generate text; serve a decoder model"
    )
