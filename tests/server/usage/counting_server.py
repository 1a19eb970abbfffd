"""A server in a process of its own, whose model is scripted and whose usage is counted: to be killed.

`python -m tests.server.usage.counting_server FOLDER FD`: it listens on the socket with that number.
"""

from __future__ import annotations

import random
import socket
import sys
from pathlib import Path

import uvicorn

from server.app import create_app
from server.config import ServerConfig
from server.http.connection import ConnectionLimits, protocol
from server.http.parts import AppParts
from server.ipc.messages import Generate
from server.usage.accounts import Accounts
from server.usage.ledger import UsageLedger
from tests.server.scripted_service import ScriptedService, Step, says


def script(request: Generate) -> list[Step]:
    """A few words, with pauses between the events as a model has."""
    chance = random.Random(request.id)
    steps = says(*["word"] * chance.randint(1, 9), prompt_tokens=chance.randint(1, 500))(request)
    return [part for step in steps for part in (step, chance.choice([0.0, 0.002, 0.01]))]


def main() -> None:
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    accounts = Accounts(usage=UsageLedger(folder / "usage.sqlite"))
    app = create_app(ServerConfig(), ScriptedService(script), AppParts(accounts=accounts))
    config = uvicorn.Config(
        app, http=protocol(ConnectionLimits()), log_config=None, ws="none", lifespan="off", access_log=False
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=number)])


if __name__ == "__main__":
    main()
