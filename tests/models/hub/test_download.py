from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache

from models.errors import (
    AccessDenied,
    CorralError,
    DiskFull,
    DownloadCorrupt,
    HubError,
    HubUnreachable,
    InvalidReference,
    ModelNotFound,
    StoreError,
)
from models.hub import download
from models.hub.download import DownloadPlan, DownloadProgress, HubSettings
from models.hub.fetch import Retries
from models.paths import Paths
from models.reference import ModelRef
from tests.hub_server import HubServer, Repo

REF = ModelRef.parse("org/name")
WEIGHTS = "model.safetensors"
WEIGHTS_BYTES = 3_000_000


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text('{"version": "1.0"}' * 100)
    (folder / "README.md").write_text("# A model")
    (folder / "empty.txt").write_bytes(b"")
    (folder / WEIGHTS).write_bytes(os.urandom(WEIGHTS_BYTES))
    (folder / "pytorch_model.bin").write_bytes(b"not wanted")
    return folder


@pytest.fixture
def repo(server: HubServer, folder: Path) -> Repo:
    return server.add("org/name", folder)


class Client:
    """What a user has: folders and settings."""

    def __init__(self, server: HubServer, home: Path) -> None:
        self.paths = Paths(home=home / "corral", hf_cache=home / "hf" / "hub")
        self.settings = HubSettings(
            endpoint=server.url,
            timeout_s=5,
            retries=Retries(failures=2, first_wait_s=0.01, longest_wait_s=0.1),
        )
        self.cancel = threading.Event()
        self.progress: list[DownloadProgress] = []

    def using(self, **changes: object) -> Client:
        self.settings = dataclasses.replace(self.settings, **changes)  # type: ignore[arg-type]
        return self

    def plan(self, ref: ModelRef = REF, *include: str) -> DownloadPlan:
        return download.plan(ref, include, paths=self.paths, settings=self.settings)

    def run(self, plan: DownloadPlan) -> Path:
        return download.run(plan, self.progress.append, self.cancel, paths=self.paths, settings=self.settings)

    def pull(self, ref: ModelRef = REF) -> Path:
        return self.run(self.plan(ref))

    @property
    def partials(self) -> list[int]:
        return [path.stat().st_size for path in self.paths.hf_cache.rglob("*.incomplete")]


@pytest.fixture
def client(server: HubServer, tmp_path: Path) -> Client:
    return Client(server, tmp_path)


def same(snapshot: Path, folder: Path, *names: str) -> bool:
    return all((snapshot / name).read_bytes() == (folder / name).read_bytes() for name in names)


def test_plan_then_run(client: Client, server: HubServer, repo: Repo, folder: Path) -> None:
    plan = client.plan()
    assert (plan.kind, plan.commit, plan.revision, plan.type) == ("checkpoint", repo.commit, "main", None)
    assert {file.path for file in plan.files} == {
        WEIGHTS,
        "config.json",
        "tokenizer.json",
        "README.md",
        "empty.txt",
    }
    assert plan.cached_bytes == 0
    assert plan.fetch_bytes == plan.total_bytes > WEIGHTS_BYTES
    assert server.sent == []
    snapshot = client.run(plan)
    assert snapshot == plan.snapshot
    assert same(snapshot, folder, *(file.path for file in plan.files))
    assert not (snapshot / "pytorch_model.bin").exists()
    assert client.partials == []
    last = client.progress[-1]
    assert last.bytes_done == last.bytes_total == plan.total_bytes
    assert {event.path for event in client.progress if event.phase == "done"} == {f.path for f in plan.files}


def test_the_cache_is_the_one_of_other_tools(
    client: Client, server: HubServer, repo: Repo, folder: Path
) -> None:
    client.pull()
    cache = client.paths.hf_cache
    found = try_to_load_from_cache("org/name", WEIGHTS, cache_dir=cache)
    assert isinstance(found, str)
    assert Path(found).read_bytes() == (folder / WEIGHTS).read_bytes()
    assert Path(snapshot_download("org/name", cache_dir=cache, local_files_only=True)).name == repo.commit
    (scanned,) = scan_cache_dir(cache).repos
    assert (scanned.repo_id, scanned.nb_files) == ("org/name", 5)
    before = len(server.downloads(WEIGHTS))
    snapshot_download("org/name", cache_dir=cache, endpoint=server.url, token=False, allow_patterns=WEIGHTS)
    assert len(server.downloads(WEIGHTS)) == before


def test_what_other_tools_fetched_is_used(client: Client, server: HubServer, repo: Repo) -> None:
    snapshot_download("org/name", cache_dir=client.paths.hf_cache, endpoint=server.url, token=False)
    sent = len(server.sent)
    plan = client.plan()
    assert plan.fetch_bytes == 0
    client.run(plan)
    assert len(server.sent) == sent
    marks = {path.name.partition("-")[0] for path in client.paths.verified_dir.glob("*.json")}
    assert marks == {file.file.etag for file in plan.files}


def test_the_second_run_neither_fetches_nor_hashes(client: Client, server: HubServer, repo: Repo) -> None:
    client.pull()
    sent = len(server.sent)
    client.progress.clear()
    plan = client.plan()
    assert plan.fetch_bytes == 0
    client.run(plan)
    assert len(server.sent) == sent
    assert {event.phase for event in client.progress} == {"done"}


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


def test_each_refusal_is_told_apart(client: Client, server: HubServer, repo: Repo, folder: Path) -> None:
    server.users = {"good": "jo", "other": "al"}
    server.add("org/gated", folder, gated=True).readers.add("good")
    server.add("org/private", folder, private=True).readers.add("good")
    gated, private = ModelRef.parse("org/gated"), ModelRef.parse("org/private")

    def refused(kind: type[CorralError], ref: ModelRef) -> str:
        with pytest.raises(CorralError) as caught:
            client.pull(ref)
        assert type(caught.value) is kind
        assert "; " in caught.value.message
        return caught.value.message

    assert f"accept its licence at {server.url}/org/gated and set HF_TOKEN" in refused(AccessDenied, gated)
    assert "private" in refused(ModelNotFound, private)
    assert "set HF_TOKEN" in refused(ModelNotFound, ModelRef.parse("org/none"))
    assert "no revision v9" in refused(ModelNotFound, ModelRef.parse("org/name@v9"))
    client.using(token="other")
    assert "with HF_TOKEN's account" in refused(AccessDenied, gated)
    assert "a token that may read it" in refused(ModelNotFound, private)
    client.using(token="bad")
    assert "invalid" in refused(AccessDenied, REF)
    client.using(token="good")
    assert same(client.pull(gated), folder, WEIGHTS)
    assert same(client.pull(private), folder, WEIGHTS)
    assert server.leaked_tokens == []
    repo.status = 500
    assert "answered 500" in refused(HubError, REF)
    repo.mend()
    repo.fault("config.json", missing=True)
    assert "doesn't have it" in refused(HubError, REF)
    repo.extra_siblings.append("../../evil.json")
    assert "unusable name" in refused(HubError, REF)
    assert "token" not in repr(client.settings)


def test_errors_of_a_file_are_raised_at_once(client: Client, repo: Repo) -> None:
    repo.fault(WEIGHTS, bytes_per_s=300_000)
    repo.fault("config.json", missing=True)
    start = time.monotonic()
    with pytest.raises(HubError, match=r"config\.json"):
        client.pull()
    assert time.monotonic() - start < 4


def test_a_server_that_is_no_hub(client: Client, server: HubServer) -> None:
    client.using(endpoint=f"{server.url}/cdn")
    with pytest.raises(HubError):
        client.plan()


def test_no_connection(client: Client, repo: Repo, folder: Path) -> None:
    there = client.settings.endpoint
    client.using(endpoint="http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match=r"127\.0\.0\.1:9 can't be reached"):
        client.plan()
    client.using(endpoint=there)
    client.pull()
    client.using(endpoint="http://127.0.0.1:9")
    assert same(client.pull(), folder, WEIGHTS)


def test_offline(client: Client, server: HubServer, repo: Repo, folder: Path) -> None:
    client.using(offline=True)
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE is set, and org/name is not in"):
        client.plan()
    client.using(offline=False)
    snapshot = client.pull()
    requests = len(server.requests)
    client.using(offline=True)
    assert same(client.pull(), folder, WEIGHTS, "config.json")
    assert client.pull(ModelRef.parse(f"org/name@{repo.commit}")) == snapshot
    assert len(server.requests) == requests
    (snapshot / "tokenizer.json").resolve().unlink()
    with pytest.raises(HubUnreachable, match=r"the cache lacks tokenizer\.json of org/name"):
        client.plan()


def test_offline_with_what_another_tool_fetched(
    client: Client, server: HubServer, repo: Repo, folder: Path
) -> None:
    cache = client.paths.hf_cache
    snapshot_download("org/name", cache_dir=cache, endpoint=server.url, token=False)
    client.using(offline=True)
    assert same(client.pull(), folder, WEIGHTS, "config.json")


def test_offline_bytes_that_rotted(client: Client, repo: Repo) -> None:
    blob = (client.pull() / WEIGHTS).resolve()
    blob.write_bytes(b"y" * WEIGHTS_BYTES)
    client.using(offline=True)
    with pytest.raises(HubUnreachable, match="not right in the cache"):
        client.pull()


def test_revisions(client: Client, repo: Repo, folder: Path) -> None:
    first = client.pull()
    (folder / "config.json").write_text("{}")
    repo.push(folder, "main", "v2")
    second = client.pull()
    assert first != second
    assert (first / "config.json").read_text() != (second / "config.json").read_text() == "{}"
    assert client.pull(ModelRef.parse("org/name@v2")) == second
    assert client.pull(ModelRef.parse(f"org/name@{first.name}")) == first


def test_cancelling_keeps_what_has_arrived(client: Client, repo: Repo, folder: Path) -> None:
    repo.fault(WEIGHTS, stall=True)
    threading.Timer(0.7, client.cancel.set).start()
    start = time.monotonic()
    with pytest.raises(HubError, match="cancelled"):
        client.pull()
    assert time.monotonic() - start < 2.5
    assert client.partials == [WEIGHTS_BYTES // 2]
    client.cancel.clear()
    repo.mend()
    assert same(client.pull(), folder, WEIGHTS)


def test_an_interrupt_in_the_callback_stops_it(client: Client, repo: Repo) -> None:
    repo.fault(WEIGHTS, bytes_per_s=500_000)

    def interrupt(event: DownloadProgress) -> None:
        if event.path == WEIGHTS and event.file_bytes_done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.run(client.plan(), interrupt, paths=client.paths, settings=client.settings)
    assert client.partials[0] > 100_000


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


def test_a_full_disk_is_seen_beforehand(client: Client, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(DiskFull, match="HF_HOME"):
        client.plan()


def test_folders_that_cannot_be_written(client: Client, repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home, cache = client.paths.home, client.paths.hf_cache
    client.paths = Paths(home=tmp_path / "file" / "corral", hf_cache=cache)
    with pytest.raises(StoreError, match="CORRAL_HOME"):
        client.pull()
    client.paths = Paths(home=home, hf_cache=tmp_path / "file" / "hub")
    with pytest.raises(StoreError, match="HF_HOME"):
        client.pull()


def test_gguf(client: Client, server: HubServer, tmp_path: Path) -> None:
    folder = tmp_path / "ggufs"
    folder.mkdir()
    for name in ("m-Q4_K_M.gguf", "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf", "README.md"):
        (folder / name).write_text(name)
    server.add("org/name", folder)
    plan = client.plan(ModelRef.parse("org/name:8bit"))
    assert (plan.kind, plan.type) == ("gguf", "Q8_0")
    snapshot = client.run(plan)
    assert [path.read_text() for path in plan.gguf_paths] == [
        "m-Q8_0-00001-of-00002.gguf",
        "m-Q8_0-00002-of-00002.gguf",
    ]
    assert not (snapshot / "m-Q4_K_M.gguf").exists()
    assert [file.path for file in client.plan(REF, "*Q4_K_M*").files] == ["m-Q4_K_M.gguf"]


def test_only_hub_references(client: Client, tmp_path: Path) -> None:
    for text in ("demo", str(tmp_path)):
        with pytest.raises(InvalidReference, match="no Hub repository"):
            client.plan(ModelRef.parse(text))


def test_settings() -> None:
    env = {"HF_ENDPOINT": "http://127.0.0.1:1/", "HF_TOKEN": "secret", "HF_HUB_OFFLINE": "1"}
    settings = HubSettings.from_environment(env)
    assert (settings.endpoint, settings.token, settings.offline) == ("http://127.0.0.1:1", "secret", True)
    assert "secret" not in repr(settings)
    assert not HubSettings.from_environment({"HF_HUB_OFFLINE": "0"}).offline
