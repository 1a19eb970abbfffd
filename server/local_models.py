"""`supervisor_of`: the models of this machine as a server has them, made of its settings.

The replicas of a cluster have theirs by it, too, and so it doesn't know the HTTP side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.quantization_types import PREFERRED_TYPES
from models.store.store import ModelStore
from server.config import ServerConfig
from server.ipc.launch import worker_command
from server.supervisor.adapters.registry import AdapterRegistry
from server.supervisor.catalogue import Catalogue, CatalogueEntry, store_entries
from server.supervisor.memory_advice import MemoryAdvice
from server.supervisor.memory_check import need
from server.supervisor.policy import Policy
from server.supervisor.process.worker_process import Command
from server.supervisor.served_lengths import lengths_now
from server.supervisor.supervisor import Supervisor
from server.tuning.apply import TunedModels
from server.tuning.result_store import results_here


def supervisor_of(
    config: ServerConfig,
    store: ModelStore,
    served: Sequence[CatalogueEntry],
    draft: CatalogueEntry | None = None,
    registry: AdapterRegistry | None = None,
    command: Command = worker_command,
    *,
    has_others: bool = True,
) -> Supervisor:
    """Return the supervisor of `served`, loaded at the start, and of the store's other models on demand.

    Without `has_others` there are only those served. `draft` is the draft model of those of the start. Models
    run with the settings that `corral tune` has kept, where `config` leaves them open. `command` starts a
    worker.
    """
    tuned = TunedModels(results_here(store.paths.tuning_dir))
    return Supervisor(
        Catalogue(
            served,
            (lambda: store_entries(store)) if has_others else tuple,
            (config.default_type, *PREFERRED_TYPES),
        ),
        lambda entry: entry.model_spec(
            tuned.config_for(entry.path, config).serve,
            draft.path if draft and entry in served else None,
            store.paths.prefixes_dir,
            Path(config.mmproj).absolute() if config.mmproj and entry in served else None,
        ),
        policy=Policy.of(config),
        memory=MemoryAdvice(need, lengths_now),
        use=store.use,
        adapter_registry=AdapterRegistry() if registry is None else registry,
        environment=tuned.environment_of,
        command=command,
    )
