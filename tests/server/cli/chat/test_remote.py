"""The backend of `corral chat --url`, against the real HTTP app."""

from __future__ import annotations

from server.cli.chat.backend import ChatOptions
from server.cli.chat.remote import RemoteBackend
from tests.server.http_client import app_for, serving
from tests.server.scripted_answers import THINKING, answers
from tests.server.scripted_service import ScriptedService


async def said(service: ScriptedService) -> str:
    async with serving(app_for(service)) as url:
        backend = RemoteBackend(url, None, None)
        assert await backend.start() == "demo"
        messages = [{"role": "user", "content": "Hi"}]
        return "".join([piece async for piece in backend.answer(messages, ChatOptions())])


async def test_an_answer() -> None:
    assert await said(ScriptedService(answers("Hello world", None))) == "Hello world"


async def test_thoughts_are_shown_before_the_answer() -> None:
    script = answers("Hm, hm.\n</think>\n\nYes.", THINKING)
    assert await said(ScriptedService(script)) == "<think>\nHm, hm.\n</think>\n\nYes."


async def test_a_short_name_is_enough() -> None:
    async with serving(app_for()) as url:
        assert await RemoteBackend(url, None, "DEMO").start() == "demo"
        assert await RemoteBackend(url, None, "unknown").start() == "unknown"  # the server says that it isn't
