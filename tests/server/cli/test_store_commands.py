"""`corral list`, `show` and `remove` on a store with one model in two types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.machine.fit import GIB
from models.machine.host_memory import memory
from models.paths import Paths
from models.reference import ModelRef
from models.store.fingerprint import fingerprint
from models.store.manifest import Manifest, ManifestFile, Source
from models.store.store import ModelStore
from server.tuning.result_store import ResultStore, results_here
from tests.server.cli.conftest import Corral
from tests.server.tuning.fake_measurer import DEFAULTS
from tests.server.tuning.results import MACHINE, a_result


@pytest.fixture
def store(env: dict[str, str], tiny_gguf: Path) -> ModelStore:
    store = ModelStore(Paths.from_environment(env))
    with store.staging(ModelRef.parse("org/tiny")) as staging:
        files = []
        for type_ in ("F32", "Q8_0"):
            name = f"tiny.{type_}.gguf"
            (staging.path / name).write_bytes(tiny_gguf.read_bytes())
            files.append(
                ManifestFile.single(type_, name, tiny_gguf.stat().st_size, "0" * 64, bits_per_weight=32.0)
            )
        staging.publish(
            Manifest(
                name="org/tiny",
                source=Source(kind="hub", repo="org/tiny", revision="0123456789abcdef"),
                files=tuple(files),
                created="2026-01-02T03:04:05+00:00",
                architecture="llama",
                parameters=1_410_304,
            )
        )
    return store


def test_an_empty_store(corral: Corral) -> None:
    done = corral("list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "corral quantize demo" in done.stderr
    assert json.loads(corral("list", "--json").stdout) == []


def test_list(corral: Corral, store: ModelStore) -> None:
    lines = corral("list").stdout.splitlines()
    assert lines[0].split() == ["MODEL", "SIZE", "BITS/W", "SOURCE", "KIND", "FORMAT", "FITS"]
    assert lines[1].split() == [
        "org/tiny:F32",
        "5.4",
        "MiB",
        "32.00",
        "org/tiny@01234567",
        "text",
        "-",
        "yes",
    ]
    assert len(lines) == 3
    [first, second] = json.loads(corral("list", "--json").stdout)
    assert (first["type"], second["type"]) == ("F32", "Q8_0")
    assert first["fits"] is True


def test_list_names_what_is_broken(corral: Corral, store: ModelStore) -> None:
    [model] = store.list()
    model.types["Q8_0"].path.write_bytes(b"cut")
    done = corral("list")
    assert len(done.stdout.splitlines()) == 2
    assert "org/tiny:Q8_0" in done.stderr


def test_show(corral: Corral, store: ModelStore) -> None:
    shown = corral("show", "org/tiny:q8_0", "--ctx", "256").stdout
    assert "org/tiny@01234567" in shown
    assert f"sha256 {'0' * 64}" in shown
    assert "tokenizer.ggml.tokens = [448 × str]" in shown
    assert "chat template" in shown
    document = json.loads(corral("show", "org/tiny", "--json").stdout)
    assert [file["type"] for file in document["files"]] == ["F32", "Q8_0"]
    assert document["files"][0]["memory_bytes"] > 0


def test_show_a_file(corral: Corral, tiny_gguf: Path) -> None:
    document = json.loads(corral("show", str(tiny_gguf), "--json").stdout)
    assert document["files"][0]["type"] == "F32"
    assert document["parameters"] == 1_410_304
    assert document["files"][0]["memory_bytes"] > 0


def test_show_tells_what_prompts_apart_take(corral: Corral, tiny_gguf: Path, env: dict[str, str]) -> None:
    env["CORRAL_KERNELS_LIBRARY"] = "none.so"  # with kernels prompts are apart nowhere
    if memory().available_bytes < 4 * GIB:
        pytest.skip("a worker would have no room for it here")
    [file] = json.loads(corral("show", str(tiny_gguf), "--json").stdout)["files"]
    assert file["prompt_side_bytes"] > 0
    assert "more for prompts apart" in corral("show", str(tiny_gguf)).stdout


def test_show_what_tune_found(corral: Corral, store: ModelStore, env: dict[str, str]) -> None:
    assert [file["tuned"] for file in json.loads(corral("show", "org/tiny", "--json").stdout)["files"]] == [
        None,
        None,
    ]
    [model] = store.list()
    mark = fingerprint(model.types["Q8_0"].path)
    results = results_here(Paths.from_environment(env).tuning_dir)
    results.save(a_result(mark, machine=results.machine))
    other = a_result(mark, machine=MACHINE, settings=DEFAULTS)  # as if the folder were shared
    ResultStore(Paths.from_environment(env).tuning_dir, MACHINE).save(other)
    [first, second] = json.loads(corral("show", "org/tiny", "--json").stdout)["files"]
    assert first["tuned"] is None
    assert second["tuned"]["created"] == "2026-01-02T03:04:05+00:00"
    assert second["tuned"]["gain_percent"] == 10.52
    assert second["tuned"]["settings"]["n_ubatch"] == 256
    shown = corral("show", "org/tiny:q8_0").stdout
    assert "tuned here on 2026-01-02 for 64 tokens in, 96 out" in shown
    assert "n_ubatch 256, use_extra_bufts off, spin_count 0: +10.5 % ± 2.0" in shown
    assert "100.0 → 110.0 tok/s with 1 at a time" in shown
    assert "tuned" not in corral("show", "org/tiny:F32").stdout


def test_show_a_malformed_file(corral: Corral, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\xff" * 100)
    done = corral("show", str(bad))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_remove_one_type_then_the_rest(corral: Corral, store: ModelStore) -> None:
    refused = corral("remove", "org/tiny")
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    assert corral("remove", "org/tiny:Q8_0", "--yes").returncode == 0
    [model] = store.list()
    assert list(model.types) == ["F32"]
    done = corral("remove", "org/tiny", "-y")
    assert "removed org/tiny (F32); 5.4 MiB are free again" in done.stderr
    assert store.list() == []
    assert corral("remove", "org/tiny", "-y").returncode == 1


def test_a_served_file_is_not_removed(corral: Corral, store: ModelStore) -> None:
    [model] = store.list()
    with store.use(model.types["F32"].path):
        done = corral("remove", "org/tiny:F32", "--yes")
    assert done.returncode == 1
    assert "is being served" in done.stderr


def test_show_knows_the_presets_of_the_settings_file(corral: Corral, tmp_path: Path) -> None:
    settings = tmp_path / "corral.toml"
    settings.write_text(
        "[presets.mix]\nsystem = 'Be brief.'\n"
        "arms = [{ model = 'a:Q8_0', weight = 3 }, { model = 'b', force = { seed = 1 } }]\n"
    )
    text = corral("show", "mix", "--config", str(settings)).stdout
    assert "a:Q8_0, 75 %: served by a:Q8_0" in text
    assert "force seed = 1" in text
    assert "system, prepend: Be brief." in text
    document = json.loads(corral("show", "mix", "--config", str(settings), "--json").stdout)
    assert [(arm["model"], arm["share"]) for arm in document["arms"]] == [("a:Q8_0", 0.75), ("b", 0.25)]
    assert corral("show", "other/name", "--config", str(settings)).returncode == 1
