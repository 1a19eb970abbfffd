"""Guides of whole requests: tools, constraints and thoughts as an answer of a real model's shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import RequestError
from models.llamacpp.model import Model
from server.answers.events import CallBegin, CallDelta, CallEnd, ThoughtDelta
from server.answers.reader import AnswerReader
from server.chat.render import RenderedPrompt
from server.chat.thinking import Thinking
from server.chat.tool_formats.kinds.object_lists import ObjectLists
from server.chat.tool_formats.registry import tool_formats
from server.chat.tool_formats.tool_format import GrammarJob, ThoughtMessages
from server.chat.tools import Tool, ToolChoice
from server.engine.engine import Engine, EngineConfig
from server.engine.events import AnswerForm, ChoiceEnd, Delta, Event, Finish
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.ipc.constraint import Constraint
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt, TextPrompt
from server.worker.guides import NO_GUIDE, AnswerGuide, AnswerGuides, exact_tokens
from tests.server.worker.session import f32_context, open_runner, random_prompt

pytestmark = pytest.mark.model

TOOLS = (
    Tool(
        name="look_up",
        parameters={
            "type": "object",
            "properties": {"number": {"type": "integer", "minimum": 0, "maximum": 9}},
            "required": ["number"],
        },
    ),
    Tool(name="rest", parameters={"type": "object", "properties": {}, "additionalProperties": False}),
)
HERMES = AnswerForm(tool_format="hermes")
THINKS = AnswerForm(thoughts=("<think>", "</think>"), thinks=True)


@pytest.fixture(scope="module", params=["spm", "bpe"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path: Path = tmp_path_factory.mktemp("guides") / "model.gguf"
    write_tiny_gguf(path, TinyModel(vocabulary=request.param))
    with Model.load(path) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def guides(model: Model) -> Iterator[AnswerGuides]:
    made = AnswerGuides(model.vocab)
    yield made
    made.close()


class Collector:
    """The last listener: what a protocol would get."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    async def drained(self) -> None:
        pass

    def text(self, kind: type[Delta]) -> str:
        return "".join(event.text for event in self.events if type(event) is kind)

    @property
    def finish_reason(self) -> str:
        return next(event.finish_reason for event in self.events if isinstance(event, ChoiceEnd))

    @property
    def calls(self) -> list[tuple[str, Any]]:
        """Names and arguments of the calls that were ended."""
        names = [event.name for event in self.events if isinstance(event, CallBegin)]
        n_ended = sum(isinstance(event, CallEnd) for event in self.events)
        texts = [
            "".join(
                event.text for event in self.events if isinstance(event, CallDelta) and event.call == call
            )
            for call in range(n_ended)
        ]
        return list(zip(names, [json.loads(text) for text in texts], strict=False))


def chat(form: AnswerForm, **options: Any) -> tuple[Generate, RenderedPrompt]:
    constraint = options.pop("constraint", None)
    prompt = ChatPrompt(messages=[], **options)
    message = Generate(id="r", prompt=prompt, params=SamplingParams(), constraint=constraint)
    rendered = RenderedPrompt("", (), strip_leading_space=False, add_bos=False, form=form)
    return message, rendered


def schema(schema: dict[str, Any]) -> Constraint:
    return Constraint(kind="json_schema", text=json.dumps(schema), param="response_format")


def answers(model: Model, made: AnswerGuide, n: int = 6, **params: Any) -> list[Collector]:
    """What several seeds say, read as a protocol reads it."""
    collected = []
    with f32_context(model, n_seq_max=4) as context:
        engine = Engine(open_runner(context), EngineConfig())
        readers = {}
        for seed in range(n):
            options = {
                "temperature": 1.0,
                "top_k": 0,
                "min_p": 0.0,
                "top_p": 1.0,
                "max_tokens": 120,
                **params,
            }
            collector = Collector()
            collected.append(collector)
            readers[f"r{seed}"] = AnswerReader(collector, TOOLS)
            engine.submit(
                EngineRequest(
                    id=f"r{seed}",
                    prompt_tokens=random_prompt(seed, 12, 200),
                    params=SamplingParams(seed=seed, **options),
                    guide=made.guide,
                    plan=made.plan,
                    form=made.form,
                    spelled_tokens=made.spelled_tokens,
                )
            )
        while engine.has_work:
            for event in engine.step():
                readers[event.id].on_event(event)
    assert all(isinstance(each.events[-1], Finish) for each in collected), [
        each.events[-1] for each in collected
    ]
    return collected


def assert_right(calls: list[tuple[str, Any]]) -> None:
    for name, arguments in calls:
        if name == "rest":
            assert arguments == {}
        else:
            assert name == "look_up"
            assert list(arguments) == ["number"]
            assert 0 <= arguments["number"] <= 9


class _Marked(ObjectLists):
    """A format whose grammar wants a token that isn't among its marks."""

    def grammar(self, job: GrammarJob) -> str:
        return f"%llguidance {{}}\nstart: {job.mark('<|im_start|>')}"


def test_tokens_that_a_grammar_wants_are_spelled(
    model: Model, guides: AnswerGuides, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token whose text the reader doesn't see would leave a call unread."""
    marked = _Marked(tokens=(), is_used_by=lambda _: True, opening="")
    monkeypatch.setattr("server.worker.guides.tool_formats", lambda: {"hermes": marked})
    made = guides.make(*chat(HERMES, tools=TOOLS, tool_choice=ToolChoice(mode="required")))
    named = {token for token, name in model.vocab.hidden_tokens.items() if name == "<|im_start|>"}
    assert made.spelled_tokens == named


def test_a_plain_request_has_no_guide(guides: AnswerGuides) -> None:
    message = Generate(id="r", prompt=TextPrompt("x"), params=SamplingParams())
    assert guides.make(message, None) is NO_GUIDE
    assert guides.make(*chat(AnswerForm())) is NO_GUIDE


def test_a_required_call_is_a_call(model: Model, guides: AnswerGuides) -> None:
    made = guides.make(*chat(HERMES, tools=TOOLS, tool_choice=ToolChoice(mode="required", parallel=False)))
    assert made.form == msgspec.structs.replace(HERMES, calls_only=True)
    for answer in answers(model, made, stop=("name", "number")):
        assert answer.finish_reason == "tool_calls", "a stop string cuts no call"
        assert len(answer.calls) == 1
        assert_right(answer.calls)
        assert not answer.text(Delta).strip()


def test_a_required_call_that_the_limit_cuts_is_no_content(model: Model, guides: AnswerGuides) -> None:
    made = guides.make(*chat(HERMES, tools=TOOLS, tool_choice=ToolChoice(mode="required")))
    for limit in (1, 2, 3, 5, 9, 14):
        for answer in answers(model, made, n=2, max_tokens=limit):
            assert answer.finish_reason == "length"
            assert answer.text(Delta) == ""


@pytest.mark.parametrize(
    "thinking", [Thinking(enabled=False), Thinking(effort="none"), Thinking(budget_tokens=0)]
)
def test_thoughts_that_are_off_end_at_once(model: Model, guides: AnswerGuides, thinking: Thinking) -> None:
    """The model may begin them again behind the empty ones that its template has written."""
    form = msgspec.structs.replace(HERMES, thoughts=("<think>", "</think>"))
    made = guides.make(*chat(form, tools=TOOLS, tool_choice=ToolChoice(mode="required"), thinking=thinking))
    for answer in answers(model, made, n=8):
        assert answer.text(ThoughtDelta) == ""


def test_a_named_tool_is_the_one_that_is_called(model: Model, guides: AnswerGuides) -> None:
    named = ToolChoice(mode="required", names=("rest",), parallel=False)
    made = guides.make(*chat(HERMES, tools=TOOLS, tool_choice=named))
    for answer in answers(model, made, n=3):
        assert answer.calls == [("rest", {})]


def test_a_begun_call_is_a_right_one(model: Model, guides: AnswerGuides) -> None:
    made = guides.make(*chat(HERMES, tools=TOOLS))
    opening = exact_tokens(model.vocab, "<")
    bias = tuple((token, 6.0) for token in opening)
    found = answers(model, made, n=12, logit_bias=bias)
    for answer in found:
        assert_right(answer.calls)
        if answer.finish_reason == "stop":
            assert "<tool_call>" not in answer.text(Delta)


def test_no_call_without_leave(model: Model, guides: AnswerGuides) -> None:
    made = guides.make(*chat(HERMES, tools=TOOLS, tool_choice=ToolChoice(mode="none")))
    for answer in answers(
        model, made, n=6, logit_bias=tuple((t, 9.0) for t in exact_tokens(model.vocab, "<"))
    ):
        assert not answer.calls
        assert "<tool_call>" not in answer.text(Delta)


def test_a_tool_that_is_not_offered_cannot_be_required(guides: AnswerGuides) -> None:
    with pytest.raises(RequestError) as caught:
        guides.make(*chat(HERMES, tools=TOOLS, tool_choice=ToolChoice(mode="required", names=("fly",))))
    assert caught.value.param == "tool_choice"


def test_content_or_a_call_beside_a_constraint(model: Model, guides: AnswerGuides) -> None:
    made = guides.make(*chat(HERMES, tools=TOOLS, constraint=schema({"enum": ["yes", "no"]})))
    for answer in answers(model, made, stop=("e", "n")):
        if answer.calls:
            assert_right(answer.calls)
        else:
            assert json.loads(answer.text(Delta)) in ("yes", "no")


@pytest.mark.parametrize(
    ("kind", "text", "cut"),
    [
        ("regex", "ab{3}c", "a"),
        ("lark", 'start: "abb" "bc"', "a"),
        ("gbnf", 'root ::= "ab" "bbc"', "a"),
        ("choice", '["abbbc"]', "abbbc"),
        ("json_schema", '{"const": "abbbc"}', '"abbbc"'),
    ],
)
@pytest.mark.parametrize("form", [HERMES, THINKS, None])
def test_where_a_stop_string_cuts_a_form(
    model: Model, guides: AnswerGuides, kind: Any, text: str, cut: str, form: AnswerForm | None
) -> None:
    constraint = Constraint(kind=kind, text=text, param="form")
    tools = TOOLS if form is HERMES else ()
    message, rendered = chat(
        form or AnswerForm(), tools=tools, constraint=constraint, thinking=Thinking(budget_tokens=3)
    )
    if form is None:
        message = msgspec.structs.replace(message, prompt=TextPrompt(""))
    made = guides.make(message, None if form is None else rendered)
    found = answers(model, made, n=4, stop=("bb",))
    said = [answer.text(Delta) for answer in found if not answer.calls and answer.finish_reason == "stop"]
    assert set(said) == {cut}


@pytest.mark.parametrize("budget", [0, 7])
def test_constrained_content_after_thoughts(model: Model, guides: AnswerGuides, budget: int) -> None:
    thinking = Thinking(budget_tokens=budget)
    made = guides.make(*chat(THINKS, constraint=schema({"enum": ["yes", "no"]}), thinking=thinking))
    bans = tuple((token, -100.0) for token in exact_tokens(model.vocab, "<"))
    for answer in answers(model, made, n=3, logit_bias=bans):
        assert json.loads(answer.text(Delta)) in ("yes", "no")
        assert answer.finish_reason == "stop"
        finish = answer.events[-1]
        assert isinstance(finish, Finish)
        closing = len(exact_tokens(model.vocab, "</think>"))
        assert budget <= finish.usage.reasoning_tokens <= budget + 3 + closing
        assert bool(answer.text(ThoughtDelta)) is (budget > 0) or not answer.text(ThoughtDelta).strip()


@pytest.mark.parametrize("name", ["harmony", "muse"])
def test_messages_of_thoughts_have_a_budget_and_the_form_is_contents(
    model: Model, guides: AnswerGuides, name: str
) -> None:
    known = tool_formats()[name]
    assert isinstance(known, ThoughtMessages)
    n_opening = len(known.thought_marks[0])  # a token for each letter, at most
    form, thinking = AnswerForm(tool_format=name), Thinking(budget_tokens=n_opening + 4)
    made = guides.make(*chat(form, constraint=schema({"enum": ["yes", "no"]}), thinking=thinking))
    assert made.plan is not None
    assert made.plan.closing_tokens
    found = answers(model, made, max_tokens=200)
    for answer in found:
        finish = answer.events[-1]
        assert isinstance(finish, Finish)
        assert finish.usage.reasoning_tokens >= bool(answer.text(ThoughtDelta))
        if answer.finish_reason == "stop":
            assert json.loads(answer.text(Delta)) in ("yes", "no")
            thoughts = model.vocab.tokenize(answer.text(ThoughtDelta), add_special=False, parse_special=False)
            assert len(thoughts) <= n_opening + 12, "the budget, and begun characters"
    assert any(answer.finish_reason == "stop" for answer in found)
    assert any(answer.text(ThoughtDelta) for answer in found)


def test_a_schema_that_cannot_be_held_is_refused_by_name(guides: AnswerGuides) -> None:
    refused = schema({"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json"}}})
    with pytest.raises(RequestError) as caught:
        guides.make(*chat(AnswerForm(), constraint=refused))
    assert caught.value.param is not None
    assert caught.value.param.startswith("response_format")


@pytest.mark.parametrize("text", ["</think>\n\n", "\n</think>\n\n", "end", " end", "the cat"])
def test_a_forced_text_is_exact(model: Model, text: str) -> None:
    tokens = exact_tokens(model.vocab, text)
    assert b"".join(model.vocab.piece(token, special=True) for token in tokens) == text.encode()


@pytest.mark.parametrize("tool_format", ["qwen3_coder", "glm", "lfm2", "gemma4", "minimax_m3"])
def test_a_strict_schema_is_held_or_refused(
    guides: AnswerGuides, caplog: pytest.LogCaptureFixture, tool_format: str
) -> None:
    parameters = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string", "pattern": "(?=x)y"}},
        "minProperties": 1,
    }
    tool = Tool(name="pick", parameters=parameters)

    def make(tool: Tool) -> AnswerGuide:
        form = AnswerForm(tool_format=tool_format)
        return guides.make(*chat(form, tools=[tool], tool_choice=ToolChoice(mode="required")))

    with caplog.at_level("WARNING"):
        assert make(tool).guide is not None
    path = "tools[0].function.parameters"
    with pytest.raises(RequestError, match="strict") as caught:
        make(Tool(name="pick", parameters=parameters, strict=True, path=path))
    assert caught.value.param == f"{path}.minProperties"


def test_only_the_strict_of_several_tools_is_refused(guides: AnswerGuides) -> None:
    loose: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}, "minProperties": 1}
    held: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}

    def make(*tools: Tool) -> AnswerGuide:
        form = AnswerForm(tool_format="glm")
        return guides.make(*chat(form, tools=list(tools), tool_choice=ToolChoice(mode="required")))

    path = "tools[1].function.parameters"
    free, strict = Tool(name="a", parameters=loose), Tool(name="b", parameters=held, strict=True, path=path)
    assert make(free, strict).guide is not None
    with pytest.raises(RequestError) as caught:
        make(Tool(name="a", parameters=held), msgspec.structs.replace(strict, parameters=loose))
    assert caught.value.param == f"{path}.minProperties"
