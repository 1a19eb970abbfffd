"""Prompts of a real vocabulary: BOS counts once, what can't fit is refused, stop strings may name tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import ContextLengthExceeded, RequestError
from models.llamacpp import dry_samplers
from models.llamacpp.model import Model
from models.llamacpp.vocab import MAX_TEXT_BYTES, Vocab
from server.chat.render import ChatRenderer
from server.chat.thinking import Thinking
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.ipc.constraint import Constraint
from server.ipc.messages import ApplyTemplate, CountTokens, Generate, Tokenize
from server.ipc.prompts import ChatPrompt, MixedPrompt, Prompt, TextPrompt, TokenPrompt
from server.worker import prompt_tokens
from server.worker.prompt_tokens import COUNTED_LETTERS
from server.worker.prompts import PromptReader
from server.worker.sampling.chain import active_steps, make_chain

pytestmark = pytest.mark.model

N_CTX = 256
BOS_TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
PLAIN_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


@pytest.fixture(scope="module", params=["spm", "bpe"])
def vocab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vocab]:
    path: Path = tmp_path_factory.mktemp("prompts") / "model.gguf"
    write_tiny_gguf(path, TinyModel(vocabulary=request.param))
    with Model.load(path, vocab_only=True) as model:
        yield model.vocab


def reader_of(vocab: Vocab, template: str = PLAIN_TEMPLATE, n_ctx: int = N_CTX) -> PromptReader:
    bos = "" if vocab.bos is None else vocab.piece(vocab.bos, special=True).decode()
    metadata = {"tokenizer.ggml.add_bos_token": "true" if vocab.add_bos else "false"}
    return PromptReader(vocab, ChatRenderer(template, bos, "</s>", "tiny", metadata), n_ctx=n_ctx)


def tokens_of(reader: PromptReader, prompt: Prompt, **params: Any) -> list[int]:
    return list(reader.read(Generate(id="r", prompt=prompt, params=SamplingParams(**params))).prompt_tokens)


def bos_text(vocab: Vocab) -> str:
    assert vocab.bos is not None
    return vocab.piece(vocab.bos, special=True).decode()


@pytest.mark.parametrize("template", [BOS_TEMPLATE, PLAIN_TEMPLATE])
def test_a_prompt_is_counted_as_it_is_read(vocab: Vocab, template: str) -> None:
    reader, wide = reader_of(vocab, template), reader_of(vocab, template, n_ctx=100_000)
    for content in ("hello world", "hello " * 2_000):  # the second doesn't fit the context
        prompt = ChatPrompt([{"role": "user", "content": content}])
        counted = reader.count_tokens(CountTokens(id="n", prompt=prompt))
        assert (counted.id, counted.n_tokens) == ("n", len(tokens_of(wide, prompt)))
    assert counted.n_tokens > N_CTX


def test_texts_and_ids_are_one_sequence_with_one_begin(vocab: Vocab) -> None:
    reader = reader_of(vocab)
    text = tokens_of(reader, TextPrompt("hello"))
    inner = vocab.tokenize("hello", add_special=False, parse_special=True)
    assert tokens_of(reader, MixedPrompt(("hello", (5, 6), "hello"))) == [*text, 5, 6, *inner]
    assert tokens_of(reader, MixedPrompt(((5,), "hello"))) == [5, *inner]
    with pytest.raises(ContextLengthExceeded):
        tokens_of(reader, MixedPrompt(("hello", tuple([5] * (N_CTX + 1)))))


def test_a_chat_goes_on_from_tokens(vocab: Vocab) -> None:
    chat = ChatPrompt([{"role": "user", "content": "hello"}])
    reader = reader_of(vocab, BOS_TEMPLATE)
    own = vocab.tokenize("user: hello\n", add_special=False, parse_special=True)
    whole = tokens_of(reader, msgspec.structs.replace(chat, before=(5, 6)))
    begin = [] if vocab.bos is None or vocab.add_bos else [vocab.bos]
    assert whole == [5, 6, *begin, *own]  # the tokenizer's own beginning stands in front of `before` already
    with pytest.raises(ContextLengthExceeded):
        tokens_of(reader, msgspec.structs.replace(chat, before=(5,) * N_CTX))
    message = Generate(id="r", prompt=chat, params=SamplingParams())
    assert not reader.read(message).tells_tokens
    assert reader.read(msgspec.structs.replace(message, tells_tokens=True)).tells_tokens


def test_a_reading_tells_the_prompt_and_all_parameters(vocab: Vocab) -> None:
    renderer = reader_of(vocab)._renderer
    reader = PromptReader(vocab, renderer, {"temperature": 0.25, "max_tokens": 9}, n_ctx=N_CTX)
    message = Generate(
        id="r",
        prompt=TextPrompt("hello"),
        params=SamplingParams(max_tokens=3),
        given=("max_tokens",),
        tells_reading=True,
        bias_texts=(("hello", -4.0),),
    )
    reading = reader.read(message).reading
    assert reading is not None
    assert reading.prompt.endswith("hello")
    assert (reading.params.temperature, reading.params.max_tokens) == (0.25, 3)
    inner = vocab.tokenize("hello", add_special=False, parse_special=False)
    assert dict(reading.params.logit_bias) == dict.fromkeys(inner, -4.0)
    assert reading.end_tokens == vocab.eog_tokens
    assert reader.read(msgspec.structs.replace(message, tells_reading=False)).reading is None


@pytest.mark.parametrize(
    ("reasoning", "wish", "shown"), [("off", None, "no"), ("on", False, "no"), ("on", None, "yes")]
)
def test_the_servers_wish_about_thoughts_is_for_chats_that_have_none(
    vocab: Vocab, reasoning: Literal["on", "off"], wish: bool | None, shown: str
) -> None:
    switch = "{% if enable_thinking is defined and not enable_thinking %}no{% else %}yes{% endif %}"
    template = switch + "{{ messages[0].content }}"
    renderer = reader_of(vocab, template)._renderer
    reader = PromptReader(vocab, renderer, n_ctx=N_CTX, reasoning=reasoning)
    prompt = ChatPrompt([{"role": "user", "content": "Hi"}], thinking=Thinking(enabled=wish))
    assert reader.apply_template(ApplyTemplate(prompt=prompt)).prompt == f"{shown}Hi"


CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant:{% endif %}"
)


def test_a_chats_border_is_before_the_opening_of_its_answer(vocab: Vocab) -> None:
    renderer = ChatRenderer(CHAT_TEMPLATE, "<s>", "</s>", "tiny", {})
    reader = PromptReader(vocab, renderer, n_ctx=N_CTX, finds_borders=True)

    def request(content: str, *more: str) -> EngineRequest:
        roles = ("user", "assistant", "user")
        messages = [
            {"role": role, "content": text} for role, text in zip(roles, (content, *more), strict=False)
        ]
        return reader.read(Generate(id="r", prompt=ChatPrompt(messages), params=SamplingParams()))

    first, following = request("hello"), request("hello", "the cat", "sat")
    (border,) = first.borders
    opening = vocab.tokenize("<s>assistant:", add_special=False, parse_special=True)
    assert border == len(first.prompt_tokens) - len(opening)
    assert list(following.prompt_tokens[:border]) == list(first.prompt_tokens[:border])
    assert following.borders[0] > border


def test_instructions_have_a_border_that_other_questions_share(vocab: Vocab) -> None:
    renderer = ChatRenderer(CHAT_TEMPLATE, "<s>", "</s>", "tiny", {})
    reader = PromptReader(vocab, renderer, n_ctx=N_CTX, finds_borders=True)
    system = {"role": "system", "content": "the cat sat on the mat and the dog"}

    def request(*messages: dict[str, str]) -> EngineRequest:
        return reader.read(Generate(id="r", prompt=ChatPrompt(list(messages)), params=SamplingParams()))

    def ask(question: str) -> dict[str, str]:
        return {"role": "user", "content": question}

    first = request(system, ask("hello"))
    assert len(first.borders) == 2
    border = first.borders[0]
    begun = vocab.tokenize(f"system: {system['content']}</s>", add_special=True, parse_special=True)
    assert border >= len(begun)
    for question in ("1", "2", "hello there", "the cat", "\nmat"):
        other = request(system, ask(question))
        assert abs(other.borders[0] - border) <= 1, question
        assert list(other.prompt_tokens[:border]) == list(first.prompt_tokens[:border])
    later = request(system, ask("hello"), {"role": "assistant", "content": "sat"}, ask("mat"))
    assert len(later.borders) == 1
    assert len(request(ask("hello")).borders) == 1
    assert len(request(system, ask("")).borders) == 1


def test_other_prompts_have_a_border_before_their_end_where_borders_are_wanted(vocab: Vocab) -> None:
    renderer = reader_of(vocab)._renderer
    message = Generate(id="r", prompt=TextPrompt("hello the cat sat on the mat"), params=SamplingParams())
    wanting = PromptReader(vocab, renderer, n_ctx=N_CTX, finds_borders=True).read(message)
    assert wanting.borders == (len(wanting.prompt_tokens) - 4,)
    assert reader_of(vocab).read(message).borders == ()
    short = msgspec.structs.replace(message, prompt=TextPrompt("a"))
    assert PromptReader(vocab, renderer, n_ctx=N_CTX, finds_borders=True).read(short).borders == ()


class _WithEnd:
    """A `Preparation` that adds a token, as models with an encoder need it."""

    def prepare(self, request: EngineRequest) -> EngineRequest:
        return replace(request, prompt_tokens=[*request.prompt_tokens, 2])


def test_a_token_that_the_kind_of_model_adds_is_counted(vocab: Vocab) -> None:
    renderer = ChatRenderer(PLAIN_TEMPLATE, "", "</s>", "tiny", {})
    reader = PromptReader(vocab, renderer, n_ctx=N_CTX, preparation=_WithEnd())
    prompt = ChatPrompt([{"role": "user", "content": "hello"}])
    assert reader.count_tokens(CountTokens(prompt=prompt)).n_tokens == len(tokens_of(reader, prompt))


def test_a_bos_of_the_text_counts_once(vocab: Vocab) -> None:
    reader, bos = reader_of(vocab), bos_text(vocab)
    plain = tokens_of(reader, TextPrompt("hello world"))
    assert plain.count(vocab.bos or 0) == int(vocab.add_bos)
    brought = tokens_of(reader, TextPrompt(f"{bos}hello world"))
    assert brought == [vocab.bos, *plain[int(vocab.add_bos) :]] or vocab.type == "bpe"
    assert brought.count(vocab.bos or 0) == 1
    twice = tokens_of(reader, TextPrompt(f"{bos}{bos}hello world"))
    assert twice.count(vocab.bos or 0) == 2, "what a client writes twice is there twice"
    later = tokens_of(reader, TextPrompt(f"hello{bos}world"))
    assert later.count(vocab.bos or 0) == 1 + int(vocab.add_bos)


def test_tokenizing_counts_as_a_prompt_does(vocab: Vocab) -> None:
    reader, bos = reader_of(vocab), bos_text(vocab)
    for text in ("hello world", f"{bos}hello", bos, "", "hello " * 3000):
        asked = Tokenize(text=text, add_special=True, with_pieces=True)
        reply = reader.tokenize(asked)
        assert reply.tokens == tokens_of(reader_of(vocab, n_ctx=100_000), TextPrompt(text))
        assert reply.pieces == [vocab.piece(token, special=True) for token in reply.tokens]
    raw = reader.tokenize(Tokenize(text=f"{bos}hello", add_special=False)).tokens
    assert raw.count(vocab.bos or 0) == 1
    as_text = reader.tokenize(Tokenize(text=f"{bos}hello", add_special=True, parse_special=False)).tokens
    assert as_text.count(vocab.bos or 0) == int(vocab.add_bos)


@pytest.mark.parametrize("template", [BOS_TEMPLATE, PLAIN_TEMPLATE, "\n" + BOS_TEMPLATE])
@pytest.mark.parametrize("content", ["hello", "BOShello"])
def test_a_bos_of_the_template_counts_once(vocab: Vocab, template: str, content: str) -> None:
    if vocab.type == "bpe":
        pytest.skip("this vocabulary adds no BOS, and gets what the template writes")
    content = content.replace("BOS", bos_text(vocab))
    chat = ChatPrompt([{"role": "user", "content": content}])
    tokens = tokens_of(reader_of(vocab, template), chat)
    assert tokens.count(vocab.bos or 0) == 1 + content.startswith(bos_text(vocab))
    for prompt_format in ("alpaca", "vicuna"):
        named = ChatPrompt([{"role": "user", "content": "hello"}], prompt_format=prompt_format)
        assert tokens_of(reader_of(vocab, template), named).count(vocab.bos or 0) == 1


def test_token_ids_stay_as_they_are(vocab: Vocab) -> None:
    bos = vocab.bos or 0
    assert tokens_of(reader_of(vocab), TokenPrompt((bos, bos, 5))) == [bos, bos, 5]


class Eager:
    """Added tokens as some vocabularies have them, on one that has none of its own."""

    def __init__(self, vocab: Vocab, begin: list[int], end: list[int]) -> None:
        self._vocab = vocab
        self.added_tokens = (begin, end)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vocab, name)


def test_an_eos_of_the_text_counts_once(vocab: Vocab) -> None:
    eos = vocab.eos or 0
    name = vocab.piece(eos, special=True).decode()
    reader = PromptReader(Eager(vocab, [], [eos]), ChatRenderer(None, "", "", "x", {}), n_ctx=N_CTX)  # type: ignore[arg-type]
    plain = tokens_of(reader, TextPrompt("hello"))
    assert plain[-1] == eos
    assert tokens_of(reader, TextPrompt(f"hello{name}")) == plain
    both = PromptReader(Eager(vocab, [eos], [eos]), ChatRenderer(None, "", "", "x", {}), n_ctx=N_CTX)  # type: ignore[arg-type]
    assert tokens_of(both, TextPrompt("")) == [eos, eos]
    assert tokens_of(both, TextPrompt(name)) == [eos]


# --- the context ---


@pytest.mark.parametrize(
    "text", ["hello world " * 1000, "a" * 5000, "🦙" * 1000, " " * 20_000, "</s>" * 1000]
)
def test_a_prompt_that_doesnt_fit_is_refused_with_its_length(vocab: Vocab, text: str) -> None:
    reader = reader_of(vocab)
    n_tokens = len(reader.tokenize(Tokenize(text=text, add_special=True)).tokens)
    with pytest.raises(ContextLengthExceeded, match=r"maximum context length is 256 tokens") as caught:
        tokens_of(reader, TextPrompt(text), max_tokens=7)
    assert caught.value.param == "prompt"
    said = int(caught.value.message.split("(")[1].removeprefix("at least ").split()[0])
    assert said == n_tokens if "at least" not in caught.value.message else N_CTX < said <= n_tokens


def test_a_prompt_that_cant_fit_by_its_bytes_isnt_tokenized(
    vocab: Vocab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> list[int]:
        raise AssertionError("it is tokenized")

    assert vocab.bytes_per_token_max is not None
    limit = vocab.bytes_per_token_max * N_CTX
    monkeypatch.setattr(prompt_tokens, "COUNTED_LETTERS", 100)
    monkeypatch.setattr(prompt_tokens, "LONG_TOKEN_LETTERS", 1)
    monkeypatch.setattr(vocab, "tokenize", refuse)
    with pytest.raises(ContextLengthExceeded, match=rf"at least {N_CTX + 1} in the prompt"):
        tokens_of(reader_of(vocab), TextPrompt("a" * (limit + 1)))
    chat = ChatPrompt([{"role": "user", "content": "a" * limit}])
    with pytest.raises(ContextLengthExceeded, match=rf"at least {N_CTX + 1} in the messages"):
        tokens_of(reader_of(vocab), chat)
    with pytest.raises(AssertionError, match="it is tokenized"):
        tokens_of(reader_of(vocab), TextPrompt("a" * limit))


def test_what_fits_is_never_refused_by_its_bytes(vocab: Vocab) -> None:
    """The longest token, as often as the context has room for it."""
    pieces = [vocab.piece(token, special=True) for token in range(vocab.n_tokens)]
    longest = max(pieces, key=len).decode()
    room = 2000
    text = longest * room
    if vocab.type == "spm" and not longest.startswith("<"):
        text = text[1:]
    assert len(tokens_of(reader_of(vocab, n_ctx=room + 2), TextPrompt(text))) <= room + 2


def test_a_prompt_above_the_limit_of_a_text_is_still_one_that_doesnt_fit(vocab: Vocab) -> None:
    with pytest.raises(ContextLengthExceeded, match="at least"):
        tokens_of(reader_of(vocab), TextPrompt("a" * (MAX_TEXT_BYTES + 1)))


def test_of_a_long_prompt_not_all_is_counted(vocab: Vocab) -> None:
    name = vocab.piece(vocab.eos or 0, special=True).decode()
    text = f"a{name}" * (2 * COUNTED_LETTERS // (len(name) + 1))
    n_ctx = len(text) // 16 + 1  # so that its bytes may fit
    with pytest.raises(ContextLengthExceeded, match="at least"):
        tokens_of(reader_of(vocab, n_ctx=n_ctx), TextPrompt(text))


def test_token_ids_beyond_the_context(vocab: Vocab) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"requested 308 tokens \(300 in the prompt, 8 in"):
        tokens_of(reader_of(vocab), TokenPrompt((5,) * 300), max_tokens=8)


# --- stop strings ---


def test_stop_strings_may_name_tokens_without_text(vocab: Vocab) -> None:
    eos = vocab.eos or 0
    name = vocab.piece(eos, special=True).decode()
    reader = reader_of(vocab)

    def named(*stops: str) -> dict[int, str]:
        message = Generate(id="r", prompt=TextPrompt("hello"), params=SamplingParams(stop=stops))
        return dict(reader.read(message).stop_tokens)

    assert named() == named("hello", name[:-1]) == {}
    assert named(name)[eos] == named("x", f"bye{name}\n")[eos] == name


# --- samplers ---


def test_a_sampler_that_takes_long_is_made_before_the_engine_gets_the_request(
    vocab: Vocab, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = SamplingParams(dry_multiplier=1.0, dry_sequence_breakers=("x", "y"))
    reader_of(vocab).read(Generate(id="r", prompt=TextPrompt("a"), params=params))

    def make(*_: object) -> None:
        raise AssertionError("it was made again")

    monkeypatch.setattr(dry_samplers, "_Sampler", make)
    with make_chain(vocab, active_steps(params), 1, N_CTX, []) as chain:
        assert chain.pointer


def test_a_wrong_breaker_is_refused_before_it_is_made(vocab: Vocab) -> None:
    params = SamplingParams(dry_multiplier=1.0, dry_sequence_breakers=("\0",))
    with pytest.raises(RequestError, match="dry_sequence_breakers"):
        reader_of(vocab).read(Generate(id="r", prompt=TextPrompt("a"), params=params))


def test_a_long_form_that_cant_be_held_is_refused_before_its_prompt_is_made(
    vocab: Vocab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rendering and tokenizing would take a core from those who are answered, for nothing."""
    reader = reader_of(vocab)
    rendered: list[ChatPrompt] = []
    monkeypatch.setattr(reader, "_render", rendered.append)
    text = json.dumps({"type": "array", "uniqueItems": True, "description": "a" * 20_000})
    form = Constraint(kind="json_schema", text=text, param="json_schema")
    prompt = ChatPrompt([{"role": "user", "content": "hi"}], response_schema=text)
    with pytest.raises(RequestError, match=r"'json_schema\.uniqueItems' can't be held"):
        reader.read(Generate(id="r", prompt=prompt, params=SamplingParams(), constraint=form))
    assert not rendered
    reader.close()


def chat_of(n_turns: int, **fields: Any) -> ChatPrompt:
    """A system message, turns of some thirty tokens each, and a last question."""
    turns = [
        message
        for i in range(n_turns)
        for message in (
            {"role": "user", "content": f"hello world {i}"},
            {"role": "assistant", "content": f"the cat sat on the mat {i}"},
        )
    ]
    system, last = {"role": "system", "content": "on"}, {"role": "user", "content": "llama?"}
    return ChatPrompt([system, *turns, last], **fields)


def test_a_chat_drops_its_oldest_messages_only_if_it_wants_that(vocab: Vocab) -> None:
    reader = reader_of(vocab)
    with pytest.raises(ContextLengthExceeded):
        tokens_of(reader, chat_of(200))
    request = reader.read(Generate(id="r", prompt=chat_of(200, drops_oldest=True), params=SamplingParams()))
    text = vocab.detokenize(list(request.prompt_tokens), special=True).decode()
    assert "system: on" in text
    assert "llama?" in text
    assert "user: hello world 199\n" in text
    assert "hello world 0\n" not in text
    assert N_CTX // 4 < len(request.prompt_tokens) <= N_CTX - N_CTX // 8
    n_shown = text.count("user: ") + text.count("assistant: ") + 1
    assert request.n_left_out == len(chat_of(200).messages) - n_shown


def test_a_shortened_chat_is_counted_as_it_is_read(vocab: Vocab) -> None:
    reader = reader_of(vocab)
    for n_turns in (1, 200):
        prompt = chat_of(n_turns, drops_oldest=True)
        counted = reader.count_tokens(CountTokens(id="n", prompt=prompt))
        assert counted.n_tokens == len(tokens_of(reader, prompt))


def test_a_chat_that_fits_drops_nothing(vocab: Vocab) -> None:
    reader = reader_of(vocab)
    shortened = reader.read(Generate(id="r", prompt=chat_of(2, drops_oldest=True), params=SamplingParams()))
    assert shortened.n_left_out == 0
    assert list(shortened.prompt_tokens) == tokens_of(reader, chat_of(2))


def test_a_last_message_that_does_not_fit_alone_is_refused(vocab: Vocab) -> None:
    prompt = ChatPrompt(
        [*chat_of(3).messages, {"role": "user", "content": "7" * 2 * N_CTX}], drops_oldest=True
    )
    with pytest.raises(ContextLengthExceeded) as caught:
        tokens_of(reader_of(vocab), prompt)
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    ("n_keep", "expected"), [(None, N_CTX // 4), (-1, 100), (0, 0), (7, 7), (1_000, 100)]
)
def test_a_context_that_slides_keeps_the_prompts_beginning(
    vocab: Vocab, n_keep: int | None, expected: int
) -> None:
    reader, prompt = reader_of(vocab), TokenPrompt(tuple(range(3, 103)))
    asked = Generate(id="r", prompt=prompt, params=SamplingParams(), context_shift=True, n_keep=n_keep)
    assert reader.read(asked).n_keep == expected
    plain = Generate(id="r", prompt=prompt, params=SamplingParams(), n_keep=n_keep)
    assert reader.read(plain).n_keep is None


@pytest.mark.parametrize(
    ("max_tokens", "asked", "slides"),
    [(9, None, True), (9, False, False), (9, True, True), (None, None, False), (None, True, True)],
)
def test_a_context_slides_by_default_where_the_answer_has_an_end(
    vocab: Vocab, max_tokens: int | None, asked: bool | None, slides: bool
) -> None:
    reader = PromptReader(vocab, ChatRenderer(None, "", "", "x", {}), n_ctx=N_CTX, context_shift=True)
    params = SamplingParams(max_tokens=max_tokens)
    request = Generate(id="r", prompt=TokenPrompt((3, 4)), params=params, context_shift=asked)
    assert (reader.read(request).n_keep is not None) == slides
