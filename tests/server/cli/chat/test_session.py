from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from models.errors import ContextLengthExceeded, CorralError, ModelLoadError
from server.cli.chat.backend import ChatOptions
from server.cli.chat.input import LineInput, opens_block, unquote
from server.cli.chat.remote import TextDelta, delta_of
from server.cli.chat.session import ChatSession


class ScriptedBackend:
    """Repeats the last message word by word; `slow` never ends, `long` doesn't fit."""

    def __init__(self) -> None:
        self.asked: list[list[dict[str, str]]] = []
        self.cancelled = False
        self.stopped = False

    async def start(self) -> str:
        return "scripted"

    async def answer(self, messages: list[dict[str, str]], options: ChatOptions) -> AsyncGenerator[str, None]:
        self.asked.append(list(messages))
        text = messages[-1]["content"]
        if text == "long":
            raise ContextLengthExceeded("the conversation is too long")
        yield " "
        for word in text.split():
            yield f"{word} "
        if text == "slow":
            try:
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.cancelled = True
                raise

    async def stop(self) -> None:
        self.stopped = True


async def talk(*lines: str, system: str | None = None) -> tuple[ScriptedBackend, str]:
    backend = ScriptedBackend()
    written: list[str] = []
    waiting = [f"{line}\n" for line in lines]
    session = ChatSession(backend, ChatOptions(), system, written.append)
    await session.run(LineInput(lambda: waiting.pop(0) if waiting else ""))
    assert backend.stopped
    return backend, "".join(written)


async def test_turns_add_up() -> None:
    backend, written = await talk("one two", "three", system="Be brief.")
    assert written == "one two \nthree \n"
    assert backend.asked[1] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one two"},
        {"role": "assistant", "content": "one two"},
        {"role": "user", "content": "three"},
    ]


async def test_clear_and_system_begin_anew() -> None:
    backend, _ = await talk("one", "/clear", "two", "/system Speak French.", "three", "/system", "four")
    assert [len(messages) for messages in backend.asked] == [1, 1, 2, 1]
    assert backend.asked[2][0] == {"role": "system", "content": "Speak French."}


async def test_interrupt_stops_the_answer_not_the_program() -> None:
    backend, written = await asyncio.wait_for(talk("slow", "next"), 10)
    assert backend.cancelled
    assert "slow  [stopped]" in written
    assert written.endswith("next \n")
    assert backend.asked[1][1] == {"role": "assistant", "content": "slow"}


async def test_an_error_is_told_and_its_message_forgotten() -> None:
    backend, written = await talk("long", "short")
    assert "corral: the conversation is too long (or /clear)" in written
    assert backend.asked[1] == [{"role": "user", "content": "short"}]


async def test_exit_help_and_what_is_no_command() -> None:
    backend, written = await talk("/help", "/what", "/exit", "never")
    assert "/save FILE" in written
    assert "no command /what" in written
    assert backend.asked == []


async def test_save(tmp_path: Path) -> None:
    path = tmp_path / "a b.json"
    _, written = await talk("hello", f'/save "{path}"', "/save", f"/save {tmp_path}/no/where")
    assert json.loads(path.read_text())[1] == {"role": "assistant", "content": "hello"}
    assert "takes one file name" in written
    assert "can't be written" in written


async def test_a_model_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(self: ScriptedBackend) -> str:
        raise ModelLoadError("no memory")

    monkeypatch.setattr(ScriptedBackend, "start", start)
    with pytest.raises(ModelLoadError):
        await talk("hello")


async def test_several_lines() -> None:
    backend, _ = await talk('"""first', "second", 'third"""', '"""whole"""')
    assert backend.asked[0][0]["content"] == "first\nsecond\nthird"
    assert backend.asked[1][2]["content"] == "whole"


@pytest.mark.parametrize(
    ("text", "opens", "message"),
    [
        ("plain", False, "plain"),
        ('"""', True, ""),
        ('"""a', True, "a"),
        ('"""a"""', False, "a"),
        ('a """', False, 'a """'),
        ('""""""', False, ""),
    ],
)
def test_quotes(text: str, opens: bool, message: str) -> None:
    assert opens_block(text) is opens
    assert unquote(text) == message


def test_stream_lines_of_a_server() -> None:
    assert delta_of(b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n') == TextDelta("Hi")
    for name in (b"reasoning_content", b"reasoning"):
        thought = delta_of(b'data: {"choices":[{"delta":{"%b":"Hm"}}]}\n' % name)
        assert thought == TextDelta("Hm", is_thought=True)
    assert delta_of(b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n') is None
    assert delta_of(b'data: {"choices":[]}\n') is None
    assert delta_of(b": comment\n") is None
    assert delta_of(b"data: [DONE]\n") is None
    assert delta_of(b"\n") is None
    with pytest.raises(CorralError, match="it died"):
        delta_of(b'data: {"error":{"message":"it died"}}\n')
