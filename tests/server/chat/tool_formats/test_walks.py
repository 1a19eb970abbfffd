"""Random tokens under a format's grammar are calls that its reader reads, with arguments that are valid."""

from __future__ import annotations

import importlib
import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from typing import Any

import jsonschema
import numpy as np
import pytest
from llguidance import LLMatcher

from server.chat.tool_formats.registry import tool_formats
from server.chat.tools import Tool
from tests.server.chat.tool_formats.sample import TOOLS, read
from tests.server.chat.tool_formats.vocabularies import SOURCES, MarkedTrie, Trie, opened

pytestmark = pytest.mark.skipif(not SOURCES, reason="CORRAL_LLAMA_CPP_SOURCE names no llama.cpp source tree")

FORMATS = sorted(tool_formats())
ENDINGS = ['"', '"}', "}", "]", ")", "\n</parameter>\n", "</parameter>", "</function>\n", "</tool_call>"]
OWN_ENDINGS = {
    "kimi_k3": ["<|close|>response<|sep|>"],
    "lfm2": ["'", "')]"],
    "minicpm": ["]]></param>", "</param>"],
    "muse": ["</atem:parameter>", "</atem:invoke>"],
    "minimax_m3": [f"]<]minimax[>[</{name}>" for name in ("city", "code", "path", "item", "note")],
}
"""The ends of values that formats have for themselves."""
N_WALKS = 4
MAX_TOKENS = 4000
HARD = Tool(
    name="edit-file.v2",
    parameters={
        "type": "object",
        "properties": {
            "path": {"type": "string", "pattern": "^/[a-z/]+$"},
            "mode": {"enum": ["w", "a", "x y"]},
            "lines": {"$ref": "#/$defs/lines"},
            "limit": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "null"}]},
            "note": {"type": ["string", "null"], "maxLength": 5},
        },
        "required": ["mode", "path"],
        "$defs": {"lines": {"type": "array", "items": {"type": "integer"}, "maxItems": 3}},
    },
)


THOUGHTS = ("<think>", "</think>")


@pytest.fixture(
    params=[
        "marks",
        pytest.param("llama-spm", marks=pytest.mark.thorough),
        pytest.param("qwen2", marks=pytest.mark.thorough),
    ],
)
def trie(request: pytest.FixtureRequest, real_tries: Callable[[str], Trie]) -> Trie:
    """Return a vocabulary: one with the format's marks as special tokens, or a real one without any."""
    if request.param == "marks":
        return marked_trie(request.node.callspec.params["name"])
    return real_tries(request.param)


def marked_trie(name: str) -> Trie:
    marks = [mark for mark in tool_formats()[name].marks if mark[:1] in set("<[]｜")]
    return MarkedTrie([*marks, *THOUGHTS])


@pytest.fixture(scope="module")
def real_tries() -> Iterator[Callable[[str], Trie]]:
    """Return what opens a real vocabulary, once; they are closed behind the last walk."""
    with ExitStack() as stack:
        yield cache(lambda name: stack.enter_context(opened(name)))


@pytest.fixture(autouse=True)
def _spells_marks(request: pytest.FixtureRequest) -> None:
    """Skip formats whose marks a vocabulary of SentencePiece can't spell: there `▁` is a space."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is None:
        return
    name = callspec.params.get("name", "")
    is_spm = callspec.params.get("trie") == "llama-spm"
    if name and is_spm and any("▁" in mark for mark in tool_formats()[name].marks):
        pytest.skip("no vocabulary of SentencePiece spells this format's marks")


def walk(matcher: LLMatcher, trie: Trie, dice: random.Random, endings: list[list[int]]) -> list[int]:
    """Return random tokens that the grammar allows, up to its end."""
    tokens: list[int] = []
    while len(tokens) < MAX_TOKENS and not matcher.is_stopped():
        if matcher.is_accepting() and dice.random() < 0.7:
            return tokens
        if dice.random() < (0.3 if len(tokens) < 40 else 0.95):
            taken = take_ending(matcher, dice, endings)
            tokens += taken
            if taken:
                continue
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        allowed = np.flatnonzero(bits)
        allowed = allowed[~np.isin(allowed, trie.eog)]
        if not len(allowed):
            break
        token = int(allowed[dice.randrange(len(allowed))])
        assert matcher.consume_token(token), matcher.get_error()
        tokens.append(token)
    assert matcher.is_accepting() or matcher.is_stopped(), trie.text(tokens)
    return tokens


def take_ending(matcher: LLMatcher, dice: random.Random, endings: list[list[int]]) -> list[int]:
    """Take a text whole that ends a value or more, if one is allowed here."""
    for ending in dice.sample(endings, len(endings)):
        if matcher.validate_tokens(ending) == len(ending):
            assert matcher.consume_tokens(ending)
            return ending
    return []


def endings_of(name: str, trie: Trie) -> list[list[int]]:
    marks = [mark for mark in tool_formats()[name].marks if mark]
    known = tool_formats()[name]
    own = [getattr(known, "value_closing", ""), getattr(known, "closing", ""), *OWN_ENDINGS.get(name, [])]
    own += ["\n" * n + closing for closing in (getattr(known, "section", None) or ())[1:] for n in (0, 1)]
    texts = [*ENDINGS, *marks, *own]
    return [tokens for text in texts if (tokens := trie.tokens(text, marks))]


@pytest.mark.parametrize("tools", [TOOLS, (HARD, *TOOLS)], ids=["plain", "hard"])
@pytest.mark.parametrize("name", FORMATS)
def test_required_calls_are_valid(name: str, trie: Trie, tools: tuple[Tool, ...]) -> None:
    known = tool_formats()[name]
    matcher = trie.matcher(known, trie.job(tools, required=True))
    schemas = {tool.name: tool.parameters for tool in tools}
    endings = endings_of(name, trie)
    for seed in range(N_WALKS):
        text = trie.text(walk(matcher.deep_copy(), trie, random.Random(seed), endings))
        content, _, calls = read(known.reader(tools, thoughts=None, thinks=False), text)
        assert calls, text
        assert content.strip() == "", text
        for call in calls:
            assert call.ended, text
            jsonschema.validate(call.arguments, schemas[call.name])


@pytest.mark.parametrize("name", FORMATS)
def test_calls_in_a_free_answer_are_valid(name: str, trie: Trie) -> None:
    """A call that begins in the answer goes on as one; the reader takes no other text for a call."""
    known = tool_formats()[name]
    matcher = trie.matcher(known, trie.job(TOOLS, required=False))
    schemas = {tool.name: tool.parameters for tool in TOOLS}
    head, called, tail = example(name).partition("get_weather")
    begins = trie.tokens(head + called + tail[:1], known.marks)
    endings = endings_of(name, trie)
    n_calls = 0
    for seed in range(N_WALKS):
        made, tokens = matcher.deep_copy(), []
        if seed % 2:
            tokens = begins[: made.try_consume_tokens(begins)]
        text = trie.text([*tokens, *walk(made, trie, random.Random(seed), endings)])
        _, _, calls = read(known.reader(TOOLS, thoughts=None, thinks=False), text)
        n_calls += len(calls)
        for call in calls:
            assert call.ended, text
            jsonschema.validate(call.arguments, schemas[call.name])
    assert n_calls


@pytest.mark.thorough
@pytest.mark.parametrize("thinks", [True, False])
@pytest.mark.parametrize("name", FORMATS)
def test_calls_behind_thoughts_are_valid(name: str, trie: Trie, thinks: bool) -> None:
    known = tool_formats()[name]
    matcher = trie.matcher(known, trie.job(TOOLS, required=True, thoughts=THOUGHTS, thinks=thinks))
    schemas = {tool.name: tool.parameters for tool in TOOLS}
    endings = [*endings_of(name, trie), *[trie.tokens(mark, THOUGHTS) for mark in THOUGHTS]]
    for seed in range(N_WALKS):
        text = trie.text(walk(matcher.deep_copy(), trie, random.Random(seed), endings))
        content, _, calls = read(known.reader(TOOLS, thoughts=THOUGHTS, thinks=thinks), text)
        assert calls, text
        assert content.strip() == "", text
        for call in calls:
            assert call.ended, text
            jsonschema.validate(call.arguments, schemas[call.name])


@pytest.mark.thorough
@pytest.mark.parametrize("name", FORMATS)
def test_content_beside_tools_has_its_form(name: str, trie: Trie) -> None:
    """An answer is calls, or content that follows the form that the request asks for."""
    known = tool_formats()[name]
    job = replace(trie.job(TOOLS, required=False), content="form")
    grammar = (
        known.grammar(job) + '\nform: %json {"type": "object", "properties": {"n": {"type": "integer"}}, '
    )
    grammar += (
        '"required": ["n"], "additionalProperties": false, "x-guidance": {"whitespace_flexible": false}}'
    )
    matcher = LLMatcher(trie.tokenizer, grammar)
    assert not matcher.get_error(), f"{matcher.get_error()}\n{grammar}"
    n_calls = 0
    for seed in range(2 * N_WALKS):
        text = trie.text(walk(matcher.deep_copy(), trie, random.Random(seed), endings_of(name, trie)))
        content, _, calls = read(known.reader(TOOLS, thoughts=None, thinks=False), text)
        n_calls += len(calls)
        assert all(call.ended for call in calls), text
        if not calls:
            assert set(json.loads(content)) == {"n"}, text


@pytest.mark.thorough
def test_a_thousand_calls() -> None:
    """A thousand required calls over all formats, the marks special tokens: none is malformed."""
    n_calls, schemas = 0, {tool.name: tool.parameters for tool in (HARD, *TOOLS)}
    for name in FORMATS:
        known, trie = tool_formats()[name], marked_trie(name)
        matcher = trie.matcher(known, trie.job((HARD, *TOOLS), required=True))
        endings, wanted = endings_of(name, trie), n_calls + 1 + 1000 // len(FORMATS)
        seed = 100
        while n_calls < wanted:
            seed += 1
            text = trie.text(walk(matcher.deep_copy(), trie, random.Random(seed), endings))
            _, _, calls = read(known.reader((HARD, *TOOLS), thoughts=None, thinks=False), text)
            assert calls, text
            for call in calls:
                assert call.ended, text
                jsonschema.validate(call.arguments, schemas[call.name])
            n_calls += len(calls)
    print(f"{n_calls:,} calls in {len(FORMATS)} formats, none malformed")
    assert n_calls >= 1000


@pytest.mark.parametrize("name", FORMATS)
def test_one_call_where_no_more_are_wanted(name: str, trie: Trie) -> None:
    known = tool_formats()[name]
    matcher = trie.matcher(known, trie.job(TOOLS, required=True, parallel=False))
    for seed in range(4):
        text = trie.text(walk(matcher.deep_copy(), trie, random.Random(seed), endings_of(name, trie)))
        assert len(read(known.reader(TOOLS, thoughts=None, thinks=False), text)[2]) == 1, text


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("required", [True, False])
def test_samples_are_allowed(name: str, trie: Trie, required: bool) -> None:
    """The grammar accepts a call as models write it, in free answers behind text, too."""
    known = tool_formats()[name]
    matcher = trie.matcher(known, trie.job(TOOLS, required=required))
    text = example(name)
    tokens = trie.tokens(text, known.marks)
    taken = matcher.try_consume_tokens(tokens)
    assert taken == len(tokens), trie.text(tokens[: taken + 1])
    assert matcher.is_accepting() or matcher.is_stopped()


@pytest.mark.parametrize("name", FORMATS)
def test_answers_without_tools_are_free_text(name: str, trie: Trie) -> None:
    known = tool_formats()[name]
    matcher = trie.matcher(known, trie.job((), required=False))
    module: Any = importlib.import_module(f"tests.server.chat.tool_formats.samples.{name}")
    text = next(sample.raw for sample in module.SAMPLES if not sample.calls and not sample.marks)
    tokens = trie.tokens(text, known.marks)
    assert matcher.try_consume_tokens(tokens) == len(tokens)
    assert matcher.is_accepting()


def example(name: str) -> str:
    """Return the first sample with a call of the weather and nothing else."""
    module: Any = importlib.import_module(f"tests.server.chat.tool_formats.samples.{name}")
    found: str = next(
        sample.raw
        for sample in module.SAMPLES
        if not sample.content
        and not sample.marks
        and [(call.name, json.dumps(call.arguments)) for call in sample.calls]
        == [("get_weather", '{"city": "Paris"}')]
    )
    return found
