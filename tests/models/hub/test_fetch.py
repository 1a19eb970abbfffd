from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models.errors import (
    DownloadCorrupt,
    HubUnreachable,
)
from models.hub.fetch import Retries
from models.paths import Paths
from tests.hub_server import HubServer, Repo
from tests.models.hub.client import WEIGHTS, WEIGHTS_BYTES, Client, same


def test_bytes_that_rot_in_the_cache_are_fetched_again(client: Client, repo: Repo, folder: Path) -> None:
    snapshot = client.pull()
    blob = (snapshot / WEIGHTS).resolve()
    data = bytearray(blob.read_bytes())
    data[1000] ^= 1
    blob.write_bytes(data)
    assert same(client.pull(), folder, WEIGHTS)


def test_a_connection_that_breaks_is_resumed(
    client: Client, server: HubServer, repo: Repo, folder: Path
) -> None:
    repo.fault(WEIGHTS, break_after=400_000, times=6)
    assert same(client.pull(), folder, WEIGHTS)
    ranges = [request.range for request in server.downloads(WEIGHTS)]
    assert ranges[0] is None
    assert ranges[1:] == [f"bytes={400_000 * i}-" for i in range(1, 7)]


def test_a_connection_that_breaks_for_good(client: Client, repo: Repo, folder: Path) -> None:
    repo.fault(WEIGHTS, break_after=0)
    with pytest.raises(HubUnreachable, match="3 times in a row"):
        client.pull()
    repo.mend()
    assert same(client.pull(), folder, WEIGHTS)


def test_a_partial_file_is_resumed_by_the_next_process(
    client: Client, server: HubServer, repo: Repo, folder: Path
) -> None:
    repo.fault(WEIGHTS, bytes_per_s=2_000_000)
    code = (
        "from models.hub import download; from models.reference import ModelRef\n"
        "plan = download.plan(ModelRef.parse('org/name'))\n"
        "download.run(plan, lambda event: print(event.path, event.bytes_done, flush=True))"
    )
    environment = {**os.environ, **server.environment(client.paths.home.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line.split()[1]) > 800_000:
                break
        process.kill()
    client.paths = Paths.from_environment(environment)
    (partial,) = client.partials
    assert 0 < partial < WEIGHTS_BYTES
    repo.mend()
    plan = client.plan()
    assert plan.cached_bytes >= partial
    assert same(client.run(plan), folder, WEIGHTS)
    assert server.downloads(WEIGHTS)[-1].range == f"bytes={partial}-"


@pytest.mark.parametrize("left", [b"garbage", b"x" * (WEIGHTS_BYTES + 5), b"x" * WEIGHTS_BYTES])
def test_a_wrong_partial_file_does_no_harm(client: Client, repo: Repo, folder: Path, left: bytes) -> None:
    plan = client.plan()
    (file,) = [planned.file for planned in plan.files if planned.path == WEIGHTS]
    blobs = plan.snapshot.parents[1] / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{file.etag}.incomplete").write_bytes(left)
    assert same(client.run(plan), folder, WEIGHTS)


def test_a_server_that_does_not_resume(client: Client, repo: Repo, folder: Path) -> None:
    fault = repo.fault(WEIGHTS, break_after=1_000_000, times=1)
    client.using(retries=Retries(failures=0))
    with pytest.raises(HubUnreachable):
        client.pull()
    assert client.partials == [1_000_000]
    repo.fault(WEIGHTS, ignore_range=True)
    assert fault.times == 0
    assert same(client.pull(), folder, WEIGHTS)


def test_corrupt_bytes_are_fetched_once_more(
    client: Client, server: HubServer, repo: Repo, folder: Path
) -> None:
    repo.fault(WEIGHTS, corrupt=True, times=1)
    assert same(client.pull(), folder, WEIGHTS)
    assert len(server.downloads(WEIGHTS)) == 2


@pytest.mark.parametrize("path", [WEIGHTS, "tokenizer.json"])
def test_bytes_that_stay_corrupt(client: Client, repo: Repo, path: str) -> None:
    repo.fault(path, corrupt=True)
    with pytest.raises(DownloadCorrupt, match=f"{path} arrived 2 times with another"):
        client.pull()
    assert not (client.plan().snapshot / path).exists()


def test_answers_that_pass(client: Client, repo: Repo, folder: Path) -> None:
    repo.status, repo.status_times = 503, 2
    repo.fault("config.json", status=500, times=2)
    repo.fault(WEIGHTS, status=429, headers={"Retry-After": "0"}, times=2)
    assert same(client.pull(), folder, WEIGHTS, "config.json")


def test_two_at_once_fetch_once(client: Client, server: HubServer, repo: Repo, folder: Path) -> None:
    repo.fault(WEIGHTS, bytes_per_s=4_000_000)
    other = Client(server, client.paths.home.parent)
    snapshots: list[Path] = []
    threads = [threading.Thread(target=lambda c=c: snapshots.append(c.pull())) for c in (client, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(snapshots) == 2
    assert len(server.downloads(WEIGHTS)) == 1
    assert same(snapshots[0], folder, WEIGHTS)
