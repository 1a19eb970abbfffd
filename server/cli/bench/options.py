"""The options of `corral bench`: the server to load, and the loads."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.clients.options import TlsCaOption

if TYPE_CHECKING:
    from server.loadtest.session import Level, Plan

NUMBER_MAX = 1e6
"""A number of a list of loads is smaller than this."""

TOKENS_MAX = 1_000_000
"""A prompt or an answer has at most this many tokens."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """A running server, and the model to ask it for."""

    url: Annotated[
        str | None, typer.Option(metavar="URL", help="A server that is running: http://HOST:PORT.")
    ] = None
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Model to ask for. [the first that the server lists]")
    ] = None
    api_key: Annotated[str | None, typer.Option(metavar="KEY", help="The key of the server at --url.")] = None
    tls_ca: TlsCaOption = None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The loads, one after another, and the requests that they are made of."""

    concurrency: Annotated[
        str, typer.Option(metavar="N,…", help="Requests under way at the same time, one level after another.")
    ] = "1,4,16"
    rate: Annotated[
        str | None,
        typer.Option(metavar="R,…", help="Requests per second at random times, instead of --concurrency."),
    ] = None
    requests: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Requests per level. [four per stream, at least 8; 32 with --rate]"
        ),
    ] = None
    prompt_tokens: Annotated[
        int, typer.Option(min=1, max=TOKENS_MAX, metavar="N", help="Length of a prompt, about.")
    ] = 64
    output_tokens: Annotated[
        int, typer.Option(min=1, max=TOKENS_MAX, metavar="N", help="Length of an answer.")
    ] = 96
    shared_prefix: Annotated[
        int, typer.Option(min=0, metavar="N", help="Tokens of the prompt that all requests of a level share.")
    ] = 0
    chat: Annotated[bool, typer.Option("--chat/--completions", help="Which of the two APIs to use.")] = True
    warmup: Annotated[int, typer.Option(min=0, metavar="N", help="Requests sent before any is measured.")] = 2
    timeout: Annotated[float, typer.Option(min=0.1, metavar="S", help="Most seconds for one request.")] = (
        600.0
    )
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Of prompts and arrivals. [another one each time]")
    ] = None

    def plan(self, model: str) -> Plan:
        """Return the requests to `model`. Raises ConfigError where they would share all of their prompt."""
        from models.errors import ConfigError
        from server.loadtest.session import Plan

        if self.shared_prefix >= self.prompt_tokens:
            raise ConfigError(
                f"--shared-prefix {self.shared_prefix} leaves nothing of {self.prompt_tokens} prompt tokens"
                " that differs; raise --prompt-tokens"
            )
        return Plan(
            model, self.chat, self.prompt_tokens, self.output_tokens, self.shared_prefix, self.timeout
        )

    def levels(self) -> list[Level]:
        """Return the loads. Raises ConfigError for what is no list of numbers."""
        from server.loadtest.session import levels_of

        rates = numbers("--rate", self.rate) if self.rate is not None else []
        return levels_of(self.streams(), rates, self.requests)

    def streams(self) -> list[int]:
        """Return the numbers of requests under way. Raises ConfigError."""
        return [int(n) for n in numbers("--concurrency", self.concurrency)]


def numbers(flag: str, text: str) -> list[float]:
    """Return the positive numbers of a comma-separated list; --concurrency has whole ones.

    Raises ConfigError.
    """
    from models.errors import ConfigError

    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    whole = flag != "--concurrency" or all(n == int(n) for n in values if n < sys.maxsize)
    if not values or not whole or not all(0 < n < NUMBER_MAX for n in values):
        raise ConfigError(f"{flag} {text} is no list of positive numbers; write for example {flag} 1,4,16")
    return values
