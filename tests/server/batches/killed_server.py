"""A server with batches that is killed again and again: `python -m … FOLDER N_KILLS`, from a test.

Each life is a fork of this process, which has imported all and has no thread: it runs application and runner
as a server does, with scripted answers; when a random number of results is on the disk, it is killed.
The last one ends by itself when the batch has.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from server.app import create_app
from server.batches.line_call import LineCaller
from server.batches.records import FILE_S, BatchRecord, FileRecord, new_batch_id, new_file_id
from server.batches.runner import BatchRunner
from server.batches.store import BatchStore
from server.config import ServerConfig
from server.http.parts import AppParts
from server.ipc.messages import Generate
from tests.server.batches.running import CHAT, LIMITS, jsonl, line
from tests.server.scripted_service import ScriptedService, Step, says

N_LINES = 160
LONGEST_ROUND_S = 60.0


def answer(request: Generate) -> list[Step]:
    return [random.random() / 200, *says("Hello", " world")(request)]


async def begin(folder: Path) -> None:
    """Keep a batch, as a request for one does; every seventh line fails."""
    store = BatchStore(folder, LIMITS)
    content = jsonl([line(n, temperature=-1 if n % 7 == 0 else 1) for n in range(N_LINES)])
    upload = await store.begin_upload()
    await upload.write(content)
    await upload.keep()
    now = int(time.time())
    file = FileRecord(
        id=upload.path.name,
        owner="",
        filename="a.jsonl",
        purpose="batch",
        n_bytes=upload.n_bytes,
        created=now,
        expires=now + FILE_S,
    )
    await store.add_file(file)
    await store.add_batch(
        BatchRecord(
            id=new_batch_id(),
            owner="",
            endpoint=CHAT,
            input_file=file.id,
            completion_window="1h",
            metadata=None,
            created=now,
            expires=now + 3600,
            output_file=new_file_id(),
            error_file=new_file_id(),
        )
    )
    store.close()


async def live(folder: Path) -> None:
    """Run batches until none is left."""
    store = BatchStore(folder, LIMITS)
    service = ScriptedService(answer)
    app = create_app(ServerConfig(), service, AppParts(batches=store))
    runner = BatchRunner(store, LineCaller(app), app.state.api.find_for, n_at_once=8, line_bytes=1 << 20)
    runner.start()
    while await store.active_batches():  # noqa: ASYNC110 - the runner tells nobody
        await asyncio.sleep(0.05)
    await runner.stop()
    store.close()


def fork(life: Callable[[Path], Awaitable[None]], folder: Path) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            random.seed()
            asyncio.run(life(folder))  # type: ignore[arg-type]
            status = 0
        finally:
            os._exit(status)
    return pid


def n_results(folder: Path) -> int:
    """The whole lines of all files but the input."""
    return sum(path.read_bytes().count(b"\n") for path in (folder / "files").iterdir()) - N_LINES


def main(folder: Path, n_kills: int) -> None:
    assert os.waitpid(fork(begin, folder), 0)[1] == 0
    killed = 0
    for _ in range(n_kills):
        before, pid, begun = n_results(folder), fork(live, folder), time.monotonic()
        wanted = random.randint(1, N_LINES // (2 * n_kills))
        while n_results(folder) < min(before + wanted, N_LINES):
            assert time.monotonic() < begun + LONGEST_ROUND_S, "a life does nothing"
            time.sleep(0.002)
        time.sleep(random.random() / 50)
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        if status == 0:  # where this process waits for a core, a life may come to the end of all lines
            break
        assert status == signal.SIGKILL
        killed += 1
    assert killed >= n_kills // 4
    assert os.waitpid(fork(live, folder), 0)[1] == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
