"""`corral chat`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.settings import read_settings, with_settings

if TYPE_CHECKING:
    from server.cli.chat_backend import Backend
    from server.config import ServerConfig

SETTINGS = ("ctx", "gpu_layers", "default_type", "prompt_format", "threads")


@with_settings(*SETTINGS)
def command(
    reference: Annotated[
        str | None, typer.Argument(metavar="REF", help="org/name:TYPE, a folder or .gguf file, demo.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Talk to a running server instead, and to its model REF."),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The key of the server at --url.")
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="The system message.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, metavar="X", help="0 always takes the likeliest token. [0.8]")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Longest answer; not set: to the context's end.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Makes the answers repeatable.")] = None,
    **settings: Any,
) -> None:
    """Talk to a model in the terminal.

    The model runs in a process of its own, without a server. Answers are streamed; Ctrl-C stops the answer,
    not the program; Ctrl-D ends it. Alt-Enter or three double quotes begin a message of several lines, /help
    lists the commands. When the input is no terminal, each line of it is a message.

    Without REF it is the newest model that is here, or the demo.
    """
    import asyncio

    from server.cli.chat_session import ChatOptions, ChatSession

    options = ChatOptions(temperature=temperature, max_tokens=max_tokens, seed=seed)
    backend = _remote(url, api_key, reference) if url else _local(reference, settings)
    asyncio.run(ChatSession(backend, options, system).run())


def _remote(url: str, api_key: str | None, model: str | None) -> Backend:
    from server.cli.chat_remote import RemoteBackend

    return RemoteBackend(url, api_key, model)


def _local(reference: str | None, settings: dict[str, Any]) -> Backend:
    from models.paths import Paths
    from models.reference import ModelRef
    from models.store import ModelStore
    from server.cli.chat_backend import LocalBackend
    from server.cli.obtain import obtain
    from server.supervisor.catalogue import Catalogue
    from server.supervisor.spec import model_spec, policy_of
    from server.supervisor.supervisor import Supervisor

    config = _config(settings)
    store = ModelStore(Paths.from_environment())
    entry = obtain(ModelRef.parse(reference or _newest(store)), store, config.default_type)
    supervisor = Supervisor(
        Catalogue([entry]), lambda entry: model_spec(entry, config), policy=policy_of(config), use=store.use
    )
    return LocalBackend(supervisor, entry.key)


def _config(settings: dict[str, Any]) -> ServerConfig:
    return read_settings({"parallel": 1, **settings}, None)


def _newest(store: Any) -> str:
    models = sorted(store.list(), key=lambda model: model.manifest.created)
    return models[-1].name if models else "demo"
