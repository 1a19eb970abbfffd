from __future__ import annotations

from pathlib import Path

from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache

from tests.hub_server import HubServer, Repo
from tests.models.hub.client import WEIGHTS, Client


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
