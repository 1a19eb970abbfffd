"""`/tools`: the tools that this server runs, with real processes behind them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.errors import ConfigError
from server.config_sources import load_config
from server.toolbox.builtin import tools as builtin
from server.toolbox.builtin.tools import BUILTIN
from server.toolbox.names import TOOL_NAMES
from tests.server.http_client import app_for, client_for, error_of, events_of
from tests.server.toolbox.test_mcp_server import EXAMPLE

MCP = json.dumps({"mcpServers": {"example": {"command": sys.executable, "args": [str(EXAMPLE)]}}})


@asynccontextmanager
async def tools_client(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = app_for(**settings)
    toolbox = app.state.api.toolbox
    toolbox.start()
    try:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as client:
            yield client
    finally:
        await toolbox.close()


async def call(client: httpx.AsyncClient, tool: str, **params: Any) -> Any:
    response = await client.post("/tools", json={"tool": tool, "params": params})
    assert response.status_code == 200
    return response.json()


def test_every_name_has_a_tool() -> None:
    assert tuple(tool.name for tool in BUILTIN) == ("read_file", *TOOL_NAMES[1:])


async def test_there_are_none_unless_asked_for() -> None:
    async with client_for() as client:
        for response in (await client.get("/tools"), await client.post("/tools", json={"tool": "x"})):
            assert (response.status_code, error_of(response)["code"]) == (501, "tools_are_off")


async def test_a_file_of_the_folder_in_which_the_server_runs_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(tmp_path)
    async with tools_client(tools=("read_file",)) as client:
        read = await call(client, "read_file", path=str(tmp_path / "server.py"))
    assert "a stranger" in read["plain_text_response"]


async def test_only_those_that_were_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    async with tools_client(tools=("read_file,get_info",)) as client:
        listed = (await client.get("/tools")).json()
        read = await call(client, "read_file", path=str(tmp_path / "a"))
        unknown = await client.post("/tools", json={"tool": "write_file"})
        info = await call(client, "get_info")
    assert [tool["tool"] for tool in listed] == ["read_file", "get_info"]
    function = listed[0]["definition"]["function"]
    assert (listed[0]["permissions"], function["parameters"]["required"]) == ({"write": False}, ["path"])
    assert read == {"plain_text_response": "text"}
    assert (unknown.status_code, error_of(unknown)["code"]) == (404, "unknown_tool")
    assert "Working directory" in info["plain_text_response"]


async def test_the_folder_is_the_clients_word(tmp_path: Path) -> None:
    async with tools_client(tools=("all",)) as client:
        headers = {"x-tool-cwd": str(tmp_path)}
        for tool, params in (
            ("write_file", {"path": "a", "content": "text", "cwd": "/proc"}),
            ("exec_shell_command", {"command": "cat a > b; exit 3"}),
        ):
            body = {"tool": tool, "params": params}
            last = (await client.post("/tools", json=body, headers=headers)).json()
        elsewhere = await client.post("/tools", json=body, headers={"x-tool-runtime": "docker:image"})
    assert (tmp_path / "b").read_text() == "text"
    assert last["plain_text_response"].endswith("[exit code: 3]")
    assert (elsewhere.status_code, error_of(elsewhere)["param"]) == (400, "x-tool-runtime")


async def test_a_failure_is_the_models_to_read(tmp_path: Path) -> None:
    async with tools_client(tools=("all",)) as client:
        assert "No such file" in (await call(client, "read_file", path=str(tmp_path / "a")))["error"]
        assert "command is missing" in (await call(client, "exec_shell_command"))["error"]
        cut = await call(client, "exec_shell_command", command="echo äöü", max_output_size=3)
        assert cut["plain_text_response"].startswith("ä\n[the output is longer")


async def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    async with tools_client(tools=("all",)) as client:
        answer = await call(
            client, "exec_shell_command", command=f"sh -c 'echo $$ > {tmp_path}/pid; sleep 99'", timeout=1
        )
        assert "[ended after 1 s" in answer["plain_text_response"]
    assert not is_running(tmp_path / "pid")


def is_running(file: Path) -> bool:
    """Tell if the process whose id a file has is there, and not only waited for."""
    try:
        return Path("/proc", file.read_text().strip(), "stat").read_text().split()[2] != "Z"
    except OSError:
        return False


async def test_a_pattern_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "FILE_WORK_S", 0.5)
    (tmp_path / "a").write_text("a" * 64 + "b")
    async with tools_client(tools=("all",)) as client:
        answer = await call(client, "grep_search", path=str(tmp_path / "a"), pattern="(a|a)*c")
    assert "took more than 0.5 s" in answer["error"]


async def test_a_streamed_command() -> None:
    async with tools_client(tools=("all",)) as client:
        body = {"tool": "exec_shell_command", "params": {"command": "echo hello"}, "stream": True}
        events = events_of((await client.post("/tools", json=body)).text)
        failed = events_of((await client.post("/tools", json={**body, "params": {}})).text)
        whole = await client.post("/tools", json={"tool": "get_info", "stream": True})
    assert events[-1] == {"done": True}
    assert "".join(event["chunk"] for event in events[:-1]) == "hello\n\n[exit code: 0]"
    assert failed == [{"done": True, "error": "command is missing"}]
    assert (whole.status_code, error_of(whole)["param"]) == (400, "stream")


async def test_tools_of_mcp_servers_are_among_them() -> None:
    async with tools_client(tools=("get_info",), mcp_servers=MCP) as client:
        names = [tool["tool"] for tool in (await client.get("/tools")).json()]
        said, failed = await asyncio.gather(
            call(client, "example_echo", word="hi"), call(client, "example_fail")
        )
    assert names[:3] == ["get_info", "example_echo", "example_look"]
    assert (said, failed) == ({"plain_text_response": "hi"}, {"error": "it is raining"})


@pytest.mark.parametrize("setting", [{"tools": ("all",)}, {"mcp_servers": MCP}])
def test_tools_are_not_for_strangers(setting: dict[str, Any]) -> None:
    for host in ("0.0.0.0", "127.0.0.1,192.0.2.1", "corral.example"):  # noqa: S104
        with pytest.raises(ConfigError, match="open to everybody"):
            load_config({**setting, "host": host}, {})
        load_config({**setting, "host": host, "api_keys": ("k",)}, {})
    load_config({**setting, "host": "localhost, ::1"}, {})


def test_settings_that_name_nothing() -> None:
    with pytest.raises(ConfigError, match="there is no tool 'raed_file'"):
        load_config({"tools": ("raed_file",)}, {})
    with pytest.raises(ConfigError, match="can't read /no/such/file"):
        load_config({"mcp_servers": "/no/such/file"}, {})
