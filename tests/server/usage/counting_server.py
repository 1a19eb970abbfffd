"""Servers whose model is scripted and whose usage is counted: to be killed.

`python -m tests.server.usage.counting_server FOLDER FD` gets the sockets of one server after the other
through the Unix socket of that number, and answers each with the number of a process: a fork of this one,
which has imported all and has no thread. Each also goes on with the batches in the folder.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from server.app import create_app
from server.batches.line_call import LineCaller
from server.batches.runner import BatchRunner
from server.batches.store import BatchStore
from server.config import ServerConfig
from server.http.connection import ConnectionLimits, protocol
from server.http.parts import AppParts
from server.ipc.messages import Generate
from server.usage.accounts import Accounts
from server.usage.ledger import UsageLedger
from tests.server.batches.running import LIMITS
from tests.server.scripted_service import ScriptedService, Step, says

N_LINES_AT_ONCE = 2


def script(request: Generate) -> list[Step]:
    """A few words, with pauses between the events as a model has."""
    chance = random.Random(request.id)
    steps = says(*["word"] * chance.randint(1, 9), prompt_tokens=chance.randint(1, 500))(request)
    return [part for step in steps for part in (step, chance.choice([0.0, 0.002, 0.01]))]


async def serve(folder: Path, listener: socket.socket) -> None:
    """Serve, and run batches, until killed."""
    accounts = Accounts(usage=UsageLedger(folder / "usage.sqlite"))
    store, service = BatchStore(folder / "batches", LIMITS), ScriptedService(script)
    app = create_app(ServerConfig(), service, AppParts(accounts=accounts, batches=store))
    runner = BatchRunner(
        store, LineCaller(app), app.state.api.find_for, n_at_once=N_LINES_AT_ONCE, line_bytes=1 << 20
    )
    runner.start()
    config = uvicorn.Config(
        app, http=protocol(ConnectionLimits()), log_config=None, ws="none", lifespan="off", access_log=False
    )
    await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    folder, control = Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        _, numbers, _, _ = socket.recv_fds(control, 1, 1)
        if not numbers:
            return
        pid = os.fork()
        if pid == 0:
            control.close()
            asyncio.run(serve(folder, socket.socket(fileno=numbers[0])))
            os._exit(0)
        os.close(numbers[0])
        control.sendall(pid.to_bytes(4, "big"))


if __name__ == "__main__":
    main()
