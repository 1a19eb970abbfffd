from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.detokenizer import Detokenizer
from server.engine.events import TokenLogprob
from server.openai.logprobs import LEAST, TextLogprobs, chat_logprobs
from tests.server.openai.answers import delta


def told(*pieces: bytes) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(i, piece, -1.0) for i, piece in enumerate(pieces))


# --- chats


def test_a_chat_has_each_token_with_its_bytes_and_alternatives() -> None:
    top = ((7, b"no", -0.25), (8, b"\xf0\x9f", -0.5))
    (entry,) = chat_logprobs([TokenLogprob(5, "é".encode(), -1.5, top)]).content
    assert (entry.token, entry.logprob, entry.bytes) == ("é", -1.5, [0xC3, 0xA9])
    assert [(t.token, t.logprob, t.bytes) for t in entry.top_logprobs] == [
        ("no", -0.25, [0x6E, 0x6F]),
        ("\ufffd", -0.5, [0xF0, 0x9F]),
    ]


@pytest.mark.parametrize("logprob", [-math.inf, math.nan, -1e30])
def test_json_has_no_infinity(logprob: float) -> None:
    entry = TokenLogprob(5, b"a", logprob, ((5, b"a", logprob),))
    (chat,) = chat_logprobs([entry]).content
    text = TextLogprobs().place(delta("a", logprobs=(entry,)))
    assert [chat.logprob, chat.top_logprobs[0].logprob, text.token_logprobs[0]] == [LEAST] * 3
    assert text.top_logprobs == [{"a": LEAST}]


# --- completions: names and alternatives


def test_parts_of_characters_are_named_by_their_bytes() -> None:
    text = TextLogprobs().place(delta("é", logprobs=told(b"\xc3", b"\xa9", b"ok")))
    assert text.tokens == ["bytes:\\xc3", "bytes:\\xa9", "ok"]
    assert text.top_logprobs[0] == {"bytes:\\xc3": -1.0}


def test_the_chosen_token_is_among_the_alternatives_with_the_same_float() -> None:
    chosen = -1.2345678806304932
    inside = TokenLogprob(5, b"a", chosen, ((4, b"b", -0.5), (5, b"a", chosen)))
    outside = TokenLogprob(5, b"a", chosen, ((4, b"b", -0.5),))
    text = TextLogprobs().place(delta("aa", logprobs=(inside, outside)))
    for top in text.top_logprobs:
        assert top is not None
        assert list(top.items()) == [("b", -0.5), ("a", chosen)]
    assert text.token_logprobs == [chosen, chosen]


def test_another_token_of_the_same_name_doesnt_hide_the_chosen_one_nor_seem_to_be_it() -> None:
    """Whether the chosen one is the likeliest is seen from the largest value: evaluation tools look there."""
    likelier = TokenLogprob(5, b"a", -3.0, ((9, b"a", -0.1), (4, b"b", -0.5), (3, b"b", -0.6)))
    text = TextLogprobs().place(delta("a", logprobs=(likelier,)))
    assert text.top_logprobs == [{"token_id:9": -0.1, "b": -0.5, "token_id:3": -0.6, "a": -3.0}]


def test_the_first_token_of_a_prompt_has_none() -> None:
    text = TextLogprobs().place(delta("", logprobs=(TokenLogprob(1, b"<s>", None),), is_prompt=True))
    assert (text.tokens, text.token_logprobs, text.top_logprobs) == (["<s>"], [None], [None])


# --- completions: offsets

PROMPT = (b"<s>", b" Hi", b" you")


@pytest.mark.parametrize(
    ("shown", "pieces", "offsets"),
    [
        ("Hi you", PROMPT, [0, 0, 2]),
        (" Hi you", PROMPT, [0, 0, 3]),
        ("<s> Hi you", PROMPT, [0, 3, 6]),
        ("Hi you", (b"", b"Hi", b" you"), [0, 0, 2]),
        ("Hé!", (b"H\xc3", b"\xa9", b"!"), [0, 1, 2]),
        ("🐑!", (b"\xf0", b"\x9f", b"\x90", b"\x91", b"!"), [0, 0, 0, 0, 1]),
        ("a\ufffdb", (b"a", b"\xff", b"b"), [0, 1, 2]),
        ("ab", (b"a", b"<|x|>", b"b"), [0, 1, 1]),
        ("", (b"<s>",), [0]),
    ],
)
@pytest.mark.parametrize("n_tokens", [0, 5])
def test_offsets(shown: str, pieces: tuple[bytes, ...], offsets: list[int], n_tokens: int) -> None:
    text = TextLogprobs()
    assert text.place(delta(shown, logprobs=told(*pieces), n_tokens=n_tokens)).text_offset == offsets
    (after,) = text.place(delta("x", logprobs=told(b"x"))).text_offset
    assert after == len(shown)


def test_what_is_generated_begins_after_the_prompt() -> None:
    """Also where the prompt ends within a character, which its text shows as U+FFFD."""
    text = TextLogprobs()
    text.place(delta("a\ufffd", logprobs=told(b"a", b"\xc3"), is_prompt=True))
    assert text.place(delta("bc", logprobs=told(b"b", b"c"))).text_offset == [2, 3]


def test_tokens_may_be_told_before_their_text() -> None:
    """Text is held back while it could begin a stop string; control tokens never have any."""
    text = TextLogprobs()
    parts = [
        text.place(delta("a", logprobs=told(b"a#"))),
        text.place(delta("", logprobs=told(b"#"))),
        text.place(delta("", logprobs=told(b"<|x|>"))),
        text.place(delta("##b", logprobs=told(b"b"))),
        text.place(delta("c", logprobs=told(b"c"))),
        text.place(delta("", logprobs=told(b"</s>"))),
    ]
    assert [offset for part in parts for offset in part.text_offset] == [0, 2, 3, 3, 4, 5]


@given(st.text(max_size=30), st.data())
def test_offsets_however_the_text_is_cut(shown: str, data: st.DataObject) -> None:
    """Text comes with its tokens, or later: as its characters become whole."""
    whole = shown.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    text, detokenizer, held, n_bytes = TextLogprobs(), Detokenizer(), "", 0
    offsets: list[int] = []
    expected: list[int] = []
    for piece in pieces:
        held += detokenizer.feed(piece)
        shows = data.draw(st.booleans())
        offsets += text.place(delta(held if shows else "", logprobs=told(piece))).text_offset
        held = "" if shows else held
        expected.append(len(whole[:n_bytes].decode("utf-8", "ignore")))
        n_bytes += len(piece)
    assert offsets == expected


def test_offsets_of_a_long_prompt() -> None:
    pieces = [b"%d " % i for i in range(20_000)]
    shown = b"".join(pieces).decode()
    part = TextLogprobs().place(delta(shown, logprobs=told(*pieces), is_prompt=True))
    assert part.text_offset[-1] == len(shown) - len(pieces[-1])
