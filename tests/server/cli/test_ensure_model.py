"""The command line's entries of the catalogue; what is missing is made in another process."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest
import typer

from models.errors import CorralError, InvalidGGUF
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from server.cli.ensure_model import ensure_entry
from tests.pico import write_pico_checkpoint


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    return ModelStore(Paths.from_environment())


@pytest.mark.model
def test_a_missing_type_is_quantized_in_another_process(store: ModelStore, tmp_path: Path) -> None:
    ref = ModelRef.parse(str(write_pico_checkpoint(tmp_path / "pico", n_layers=1)))
    entry = ensure_entry(ref.with_type("Q4_0"), store, "Q8_0")
    assert entry.key == "pico:Q4_0"
    assert entry.path == store.get(ref).types["Q4_0"].path
    assert ensure_entry(ref, store, "Q8_0") == entry


@pytest.mark.model
def test_the_other_process_has_said_why_it_failed(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(typer.Exit):
        ensure_entry(ModelRef.parse(str(tmp_path / "empty")), store, "Q8_0")


def test_a_file_is_served_as_it_is(store: ModelStore, tiny_gguf: Path) -> None:
    entry = ensure_entry(ModelRef.parse(str(tiny_gguf)), store, "Q4_K_M")
    assert (entry.key, entry.path) == ("tiny:F32", tiny_gguf)


def test_a_malformed_file_is_refused(store: ModelStore, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model")
    with pytest.raises(InvalidGGUF):
        ensure_entry(ModelRef.parse(str(bad)), store, "Q4_K_M")


@pytest.mark.parametrize(
    ("signal_name", "advice"),
    [("ILL", "llama.cpp was built for another CPU: run `corral doctor`"), ("KILL", "run it alone")],
)
def test_an_end_by_a_signal_says_what_may_help(
    signal_name: str, advice: str, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = ["sh", "-c", f"kill -{signal_name} $$"]
    monkeypatch.setattr("server.cli.ensure_model.module_command", lambda *_: ended)
    ref = ModelRef.parse(str(write_pico_checkpoint(tmp_path / "pico", n_layers=1)))
    with pytest.raises(CorralError) as error:
        ensure_entry(ref.with_type("Q4_0"), store, "Q8_0")
    assert error.value.message == f"corral quantize {ref} was ended by SIG{signal_name}; {advice}"


def test_a_model_is_made_in_any_thread_and_only_the_main_one_has_a_handler(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that runs models in threads of its own keeps its handlers, and gets its model."""
    ended = [sys.executable, "-c", "raise SystemExit(3)"]
    monkeypatch.setattr("server.cli.ensure_model.module_command", lambda *_: ended)
    ref = ModelRef.parse(str(write_pico_checkpoint(tmp_path / "pico", n_layers=1))).with_type("Q4_0")
    before = signal.getsignal(signal.SIGTERM)
    outcomes: list[object] = []

    def make() -> None:
        try:
            ensure_entry(ref, store, "Q8_0")
        except (typer.Exit, ValueError) as error:
            outcomes.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    make()
    assert [getattr(outcome, "exit_code", outcome) for outcome in outcomes] == [3, 3]
    assert signal.getsignal(signal.SIGTERM) is before
