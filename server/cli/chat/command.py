"""The command `corral chat`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.chat.options import MaxTokensOption, SeedOption, SystemOption, TemperatureOption
from server.cli.clients.options import TlsCaOption, trusted_file
from server.cli.settings import read_settings, with_settings
from server.config import flag_of

if TYPE_CHECKING:
    from models.reference import ModelRef
    from models.store.store import ModelStore
    from server.cli.chat.backend import Backend
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
    tls_ca: TlsCaOption = None,
    system: SystemOption = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    **settings: Any,
) -> None:
    """Talk to a model in the terminal.

    The model runs in a process of its own, without a server. Answers are streamed; Ctrl-C stops the answer,
    not the program; Ctrl-D ends it. Alt-Enter or three double quotes begin a message of several lines, /help
    lists the commands. When the input is no terminal, each line of it is a message.

    Without REF it is the newest model that is here, or the demo. What `corral tune` found for the model is
    used as `corral serve` uses it.
    """
    import asyncio

    from models.paths import Paths
    from models.store.store import ModelStore
    from server.cli.chat.session import ChatOptions, ChatSession
    from server.cli.reference import stored_reference

    _check(url, api_key, settings)
    ca = trusted_file(tls_ca, url)
    options = ChatOptions(temperature=temperature, max_tokens=max_tokens, seed=seed)
    if url:
        backend = _remote(url, api_key, reference, ca)
    else:
        store = ModelStore(Paths.from_environment())
        backend = local_backend(stored_reference(reference or _newest(store), store), store, settings)
    asyncio.run(ChatSession(backend, options, system).run())


def _check(url: str | None, api_key: str | None, settings: dict[str, Any]) -> None:
    """Raise ConfigError for flags that would be without effect."""
    from models.errors import ConfigError

    if url is None and api_key is not None:
        raise ConfigError("--api-key is for the server at --url; give its URL, or leave the key out")
    flags = [flag_of(name) for name, value in settings.items() if value is not None]
    if url is not None and flags:
        raise ConfigError(
            f"{' and '.join(flags)} can't be set for the server at {url}, which has its own; leave out --url"
            " to run the model here"
        )


def _remote(url: str, api_key: str | None, model: str | None, ca: Path | None) -> Backend:
    from models.secrets import clean_secret
    from server.cli.chat.remote import RemoteBackend

    return RemoteBackend(url, clean_secret(api_key or "", "--api-key"), model, ca)


def local_backend(ref: ModelRef, store: ModelStore, settings: dict[str, Any]) -> Backend:
    """Return a model that runs in a process of its own, made first if it is missing."""
    from server.cli.chat.backend import LocalBackend
    from server.cli.ensure_model import ensure_entry
    from server.supervisor.catalogue import Catalogue
    from server.supervisor.policy import Policy
    from server.supervisor.supervisor import Supervisor
    from server.tuning.apply import TunedModels
    from server.tuning.result_store import results_here

    config = _config(settings)
    entry = ensure_entry(ref, store, config.default_type)
    tuned = TunedModels(results_here(store.paths.tuning_dir))
    supervisor = Supervisor(
        Catalogue([entry]),
        lambda entry: entry.model_spec(tuned.config_for(entry.path, config).serve),
        policy=Policy.of(config),
        use=store.use,
        environment=tuned.environment_of,
    )
    return LocalBackend(supervisor, entry.key)


def _config(settings: dict[str, Any]) -> ServerConfig:
    return read_settings({"parallel": 1, **settings}, None)


def _newest(store: ModelStore) -> str:
    models = sorted(store.list(), key=lambda model: model.manifest.created)
    return models[-1].name if models else "demo"
