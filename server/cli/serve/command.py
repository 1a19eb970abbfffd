"""The command `corral serve`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.settings import read_settings, settings_file, with_settings

if TYPE_CHECKING:
    from models.store.store import ModelStore
    from server.config import ServerConfig
    from server.supervisor.catalogue import CatalogueEntry


@with_settings()
def command(
    references: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REF", help="Models to load now: org/name:TYPE, a folder or .gguf file, demo."
        ),
    ] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Settings as TOML; flags win over it.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="ADDRESS",
            help="Serve what is deployed in the cluster with this head (see corral cluster), no models here.",
        ),
    ] = None,
    **settings: Any,
) -> None:
    """Serve models behind an OpenAI-compatible HTTP API.

    What is missing is downloaded and quantized first. The other models in the store are loaded when a request
    asks for them; without REF, that is so for all of them, and an empty store gets the demo model.

    Each option below --config is also a key of the settings file and, with CORRAL_ before it, a variable of
    the environment: --type-k is `type_k` and CORRAL_TYPE_K. REF is `models`; CORRAL_CONFIG names the file. A
    switch is true or false there; what may be given several times is a list in the file, and separated by
    commas in a variable. The file may also have presets, names for models with parameters of their own: see
    docs/presets.md; SIGHUP and POST /admin/reload have it read again. Ctrl-C lets running requests finish; a
    second one stops at once.
    """
    serve_with({**settings, "models": tuple(references or ())}, config_file, cluster)


def serve_with(
    settings: Mapping[str, Any], config_file: Path | None = None, cluster: str | None = None
) -> None:
    """Serve with these flags' settings and those of the environment and the settings file.

    `cluster`: the address of a cluster's head, whose models are served and none of this machine.
    """
    read = partial(read_settings, settings, config_file)
    read_again = None if settings_file(config_file) is None else read
    if cluster is not None:
        from server.cli.serve.cluster import serve_cluster

        serve_cluster(cluster, read(), read_again)
        return
    serve(read(), read_again)


def serve(config: ServerConfig, read_again: Callable[[], ServerConfig] | None = None) -> None:
    """Serve until a signal ends it. Raises CorralError if that can't begin.

    `read_again` reads the settings file again; None: there is none.
    """
    from models.paths import Paths
    from models.store.store import ModelStore
    from server.cli.console import log_to_stderr
    from server.cli.serve.adapters import register_adapters
    from server.cli.serve.banner import LoggingObserver, TerminalObserver
    from server.listening.open import open_listener
    from server.listening.service_manager import ServiceManager
    from server.serve import ModelServer
    from server.supervisor.adapters.converter import AdapterConverter
    from server.supervisor.adapters.registry import AdapterRegistry

    log_to_stderr(config.log_level, config.log_format)
    manager = ServiceManager.from_environment()
    with open_listener(config, manager) as listener:
        store = ModelStore(Paths.from_environment())
        served = served_entries(config, store)
        draft = draft_entry(config, store)
        config = with_preloaded(config, store)
        registry = AdapterRegistry()
        register_adapters(registry, config.lora, served, AdapterConverter(store.paths.adapters_dir))
        server = ModelServer.of(config, store, served, draft, registry, read_again=read_again)
        observer = TerminalObserver if config.log_format == "text" else LoggingObserver
        server.run(listener, observer(listener, asks_for_keys=server.asks_for_keys), manager)


def draft_entry(config: ServerConfig, store: ModelStore) -> CatalogueEntry | None:
    """Return the draft model or head of those served from the start; it is made first where it is missing."""
    from server.cli.ensure_model import ensure_entry
    from server.cli.reference import stored_reference

    if config.draft is None:
        return None
    ref = stored_reference(config.draft, store)
    return ensure_entry(ref, store, config.default_type, may_be_head=True)


def with_preloaded(config: ServerConfig, store: ModelStore) -> ServerConfig:
    """Make the models of `preload` that are missing; return the settings with their whole names.

    Raises ConfigError for one that the store can't have.
    """
    from models.errors import ConfigError
    from server.cli.ensure_model import ensure_entry
    from server.cli.reference import stored_reference

    names = []
    for name in config.preload:
        ref = stored_reference(name, store)
        if ref.path is not None:
            raise ConfigError(f"--preload is for models of the store, and {name} is a path; name it as REF")
        ensure_entry(ref, store, config.default_type)
        names.append(str(ref))
    return config.model_copy(update={"preload": tuple(names)})


def served_entries(config: ServerConfig, store: ModelStore) -> list[CatalogueEntry]:
    """Return the models to load at the start; they are made first where they are missing."""
    from server.cli.ensure_model import ensure_entry
    from server.cli.reference import stored_reference
    from server.cli.serve.mounted_model import first_here
    from server.supervisor.catalogue import store_entries

    names = config.models
    if not names and (mounted := first_here(config.default_models)) is not None:
        names = (mounted,)
    if not names and not store_entries(store):
        names = ("demo",)
    return [ensure_entry(stored_reference(name, store), store, config.default_type) for name in names]
