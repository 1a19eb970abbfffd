from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from models.errors import ConfigError
from models.quantization_types import KV_CACHE_TYPES
from server.cli.settings import flag_parameter
from server.config import SETTINGS, ServerConfig, flag_of, setting_help
from server.config_sources import load_config
from server.ipc.frames import decode_spec, encode_frame
from server.ipc.model_spec import ModelSpec
from server.serve_options import SERVE_SETTINGS, KVType, ServeOptions
from server.supervisor.catalogue import CatalogueEntry

OWN_TESTS = {"dry_sequence_breakers", "split", "network_is_private"}
"""Lists, and what only counts with one: each has a test of its own."""

OTHER: dict[str, Any] = {
    "temperature": 0.3,
    "context_shift": True,
    "dynatemp_range": 0.1,
    "dynatemp_exponent": 2.0,
    "top_k": 7,
    "top_p": 0.5,
    "min_p": 0.2,
    "typical_p": 0.9,
    "top_n_sigma": 1.5,
    "xtc_probability": 0.4,
    "xtc_threshold": 0.2,
    "dry_multiplier": 0.8,
    "dry_base": 2.0,
    "dry_allowed_length": 3,
    "dry_penalty_last_n": 64,
    "repeat_penalty": 1.2,
    "repeat_last_n": 32,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "mirostat": 2,
    "mirostat_tau": 4.0,
    "mirostat_eta": 0.2,
    "seed": 42,
    "max_tokens": 64,
    "ignore_eos": True,
    "ctx": 1234,
    "swa_full": True,
    "parallel": 3,
    "gpu_layers": 7,
    "n_cpu_moe": 3,
    "cpu_moe": True,
    "pooling": "last",
    "prompt_format": "vicuna",
    "chat_template": "{{ messages[0].content }}",
    "chat_template_file": __file__,
    "reasoning": "off",
    "threads": 2,
    "threads_batch": 4,
    "n_batch": 99,
    "n_ubatch": 33,
    "prefill_chunk_tokens": 44,
    "gap_ms": 12.5,
    "loop_guard": 300,
    "speculate": "ngram",
    "draft": "small",
    "mmproj": "eyes.gguf",
    "no_mmproj": True,
    "image_hosts": "example.org,*.example.com",
    "draft_max": 5,
    "kv_unified": True,
    "flash_attn": "on",
    "type_k": "q8_0",
    "type_v": "q4_0",
    "prefix_cache_gib": 0.5,
    "checkpoint_gib": 0.25,
    "checkpoint_tokens": 300,
    "use_mmap": False,
    "use_mlock": True,
    "use_extra_bufts": False,
    "kernels": "off",
    "prompt_side": "on",
    "device_sampling": "off",
    "queue_size": 6,
}
"""A value for every setting that isn't its default."""

ENTRY = CatalogueEntry("m", Path("/m.gguf"), "Q8_0", 1, 1, prompt_format="chatml")


def sent(config: ServerConfig) -> dict[str, Any]:
    """What a worker receives, as plain data."""
    frame: dict[str, Any] = msgspec.msgpack.decode(encode_frame(ENTRY.model_spec(config.serve))[4:])
    options: dict[str, Any] = frame["options"]
    return options


def test_a_list_reaches_the_worker_from_each_source(tmp_path: Path) -> None:
    toml = tmp_path / "corral.toml"
    toml.write_text('dry_sequence_breakers = ["#", ";"]\n')
    for config in (
        load_config({"dry_sequence_breakers": ["#", ";"]}, {}),
        load_config({}, {"CORRAL_DRY_SEQUENCE_BREAKERS": "#,;"}),
        load_config({}, {}, toml),
    ):
        assert sent(config)["dry_sequence_breakers"] == ["#", ";"]
        assert config.serve.sampling == {"dry_sequence_breakers": ("#", ";")}


@pytest.mark.parametrize("name", [name for name in SERVE_SETTINGS if name not in OWN_TESTS])
def test_a_setting_has_one_name_from_its_flag_to_the_worker(name: str, tmp_path: Path) -> None:
    value = OTHER[name]
    assert value != getattr(ServeOptions(), name)
    assert flag_parameter(name).name == name
    assert flag_of(name) == f"--{name.replace('_', '-')}"
    toml = tmp_path / "corral.toml"
    toml.write_text(f"{name} = {str(value).lower() if isinstance(value, bool) else repr(value)}\n")
    for config in (
        load_config({name: value}, {}),
        load_config({}, {f"CORRAL_{name.upper()}": str(value)}),
        load_config({}, {}, toml),
    ):
        assert getattr(config, name) == value
        assert sent(config)[name] == value
        expected = {
            **dataclasses.asdict(ServeOptions()),
            "dry_sequence_breakers": [],
            "split": [],
            "prompt_format": "chatml",
            name: value,
        }
        assert sent(config) == expected


def test_servers_of_a_split_model_are_a_list_everywhere(tmp_path: Path) -> None:
    servers = ["127.0.0.1:50061", "localhost:50062"]
    toml = tmp_path / "corral.toml"
    toml.write_text(f"split = {servers}\n")
    for config in (
        load_config({"split": servers}, {}),
        load_config({"split": [",".join(servers)]}, {}),
        load_config({}, {"CORRAL_SPLIT": ",".join(servers)}),
        load_config({}, {}, toml),
    ):
        assert sent(config)["split"] == servers
    given = {"split": ["10.0.0.1:1"], "network_is_private": True}
    toml.write_text("split = ['10.0.0.1:1']\nnetwork_is_private = true\n")
    in_variables = {"CORRAL_SPLIT": "10.0.0.1:1", "CORRAL_NETWORK_IS_PRIVATE": "true"}
    for private in (load_config(given, {}), load_config({}, in_variables), load_config({}, {}, toml)):
        assert sent(private).items() >= given.items()


def test_the_worker_gets_what_was_sent() -> None:
    options = ServeOptions(**OTHER, split=("10.0.0.1:1",), network_is_private=True)
    spec = ModelSpec(name="m", path="/m.gguf", options=options)
    assert decode_spec(encode_frame(spec)[4:]) == spec


def test_the_settings_and_their_texts_are_declared_once() -> None:
    assert set(SERVE_SETTINGS) - OWN_TESTS == set(OTHER) < set(SETTINGS)
    for name in SERVE_SETTINGS:
        assert name not in ServerConfig.__annotations__
        assert setting_help(name) in ServeOptions.__dataclass_fields__[name].metadata.values()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("parallel", 257, "less than or equal to 256"),
        ("draft_max", 0, "greater than or equal to 1"),
        ("gap_ms", 0, "greater than 0"),
        ("gap_ms", float("inf"), "finite"),
        ("prefix_cache_gib", -1, "greater than or equal to 0"),
        ("prefix_cache_gib", float("nan"), "finite"),
        ("ctx", 0, "greater than or equal to 1"),
        ("gpu_layers", -1, "--gpu-layers"),
        ("queue_size", -1, "greater than or equal to 0"),
        ("threads", 0, "greater than or equal to 1"),
        ("flash_attn", "maybe", "'auto', 'on' or 'off'"),
    ],
)
def test_bounds_are_checked_where_a_user_gives_a_value(name: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config({name: value}, {})


def test_a_worker_imports_them_without_pydantic() -> None:
    code = "import sys, server.worker.worker, server.placement.place; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_kv_types_are_those_of_the_table() -> None:
    assert set(get_args(KVType)) == set(KV_CACHE_TYPES)
