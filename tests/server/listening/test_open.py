"""Which sockets a server gets, and when it gets none."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from models.errors import ConfigError
from server.config import ServerConfig
from server.listening.open import open_listener
from server.listening.service_manager import ServiceManager

TOOLS = ("read_file",)


def test_tools_are_not_open_at_an_address_that_the_service_manager_chose(tmp_path: Path) -> None:
    with socket.socket() as everywhere, socket.socket() as here, socket.socket(socket.AF_UNIX) as unix:
        everywhere.bind(("0.0.0.0", 0))  # noqa: S104
        here.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "s"))
        with pytest.raises(ConfigError, match=r"everybody who reaches 0\.0\.0\.0, which the service manager"):
            open_listener(ServerConfig(tools=TOOLS), ServiceManager([here, everywhere]))
        with pytest.raises(ConfigError, match="service manager"):
            open_listener(ServerConfig(mcp_servers='{"mcpServers": {}}'), ServiceManager([everywhere]))
        assert open_listener(ServerConfig(tools=TOOLS), ServiceManager([here, unix])).sockets == [here, unix]
        guarded = ServerConfig(tools=TOOLS, api_keys=(SecretStr("k" * 20),))
        assert open_listener(guarded, ServiceManager([everywhere])).sockets == [everywhere]
        assert open_listener(ServerConfig(), ServiceManager([everywhere])).sockets == [everywhere]
