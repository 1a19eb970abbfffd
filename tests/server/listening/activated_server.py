"""`python -m tests.server.listening.activated_server SCRIPT`: a server at sockets of a service manager."""

from __future__ import annotations

import sys
from pathlib import Path

from models.paths import Paths
from models.store.store import ModelStore
from server.config import ServerConfig
from server.listening.open import open_listener
from server.listening.service_manager import ServiceManager
from server.serve import ModelServer
from server.supervisor.catalogue import CatalogueEntry
from tests.server.supervisor.conftest import scripted_command


def main() -> None:
    script = Path(sys.argv[1])
    paths = Paths.from_environment({"CORRAL_HOME": str(script.parent / "home"), "HOME": str(script.parent)})
    entry = CatalogueEntry(name="one", path=script, type="Q8_0", size_bytes=1, created=1)
    config, manager = ServerConfig(drain_delay_s=1.0), ServiceManager.from_environment()
    with open_listener(config, manager) as listener:
        server = ModelServer.of(config, ModelStore(paths), [entry], command=scripted_command)
        server.run(listener, manager=manager)


if __name__ == "__main__":
    main()
