"""Events with several tokens, cut into one event for each."""

from __future__ import annotations

import pytest

from server.engine.events import Delta, TokenLogprob
from server.ipc.messages import Generate
from server.llama_server.single_tokens import single_tokens
from tests.server.http_client import client_for, events_of
from tests.server.scripted_service import ScriptedService, Step, says


def delta(text: str, *pieces: bytes, n_tokens: int | None = None) -> Delta:
    return Delta(
        id="r",
        index=1,
        text=text,
        n_tokens=len(pieces) if n_tokens is None else n_tokens,
        tokens=tuple(range(len(pieces))),
        logprobs=tuple(TokenLogprob(token, piece, -1.0) for token, piece in enumerate(pieces)),
    )


def test_each_token_has_its_text_and_a_character_comes_with_its_last_token() -> None:
    event = delta("a ça", b"a ", b"\xc3", b"\xa7", b"a")
    parts = single_tokens(event)
    assert [part.text for part in parts] == ["a ", "", "ç", "a"]
    assert [part.tokens for part in parts] == [(0,), (1,), (2,), (3,)]
    assert [part.logprobs for part in parts] == [(one,) for one in event.logprobs]
    assert all((part.id, part.index, part.n_tokens) == ("r", 1, 1) for part in parts)


@pytest.mark.parametrize(
    "event",
    [
        delta("a", b"a"),
        delta(""),
        delta("going on", b" going", b" on"),  # the first space isn't shown
        delta("ab", b"a", b"bst"),  # what may be a stop string is held back
        delta("ab", b"a", b"b", n_tokens=3),
    ],
)
def test_what_has_another_text_than_its_tokens_stays_whole(event: Delta) -> None:
    assert single_tokens(event) == [event]


async def test_a_stream_with_probabilities_has_one_token_in_each_event() -> None:
    def script(request: Generate) -> list[Step]:
        started, *rest = says("a", "b", "c")(request)
        first, second, third, *last = rest
        assert isinstance(first, Delta)
        assert isinstance(second, Delta)
        both = Delta(
            id=first.id,
            index=0,
            text=first.text + second.text,
            n_tokens=2,
            tokens=first.tokens + second.tokens,
            logprobs=first.logprobs + second.logprobs,
        )
        return [started, both, third, *last]

    async with client_for(ScriptedService(script)) as client:
        body = {"prompt": "Hi", "n_probs": 2, "stream": True}
        streamed = events_of((await client.post("/completion", json=body)).text)
        whole = (await client.post("/completion", json={**body, "stream": False})).json()
    *parts, last = streamed
    assert [part["content"] for part in parts] == ["a", "b", "c"]
    assert [part["tokens_predicted"] for part in parts] == [1, 2, 3]
    told = [part["completion_probabilities"] for part in parts]
    assert all(len(probabilities) == 1 for probabilities in told)
    assert [one for (one,) in told] == whole["completion_probabilities"]
    assert last["stop"] is True
