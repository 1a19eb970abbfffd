"""`corral serve --lora`, and adapters at run time, as a user has them: processes and HTTP."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.errors import ConfigError, RequestError
from server.cli.serve.adapters import register_adapters
from server.supervisor.adapters.converter import AdapterConverter
from server.supervisor.adapters.registry import AdapterRegistry
from server.supervisor.adapters.service import gguf_only
from server.supervisor.catalogue import CatalogueEntry, file_entry
from tests.peft import write_peft_adapter
from tests.pico import write_pico_checkpoint
from tests.quantize.quantize_folder import quantize_folder
from tests.server.cli.serve.test_command import Server, serving


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pico_checkpoint(tmp_path_factory.mktemp("base") / "pico", dtype="F32")


@pytest.fixture(scope="module")
def base(checkpoint: Path) -> CatalogueEntry:
    (file,) = quantize_folder(checkpoint, ["F32"], checkpoint.parent, threads=1)
    return file_entry(file.path.rename(checkpoint.parent / "pico.gguf"))


def test_registering(checkpoint: Path, base: CatalogueEntry, tmp_path: Path) -> None:
    folder = write_peft_adapter(tmp_path / "style", checkpoint)
    prepare = AdapterConverter(tmp_path / "made")
    registry = AdapterRegistry()
    register_adapters(registry, [str(folder), f"{folder}=half@0.5", f"{folder}=off@0"], [base], prepare)
    assert [(a.full_name, a.scale, a.path) for a in registry.all()] == [
        ("pico:style", 1.0, folder),
        ("pico:half", 0.5, folder),
        ("pico:off", 0.0, folder),
    ]
    (gguf,) = (tmp_path / "made").iterdir()
    assert {a.file for a in registry.all()} == {gguf}, "converted once"


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("none.gguf", ConfigError, "bad value for --lora: there is no adapter"),
        ("{}=Q4_K_M", ConfigError, "model in that type"),
        ("{}", RequestError, "use_dora"),
    ],
)
def test_a_bad_adapter_is_told_of_before_anything_is_served(
    text: str, error: type[Exception], said: str, checkpoint: Path, base: CatalogueEntry, tmp_path: Path
) -> None:
    folder = write_peft_adapter(tmp_path / "style", checkpoint, fields={"use_dora": True})
    with pytest.raises(error, match=said):
        register_adapters(
            AdapterRegistry(), [text.format(folder)], [base], AdapterConverter(tmp_path / "made")
        )


def test_which_model_they_belong_to(base: CatalogueEntry) -> None:
    other = CatalogueEntry("other", base.path, "F32", 1, 1)
    for served in ([], [base, other]):
        with pytest.raises(ConfigError, match=f"{len(served)} are served"):
            register_adapters(AdapterRegistry(), ["x.gguf"], served, gguf_only)
    register_adapters(AdapterRegistry(), [], [], gguf_only)


# --- the server ------------------------------------------------------------------------------------


def post(server: Server, path: str, body: object, method: str = "POST") -> httpx.Response:
    return httpx.request(method, server.url + path, json=body, timeout=60)


def text(server: Server, model: str = "pico", **fields: Any) -> str:
    body = {"model": model, "prompt": "The cat sat", "max_tokens": 12, "temperature": 0, "ignore_eos": True}
    response = post(server, "/v1/completions", body | fields)
    assert response.status_code == 200, response.text
    found: str = response.json()["choices"][0]["text"]
    return found


@pytest.mark.model
def test_from_the_command_line_to_the_answers(
    env: dict[str, str], checkpoint: Path, base: CatalogueEntry, tmp_path: Path
) -> None:
    style = write_peft_adapter(tmp_path / "style", checkpoint, seed=1)
    tone = write_peft_adapter(tmp_path / "tone", checkpoint, seed=2)
    flags = ["--lora", str(style), "--lora", f"{tone}=tone@0", "--parallel", "3", "--ctx", "256"]
    exact = ["--type-k", "f32", "--type-v", "f32", "--flash-attn", "off", "--threads", "1"]
    with serving(env, str(base.path), *flags, *exact) as server:
        listed = [(m["id"], m["parent"]) for m in server.get("/v1/models")["data"]]
        assert listed == [("pico", None), ("pico:style", "pico"), ("pico:tone", "pico")]
        plain = text(server, lora=[])
        styled, toned = text(server, "pico:style"), text(server, "pico:tone")
        assert len({plain, styled, toned}) == 3
        assert text(server) == styled, "what --lora names is on"
        assert text(server, lora=[{"id": 1, "scale": 1}]) == toned, "a list replaces the defaults"
        assert text(server, "pico:style", lora=[{"id": 0, "scale": 0}]) == plain
        both = text(server, lora=[{"id": 1, "scale": 1}, {"id": 0, "scale": 1}])
        assert both not in (plain, styled, toned)

        unknown = post(server, "/v1/completions", {"prompt": "x", "lora": [{"id": 7, "scale": 1}]})
        assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "lora")
        assert post(server, "/v1/completions", {"model": "pico:none", "prompt": "x"}).status_code == 404

        loaded = post(server, "/admin/adapters", {"path": str(tone), "name": "again"})
        assert (loaded.status_code, loaded.json()["id"]) == (200, 2), loaded.text
        assert text(server, "pico:again") == toned
        assert text(server) == styled, "one loaded at run time is off unless it says a scale"

        (worker,) = [p for p in server.descendants() if "server.worker" in " ".join(p.cmdline())]
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait(60)
        assert text(server, "pico:again") == toned, "a worker that starts again has them all"
        assert text(server) == styled

        assert post(server, "/admin/adapters/0", None, "DELETE").json()["deleted"] is True
        assert text(server) == plain
        assert post(server, "/v1/completions", {"model": "pico:style", "prompt": "x"}).status_code == 404
        assert post(server, "/lora-adapters", [{"id": 1, "scale": 1}]).status_code == 200
        assert text(server) == toned
