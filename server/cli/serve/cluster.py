"""`serve_cluster`: the HTTP API in front of a cluster, which `corral serve --cluster` runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from models.errors import ConfigError
from server.config import ServerConfig, flag_of
from server.serve_options import SERVE_SETTINGS
from server.server_options import CatalogueOptions, LifeOptions

_OF_REPLICAS = frozenset(
    {
        *(name for name in SERVE_SETTINGS if name != "queue_size"),
        *(field.name for options in (CatalogueOptions, LifeOptions) for field in fields(options)),
        "slot_save_path",
    }
)
"""Settings of models, which a process without models can't have."""


def serve_cluster(
    address: str, config: ServerConfig, read_again: Callable[[], ServerConfig] | None = None
) -> None:
    """Serve what is deployed in a cluster until a signal ends it. Raises CorralError if that can't begin.

    `read_again` reads the settings file again; None: there is none.
    """
    from server.cli.cluster.connection import connected, running_node
    from server.cluster.node import require_ray

    require_ray()
    check_settings(config)
    node = running_node(address)
    from models.paths import Paths
    from server.cli.console import log_to_stderr
    from server.cli.serve.banner import LoggingObserver, TerminalObserver
    from server.cluster.api_models import ClusterModels, follow_aliases, with_aliases
    from server.cluster.fleet import Fleet, FleetPolicy
    from server.listening.open import open_listener
    from server.listening.service_manager import ServiceManager
    from server.serve import ModelServer, kept_parts, tracing_of

    log_to_stderr(config.log_level, config.log_format)
    manager = ServiceManager.from_environment()
    with open_listener(config, manager) as listener, connected(address) as cluster:
        own = [config.presets]

        def with_cluster(settings: ServerConfig) -> ServerConfig:
            own[0] = settings.presets
            return settings.model_copy(
                update={"presets": with_aliases(settings.presets, cluster.plan(), address)}
            )

        fleet = Fleet(cluster, host=node.node_ip, policy=FleetPolicy.of(config))
        server = ModelServer(
            with_cluster(config),
            ClusterModels(fleet, config.presets),
            kept_parts(config, Paths.from_environment()),
            tracing_of(config),
            None if read_again is None else lambda: with_cluster(read_again()),
            beside=(follow_aliases(cluster.latest_plan, lambda: own[0], address),),
        )
        observer = TerminalObserver if config.log_format == "text" else LoggingObserver
        server.run(listener, observer(listener, asks_for_keys=server.asks_for_keys), manager)


def check_settings(config: ServerConfig) -> None:
    """Raise ConfigError for a setting that is given and would have no effect in front of a cluster."""
    given = [name for name in ServerConfig.model_fields if name in config.model_fields_set & _OF_REPLICAS]
    if not given:
        return
    if "models" in given:
        raise ConfigError(
            f"{config.models[0]}: with --cluster the models are those that are deployed: corral cluster"
            " deploy"
        )
    flag = flag_of(given[0])
    if given[0] in SERVE_SETTINGS:
        fix = "it is set when a model is deployed, as one of its 'options' in cluster.toml"
    else:
        fix = "replicas of a cluster aren't loaded on demand; leave it out"
    raise ConfigError(f"{flag} has no effect with --cluster: {fix}")
