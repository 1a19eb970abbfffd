"""`corral import`, and the commands for stored models on what it brought."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models.imports.other_programs import OllamaFolder
from tests.server.cli.models.in_process import run


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("CORRAL_HOME", "HF_HOME", "HF_HUB_OFFLINE", "COLUMNS"):
        monkeypatch.setenv(key, env[key])
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))


@pytest.fixture
def ollama(tmp_path: Path, tiny_gguf: Path) -> OllamaFolder:
    folder = OllamaFolder(tmp_path / "user" / ".ollama" / "models")
    weights = folder.layer("model", tiny_gguf.read_bytes())
    folder.add("tiny:latest", weights, folder.layer("params", {"temperature": 0.5}))
    folder.add("tiny:1b-f32", weights, folder.layer("template", b"{{ .Prompt }}"))
    folder.add("bad:latest", folder.layer("model", b"no weights"))
    return folder


def test_all_of_ollama(ollama: OllamaFolder, capsys: pytest.CaptureFixture[str]) -> None:
    planned = run(capsys, "import", "ollama", "--dry-run", "--json")
    assert planned.code == 0
    assert [(row["title"], row["state"], row["model"]) for row in json.loads(planned.out)] == [
        ("bad:latest", "refused", None),
        ("tiny:1b-f32", "planned", "tiny-1b:F32"),
        ("tiny:latest", "planned", "tiny:F32"),
    ]
    assert json.loads(run(capsys, "list", "--json").out) == []
    done = run(capsys, "import", "ollama", "--json")
    assert done.code == 0
    assert "bad:latest: refused: " in done.err
    assert "its parameters aren't taken over" in done.err
    assert "the file's own chat template is used" in done.err
    assert "serve it: corral serve tiny-1b:F32" in done.err
    rows = {row["title"]: row for row in json.loads(done.out)}
    assert rows["tiny:latest"]["settings"] == {"parameters": {"temperature": 0.5}}
    assert rows["tiny:latest"]["link"] == "hard"
    listed = run(capsys, "list")
    assert "ollama tiny:latest" in listed.out
    assert "of it files that other programs have, too" in listed.err
    assert {row["own_bytes"] for row in json.loads(run(capsys, "list", "--json").out)} == {0}
    shown = json.loads(run(capsys, "show", "tiny:1b-f32", "--json").out)
    assert (shown["name"], shown["source"]) == ("tiny-1b", "ollama tiny:1b-f32")
    removed = run(capsys, "remove", "tiny", "--yes")
    assert removed.code == 0
    assert "removed tiny (F32); 0 KiB are free again" in removed.err
    assert Path(rows["tiny:latest"]["source_paths"][0]).is_file()
    assert run(capsys, "import", "ollama", "tiny").code == 0


def test_a_named_model_that_is_refused_fails(
    ollama: OllamaFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "import", "ollama", "tiny:latest", "bad").code == 1
    unknown = run(capsys, "import", "ollama", "mistral")
    assert (unknown.code, len(unknown.err.splitlines())) == (1, 1)
    assert "there is no mistral; there is bad:latest, tiny:1b-f32 or tiny:latest" in unknown.err


def test_a_reference_whose_file_has_gone_can_be_removed(
    ollama: OllamaFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(target))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert "a reference to" in run(capsys, "import", "ollama", "tiny:latest").err
    [row] = json.loads(run(capsys, "list", "--json").out)
    Path(row["path"]).unlink()
    assert "run: corral import ollama tiny:latest" in run(capsys, "list").err
    assert "run: corral import ollama tiny:latest" in run(capsys, "show", "tiny").err
    assert run(capsys, "remove", "tiny", "--yes").code == 0
    assert "no models" in run(capsys, "list").err


def test_lm_studio(tmp_path: Path, tiny_gguf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = run(capsys, "import", "lm-studio")
    assert (missing.code, "--from" in missing.err) == (1, True)
    folder = tmp_path / "elsewhere" / "pub" / "tiny-GGUF"
    folder.mkdir(parents=True)
    (folder / "tiny-F32.gguf").write_bytes(tiny_gguf.read_bytes())
    (folder / "mmproj-tiny.gguf").write_bytes(b"eyes")
    done = run(capsys, "import", "lm-studio", "--from", str(tmp_path / "elsewhere"))
    assert done.code == 0
    assert "pub/tiny-GGUF/mmproj-tiny.gguf: refused: it is a projector" in done.err
    assert "pub/tiny-GGUF/tiny-F32.gguf: pub/tiny-GGUF:F32" in done.err
    assert (
        run(capsys, "import", "lm-studio", "--from", str(tmp_path / "elsewhere"), "tiny-GGUF:f32").code == 0
    )
    assert "pub/tiny-GGUF:F32" in run(capsys, "list").out
