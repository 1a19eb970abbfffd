"""A replica's model: taken from the store, or made there first by a job, whose failure is the replica's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from models.errors import CorralError, InvalidGGUF, ModelNotFound
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from server.cluster.replica import model_file
from server.cluster.replica.model_file import obtain
from server.jobs.table import JobTable


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))


def scripted(code: str) -> JobTable:
    return JobTable([sys.executable, "-c", f"import json, time\nwish = json.loads(input())\n{code}"])


async def test_what_is_missing_is_made_and_told(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "PROGRESS_S", 0.05)
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    lines: list[str] = []
    jobs, ref = JobTable(), ModelRef.parse("demo:Q8_0")
    made = await obtain(ref, store, jobs, lines.append)
    assert (made.name, made.type) == ("demo", "Q8_0")
    assert made.path.is_file()
    assert lines[0] == "making demo Q8_0"
    assert lines[-1] == ""
    lines.clear()
    assert await obtain(ref, store, jobs, lines.append) == made
    assert (lines, len(jobs.list())) == ([], 1)


async def test_progress_in_words(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "PROGRESS_S", 0.05)
    told = 'print(json.dumps({"event": "progress", "stage": "download", "done": 1, "total": 4}), flush=True)'
    jobs, lines = scripted(f"{told}\ntime.sleep(0.5)"), list[str]()
    with pytest.raises(CorralError, match="the job's process"):
        await obtain(ModelRef.parse("org/one:Q8_0"), store, jobs, lines.append)
    assert "download org/one Q8_0: 25%" in lines


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            'print(json.dumps({"event": "error", "message": "the Hub has no org/one"}))',
            "the Hub has no org/one",
        ),
        ('print(json.dumps({"event": "done", "result": {}}))', "isn't in the store"),
    ],
)
async def test_what_can_not_be_made(
    code: str, words: str, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "PROGRESS_S", 0.05)
    with pytest.raises((CorralError, ModelNotFound), match=words):
        await obtain(ModelRef.parse("org/one:Q8_0"), store, scripted(code), lambda _: None)


async def test_a_file_is_read_as_it_is(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "cut.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(InvalidGGUF):
        await obtain(ModelRef.parse(str(file)), store, scripted(""), lambda _: None)
