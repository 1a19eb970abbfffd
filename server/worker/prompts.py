"""`PromptReader`: chats are rendered, prompts tokenized, small questions answered beside the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from models.llamacpp.vocab import Vocab
from server.chat.render import ChatRenderer, RenderedPrompt
from server.engine.request import EngineRequest
from server.ipc.messages import (
    ApplyTemplate,
    ApplyTemplateReply,
    ChatPrompt,
    Detokenize,
    DetokenizeReply,
    Generate,
    TextPrompt,
    Tokenize,
    TokenizeReply,
)
from server.worker.sampling.defaults import with_defaults


class Preparation(Protocol):
    """Changes requests as a kind of model needs them."""

    def prepare(self, request: EngineRequest) -> EngineRequest:
        """Return the request as the engine is to have it. Raises RequestError for what the model can't do."""


class PromptReader:
    """Reads what clients send, with one model's vocabulary and chat format. Any thread."""

    def __init__(
        self,
        vocab: Vocab,
        renderer: ChatRenderer,
        sampling: Mapping[str, float | int] | None = None,
        *,
        preparation: Preparation | None = None,
    ) -> None:
        """`sampling`: the model's own defaults, see `sampling_defaults`. `preparation`: the last step of
        `read`; None leaves requests as they are."""
        self._vocab = vocab
        self._renderer = renderer
        self._sampling = dict(sampling or {})
        self._preparation = preparation

    def read(self, message: Generate) -> EngineRequest:
        """Return the request for the engine, its prompt rendered and tokenized. Raises RequestError."""
        prompt = message.prompt
        if isinstance(prompt, ChatPrompt):
            rendered = self._render(prompt)
            tokens = self._vocab.tokenize(rendered.text, add_special=rendered.add_bos, parse_special=True)
            return self._request(message, tokens, rendered)
        if isinstance(prompt, TextPrompt):
            tokens = self._vocab.tokenize(prompt.text, add_special=True, parse_special=True)
            return self._request(message, tokens, None, prompt.text)
        text = self._text(prompt.tokens) if message.echo else ""
        return self._request(message, list(prompt.tokens), None, text)

    def tokenize(self, message: Tokenize) -> TokenizeReply:
        tokens = self._vocab.tokenize(
            message.text, add_special=message.add_special, parse_special=message.parse_special
        )
        pieces = [self._vocab.piece(token, special=True) for token in tokens] if message.with_pieces else None
        return TokenizeReply(message.id, tokens, pieces)

    def detokenize(self, message: Detokenize) -> DetokenizeReply:
        return DetokenizeReply(message.id, self._text(message.tokens))

    def apply_template(self, message: ApplyTemplate) -> ApplyTemplateReply:
        return ApplyTemplateReply(message.id, self._render(message.prompt).text)

    def _render(self, prompt: ChatPrompt) -> RenderedPrompt:
        return self._renderer.render(
            prompt.messages,
            prompt_format=prompt.prompt_format,
            add_generation_prompt=prompt.add_generation_prompt,
            template_kwargs=prompt.chat_template_kwargs,
            continuation=prompt.continue_final_message,
        )

    def _text(self, tokens: tuple[int, ...]) -> str:
        return self._vocab.detokenize(tokens, special=True).decode("utf-8", "replace")

    def _request(
        self, message: Generate, tokens: list[int], rendered: RenderedPrompt | None, text: str = ""
    ) -> EngineRequest:
        request = EngineRequest(
            id=message.id,
            prompt_tokens=tokens,
            params=with_defaults(message, self._sampling),
            n=message.n,
            extra_stops=rendered.stops if rendered else (),
            cache_prompt=message.cache_prompt,
            timeout_s=message.timeout_s,
            return_tokens=message.return_tokens,
            echo_text=(rendered.begun if rendered else text) if message.echo else "",
            strip_leading_space=rendered.strip_leading_space if rendered else False,
            prompt_param="messages" if rendered else "prompt",
            n_probs=message.n_probs,
            score_prompt=message.score_prompt,
            priority=message.priority,
            adapters=message.adapters or (),
        )
        return request if self._preparation is None else self._preparation.prepare(request)
