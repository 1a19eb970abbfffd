"""`python -m tests.clients.scripted_server PORT FILE…`: the product's server over scripted workers."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from models.paths import Paths
from models.store.store import ModelStore
from server.config_sources import load_config
from server.serve import ModelServer, listen
from server.supervisor.catalogue import file_entry
from tests.clients.scripted_worker import command


def main() -> None:
    port, files = int(sys.argv[1]), map(Path, sys.argv[2:])
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    config = load_config({"port": port}, os.environ)
    with listen(config.host, config.port) as listener:
        store = ModelStore(Paths.from_environment())
        ModelServer.of(config, store, list(map(file_entry, files)), command=command).run(listener)


if __name__ == "__main__":
    main()
