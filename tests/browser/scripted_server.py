"""The real application over a scripted model, as a program: PORT FOLDER [KEY].

With a key it has the routes of `admin_contract`, too. It says `ready` on its output once it listens, and ends
with its input.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import uvicorn
from pydantic import SecretStr

from server.app import create_app
from server.config import ServerConfig
from server.http.connection import ConnectionLimits, protocol
from server.http.parts import AppParts
from server.pages.store import ChatStore
from tests.browser import admin_contract
from tests.browser.answers import script
from tests.server.scripted_service import DEMO, IDLE, ScriptedService


async def main(port: int, folder: Path, keys: list[str]) -> None:
    config = ServerConfig(api_keys=tuple(map(SecretStr, keys)))
    service = ScriptedService(script, models=(DEMO, IDLE))
    chats = ChatStore(folder / "chats.sqlite", config.web_page_bytes)
    app = create_app(config, service, AppParts(chats=chats))
    if keys:
        app.include_router(admin_contract.router)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        server = uvicorn.Server(
            uvicorn.Config(app, http=protocol(ConnectionLimits()), log_config=None, ws="none", lifespan="off")
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await app.state.api.turns.stop_all()
        server.should_exit = True
        server.force_exit = True
        await serving
        chats.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
