"""Answers as templates render them are allowed where every mark is a special token."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.server.chat.tool_formats.sample import TOOLS, Call, read
from tests.server.chat.tool_formats.test_round_trip import IN_THE_GENERIC_FORMAT, RENDERED, Answer
from tests.server.chat.tool_formats.vocabularies import MarkedTrie

_MARK = re.compile(
    r"<\|[^|<>\n ]{1,40}\|?>|<[^|<>\n ]{1,40}\|>|<｜[^｜\n]{1,40}｜>|\[/?[A-Z_]{3,20}\]"
    r"|</?think>|</?tool_call>"
)
_CALL = Call("get_weather", {"city": "Paris"})
ANSWERS = {
    "content": ([], "It is a fine day.", ""),
    "call": ([_CALL], "", ""),
    "thoughts, content": ([], "It is a fine day.", "So what?"),
    "thoughts, call": ([_CALL], "", "So what?"),
}


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.stem)
def test_answer_is_allowed_and_read(path: Path, kind: str) -> None:
    calls, content, thoughts = ANSWERS[kind]
    if calls and path.stem in IN_THE_GENERIC_FORMAT:
        pytest.skip(IN_THE_GENERIC_FORMAT[path.stem])
    answer = Answer(path, calls, content, thoughts)
    marks = [*_MARK.findall(path.read_text()), *answer.format.marks, *(answer.thoughts or ())]
    trie = MarkedTrie([mark for mark in marks if mark[:1] in set("<[]｜")])
    job = trie.job(TOOLS, required=False, thoughts=answer.thoughts, thinks=answer.thinks)
    matcher = trie.matcher(answer.format, job)
    tokens = trie.tokens(answer.text, sorted(trie.marks, key=len, reverse=True))
    taken = matcher.try_consume_tokens(tokens)
    assert taken == len(tokens), f"{trie.text(tokens[:taken])!r} | {trie.text(tokens[taken:])!r}"
    assert matcher.is_accepting() or matcher.is_stopped(), answer.text
    reader = answer.format.reader(TOOLS, thoughts=answer.thoughts, thinks=answer.thinks)
    found = read(reader, answer.text)
    assert found[2] == calls, answer.text
    if content in answer.text:
        assert found[0].strip() == content, answer.text
    if thoughts and thoughts in answer.text:
        assert found[1] == thoughts, answer.text
