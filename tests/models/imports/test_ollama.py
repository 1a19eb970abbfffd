from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from models.errors import ModelNotFound
from models.imports.candidate import Candidate
from models.imports.ollama import LARGEST_MANIFEST_BYTES, ollama_candidates, ollama_folder
from tests.models.imports.other_programs import OllamaFolder


def only(ollama: OllamaFolder) -> Candidate:
    [candidate] = ollama_candidates(ollama.folder)
    return candidate


@pytest.mark.parametrize(
    ("title", "names", "type_"),
    [
        ("llama3.2:latest", ("llama3.2", "ollama/llama3.2"), None),
        ("llama3.2:3b", ("llama3.2-3b", "ollama/llama3.2-3b"), None),
        (
            "llama3.2:3b-instruct-q8_0",
            ("llama3.2-3b-instruct", "llama3.2-3b-instruct-q8_0", "ollama/llama3.2-3b-instruct-q8_0"),
            "Q8_0",
        ),
        ("qwen:fp16", ("qwen", "qwen-fp16", "ollama/qwen-fp16"), "F16"),
        ("me/mine:latest", ("me/mine", "ollama/me-mine"), None),
        (
            "hf.co/org/name-GGUF:Q4_K_M",
            ("org/name-GGUF", "org/name-GGUF-Q4_K_M", "ollama/org-name-GGUF-Q4_K_M"),
            "Q4_K_M",
        ),
        ("demo:latest", ("ollama/demo",), None),
    ],
)
def test_names(ollama: OllamaFolder, title: str, names: tuple[str, ...], type_: str | None) -> None:
    ollama.add(title, ollama.layer("model", b"weights"))
    candidate = only(ollama)
    assert (candidate.title, candidate.problem) == (title, None)
    assert candidate.names == names
    assert candidate.type_hint == type_
    [part] = candidate.parts
    assert part.path.read_bytes() == b"weights"
    assert part.path.name == f"sha256-{part.sha256}"


def test_what_stands_around_the_weights(ollama: OllamaFolder) -> None:
    ollama.add(
        "chat:latest",
        ollama.layer("model", b"weights"),
        ollama.layer("template", b"{{ .Prompt }}"),
        ollama.layer("system", b"Be brief."),
        ollama.layer("params", {"temperature": 0.5, "stop": ["<|im_end|>"]}),
        ollama.layer("messages", [{"role": "user", "content": "Hi"}]),
        ollama.layer("license", b"MIT"),
        ollama.layer("projector", b"eyes"),
    )
    candidate = only(ollama)
    assert candidate.problem is None
    assert candidate.settings == {
        "parameters": {"temperature": 0.5, "stop": ["<|im_end|>"]},
        "messages": [{"role": "user", "content": "Hi"}],
        "system": "Be brief.",
        "template": "{{ .Prompt }}",
    }
    remarks = "\n".join(candidate.remarks)
    assert 'temperature 0.5, stop ["<|im_end|>"]' in remarks
    assert all(word in remarks for word in ("system message", "first messages"))
    assert candidate.projector is not None
    assert candidate.projector.path.read_bytes() == b"eyes"


@pytest.mark.parametrize(
    ("kinds", "config", "reason"),
    [
        (("model", "adapter"), {}, "a model with an adapter"),
        (("tensor", "tensor"), {"model_format": "safetensors"}, "no GGUF (safetensors)"),
        (("template",), {}, "no layers with weights"),
        (("model", "model"), {}, "2 layers with weights"),
        (("model", "surprise"), {}, "unknown kind (surprise)"),
        (("model", "projector", "projector"), {}, "2 projectors"),
        ((), {"remote_host": "https://elsewhere:443"}, "runs at https://elsewhere:443"),
    ],
)
def test_models_that_are_not_one_gguf(
    ollama: OllamaFolder, kinds: tuple[str, ...], config: dict[str, Any], reason: str
) -> None:
    ollama.add("x:latest", *(ollama.layer(kind, b"weights") for kind in kinds), config=config)
    assert reason in str(only(ollama).problem)


def spoil(path: Path, **changes: Any) -> None:
    """Change the first layer of a manifest."""
    manifest = json.loads(path.read_text())
    manifest["layers"][0] |= changes
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"digest": "sha256:../../../../etc/passwd"}, "no sha256 digest"),
        ({"digest": "sha256:" + "0" * 63}, "no sha256 digest"),
        ({"digest": "md5:" + "0" * 64}, "no sha256 digest"),
        ({"digest": "sha256:" + "0" * 64}, "No such file"),
        ({"digest": 7}, "manifest can't be read"),
        ({"size": 6}, "has 7 bytes and its manifest says 6"),
        ({"size": "7"}, "manifest can't be read"),
        ({"mediaType": None}, "manifest can't be read"),
    ],
)
def test_a_manifest_that_lies(ollama: OllamaFolder, changes: dict[str, Any], reason: str) -> None:
    spoil(ollama.add("x:latest", ollama.layer("model", b"weights")), **changes)
    assert reason in str(only(ollama).problem)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"layers": {}}', "[" * 100_000, '{"layers": [1]}', "\udcff"]
)
def test_a_manifest_that_is_none(ollama: OllamaFolder, text: str) -> None:
    path = ollama.add("x:latest", ollama.layer("model", b"weights"))
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "manifest can't be read" in str(only(ollama).problem)


def test_a_manifest_without_end_is_not_read(ollama: OllamaFolder) -> None:
    path = ollama.add("x:latest", ollama.layer("model", b"weights"))
    os.truncate(path, LARGEST_MANIFEST_BYTES + 1)
    assert "more than the 1,048,576 that are read" in str(only(ollama).problem)


def test_things_that_are_no_files(ollama: OllamaFolder) -> None:
    layer = ollama.layer("model", b"weights")
    ollama.add("x:latest", layer)
    blob = ollama.path(layer["digest"])
    blob.unlink()
    os.mkfifo(blob)
    assert "no plain file" in str(only(ollama).problem)
    blob.unlink()
    blob.mkdir()
    assert "no plain file" in str(only(ollama).problem)


def test_a_text_with_another_digest(ollama: OllamaFolder) -> None:
    template = ollama.layer("template", b"{{ .Prompt }}")
    ollama.add("x:latest", ollama.layer("model", b"weights"), ollama.layer("params", b"{no JSON"))
    assert "parameters are no JSON" in str(only(ollama).problem)
    system = ollama.layer("system", b"Be brief.")
    ollama.add("x:latest", ollama.layer("model", b"weights"), template, system)
    ollama.path(system["digest"]).write_bytes(b"Be rude!!")
    assert "hasn't the sha256 of its name" in str(only(ollama).problem)


def test_names_that_are_no_names(ollama: OllamaFolder) -> None:
    path = ollama.add("x:latest", ollama.layer("model", b"weights"))
    path.rename(path.with_name("a tag\nwith lines"))
    (path.parent / ".DS_Store").write_bytes(b"")
    assert "no word of Ollama's" in str(only(ollama).problem)


def test_where_the_folder_is(ollama: OllamaFolder, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".ollama" / "models" / "manifests").mkdir(parents=True)
    assert ollama_folder(None, {}, home) == home / ".ollama" / "models"
    assert ollama_folder(None, {"OLLAMA_MODELS": str(ollama.folder)}, home) == ollama.folder
    assert ollama_folder(ollama.folder, {"OLLAMA_MODELS": "/nowhere"}, home) == ollama.folder
    assert ollama_folder(home / ".ollama", {}, home) == home / ".ollama" / "models"
    with pytest.raises(ModelNotFound, match=r"/nowhere.*--from"):
        ollama_folder(None, {"OLLAMA_MODELS": "/nowhere"}, home)
