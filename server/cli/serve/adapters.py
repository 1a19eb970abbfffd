"""The adapters of `corral serve --lora`, for the model that is served."""

from __future__ import annotations

import time
from collections.abc import Sequence

from models.adapter_reference import AdapterRef
from models.errors import ConfigError, InvalidReference
from server.cli.console import say
from server.supervisor.adapters.registry import AdapterRegistry
from server.supervisor.adapters.service import Prepare, prepare_adapter
from server.supervisor.catalogue import CatalogueEntry


def register_adapters(
    registry: AdapterRegistry, texts: Sequence[str], served: Sequence[CatalogueEntry], prepare: Prepare
) -> None:
    """Put what `--lora` names into the registry of the model that is served.

    Raises ConfigError for what can't be understood, RequestError for an adapter that doesn't fit.
    """
    if not texts:
        return
    names = {entry.name for entry in served}
    if len(names) != 1:
        raise ConfigError(
            f"--lora needs exactly one model to belong to, and {len(names)} are served from the start; load"
            " adapters with POST /admin/adapters, which takes a model"
        )
    for text in texts:
        try:
            ref = AdapterRef.parse(text)
        except InvalidReference as error:
            raise ConfigError(f"bad value for --lora: {error.message}") from error
        info = prepare_adapter(ref, served[0].path, prepare)
        adapter = registry.add(served[0].name, ref, info, int(time.time()), visible=True)
        say(f"adapter {adapter.id}: {adapter.full_name}, rank {info.rank}, scale {ref.scale:g}")
