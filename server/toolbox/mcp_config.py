"""`read_servers`: the MCP servers that a settings file names, in the form that editors share.

{"mcpServers": {"notes": {"command": "notes-mcp", "args": ["--all"], "env": {"TOKEN": "…"}}}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


class McpServerSettings(BaseModel):
    """The program of one MCP server, which speaks over its standard input and output."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    command: Annotated[str, Field(min_length=1)]
    args: tuple[str, ...] = Field((), strict=False)
    env: dict[str, str] = {}
    cwd: str | None = None
    timeout_ms: Annotated[int, Field(gt=0, le=86_400_000)] = 30_000


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    mcpServers: dict[str, McpServerSettings]  # noqa: N815 - the name in the file


def read_servers(text_or_path: str) -> Mapping[str, McpServerSettings]:
    """Return the servers by name. `text_or_path` is JSON if it begins with a brace, else a file of it.

    Raises ConfigError.
    """
    where = "--mcp-servers"
    text = text_or_path.strip()
    if not text.startswith("{"):
        where = text
        try:
            text = Path(text).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise ConfigError(
                f"--mcp-servers: can't read {where} ({error}); name a JSON file, or write the JSON"
            ) from error
    try:
        servers = _Document.model_validate(json.loads(text)).mcpServers
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where} is no JSON: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f'{where}: {field}: {first["msg"]}; a server is {{"command": …, "args": […]}}'
        ) from error
    for name in servers:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{where}: {name!r} is no name for an MCP server; take 1 to 32 letters, digits, - and _"
            )
    return servers
