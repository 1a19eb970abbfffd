"""Serving models with an encoder before their decoder, as T5: the prompt is encoded, the answer decoded.

    engine's positions    prompt 0 … p-1                  p, p+1 …
                          │ encoded whole, and the        │
                          ▼ decoder's start token         ▼
    decoder's positions   0                               1, 2 …

llama.cpp keeps what one encoding gave in the context, for the decodes after it: so each slot is a context of
its own, and slots take turns rather than share batches. Nothing of a prompt can be shared or restored.
"""

from __future__ import annotations

from collections.abc import Sequence as Tokens
from dataclasses import replace

from models.errors import CorralError, RequestError
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from models.llamacpp.vocab import Vocab
from models.machine.fit import pad_cells
from server.engine.batch import Batch, BatchEntry, Output, Save
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.ipc.model_spec import ModelSpec
from server.worker.run.runner import LlamaRunner


class EncoderDecoderRunner(LlamaRunner):
    """A `ModelRunner`. Chunks of a prompt cost nothing before the last, which encodes all of it."""

    def __init__(self, contexts: Tokens[Context], n_ctx: int) -> None:
        """`contexts`: one per slot, each with room for a whole prompt in one batch."""
        super().__init__(contexts[0], n_ctx)
        self.n_slots = len(contexts)
        self.n_batch = max(self.n_batch, self.n_slots + 1)
        self._contexts = list(contexts)
        model = contexts[0].model
        start = model.decoder_start_token
        self._start_token = (model.vocab.bos or 0) if start is None else start
        self._prompts: dict[int, list[int]] = {}

    def warm_up(self) -> None:
        for context in self._contexts:
            self._encode(context, [self._start_token] * 4)
            self._decode_at(context, [self._start_token], 0)
            context.clear()

    def open(
        self,
        sequence_id: int,
        params: SamplingParams,
        seed: int,
        prompt_tokens: Tokens[int],
        n_probs: int | None = None,
    ) -> None:
        super().open(sequence_id, params, seed, prompt_tokens, n_probs)
        self._prompts[sequence_id] = list(prompt_tokens)

    def close(self, sequence_id: int) -> None:
        super().close(sequence_id)
        self._prompts.pop(sequence_id, None)

    def run(self, batch: Batch) -> list[Output | CorralError]:
        """Changes of the KV cache need nothing: a prompt's encoding empties its slot."""
        results: list[Output | CorralError] = []
        for entry in batch.entries:
            results += self._run_one(entry, self._contexts[entry.slot])
        return results

    def save(self, kept: Save) -> None:
        """Nothing is kept."""

    def _run_one(self, entry: BatchEntry, context: Context) -> list[Output | CorralError]:
        prompt = self._prompts[entry.sequence_id]
        tokens, position = entry.tokens, entry.position + 1 - len(prompt)
        if position + len(tokens) <= 0:
            return []  # there is more of the prompt to come
        if position <= 0:
            context.clear()
            self._encode(context, prompt)
            tokens, position = [self._start_token, *tokens[1 - position :]], 0
        self._decode_at(context, tokens, position)
        if self.on_decoded is not None:
            self.on_decoded()
        places = [(entry, 0, len(tokens) - 1)] if entry.n_outputs else []
        return self._results.of(places, 1, context)

    def _encode(self, context: Context, tokens: list[int]) -> None:
        self._batch.clear()
        self._batch.add_many(tokens, 0, 0, output_last=True)
        context.encode(self._batch)

    def _decode_at(self, context: Context, tokens: list[int], position: int) -> None:
        self._batch.clear()
        self._batch.add_many(tokens, position, 0, output_last=True)
        context.decode(self._batch)


def open_encoder_decoder(
    spec: ModelSpec, model: Model, n_ctx: int, n_threads: int
) -> tuple[Context, EncoderDecoderRunner]:
    """The contexts of all slots, the first of them by itself too, and their runner. Raises ContextError."""
    n_cells = pad_cells(n_ctx)
    contexts = [
        Context(
            model,
            n_ctx=n_cells,
            n_batch=n_cells,
            n_ubatch=n_cells,
            n_threads=n_threads,
            n_threads_batch=spec.options.threads_batch or n_threads,
            flash_attn=spec.options.flash_attn,
            type_k=spec.options.type_k,
            type_v=spec.options.type_v,
        )
        for _ in range(spec.options.parallel)
    ]
    return contexts[0], EncoderDecoderRunner(contexts, n_ctx)


def for_encoder(request: EngineRequest, vocab: Vocab) -> EngineRequest:
    """A request to a model with an encoder: its prompt ends as in training, and is shared with nobody.

    Raises RequestError: what such a model can't do.
    """
    if request.score_prompt:
        message = "a model with an encoder gives no probabilities of its prompt; send echo without logprobs"
        raise RequestError(message, param="logprobs")
    tokens = list(request.prompt_tokens)
    if vocab.add_eos and vocab.eos is not None and tokens[-1:] != [vocab.eos]:
        tokens.append(vocab.eos)
    return replace(request, prompt_tokens=tokens, cache_prompt=False)
