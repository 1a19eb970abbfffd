"""The command `corral cluster config`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer


def command(
    kind: Annotated[
        Literal["haproxy"], typer.Argument(metavar="KIND", help="Program to write for: haproxy.")
    ],
    servers: Annotated[
        list[str], typer.Argument(metavar="HOST", help="Servers: HOST, HOST:PORT or https://HOST:PORT.")
    ],
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Address for clients.")
    ] = "127.0.0.1:8080",
    prefix_bytes: Annotated[
        int,
        typer.Option(
            "--prefix-bytes",
            metavar="N",
            min=16,
            max=32_768,
            help="Requests whose bodies begin with the same so many bytes go to the same server.",
        ),
    ] = 512,
) -> None:
    """Print the settings of a balancer before several servers that have the same models.

    Requests that begin alike go to the same server, where the beginning is in its cache, unless it has too
    much to do. A server that dies, or says at /ready that it stops, gets no more; what it hadn't begun to
    answer is sent to another.
    """
    from models.errors import ConfigError
    from server.cluster.haproxy import Address, haproxy_config

    where = Address.parse(listen)
    if where.tls:
        raise ConfigError("--listen is HOST:PORT; for TLS give HAProxy a certificate: bind … ssl crt FILE")
    addresses = [Address.parse(server) for server in servers]
    match kind:
        case "haproxy":
            text = haproxy_config(addresses, where, prefix_bytes=prefix_bytes)
    typer.echo(text, nl=False)
