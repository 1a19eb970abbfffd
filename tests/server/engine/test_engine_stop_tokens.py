"""Tokens without text that a request names in its stop strings."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from server.engine.request import EngineRequest
from tests.server.engine.harness import Harness, expected_tokens, request
from tests.server.engine.scripted_runner import EOG, PIECES, ScriptedRunner

SILENT = 0
"""The scripted model's token that has no text here."""
NAME = "<|done|>"


class SilentRunner(ScriptedRunner):
    def piece(self, token: int) -> bytes:
        return b"" if token == SILENT else super().piece(token)


def ask_for(token: int) -> tuple[EngineRequest, list[int]]:
    """A request whose answer has the token after some ordinary letters, and the tokens before it."""
    for first in range(1, 20_000):
        asked = request([1 + first % 5, 1 + first // 5 % 5, *[2] * (first // 25)], max_tokens=60, seed=0)
        said = expected_tokens(asked, 256)
        before = said[: said.index(token)] if token in said else []
        if len(before) >= 3 and all(each != SILENT and PIECES[each].isascii() for each in before):
            return asked, before
    raise AssertionError("the scripted model never says so")


def with_stop(asked: EngineRequest, stop: str, tokens: dict[int, str]) -> EngineRequest:
    params = msgspec.structs.replace(asked.params, stop=(stop,))
    return replace(asked, params=params, stop_tokens=tokens)


@pytest.mark.parametrize("token", [SILENT, EOG])
@pytest.mark.parametrize("n_before", [0, 1, 4])
def test_the_answer_ends_where_the_token_comes(token: int, n_before: int) -> None:
    asked, before = ask_for(token)
    text = b"".join(PIECES[each] for each in before).decode()
    stop = text[len(text) - n_before :] + NAME
    harness = Harness(SilentRunner())
    harness.run([with_stop(asked, stop, {token: NAME})])
    outcome = harness.outcomes[asked.id]
    assert outcome.text.get(0, "") == text[: len(text) - n_before]
    assert (outcome.ends[0].finish_reason, outcome.ends[0].stop) == ("stop", stop)
    assert outcome.finish.usage.completion_tokens == len(before) + 1


def test_a_token_that_no_stop_names_ends_nothing() -> None:
    asked, before = ask_for(SILENT)
    harness = Harness(SilentRunner())
    harness.run([with_stop(asked, NAME, {})])
    assert harness.outcomes[asked.id].finish.usage.completion_tokens > len(before) + 1
