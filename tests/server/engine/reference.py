"""The answers that the scripted model should give, computed cold and alone, without any engine."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from server.engine.events import FinishReason, TokenLogprob
from server.engine.request import EngineRequest
from tests.server.engine.harness import expected_tokens
from tests.server.engine.scripted_runner import EOG, PIECES, scripted_logprob


@dataclass(frozen=True)
class Answer:
    """One choice. `tokens`: all that were generated, those of a stop string and EOG included."""

    tokens: list[int]
    text: str
    finish_reason: FinishReason
    stop: str | None

    def covered(self, asked: EngineRequest) -> list[int]:
        """The tokens whose text is all in the answer, up to the first that isn't."""
        if self.stop is None:
            return self.tokens
        n_shown = len(self.text) - len(asked.echo_text)
        for n in range(1, len(self.tokens) + 1):
            piece_bytes = b"".join(PIECES[token] for token in self.tokens[:n])
            text = codecs.getincrementaldecoder("utf-8")("replace").decode(piece_bytes)
            unfinished = codecs.getincrementaldecoder("utf-8")("replace")
            unfinished.decode(piece_bytes)
            n_characters = len(text.removeprefix(" ") if asked.strip_leading_space else text)
            if n_characters + bool(unfinished.getstate()[0]) > n_shown:
                return self.tokens[: n - 1]
        return self.tokens


def expected_answer(asked: EngineRequest, n_ctx: int, index: int = 0) -> Answer:
    """Stop strings are looked for in the text of the tokens after the first `min_tokens`."""
    said = expected_tokens(asked, n_ctx, index)
    stops = [stop for stop in (*asked.params.stop, *asked.extra_stops) if stop]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    before, after = "", ""
    for n, token in enumerate(said, start=1):
        if token == EOG:
            return Answer(said[:n], shown(asked, before + after), "stop", None)
        new = decoder.decode(PIECES[token])
        if n <= asked.params.min_tokens:
            before += new
            continue
        after += new
        found = [(at + len(stop), at, stop) for stop in stops if (at := after.find(stop)) >= 0]
        if found:
            _, start, stop = min(found)
            return Answer(said[:n], shown(asked, before + after[:start]), "stop", stop)
    return Answer(said, shown(asked, before + after), "length", None)


def shown(asked: EngineRequest, text: str) -> str:
    return asked.echo_text + (text.removeprefix(" ") if asked.strip_leading_space else text)


def expected_logprobs(prompt: list[int], tokens: list[int]) -> list[TokenLogprob]:
    """Return the logprobs of `tokens` after `prompt`."""
    held = [*prompt, *tokens]
    return [scripted_logprob(held[:at], token) for at, token in enumerate(tokens, start=len(prompt))]


def expected_scores(prompt: list[int]) -> list[TokenLogprob]:
    """Return the scores of a prompt's own tokens; the first has none."""
    first = TokenLogprob(prompt[0], PIECES[prompt[0]], None)
    return [first, *expected_logprobs(prompt[:1], prompt[1:])]
