"""`python -m tests.server.cluster.scripted_server PORT SCRIPT`: a server over a scripted worker."""

from __future__ import annotations

import sys
from pathlib import Path

from models.paths import Paths
from models.store.store import ModelStore
from server.config import ServerConfig
from server.serve import ModelServer, listen
from server.supervisor.catalogue import CatalogueEntry
from tests.server.supervisor.conftest import scripted_command


def main() -> None:
    port, script = int(sys.argv[1]), Path(sys.argv[2])
    paths = Paths.from_environment(
        {"CORRAL_HOME": str(script.parent / f"home-{port}"), "HOME": str(script.parent)}
    )
    entry = CatalogueEntry(name="one", path=script, type="Q8_0", size_bytes=1, created=1)
    with listen("127.0.0.1", port) as listener:
        config = ServerConfig(port=port, drain_delay_s=3.0)
        ModelServer.of(config, ModelStore(paths), [entry], command=scripted_command).run(listener)


if __name__ == "__main__":
    main()
