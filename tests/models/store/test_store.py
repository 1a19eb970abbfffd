from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.errors import DiskFull, ModelNotFound, StoreError
from models.paths import Paths
from models.reference import ModelRef
from models.store.manifest import ManifestFile
from models.store.prefixes import note_model
from models.store.store import ModelStore
from tests.models.store.publishing import (
    COMMIT,
    OTHER_COMMIT,
    REF,
    entry,
    everything_under,
    manifest,
    publish,
)


def test_publish_list_get(store: ModelStore) -> None:
    assert store.list() == []
    published = publish(store, "Q8_0", "Q4_K_M")
    (listed,) = store.list()
    assert listed == published == store.get(REF) == store.find(ModelRef.parse("org/name:4bit"))
    assert list(listed.types) == ["Q8_0", "Q4_K_M"]
    file = listed.types["Q4_K_M"]
    assert file.path.read_bytes() == b"weights"
    assert file.path.name == "name.Q4_K_M.gguf"
    assert (file.size_bytes, file.bits_per_weight, listed.size_bytes) == (7, 4.5, 14)
    assert not any(store.paths.staging_dir.iterdir())


def test_revisions_are_models_of_their_own_and_the_newest_is_meant(store: ModelStore) -> None:
    publish(store, "Q8_0", revision=COMMIT, created="2026-01-02")
    publish(store, "Q4_K_M", revision=OTHER_COMMIT, created="2026-01-01")
    assert [model.revision for model in store.list()] == [COMMIT, OTHER_COMMIT]
    assert store.get(REF).revision == COMMIT
    assert store.get(ModelRef.parse("org/name:Q4_K_M")).revision == OTHER_COMMIT
    assert store.get(ModelRef.parse("org/name@fffffff")).revision == OTHER_COMMIT
    assert store.get(ModelRef.parse("org/name@main")).revision == COMMIT
    assert store.find(ModelRef.parse("org/name@v2")) is None
    found = store.find(REF, revision=OTHER_COMMIT)
    assert found is not None
    assert found.revision == OTHER_COMMIT
    assert len(store.remove(REF)) == 2
    assert store.list() == []


def test_get_says_what_there_is(store: ModelStore) -> None:
    publish(store, "Q8_0")
    with pytest.raises(ModelNotFound, match=r"org/name:Q2_K is not here, only Q8_0; run: corral quantize"):
        store.get(ModelRef.parse("org/name:Q2_K"))
    with pytest.raises(ModelNotFound, match="corral list"):
        store.get(ModelRef.parse("org/other"))


def test_kept_prefixes_go_with_their_file(store: ModelStore, tmp_path: Path) -> None:
    """Those of a file that is no longer there, too; another program's folder stays."""
    publish(store, "Q8_0", "Q4_K_M")
    types, root = store.get(REF).types, store.paths.prefixes_dir
    elsewhere = tmp_path / "elsewhere.gguf"
    elsewhere.touch()
    files = {"a": types["Q8_0"].path, "b": types["Q4_K_M"].path, "c": elsewhere, "d": tmp_path / "gone.gguf"}
    for name, file in files.items():
        (root / name).mkdir(parents=True)
        note_model(root / name, file)
        (root / name / "x.prefix").write_bytes(b"a prompt")
    (root / "unknown").mkdir()
    store.remove(ModelRef.parse("org/name:Q8_0"))
    assert sorted(path.name for path in root.iterdir()) == ["b", "c", "unknown"]
    store.remove(REF)
    assert sorted(path.name for path in root.iterdir()) == ["c", "unknown"]


def test_the_folder_of_prefixes_goes_with_the_last(store: ModelStore) -> None:
    publish(store, "Q8_0")
    root = store.paths.prefixes_dir
    (root / "a").mkdir(parents=True)
    note_model(root / "a", store.get(REF).types["Q8_0"].path)
    store.remove(REF)
    assert not root.exists()


def test_remove_one_type(store: ModelStore) -> None:
    publish(store, "Q8_0", "Q4_K_M")
    (gone,) = store.remove(ModelRef.parse("org/name:Q8_0"))
    assert gone.type == "Q8_0"
    assert not gone.path.exists()
    assert list(store.get(REF).types) == ["Q4_K_M"]
    with pytest.raises(ModelNotFound):
        store.remove(REF, "8bit")
    store.remove(REF, "4bit")
    assert everything_under(store.paths.models_dir) == set()


def test_remove_refuses_what_is_served(store: ModelStore) -> None:
    model = publish(store, "Q8_0", "Q4_K_M")
    path = model.types["Q8_0"].path
    with store.use(path), store.use(path):
        with pytest.raises(StoreError, match=f"process {os.getpid()}"):
            store.remove(REF)
        store.remove(REF, "Q4_K_M")
    store.remove(REF)
    assert store.list() == []


PREAMBLE = """
import sys, time
from pathlib import Path
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
s = ModelStore(Paths(Path(sys.argv[1]), Path("/nowhere")))
"""


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def test_a_dead_server_does_not_keep_its_model(store: ModelStore) -> None:
    path = publish(store, "Q8_0").types["Q8_0"].path
    code = f"{PREAMBLE}with s.use(Path(sys.argv[2])): print('using', flush=True); time.sleep(60)"
    with run_python(code, str(store.paths.home), str(path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "using\n"
        with pytest.raises(StoreError, match=f"process {process.pid}"):
            store.remove(REF)
        process.kill()
    store.remove(REF)
    assert store.list() == []


def test_the_build_lock_says_who_holds_it(store: ModelStore) -> None:
    code = f"{PREAMBLE}with s.lock(ModelRef.parse('org/name')): print('holding', flush=True); time.sleep(60)"
    with run_python(code, str(store.paths.home)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        waited_for: list[int | None] = []
        with (
            pytest.raises(StoreError, match=f"org/name is being made by process {process.pid}"),
            store.lock(REF, timeout_s=0.3, on_wait=waited_for.append),
        ):
            pytest.fail("two builders at once")
        assert waited_for == [process.pid]
        with store.lock(ModelRef.parse("org/other"), timeout_s=0):
            pass
        process.kill()
    with store.lock(REF, timeout_s=5):
        pass


@pytest.mark.parametrize("step", ["mkdir", "rename", "replace", "fsync"])
def test_a_failure_at_any_step_changes_nothing(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = publish(store, "Q8_0", data=b"before").types["Q8_0"].path.read_bytes()
    failures = 0
    for count in itertools.count(1):
        with monkeypatch.context() as patch:
            fail_at(patch, step, count)
            try:
                publish(store, "Q8_0", data=b"after!")
            except DiskFull:
                failures += 1
            else:
                break
        (model,) = store.list()
        now = model.types["Q8_0"].path.read_bytes()
        # After the manifest's rename, the new file is published whatever still fails.
        assert now == before or (step == "fsync" and now == b"after!")
        before = now
    assert failures >= 1
    publish(store, "Q8_0", data=b"final")
    (model,) = store.list()
    assert model.types["Q8_0"].path.read_bytes() == b"final"
    assert len([name for name in everything_under(store.paths.models_dir) if name.endswith(".gguf")]) == 1


def fail_at(patch: pytest.MonkeyPatch, step: str, count: int) -> None:
    """Make the `count`-th call of `step` fail as a full disk does."""
    calls = itertools.count(1)
    owner: object = os if step == "fsync" else Path
    real = getattr(owner, step)

    def failing(*args: object, **kwargs: object) -> object:
        if next(calls) == count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)

    patch.setattr(owner, step, failing)


def test_a_full_disk_while_writing(store: ModelStore) -> None:
    with pytest.raises(DiskFull, match="free some"), store.staging(REF):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError), store.staging(REF):  # not the store's business
        raise FileNotFoundError("x")
    with pytest.raises(DiskFull, match="1,000,000,000,000,000,000 bytes"):
        store.require_free(10**18, "org/name")
    store.require_free(1, "org/name")


def test_an_unwritable_home(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = ModelStore(Paths(home=tmp_path / "file" / "corral", hf_cache=tmp_path))
    with pytest.raises(StoreError, match="CORRAL_HOME"), store.staging(REF):
        pass
    assert store.list() == []


KILLED = """
import sys
from pathlib import Path
from tests.models.store.test_store import publish
from models.paths import Paths
from models.store.store import ModelStore
store = ModelStore(Paths(Path(sys.argv[1]), Path('/nowhere')))
print('ready', flush=True)
while True:
    publish(store, 'Q8_0', 'Q4_K_M', data=b'w' * 4096)
"""


def test_killed_at_random_moments(store: ModelStore) -> None:
    publish(store, "Q8_0", "Q4_K_M", data=b"w" * 4096)
    for attempt in range(8):
        with run_python(KILLED, str(store.paths.home)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.003 + 0.0077 * attempt)
            process.send_signal(signal.SIGKILL)
        listing = store.scan()
        assert listing.problems == ()
        (model,) = listing.models
        assert {file.path.read_bytes() for file in model.types.values()} == {b"w" * 4096}
    publish(store, "Q8_0")
    assert not any(store.paths.staging_dir.iterdir())
    assert len([name for name in everything_under(store.paths.models_dir) if name.endswith(".gguf")]) == 2


def test_linked_files_stay_where_they_are(store: ModelStore, tmp_path: Path) -> None:
    parts = [tmp_path / "hub" / f"x-0000{i}-of-00002.gguf" for i in (1, 2)]
    parts[0].parent.mkdir()
    for part in parts:
        part.write_bytes(b"12345")
    file = ManifestFile(type="Q8_0", names=tuple(map(str, parts)), size_bytes=10, sha256=("a", "b"))
    with pytest.raises(StoreError, match="not absolute"):
        store.link(manifest(entry("Q8_0", b"")))
    store.link(manifest(file))
    model = store.get(REF)
    assert model.types["Q8_0"].linked
    assert model.types["Q8_0"].paths == tuple(parts)
    publish(store, "Q4_K_M")
    assert set(store.get(REF).types) == {"Q8_0", "Q4_K_M"}
    store.remove(REF)
    assert all(part.exists() for part in parts)
    assert store.list() == []
