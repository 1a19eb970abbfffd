"""MCP servers: a real process that says everything a server may say."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.toolbox.mcp_config import McpServerSettings
from server.toolbox.mcp_server import McpServer
from server.toolbox.tool import Tool, ToolCall, ToolFailure

EXAMPLE = Path(__file__).with_name("mcp_example.py")


def server_of(**more: object) -> McpServer:
    values = {"command": sys.executable, "args": [str(EXAMPLE)], "env": {"EXAMPLE": "said: "}, **more}
    return McpServer("example", McpServerSettings.model_validate(values))


@pytest.fixture
async def server() -> AsyncIterator[McpServer]:
    server = server_of()
    yield server
    await server.close()


async def tools_of(server: McpServer) -> dict[str, Tool]:
    return {tool.name: tool for tool in await server.tools()}


async def test_its_tools(server: McpServer) -> None:
    tools = await tools_of(server)
    assert list(tools) == [f"example_{name}" for name in ("echo", "look", "fail", "die", "hang", "draw")]
    definition = tools["example_echo"].document()["definition"]["function"]
    assert definition["description"] == "Says it again"
    assert definition["parameters"]["properties"]["word"] == {"type": "string"}
    assert tools["example_fail"].parameters == {"type": "object", "properties": {}}
    assert (tools["example_echo"].writes, tools["example_look"].writes) == (True, False)


async def test_calls_beside_each_other(server: McpServer) -> None:
    echo = (await tools_of(server))["example_echo"]
    results = await asyncio.gather(*(echo.call(ToolCall({"word": str(n)})) for n in range(5)))
    assert [each["plain_text_response"] for each in results] == [f"said: {n}" for n in range(5)]
    drawn = await (await tools_of(server))["example_draw"].call(ToolCall({"word": "x"}))
    assert drawn["plain_text_response"] == "said: x"
    assert (drawn["content"][1]["type"], drawn["result"]) == ("image", {"n": 1})


async def test_what_comes_to_nothing_says_why(server: McpServer) -> None:
    tools = await tools_of(server)
    with pytest.raises(ToolFailure, match="it is raining"):
        await tools["example_fail"].call(ToolCall({}))
    with pytest.raises(ToolFailure, match="no tool look"):
        await tools["example_look"].call(ToolCall({}))


async def test_a_server_that_died_is_started_again(server: McpServer) -> None:
    tools = await tools_of(server)
    with pytest.raises(ToolFailure, match="has ended"):
        await tools["example_die"].call(ToolCall({}))
    assert (await tools["example_echo"].call(ToolCall({"word": "b"})))["plain_text_response"] == "said: b"


async def test_no_answer_in_time() -> None:
    server = server_of(timeout_ms=50)
    try:
        tools = await tools_of(server)
        with pytest.raises(ToolFailure, match=r"within 0\.05 s"):
            await tools["example_hang"].call(ToolCall({}))
    finally:
        await server.close()


async def test_a_stop_ends_calls_at_once(server: McpServer) -> None:
    tools = await tools_of(server)
    hanging = asyncio.create_task(tools["example_hang"].call(ToolCall({})))
    await asyncio.sleep(0)
    await server.close()
    with pytest.raises(ToolFailure, match=r"has ended|is stopping"):
        await hanging
    with pytest.raises(ToolFailure, match="is stopping"):
        await tools["example_echo"].call(ToolCall({}))


async def test_a_server_that_can_not_be_started_has_no_tools(caplog: pytest.LogCaptureFixture) -> None:
    for settings in ({"command": "no-such-program"}, {"args": ["-c", "raise SystemExit('bad luck')"]}):
        assert await server_of(**settings).tools() == []
    assert "can't start no-such-program" in caplog.text
    assert "bad luck" in caplog.text
