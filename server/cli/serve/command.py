"""`corral serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.settings import read_settings, with_settings

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
    **settings: Any,
) -> None:
    """Serve models behind an OpenAI-compatible HTTP API.

    What is missing is downloaded and quantized first. The other models in the store are loaded when a request
    asks for them; without REF, that is so for all of them, and an empty store gets the demo model.

    Each option is also a key of the settings file and, with CORRAL_ before it, a variable of the environment:
    --port is `port` and CORRAL_PORT. Ctrl-C lets running requests finish; a second one stops at once.
    """
    config = read_settings({**settings, "models": tuple(references or ())}, config_file)
    serve(config)


def serve(config: ServerConfig) -> None:
    """Serve until a signal ends it. Raises CorralError if that can't begin."""
    from models.paths import Paths
    from models.quantization_types import PREFERRED_TYPES
    from models.store.store import ModelStore
    from server.cli.console import log_to_stderr
    from server.cli.serve.adapters import converter, register_adapters
    from server.cli.serve.http_server import bind, run
    from server.supervisor.adapter_registry import AdapterRegistry
    from server.supervisor.adapter_service import AdapterService
    from server.supervisor.catalogue import Catalogue, store_entries
    from server.supervisor.memory_check import fits
    from server.supervisor.policy import Policy
    from server.supervisor.supervisor import Supervisor
    from server.tuning.apply import TunedModels
    from server.tuning.result_store import results_here

    log_to_stderr(config.log_level)
    with bind(config.host, config.port) as listener:
        paths = Paths.from_environment()
        store = ModelStore(paths)
        served = served_entries(config, store)
        preferred = (config.default_type, *PREFERRED_TYPES)
        catalogue = Catalogue(served, lambda: store_entries(store), preferred)

        draft = draft_entry(config, store)
        tuned = TunedModels(results_here(paths.tuning_dir))
        registry, prepare = AdapterRegistry(), converter(paths.adapters_dir)
        register_adapters(registry, config.lora, served, prepare)

        supervisor = Supervisor(
            catalogue,
            lambda entry: entry.model_spec(
                tuned.config_for(entry.path, config).serve,
                draft.path if draft and entry in served else None,
                paths.prefixes_dir,
            ),
            policy=Policy.of(config),
            fits=fits,
            use=store.use,
            adapter_registry=registry,
            environment=tuned.environment_of,
        )
        run(config, supervisor, AdapterService(supervisor, registry, prepare), listener)


def draft_entry(config: ServerConfig, store: ModelStore) -> CatalogueEntry | None:
    """The draft model of those served from the start, made first where it is missing."""
    from models.reference import ModelRef
    from server.cli.ensure_model import ensure_entry

    if config.draft is None:
        return None
    return ensure_entry(ModelRef.parse(config.draft), store, config.default_type)


def served_entries(config: ServerConfig, store: ModelStore) -> list[CatalogueEntry]:
    """What to load at the start, made first where it is missing."""
    from models.reference import ModelRef
    from server.cli.ensure_model import ensure_entry
    from server.supervisor.catalogue import store_entries

    names = config.models
    if not names and not store_entries(store):
        names = ("demo",)
    return [ensure_entry(ModelRef.parse(name), store, config.default_type) for name in names]
