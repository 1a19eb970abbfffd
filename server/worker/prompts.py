"""`PromptReader`: chats are rendered, prompts tokenized, small questions answered beside the engine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import msgspec

from models.errors import ContextLengthExceeded, RequestError
from models.llamacpp.vocab import Vocab
from server.chat.render import ChatRenderer, RenderedPrompt
from server.chat.thinking import Thinking
from server.engine.events import RequestReading
from server.engine.images import ImageSpan
from server.engine.request import EngineRequest, too_long_error
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import (
    ApplyTemplate,
    ApplyTemplateReply,
    CountTokens,
    CountTokensReply,
    Detokenize,
    DetokenizeReply,
    Generate,
    Tokenize,
    TokenizeReply,
)
from server.ipc.parts import MAX_ANSWER_CHARS, MAX_ANSWER_TOKENS
from server.ipc.prompts import ChatPrompt, InfillPrompt, MixedPrompt, TextPrompt
from server.worker.chat_borders import ChatBorders, of_prompt
from server.worker.guides import AnswerGuides
from server.worker.images.reader import ImageReader, ReadImage, SeenImages, shifted
from server.worker.infill import InfillPrompts
from server.worker.prompt_tokens import PromptTokens
from server.worker.resumed_request import resumed
from server.worker.sampling.chain import active_steps
from server.worker.sampling.defaults import with_defaults
from server.worker.sampling.steps.dry import Dry
from server.worker.shortened_chat import shortened

SHOWN_IMAGE = "<__media__>"
"""An image in a prompt that is shown as text, as llama-server has it."""


class Preparation(Protocol):
    """Changes requests as a kind of model needs them."""

    def prepare(self, request: EngineRequest) -> EngineRequest:
        """Return the request as the engine is to have it. Raises RequestError for what the model can't do."""


@dataclass(frozen=True)
class _Chat:
    """A chat that has been read."""

    rendered: RenderedPrompt
    tokens: list[int]
    images: tuple[ImageSpan, ...] = ()
    n_left_out: int = 0
    """So many messages had no room."""


class PromptReader:
    """Reads what clients send, with one model's vocabulary and chat format. Any thread."""

    def __init__(  # noqa: PLR0913  # its parts, all by keyword
        self,
        vocab: Vocab,
        renderer: ChatRenderer,
        sampling: Mapping[str, float | int] | None = None,
        *,
        n_ctx: int,
        reasoning: Literal["auto", "on", "off"] = "auto",
        context_shift: bool = False,
        preparation: Preparation | None = None,
        finds_borders: bool = False,
        images: ImageReader | None = None,
    ) -> None:
        """`sampling`: the parameters that requests leave open. A prompt of more than `n_ctx` tokens is
        refused. `reasoning` and `context_shift` are for requests that don't say. `preparation`: the last
        step of `read`; None leaves requests as they are. `finds_borders`: the engine wants to know where
        later prompts may leave one. `images`: prepares images; None: the model sees none."""
        self._vocab = vocab
        self._renderer = renderer
        self._sampling = dict(sampling or {})
        self._n_ctx = n_ctx
        self._tokens = PromptTokens(vocab, n_ctx)
        self._thinking = Thinking(enabled={"auto": None, "on": True, "off": False}[reasoning])
        self._shifts = context_shift
        self._preparation = preparation
        self._borders = ChatBorders(vocab, self._render) if finds_borders else None
        self.images = images
        """It prepares images; None: the model sees none."""
        self._guides = AnswerGuides(vocab)
        self._infill = InfillPrompts(vocab, n_ctx)
        self._hidden_tokens = dict(vocab.hidden_tokens) if vocab.type != "none" else {}

    def open(self) -> None:
        """Make ready, at an idle moment, for the first request with tools; return at once.

        Models whose template has no calls mostly get no such request.
        """
        if self._renderer.knows_calls:
            self._guides.open()

    def close(self) -> None:
        """End what it has started: the processes that make grammars and decode images."""
        self._guides.close()
        if self.images is not None:
            self.images.close()

    def read(self, message: Generate, images: Sequence[ReadImage] | None = None) -> EngineRequest:
        """Return the request for the engine, its prompt rendered and tokenized. Raises RequestError.

        `images`: what `see` has made of a chat's; None: they are read now. A prompt that can't fit the
        context is refused as soon as that is certain.
        """
        prompt = message.prompt
        self._guides.check(message)
        if isinstance(prompt, ChatPrompt):
            prompt = self._wished(prompt)
            message = msgspec.structs.replace(message, prompt=prompt)
            chat = self._chat(message, prompt, images)
            return self._request(message, chat.tokens, chat.rendered, chat=chat)
        if isinstance(prompt, InfillPrompt):
            infill = self._infill.tokens(prompt, message.params.max_tokens)
            return replace(self._request(message, infill.tokens, None), n_left_out=infill.n_left_out)
        if isinstance(prompt, MixedPrompt):
            tokens = self._mixed_tokens(message, prompt)
            return self._request(message, tokens, None, self._text(tuple(tokens)) if message.echo else "")
        if isinstance(prompt, TextPrompt):
            tokens = self._prompt_tokens(message, prompt.text, add_special=True)
            return self._request(message, tokens, None, prompt.text)
        if len(prompt.tokens) > self._n_ctx:
            raise self._too_long(message, len(prompt.tokens))
        text = self._text(prompt.tokens) if message.echo else ""
        return self._request(message, list(prompt.tokens), None, text)

    def _mixed_tokens(self, message: Generate, prompt: MixedPrompt) -> list[int]:
        tokens: list[int] = []
        for position, part in enumerate(prompt.parts):
            if isinstance(part, str):
                tokens += self._prompt_tokens(message, part, add_special=position == 0)
            else:
                tokens += part
            if len(tokens) > self._n_ctx:
                raise self._too_long(message, len(tokens), at_least=position + 1 < len(prompt.parts))
        return tokens

    def _chat(self, message: Generate, prompt: ChatPrompt, images: Sequence[ReadImage] | None) -> _Chat:
        """Return a chat rendered and tokenized, its images put at their places."""
        if prompt.images:
            read = list(self.see(message)) if images is None else images
            return self._with_images(message, prompt, SeenImages(prompt.image_mark, read))
        rendered, tokens, n_left_out = self._shown(prompt)
        if prompt.before:
            text = self._prompt_tokens(message, rendered.text, add_special=False)
            tokens = [*prompt.before, *text]
            if len(tokens) > self._n_ctx:
                raise self._too_long(message, len(tokens))
        elif tokens is None:
            tokens = self._prompt_tokens(message, rendered.text, add_special=rendered.add_bos)
        return _Chat(rendered, tokens, n_left_out=n_left_out)

    def _with_images(self, message: Generate, prompt: ChatPrompt, seen: SeenImages) -> _Chat:
        """Return a chat that has images."""
        rendered, _, n_left_out = self._shown(prompt, seen)
        if (n_least := self._tokens.too_many(rendered.text)) is not None:
            raise self._too_long(message, n_least, at_least=True)
        tokens, images = self._tokens.with_images(
            seen, rendered.text, add_special=rendered.add_bos and not prompt.before
        )
        if prompt.before:
            tokens, images = [*prompt.before, *tokens], shifted(images, len(prompt.before))
        if len(tokens) > self._n_ctx:
            raise self._too_long(message, len(tokens))
        return _Chat(rendered, tokens, images, n_left_out)

    def _eyes(self, prompt: ChatPrompt) -> ImageReader:
        """Return what prepares a chat's images. Raises RequestError: the model sees none."""
        if self.images is None:
            raise RequestError(
                "this model is served without a projector (mmproj) and sees no images; leave them out, or "
                "serve a model that has one, see --mmproj",
                param=prompt.images[0].param,
                code="unsupported_parameter",
            )
        return self.images

    def see(self, message: Generate | CountTokens) -> Iterator[ReadImage]:
        """Yield a chat's images, each as soon as it is ready. Their bytes are there: none is an address.

        Raises RequestError for those that can't be seen, or have more tokens than the context; WorkerBusy.
        """
        prompt = message.prompt
        assert isinstance(prompt, ChatPrompt)
        eyes = self._eyes(prompt)
        n_tokens = 0
        for image in prompt.images:
            read = eyes.read(image)
            n_tokens += read.n_tokens
            if n_tokens > self._n_ctx and not prompt.drops_oldest:
                if isinstance(message, Generate):
                    raise self._too_long(message, n_tokens, at_least=True)
                raise too_long_error(self._n_ctx, n_tokens, 0, "messages", at_least=True)
            yield read

    def _shown(
        self, prompt: ChatPrompt, seen: SeenImages | None = None
    ) -> tuple[RenderedPrompt, list[int] | None, int]:
        """Return a chat rendered, without the messages that have no room if it wants that, and their number.

        With it come its tokens, if they were counted and it has no images.
        """
        rendered = self._render(prompt)
        if not prompt.drops_oldest:
            if seen is not None:
                seen.check_shown(rendered.text, prompt.messages)
            return rendered, None, 0
        tokens = self._within(rendered, self._n_ctx - 1, seen)
        if tokens is not None:
            return rendered, None if seen else tokens, 0
        room = self._n_ctx - max(1, self._n_ctx // 8)
        shorter, n_left_out = shortened(
            prompt, lambda tried: self._within(self._render(tried), room, seen) is not None, self._n_ctx
        )
        rendered = self._render(shorter)
        if seen is not None:
            seen.check_shown(rendered.text, shorter.messages)
        return rendered, None, n_left_out

    def _within(
        self, rendered: RenderedPrompt, room: int, seen: SeenImages | None = None
    ) -> list[int] | None:
        """Return the tokens of a prompt; None if they are more than `room`."""
        return self._tokens.within(rendered.text, room, seen, add_special=rendered.add_bos)

    def tokenize(self, message: Tokenize) -> TokenizeReply:
        tokens = self._tokens.of(
            message.text, add_special=message.add_special, parse_special=message.parse_special
        )
        _check_answer(len(tokens), MAX_ANSWER_TOKENS, "tokens", "content")
        pieces = [self._vocab.piece(token, special=True) for token in tokens] if message.with_pieces else None
        return TokenizeReply(message.id, tokens, pieces)

    def _prompt_tokens(self, message: Generate, text: str, *, add_special: bool) -> list[int]:
        if (n_least := self._tokens.too_many(text)) is not None:
            raise self._too_long(message, n_least, at_least=True)
        is_long = self._tokens.is_long(text)
        tokens = self._tokens.of(text, add_special=add_special, enough=self._n_ctx if is_long else None)
        if len(tokens) > self._n_ctx:
            raise self._too_long(message, len(tokens), at_least=is_long)
        return tokens

    def _too_long(self, message: Generate, n_prompt: int, *, at_least: bool = False) -> ContextLengthExceeded:
        n_completion = 1 if message.params.max_tokens is None else message.params.max_tokens
        where: Literal["messages", "prompt"] = (
            "messages" if isinstance(message.prompt, ChatPrompt) else "prompt"
        )
        return too_long_error(self._n_ctx, n_prompt, n_completion, where, at_least=at_least)

    def detokenize(self, message: Detokenize) -> DetokenizeReply:
        text = self._text(message.tokens)
        _check_answer(len(text), MAX_ANSWER_CHARS, "characters", "tokens")
        return DetokenizeReply(message.id, text)

    def apply_template(self, message: ApplyTemplate) -> ApplyTemplateReply:
        prompt = self._wished(message.prompt)
        text = self._render(prompt).text
        if prompt.images:
            text = re.sub(re.escape(prompt.image_mark) + r"\d{7}", SHOWN_IMAGE, text)
        return ApplyTemplateReply(message.id, text)

    def count_tokens(
        self, message: CountTokens, images: Sequence[ReadImage] | None = None
    ) -> CountTokensReply:
        """Return the number of tokens that the same prompt has in `read`; it may be above the context's."""
        prompt = self._wished(message.prompt)
        if prompt.images:
            read = list(self.see(message)) if images is None else images
            seen = SeenImages(prompt.image_mark, read)
            rendered = self._shown(prompt, seen)[0]
            tokens, _ = self._tokens.with_images(seen, rendered.text, add_special=rendered.add_bos)
        else:
            rendered, counted, _ = self._shown(prompt)
            tokens = counted or self._tokens.of(rendered.text, add_special=rendered.add_bos)
        if self._preparation is not None:
            request = EngineRequest(id=message.id, prompt_tokens=tokens, params=SamplingParams())
            tokens = list(self._preparation.prepare(request).prompt_tokens)
        return CountTokensReply(message.id, len(tokens))

    def _wished(self, prompt: ChatPrompt) -> ChatPrompt:
        """Return a chat with the server's wish about thoughts, where the request has none."""
        if prompt.thinking != Thinking() or self._thinking == Thinking():
            return prompt
        return msgspec.structs.replace(prompt, thinking=self._thinking)

    def _render(self, prompt: ChatPrompt) -> RenderedPrompt:
        return self._renderer.render(
            prompt.messages,
            prompt_format=prompt.prompt_format,
            add_generation_prompt=prompt.add_generation_prompt,
            template_kwargs=prompt.chat_template_kwargs,
            continuation=prompt.continue_final_message,
            tools=prompt.tools,
            thinking=prompt.thinking,
            response_schema=prompt.response_schema,
        )

    def _text(self, tokens: tuple[int, ...]) -> str:
        return self._vocab.detokenize(tokens, special=True).decode("utf-8", "replace")

    def _request(
        self,
        message: Generate,
        tokens: list[int],
        rendered: RenderedPrompt | None,
        text: str = "",
        *,
        chat: _Chat | None = None,
    ) -> EngineRequest:
        images = () if chat is None else chat.images
        extra_stops = rendered.stops if rendered else ()
        params = self._with_bias(message, with_defaults(message, self._sampling))
        self._prepare_sampling(params)
        answer = self._guides.make(message, rendered)
        stop_tokens = self._stop_tokens((*message.params.stop, *extra_stops))
        request = EngineRequest(
            id=message.id,
            prompt_tokens=tokens,
            params=params,
            images=images,
            n=message.n,
            extra_stops=extra_stops,
            stop_tokens={
                token: name for token, name in stop_tokens.items() if token not in answer.spelled_tokens
            },
            cache_prompt=message.cache_prompt,
            borders=self._borders_of(message, tokens, rendered),
            timeout_s=message.timeout_s,
            return_tokens=message.return_tokens,
            echo_text=(rendered.begun if rendered else text) if message.echo else "",
            strip_leading_space=rendered.strip_leading_space if rendered else False,
            prompt_param="messages" if rendered else "prompt",
            n_probs=message.n_probs,
            after_sampling=message.after_sampling,
            score_prompt=message.score_prompt,
            priority=message.priority,
            owner=message.owner,
            adapters=message.adapters or (),
            guide=answer.guide,
            plan=answer.plan,
            form=answer.form,
            spelled_tokens=answer.spelled_tokens,
            n_keep=None if images else self._n_keep(message, params, len(tokens)),
            n_left_out=0 if chat is None else chat.n_left_out,
            reading=self._reading(tokens, params) if message.tells_reading else None,
            tells_tokens=message.tells_tokens,
            tells_progress=message.tells_progress,
            predict_ms=message.predict_ms,
            slot=message.slot,
            has_replay=all(step.has_replay for step in active_steps(params)),
        )
        if self._preparation is not None:
            request = self._preparation.prepare(request)
        return request if message.resumption is None else resumed(request, message.resumption)

    def _borders_of(
        self, message: Generate, tokens: list[int], rendered: RenderedPrompt | None
    ) -> tuple[int, ...]:
        if self._borders is None:
            return ()
        if isinstance(message.prompt, ChatPrompt) and rendered is not None:
            return self._borders.of(message.prompt, rendered, tokens)
        return of_prompt(len(tokens))

    def _with_bias(self, message: Generate, params: SamplingParams) -> SamplingParams:
        """Return the parameters with the biases of texts, each on all of the text's tokens."""
        if not message.bias_texts:
            return params
        biases = dict(params.logit_bias)
        for text, bias in message.bias_texts:
            for token in self._vocab.tokenize(text, add_special=False, parse_special=False):
                biases[token] = bias
        return msgspec.structs.replace(params, logit_bias=tuple(biases.items()))

    def _reading(self, tokens: Sequence[int], params: SamplingParams) -> RequestReading:
        n_vocab = self._vocab.n_tokens
        known = tuple(token for token in tokens if 0 <= token < n_vocab)
        return RequestReading(self._text(known), params, self._vocab.eog_tokens)

    def _n_keep(self, message: Generate, params: SamplingParams, n_prompt: int) -> int | None:
        by_default = self._shifts and params.max_tokens is not None
        if not (by_default if message.context_shift is None else message.context_shift):
            return None
        n_keep = self._n_ctx // 4 if message.n_keep is None else message.n_keep
        return n_prompt if n_keep == -1 else min(n_keep, n_prompt)

    def _prepare_sampling(self, params: SamplingParams) -> None:
        """Do what would keep the engine from its steps when it opens the request's samplers."""
        dry = Dry(params)
        if dry.is_active:
            params.check(self._vocab.n_tokens)
            dry.prepare(self._vocab, self._n_ctx)

    def _stop_tokens(self, stops: tuple[str, ...]) -> dict[int, str]:
        """Return the tokens without text that the stop strings name, with their names."""
        if not stops:
            return {}
        named = "\0".join(stops)
        return {token: name for token, name in self._hidden_tokens.items() if name in named}


def _check_answer(n: int, limit: int, what: str, param: str) -> None:
    if n > limit:
        raise RequestError(
            f"the answer has {n:,} {what}; the limit is {limit:,}; send less at once",
            param=param,
            code="answer_too_large",
        )
