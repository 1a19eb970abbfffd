from __future__ import annotations

import logging
from pathlib import Path

import pytest

from models.store.fingerprint import fingerprint
from server.config_sources import load_config
from server.ipc.launch import SPIN_COUNT
from server.ipc.model_spec import ModelSpec
from server.serve_options import ServeOptions
from server.tuning.apply import TunedModels, tuned_values
from server.tuning.result_store import ResultStore
from server.tuning.settings import Settings, with_values
from tests.server.tuning.fake_measurer import DEFAULTS
from tests.server.tuning.results import MACHINE, a_result


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    return path


def tuned(tmp_path: Path, model: Path, settings: Settings | None = None) -> TunedModels:
    store = ResultStore(tmp_path / "tuning", MACHINE)
    result = a_result(fingerprint(model))
    store.save(result if settings is None else a_result(fingerprint(model), settings=settings))
    return TunedModels(store)


def test_results_fill_what_nobody_chose_and_are_told_once(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = tuned(tmp_path, model)
    with caplog.at_level(logging.INFO, "corral.serve"):
        config = models.config_for(model, load_config({"parallel": 3}, {}))
        models.config_for(model, load_config({}, {}))
    assert (config.n_ubatch, config.use_extra_bufts, config.threads, config.parallel) == (256, False, 2, 3)
    assert len(caplog.messages) == 1
    assert "n_ubatch 256" in caplog.text
    assert "use_extra_bufts off" in caplog.text
    assert "spin_count 0" in caplog.text
    assert "flash_attn" not in caplog.text


def test_flags_environment_and_file_win(tmp_path: Path, model: Path) -> None:
    toml = tmp_path / "corral.toml"
    toml.write_text("kv_unified = false\n")
    given = load_config({"n_ubatch": 512}, {"CORRAL_USE_EXTRA_BUFTS": "true"}, toml)
    best = with_values(DEFAULTS, n_ubatch=64, use_extra_bufts=False, kv_unified=True, flash_attn="off")
    config = tuned(tmp_path, model, best).config_for(model, given)
    assert (config.n_ubatch, config.use_extra_bufts, config.kv_unified) == (512, True, False)
    assert config.flash_attn == "off"


def test_who_asks_for_the_kernels_keeps_extra_buffer_types(tmp_path: Path, model: Path) -> None:
    config = tuned(tmp_path, model).config_for(model, load_config({"kernels": "on"}, {}))
    assert (config.kernels, config.use_extra_bufts, config.n_ubatch) == ("on", True, 256)
    best = with_values(DEFAULTS, kernels="off")
    assert tuned(tmp_path, model, best).config_for(model, load_config({}, {})).kernels == "off"


def test_the_waiting_policy_goes_with_the_threads(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "corral.serve"):
        tuned(tmp_path, model).config_for(model, load_config({"threads": 1}, {}))
    assert "spin_count" not in caplog.text
    assert "n_ubatch 256" in caplog.text


def test_without_a_result_nothing_changes(tmp_path: Path, model: Path) -> None:
    models = TunedModels(ResultStore(tmp_path / "tuning", MACHINE))
    config = load_config({}, {})
    assert models.config_for(model, config) is config
    spec = ModelSpec(name="m", path=str(model))
    assert models.environment_of(spec)["GOMP_SPINCOUNT"] == str(SPIN_COUNT)


def test_who_limits_threads_limits_both() -> None:
    result = a_result(settings=with_values(DEFAULTS, threads=2, threads_batch=2))
    values = tuned_values(load_config({"threads": 1}, {}), result)
    assert "threads" not in values
    assert "threads_batch" not in values
    assert tuned_values(load_config({"threads_batch": 1}, {}), result)["threads"] == 2


def test_a_quantized_cache_keeps_its_flash_attention() -> None:
    result = a_result(settings=with_values(DEFAULTS, flash_attn="off"))
    assert "flash_attn" not in tuned_values(load_config({"type_k": "q8_0", "type_v": "q8_0"}, {}), result)
    quantized = a_result(settings=with_values(DEFAULTS, kv_type="q8_0"))
    values = tuned_values(load_config({"flash_attn": "off"}, {}), quantized)
    assert "type_v" not in values
    assert tuned_values(load_config({}, {}), quantized)["type_v"] == "q8_0"


def test_the_waiting_policy_reaches_the_worker(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    models = tuned(tmp_path, model, with_values(DEFAULTS, threads=1, threads_batch=1, spin_count=9))
    spec = ModelSpec(name="m", path=str(model), options=ServeOptions(threads=1, threads_batch=1))
    assert models.environment_of(spec)["GOMP_SPINCOUNT"] == "9"
    other = ModelSpec(name="m", path=str(model), options=ServeOptions(threads=2))
    assert models.environment_of(other)["GOMP_SPINCOUNT"] != "9"
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    assert models.environment_of(spec)["GOMP_SPINCOUNT"] == "5"
