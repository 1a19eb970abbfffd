from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import ConfigError
from server.toolbox.mcp_config import read_servers

SERVERS = {"mcpServers": {"notes": {"command": "notes", "args": ["a"], "timeout_ms": 5}}}


def test_a_file_and_its_text_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps(SERVERS))
    assert read_servers(str(file)) == read_servers(json.dumps(SERVERS))
    notes = read_servers(str(file))["notes"]
    assert (notes.command, notes.args, notes.timeout_ms, notes.cwd) == ("notes", ("a",), 5, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/no/such/file", "can't read"),
        ("{no", "is no JSON"),
        ("{}", "mcpServers: Field required"),
        ('{"mcpServers": {"a": {"args": []}}}', r"mcpServers\.a\.command: Field required"),
        ('{"mcpServers": {"a": {"command": "x", "comand": 1}}}', r"mcpServers\.a\.comand: Extra inputs"),
        ('{"mcpServers": {"a": {"command": "x", "timeout_ms": 0}}}', r"timeout_ms: Input should be greater"),
        ('{"mcpServers": {"a b": {"command": "x"}}}', "'a b' is no name"),
    ],
)
def test_what_can_not_be_read(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_servers(text)
