"""The opener of models with an encoder before their decoder, as T5: one context per slot."""

from __future__ import annotations

from dataclasses import dataclass, replace

from models.errors import RequestError
from models.llamacpp.context import Context
from models.llamacpp.vocab import Vocab
from models.machine.fit import pad_cells
from server.engine.request import EngineRequest
from server.worker.adapter_set import AdapterSet
from server.worker.open.parts import LoadedFile, LoadedModel, describe, open_renderer, open_sampling
from server.worker.prompts import PromptReader
from server.worker.run.context_decoder import DecodeListener
from server.worker.run.encoder_decoder import EncoderDecoderRunner


def open_encoder_decoder(file: LoadedFile, listener: DecodeListener) -> LoadedModel:
    """Open a model with an encoder and a decoder; see `Opener`. Adapters, drafts, kept prefixes: none."""
    refusal = (
        f"{file.model.path.name} has an encoder: LoRA adapters are for decoder models;"
        " merge it when quantizing, with --lora"
    )
    adapters = AdapterSet(file.model, refusal=refusal)
    for adapter in file.spec.adapters:
        adapters.load(adapter)
    runner = EncoderDecoderRunner(open_contexts(file), file.placement.n_ctx, listener)
    runner.warm_up()
    renderer = open_renderer(file)
    return LoadedModel(
        runner=runner,
        info=describe(file, runner, renderer),
        renderer=renderer,
        prompts=PromptReader(
            file.model.vocab,
            renderer,
            open_sampling(file),
            n_ctx=file.placement.n_ctx,
            reasoning=file.spec.options.reasoning,
            preparation=EncoderPreparation(file.model.vocab),
        ),
        adapters=adapters,
    )


def open_contexts(file: LoadedFile) -> list[Context]:
    """Open a context per slot, each with room for a whole prompt in one batch. Raises ContextError."""
    options, n_cells = file.spec.options, pad_cells(file.placement.n_ctx)
    return [
        Context(
            file.model,
            n_ctx=n_cells,
            n_batch=n_cells,
            n_ubatch=n_cells,
            n_threads=file.n_threads,
            n_threads_batch=options.threads_batch or file.n_threads,
            flash_attn=options.flash_attn,
            type_k=options.type_k,
            type_v=options.type_v,
        )
        for _ in range(options.parallel)
    ]


@dataclass(frozen=True)
class EncoderPreparation:
    """Prepares requests for an encoder: a prompt ends as in training, and is shared with nobody."""

    vocab: Vocab

    def prepare(self, request: EngineRequest) -> EngineRequest:
        """Return the request as an encoder needs it. Raises RequestError for what such a model can't do."""
        if request.score_prompt:
            message = (
                "a model with an encoder gives no probabilities of its prompt; send echo without logprobs"
            )
            raise RequestError(message, param="logprobs")
        if request.n_keep is not None:
            message = "an encoder's prompt can't lose a part; leave 'context_shift' out"
            raise RequestError(message, param="context_shift")
        tokens, eos = list(request.prompt_tokens), self.vocab.eos
        if self.vocab.add_eos and eos is not None and tokens[-1:] != [eos]:
            tokens.append(eos)
        return replace(request, prompt_tokens=tokens, cache_prompt=False)
