"""`python -m tests.clients.scripted_worker --fd N`: a worker whose model is a script.

All of it is the product's: template, tokens, grammars, engine, tool formats. Only for models that write text
`ScriptedRunner` stands where llama.cpp computes: its tokens are those of `scripted_model`, and never such as
the grammar forbids.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from models.errors import CorralError, RequestError
from models.llamacpp.vocab import Vocab
from server.engine.batch import Batch, BatchEntry, Output, Save
from server.engine.events import TokenLogprob
from server.engine.sampling_params import SamplingParams
from server.worker.adapter_set import AdapterSet
from server.worker.channel import Channel
from server.worker.open.kinds import KINDS
from server.worker.open.loading import load
from server.worker.open.parts import LoadedFile, LoadedModel, describe, open_renderer
from server.worker.prompts import PromptReader
from server.worker.run.context_decoder import DecodeListener
from server.worker.run.runner import RunnerLimits
from server.worker.worker import EXIT_OK, Worker
from tests.clients.scripted_model import answers

if TYPE_CHECKING:
    from server.worker.sampling.sequence_guide import Guide


class ScriptedRunner(RunnerLimits):
    """A `ModelRunner` that knows each sequence's answer when it is opened. One thread."""

    __slots__ = ("_answers", "_eog", "_last", "_n_probs", "_vocab")

    def __init__(self, vocab: Vocab, n_ctx: int, n_slots: int) -> None:
        super().__init__(
            n_slots=n_slots,
            n_ctx=n_ctx,
            n_stream=n_ctx,
            n_batch=2048,
            n_vocab=vocab.n_tokens,
            n_swa=0,
            can_pad=False,
            can_trim=True,
            can_rewind=False,
            forgets=False,
        )
        self._vocab = vocab
        self._eog = frozenset(vocab.eog_tokens)
        self._last = min(vocab.eog_tokens) if vocab.eos is None else vocab.eos
        self._answers: dict[int, list[int]] = {}
        """The tokens that are left of each open sequence's answer."""
        self._n_probs: dict[int, int | None] = {}

    def open(
        self,
        sequence_id: int,
        params: SamplingParams,
        seed: int,
        prompt_tokens: Sequence[int],
        n_probs: int | None = None,
        guide: object | None = None,
        *,
        after_sampling: bool = False,
    ) -> None:
        prompt = self._vocab.detokenize(prompt_tokens, special=True).decode()
        wanted = answers(prompt)
        for text in wanted:
            tokens = [
                *self._vocab.tokenize(text, add_special=False, parse_special=True),
                self._last,
            ]
            if guide is None or _allows(cast("Guide", guide), tokens):
                self._answers[sequence_id] = tokens
                self._n_probs[sequence_id] = n_probs
                return
        raise RequestError(f"the grammar allows nothing that the script would say: {wanted}"[:2000])

    def force(self, sequence_id: int, tokens: Sequence[int]) -> None:
        self._answers[sequence_id][:0] = tokens

    def replay(self, sequence_id: int, token: int) -> None:
        said = self._answers[sequence_id].pop(0)
        assert said == token, "the script says something else now"

    def close(self, sequence_id: int) -> None:
        self._answers.pop(sequence_id, None)
        self._n_probs.pop(sequence_id, None)

    def run(self, batch: Batch) -> list[Output | CorralError]:
        return [self._output(entry) for entry in batch.outputs]

    def holds(self, slot: int, n_tokens: int) -> bool:
        return True

    def checkpoint(self, slot: int) -> memoryview | None:
        return None

    def save(self, kept: Save) -> None:
        """There is no store: nothing is kept."""

    def is_eog(self, token: int) -> bool:
        return token in self._eog

    def piece(self, token: int) -> bytes:
        return self._vocab.piece(token)

    def spelling(self, token: int) -> bytes:
        return self._vocab.piece(token, special=True)

    def _output(self, entry: BatchEntry) -> Output:
        scores = None if entry.targets is None else [self._logprob(token) for token in entry.targets]
        if not entry.n_outputs:
            return Output([], scores=scores)
        left = self._answers[entry.sequence_id]
        token = left.pop(0) if left else self._last
        if token in self._eog and entry.ban_eog:
            token = self._vocab.tokenize(".", add_special=False, parse_special=False)[-1]
        logprobs = None if self._n_probs[entry.sequence_id] is None else [self._logprob(token)]
        return Output([token], logprobs, scores)

    def _logprob(self, token: int) -> TokenLogprob:
        """The script is certain of everything."""
        return TokenLogprob(token, self.spelling(token), 0.0, ((token, self.spelling(token), 0.0),))


def _allows(guide: Guide, tokens: list[int]) -> bool:
    """Whether a grammar allows all of an answer, its end included."""
    matcher = guide.matcher()
    n = matcher.try_consume_tokens(tokens[:-1])
    return n == len(tokens) - 1 and (matcher.is_stopped() or matcher.is_accepting())


def open_scripted(file: LoadedFile, listener: DecodeListener) -> LoadedModel:
    """Open a model of which only the vocabulary and the template are used. See `Opener`."""
    vocab, n_ctx = file.model.vocab, file.placement.n_ctx
    runner = ScriptedRunner(vocab, n_ctx, file.spec.options.parallel)
    renderer = open_renderer(file)
    return LoadedModel(
        runner=runner,
        info=describe(file, runner, renderer),
        renderer=renderer,
        prompts=PromptReader(vocab, renderer, n_ctx=n_ctx),
        adapters=AdapterSet(file.model, refusal="a script has no weights to adapt"),
    )


def command(fd: int) -> list[str]:
    """Return the command line of such a worker; see `server.ipc.launch.worker_command`."""
    return [sys.executable, "-m", "tests.clients.scripted_worker", "--fd", str(fd)]


def main() -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    channel = Channel(socket.socket(fileno=int(sys.argv[2])))
    spec = channel.receive_spec()
    if spec is None:
        return EXIT_OK
    return Worker(channel, spec, partial(load, openers={**KINDS, "decoder": open_scripted})).run()


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    os._exit(status)
