from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest

from models.errors import StoreError
from models.store.fingerprint import fingerprint
from server.tuning.machine import Machine, build_key, this_machine
from server.tuning.result_store import ResultStore
from tests.server.tuning.results import MACHINE, a_result

OTHERS = {
    "cpu": "Abacus 9001",
    "cores": 4,
    "threads": 4,
    "llama_cpp": "0.3.37",
    "build": "11" * 8,
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "tuning", MACHINE)


def test_round_trip(store: ResultStore, model: Path) -> None:
    assert store.find(model) is None
    result = a_result(fingerprint(model))
    path = store.save(result)
    assert store.find(model) == result
    assert json.loads(path.read_text())["version"] == 1
    later = msgspec.structs.replace(result, gain=0.5)
    assert store.save(later) == path
    assert store.find(model) == later
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("field", "value"), OTHERS.items())
def test_another_machine_has_another_result(
    store: ResultStore, model: Path, tmp_path: Path, field: str, value: object
) -> None:
    store.save(a_result(fingerprint(model)))
    other = msgspec.structs.replace(MACHINE, **{field: value})
    assert ResultStore(tmp_path / "tuning", other).find(model) is None


def test_a_foreign_file_under_our_name_is_ignored(
    store: ResultStore, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark = fingerprint(model)
    foreign = a_result(mark, machine=msgspec.structs.replace(MACHINE, cpu="Abacus 1"))
    path = store.path_of(mark)
    path.parent.mkdir()
    path.write_bytes(msgspec.json.encode(foreign))
    assert store.find(model) is None
    assert "another machine" in caplog.text


def test_a_changed_model_is_another_model(store: ResultStore, model: Path) -> None:
    store.save(a_result(fingerprint(model)))
    model.write_bytes(b"other weights")
    assert store.find(model) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:50],
        lambda text: "",
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text.replace('"threads": 2', '"threads": "two"'),
        lambda text: text.replace('"gain"', '"grain"'),
        lambda text: "\x00" * 100,
    ],
)
def test_a_damaged_file_is_ignored_with_one_log_line(
    store: ResultStore, model: Path, caplog: pytest.LogCaptureFixture, damage: object
) -> None:
    path = store.save(a_result(fingerprint(model)))
    assert callable(damage)
    path.write_text(damage(path.read_text()))
    assert store.find(model) is None
    assert len(caplog.records) == 1
    assert f"ignoring {path.name}" in caplog.text


def test_a_missing_model_is_no_crash(store: ResultStore, tmp_path: Path) -> None:
    assert store.find(tmp_path / "gone.gguf") is None


def test_a_folder_that_can_not_be_made(tmp_path: Path, model: Path) -> None:
    (tmp_path / "tuning").write_text("a file")
    with pytest.raises(StoreError):
        ResultStore(tmp_path / "tuning", MACHINE).save(a_result(fingerprint(model)))


def test_this_machine() -> None:
    machine = this_machine()
    assert machine.cpu
    assert 1 <= machine.cores <= machine.threads
    assert machine == this_machine()
    assert machine.key != MACHINE.key
    assert isinstance(machine, Machine)


def test_another_build_has_another_key(tmp_path: Path) -> None:
    library = tmp_path / "libllama.so"
    library.write_bytes(b"1")
    before = build_key(tmp_path)
    os.utime(library, ns=(1, 1))
    assert build_key(tmp_path) != before
    assert build_key(None) != before
