"""The options that say which running server a client is for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from server.clients.connection import Connection


TlsCaOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="PEM certificates to trust besides the system's, for https. [CORRAL_TLS_CA]",
    ),
]


def trusted_file(given: Path | None, url: str | None) -> Path | None:
    """Return the file of --tls-ca, or that of CORRAL_TLS_CA.

    Raises ConfigError for a --tls-ca that would be without effect, as the server isn't called by https.
    """
    import os

    from models.errors import ConfigError

    if given is not None and not (url or "").lower().startswith("https:"):
        raise ConfigError("--tls-ca is for a server at https://…; give its --url, or leave --tls-ca out")
    named = os.environ.get("CORRAL_TLS_CA", "").strip("\r\n")
    return given or (Path(named) if named else None)


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A running server."""

    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The server: http://HOST:PORT. [where this machine's settings say]"),
    ] = None
    api_key: Annotated[str | None, typer.Option(metavar="KEY", help="The server's key. [CORRAL_API_KEY]")] = (
        None
    )
    tls_ca: TlsCaOption = None

    def connection(self) -> Connection:
        """Return the way to the server. Raises ConfigError for what is no URL or no key."""
        from models.errors import ConfigError
        from models.secrets import clean_secret
        from server.cli.settings import read_settings
        from server.clients.connection import Connection, root_of
        from server.clients.running_server import local_url
        from server.listener import host_names

        config = read_settings({}, None)
        key = self.api_key
        if key is None and config.api_keys:
            key = config.api_keys[0].get_secret_value()
        if self.url is None and config.socket is not None:
            raise ConfigError(
                f"by these settings the server listens at the unix socket {config.socket}, and commands call"
                " URLs; name one with --url"
            )
        url = self.url or local_url(host_names(config.host)[0], config.port, tls=config.tls_cert is not None)
        ca = trusted_file(self.tls_ca, url)
        return Connection(root_of(url), clean_secret(key or "", "--api-key"), ca=ca)


@dataclass(frozen=True, slots=True)
class ServerOptions(ServerAddress):
    """A running server and a model of it."""

    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model. [one that is loaded, or the first listed]")
    ] = None


ContextOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Context that the client is told. [all that the model has]"),
]
ClientArgument = Annotated[
    str, typer.Argument(metavar="CLIENT", help="claude, codex, opencode, pi, aider, zed, openai …")
]
