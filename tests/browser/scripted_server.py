"""The real application over workers that follow a script, as a program: PORT FOLDER [KEY].

Models' lives, jobs, tools, chats, keys and usage are the server's own; only what a worker says, and what a
job does, is written down in tests. With a key it has a second one, `GUEST`, that may ask models and no more,
and usage of the days before. It says `ready` on its output once it listens, and ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from pydantic import SecretStr

from server.app import create_app, plain_keys
from server.config import ServerConfig
from server.http.connection import ConnectionLimits, protocol
from server.http.parts import AppParts
from server.ipc.model_spec import ModelSpec
from server.jobs.table import JobTable
from server.keys.caller import ALL_MODELS, KeyLimits
from server.keys.key_file import KeyFile
from server.keys.key_ring import KeyRing
from server.pages.store import ChatStore
from server.serve_options import ServeOptions
from server.supervisor.catalogue import Catalogue, CatalogueEntry
from server.supervisor.lives import ModelLives
from server.supervisor.policy import Policy
from server.supervisor.supervisor import Supervisor
from server.usage.accounts import Accounts
from server.usage.entry import UsageEntry
from server.usage.ledger import UsageLedger

DEMO = "demo"
IDLE = "lmsys/vicuna-7b-v1.5"
GUEST_FILE = "guest-key"
"""The file in FOLDER with the secret of the second key."""
GO_FILE = "go"
"""The file in FOLDER whose presence lets jobs end."""
_LOSS = {"perplexity": 8.27, "kl_divergence": 0.0287, "same_top_token": 0.934}
_JOB = """
import json, pathlib, sys, time
wish = json.loads(input())
go = pathlib.Path(sys.argv[2])
n = 0
while "endless" in wish["model"] or not go.exists():
    told = {"event": "progress", "stage": "download", "done": min(n, 90) * 10**7, "total": 10**9}
    print(json.dumps(told), flush=True)
    time.sleep(0.1)
    n += 1
if "missing" in wish["model"]:
    print(json.dumps({"event": "error", "message": "the Hub has no model " + wish["model"]}), flush=True)
    sys.exit(1)
for type in wish["types"]:
    path = pathlib.Path(sys.argv[1], wish["model"].replace("/", "--") + "@" + type + ".json")
    path.write_text("{}")
print(json.dumps({"event": "done", "result": {"name": wish["model"], "types": wish["types"]}}), flush=True)
"""
_MCP = {
    "mcpServers": {"example": {"command": sys.executable, "args": ["-m", "tests.server.toolbox.mcp_example"]}}
}


def worker_command(fd: int) -> list[str]:
    return [sys.executable, "-m", "tests.browser.scripted_model", "--fd", str(fd)]


def spec_of(entry: CatalogueEntry) -> ModelSpec:
    return ModelSpec(name=entry.name, path=str(entry.path), options=ServeOptions(ctx=2048))


def stored(folder: Path) -> list[CatalogueEntry]:
    """The models in a folder, each a script of its load."""
    found = []
    for path in sorted(folder.glob("*.json")):
        name, _, type_name = path.stem.replace("--", "/").rpartition("@")
        size = 14_600_000 if name == DEMO else 4_081_000_000
        quality = _LOSS if name == DEMO else None
        found.append(CatalogueEntry(name, path, type_name, size, 1_700_000_000, quality=quality))
    return found


async def usage_of(folder: Path) -> UsageLedger:
    """A ledger with what two keys have used before today."""
    ledger = UsageLedger(folder / "usage.sqlite")
    today = datetime.now(UTC).date()
    for n_days, key, requests, prompt, completion in (
        (1, "alice", 31, 20_100, 9_300),
        (2, "bob", 12, 4_000, 2_500),
    ):
        await ledger.add(
            UsageEntry(
                day=(today - timedelta(days=n_days)).isoformat(),
                owner=key,
                key=key,
                model=DEMO,
                requests=requests,
                prompt_tokens=prompt,
                completion_tokens=completion,
            )
        )
    return ledger


async def main(port: int, folder: Path, keys: Sequence[str]) -> None:
    config = ServerConfig(
        api_keys=tuple(map(SecretStr, keys)), tools=("get_info", "read_file"), mcp_servers=json.dumps(_MCP)
    )
    models = folder / "models"
    models.mkdir(exist_ok=True)
    (models / f"{DEMO}@Q4_K_M.json").write_text("{}")
    (models / f"{IDLE.replace('/', '--')}@Q4_K_M.json").write_text('{"load_s": 0.5}')
    key_file = KeyFile(folder / "keys.json")
    if keys and not key_file.read():
        (folder / GUEST_FILE).write_text(
            key_file.add("guest", ("infer", "models"), ALL_MODELS, KeyLimits())[1]
        )
    files = stored(models)
    supervisor = Supervisor(
        Catalogue(files[:1], lambda: stored(models)),
        spec_of,
        policy=replace(Policy(), restart_delay_s=0.1),
        command=worker_command,
    )
    usage = await usage_of(folder) if keys else UsageLedger(folder / "usage.sqlite")
    parts = AppParts(
        chats=ChatStore(folder / "chats.sqlite", config.web_page_bytes),
        lives=ModelLives(supervisor),
        jobs=JobTable([sys.executable, "-c", _JOB, str(models), str(folder / GO_FILE)]),
        accounts=Accounts(KeyRing(plain_keys(config), key_file), usage),
    )
    app = create_app(config, supervisor, parts)
    toolbox = app.state.api.toolbox
    toolbox.start()
    supervisor.start()
    await supervisor.wait_ready()
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
        await asyncio.gather(app.state.api.turns.stop_all(), parts.stop_jobs(), toolbox.close())
        await supervisor.stop(0.0)
        server.should_exit = True
        server.force_exit = True
        await serving
        await parts.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
