"""The command `corral run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.chat.options import MaxTokensOption, SeedOption, SystemOption, TemperatureOption
from server.cli.settings import read_settings, with_settings
from server.config import flag_of

if TYPE_CHECKING:
    from models.reference import ModelRef
    from models.store.store import ModelStore
    from server.cli.chat.backend import Backend
    from server.config import ServerConfig

OWN_WORKER = ("ctx", "gpu_layers", "default_type", "prompt_format", "threads")
"""These settings are those of a model that runs here: with one of them a running server isn't asked."""


@with_settings(*OWN_WORKER, "host", "port")
def command(
    reference: Annotated[
        str,
        typer.Argument(metavar="REF", help="org/name:TYPE, a short name, a folder or .gguf file, demo."),
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="One message: its answer is printed, and that is all."),
    ] = None,
    system: SystemOption = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    **settings: Any,
) -> None:
    """Talk to a model, ask it one thing, or serve it.

    In a terminal it is a conversation, as `corral chat` has it. With PROMPT, or with a message in a pipe, its
    answer is printed; both together are one message. Without a terminal, a pipe and PROMPT, as a service has
    it, the model is served as `corral serve` does it.

    What is missing is downloaded and quantized first. A server that runs with this machine's settings, or at
    --host and --port, and has the model, is asked; else the model runs in a process of its own meanwhile.
    """
    import asyncio

    from models.paths import Paths
    from models.store.store import ModelStore
    from server.cli.chat.session import ChatOptions, ChatSession
    from server.cli.reference import stored_reference
    from server.cli.run.message import is_conversation, message_of
    from server.cli.run.one_answer import answer_once

    store = ModelStore(Paths.from_environment())
    ref = stored_reference(reference, store)
    options = ChatOptions(temperature=temperature, max_tokens=max_tokens, seed=seed)
    message = message_of(words or ())
    if message is None and not is_conversation():
        _require_no_talk(system, options.to_request())
        _serve(ref, settings)
        return
    backend = _backend(ref, store, settings)
    if message is None:
        asyncio.run(ChatSession(backend, options, system).run())
    else:
        asyncio.run(answer_once(backend, message, options, system))


def _require_no_talk(system: str | None, options: dict[str, Any]) -> None:
    """Raise ConfigError for flags of a conversation where there is none."""
    from models.errors import ConfigError

    flags = [flag_of(name) for name in ({"system": system} if system is not None else {}) | options]
    if flags:
        raise ConfigError(
            f"{' and '.join(flags)} can't be used to serve, and without a terminal, a PROMPT or a pipe the"
            " model is served; give a PROMPT, or leave them out"
        )


def _serve(ref: ModelRef, settings: dict[str, Any]) -> None:
    from server.cli.serve.command import serve_with

    serve_with({**settings, "models": (str(ref),)})


def _backend(ref: ModelRef, store: ModelStore, settings: dict[str, Any]) -> Backend:
    """Return the running server's model if there is one, else one that runs here."""
    from server.cli.chat.command import local_backend
    from server.cli.run.running import running_backend

    own = {name: settings[name] for name in OWN_WORKER}
    if all(value is None for value in own.values()):
        running = running_backend(ref, _config(settings))
        if running is not None:
            return running
    return local_backend(ref, store, own)


def _config(settings: dict[str, Any]) -> ServerConfig:
    return read_settings({name: settings[name] for name in ("host", "port")}, None)
