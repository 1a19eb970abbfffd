from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.errors import ConfigError
from server.config import SETTINGS, ServerConfig, flag_of, setting_help
from server.config_sources import load_config


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "corral.toml"
    path.write_text('port = 1001\nctx = 1001\nparallel = 3\nmodels = ["demo"]\nkv_unified = true\n')
    return path


def test_defaults() -> None:
    config = load_config({}, {})
    assert config == ServerConfig()
    assert (config.host, config.port, config.parallel, config.queue_size) == ("127.0.0.1", 8000, 8, 256)
    assert config.gpu_layers == "auto"
    assert config.ctx is None


def test_flags_beat_environment_beats_file(toml: Path) -> None:
    config = load_config({"port": 1003}, {"CORRAL_PORT": "1002", "CORRAL_CTX": "1002"}, toml)
    assert (config.port, config.ctx, config.parallel) == (1003, 1002, 3)
    assert config.models == ("demo",)
    assert config.kv_unified


def test_flags_that_were_not_given_do_not_count(toml: Path) -> None:
    assert load_config({"port": None, "models": (), "api_keys": []}, {}, toml).models == ("demo",)


def test_lists_and_switches_in_the_environment() -> None:
    config = load_config(
        {},
        {"CORRAL_API_KEYS": "a, b,", "CORRAL_USE_MMAP": "false", "CORRAL_GPU_LAYERS": "12", "CORRAL_CTX": ""},
    )
    assert [key.get_secret_value() for key in config.api_keys] == ["a", "b"]
    assert not config.use_mmap
    assert config.gpu_layers == 12


def test_keys_do_not_show() -> None:
    config = load_config({"api_keys": ["very-secret"]}, {})
    assert "very-secret" not in repr(config)
    assert "very-secret" not in str(config.model_dump())


def test_names_that_the_server_is_called_by(tmp_path: Path) -> None:
    names = ("corral.example", "*.lab.example", "*", "[::1]", "10.0.0.1")
    assert load_config({"allowed_hosts": list(names)}, {}).allowed_hosts == names
    assert load_config({}, {"CORRAL_ALLOWED_HOSTS": "a.example, *.b.example"}).allowed_hosts == (
        "a.example",
        "*.b.example",
    )
    path = tmp_path / "corral.toml"
    path.write_text('allowed_hosts = ["c.example"]')
    assert load_config({}, {}, path).allowed_hosts == ("c.example",)


def test_it_is_frozen() -> None:
    config: Any = load_config({}, {})
    with pytest.raises(ValidationError):
        config.port = 1


def test_values_in_other_spellings() -> None:
    config = load_config({"default_type": "8bit", "prompt_format": "Vicuna-v1.1"}, {})
    assert (config.default_type, config.prompt_format) == ("Q8_0", "vicuna")


@pytest.mark.parametrize(
    ("flags", "env", "text", "words"),
    [
        ({"paralel": 2}, {}, None, ("'paralel'", "did you mean parallel?")),
        ({}, {"CORRAL_PROT": "1"}, None, ("CORRAL_PROT", "did you mean CORRAL_PORT?")),
        ({}, {}, "gpu-layers = 3", ("'gpu-layers'", "did you mean gpu_layers?")),
        ({}, {}, "zzzzzz = 3", ("'zzzzzz'", "known are")),
        ({"port": 70000}, {}, None, ("--port", "65535")),
        ({}, {"CORRAL_PORT": "abc"}, None, ("CORRAL_PORT", "integer")),
        ({}, {"CORRAL_PORT": "tcp:8000"}, None, ("CORRAL_PORT", "integer")),
        ({}, {"CORRAL_HOST": "tcp://10.0.0.1:80", "CORRAL_PORT": "http://x"}, None, ("CORRAL_PORT",)),
        ({}, {"CORRAL_PORTS": "1"}, None, ("CORRAL_PORTS", "did you mean CORRAL_PORT?")),
        ({}, {"CORRAL_API_KEY": "a", "CORRAL_API_KEYS": "b"}, None, ("same setting", "CORRAL_API_KEYS")),
        ({}, {}, 'type = "Q8_0"\ndefault_type = "F16"', ("same setting", "'type'")),
        ({}, {}, "parallel = 0", ("'parallel' in", "greater than or equal to 1")),
        ({}, {}, "port =", ("not valid TOML",)),
        ({"gpu_layers": "most"}, {}, None, ("--gpu-layers", "auto", "or input should be a valid integer")),
        (
            {"n_cpu_moe": -3},
            {},
            None,
            ("--n-cpu-moe", "'auto', or input should be greater than or equal to 0"),
        ),
        ({"prompt_format": "vicunna"}, {}, None, ("--prompt-format", "did you mean 'vicuna'")),
        ({"default_type": "Q4_K_X"}, {}, None, ("--type", "Q4_K_M")),
        ({"api_keys": ["  "]}, {}, None, ("--api-key", "must not be empty")),
        ({"api_keys": ["a\tb"]}, {}, None, ("--api-key", "control characters")),
        ({"type_k": "q9"}, {}, None, ("--type-k", "q8_0")),
        ({"tls_cert": "a.pem"}, {}, None, ("--tls-cert and --tls-key belong together",)),
        ({"tls_key": "a.pem"}, {}, None, ("--tls-key", "belong together")),
        ({"socket": "/s", "tls_cert": "a", "tls_key": "b"}, {}, None, ("--tls-cert", "has no TLS")),
        ({"socket_mode": "rw"}, {}, None, ("--socket-mode", "three octal digits")),
        ({}, {"CORRAL_SOCKET_MODE": "999"}, None, ("CORRAL_SOCKET_MODE", "three octal digits")),
        ({"loop_guard": -1}, {}, None, ("--loop-guard", "greater than or equal to 0")),
        ({"allowed_hosts": ["http://corral.example"]}, {}, None, ("--allowed-host", "without scheme")),
        ({"allowed_hosts": ["corral.example:80"]}, {}, None, ("--allowed-host", "without scheme and port")),
        ({"allowed_hosts": ["*corral.example"]}, {}, None, ("--allowed-host", "*.example")),
        ({"allowed_hosts": ["a.example,b.example"]}, {}, None, ("--allowed-host", "without scheme")),
        ({"allowed_hosts": [".example"]}, {}, None, ("--allowed-host", "*.example")),
        ({"cors_origins": ["app.example"]}, {}, None, ("--cors-origin", "a scheme and a host")),
        ({"cors_origins": ["https://app.example/page"]}, {}, None, ("--cors-origin", "https://app.example")),
        ({"cors_origins": ["https://*.example"]}, {}, None, ("--cors-origin", "or *")),
        ({}, {"CORRAL_CORS_ORIGINS": "https://a.example b"}, None, ("CORRAL_CORS_ORIGINS", "a scheme and")),
        ({"split": ["127.0.0.1"]}, {}, None, ("--split", "give HOST:PORT")),
        ({"split": ["[::1]:50052"]}, {}, None, ("--split", "IPv6")),
        ({"split": ["10.0.0.1:50052"]}, {}, None, ("--split", "--network-is-private")),
        ({"network_is_private": True}, {}, None, ("--network-is-private", "split", "there are none")),
        ({}, {"CORRAL_SPLIT": "127.0.0.1:1,127.0.0.1:1"}, None, ("CORRAL_SPLIT", "named twice")),
        ({}, {"CORRAL_ALOWED_HOSTS": "x"}, None, ("did you mean CORRAL_ALLOWED_HOSTS?",)),
    ],
)
def test_mistakes(
    tmp_path: Path, flags: dict[str, Any], env: dict[str, str], text: str | None, words: tuple[str, ...]
) -> None:
    path = None
    if text is not None:
        path = tmp_path / "corral.toml"
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(flags, env, path)
    for word in words:
        assert word in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't read the settings file"):
        load_config({}, {}, tmp_path / "none.toml")


def test_a_bad_value_is_not_shown_as_it_may_be_a_key() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"api_keys": {"secret": "s3cr3t"}}, {})
    assert "s3cr3t" not in caught.value.message


@pytest.mark.parametrize(
    "variable",
    [
        "CORRAL_HOME",
        "CORRAL_KERNELS_LIBRARY",
        "CORRAL_RPC_LIBRARY",
        "CORRAL_KERNELS_SET",
        "CORRAL_SERVICE_HOST",
        "CORRAL_PORT_8000_TCP",
        "HOME",
    ],
)
def test_variables_of_others(variable: str) -> None:
    assert load_config({}, {variable: "x"}) == ServerConfig()


SERVICES = (
    "",
    "V1_",
    "API_",
    "HOST_",
    "PORTS_",
    "API_KEYS_",
    "LORA_",
    "MODELS_",
    "N_BATCH_",
    "CTX_",
    "LOG_LEVEL_",
)


@pytest.mark.parametrize(
    "origin",
    [
        "https://a.example",
        "https://A.example:8443/",
        "http://[::1]:3000",
        "app://obsidian.md",
        "null",
        "*",
        "file://",
    ],
)
def test_web_origins(origin: str) -> None:
    assert load_config({"cors_origins": [origin]}, {}).cors_origins == (origin,)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("address", ["tcp://10.96.0.7:8000", "udp://10.96.0.7:8000", "tcp://[fd00::7]:8000"])
def test_kubernetes_variables_of_services_called_alike(service: str, address: str) -> None:
    """Those of a service corral, corral-v1, corral-host …, which every pod gets; and of Docker's links."""
    variables = {
        "SERVICE_HOST": "10.96.0.7",
        "SERVICE_PORT": "8000",
        "SERVICE_PORT_HTTP": "8000",
        "SERVICE_PORT_LOG_LEVEL": "8000",
        "PORT": address,
        "PORT_8000_TCP": address,
        "PORT_8000_TCP_PROTO": "tcp",
        "PORT_8000_TCP_PORT": "8000",
        "PORT_8000_TCP_ADDR": "10.96.0.7",
        "PORT_53_UDP": address,
        "PORT_53_UDP_ADDR": "10.96.0.7",
        "ENV_THREADS": "of the other container",
    }
    env = {f"CORRAL_{service}{name}": value for name, value in variables.items()}
    assert load_config({}, env) == ServerConfig()
    assert load_config({"port": 81}, env | {"CORRAL_CTX": "512"}) == ServerConfig(port=81, ctx=512)


OTHER: dict[str, Any] = {
    "host": "0.0.0.0",  # noqa: S104 - nothing listens
    "port": 81,
    "api_keys": ["one", "two"],
    "cors_origins": ["https://a.example", "https://b.example"],
    "allowed_hosts": ["a.example", "b.example"],
    "models": ["demo", "org/name"],
    "default_type": "Q8_0",
    "lora": ["./a", "./b=c@0.5"],
    "ctx": 512,
    "use_mmap": False,
    "kv_unified": True,
    "gpu_layers": "12",
    "type_k": "q8_0",
    "sse_comment_s": 1.5,
    "log_level": "debug",
    "log_format": "json",
    "inspect": "shape",
    "inspect_count": 7,
}


@pytest.mark.parametrize("name", OTHER)
def test_a_setting_is_known_by_its_flags_name_everywhere(name: str, tmp_path: Path) -> None:
    """The rule that `corral serve --help` gives: --type-k is `type_k` and CORRAL_TYPE_K."""
    spelled = name if name == "models" else flag_of(name).removeprefix("--").replace("-", "_")
    value = OTHER[name]
    path = tmp_path / "corral.toml"
    listed = [str(item) for item in value] if isinstance(value, list) else None
    path.write_text(f"{spelled} = {json.dumps(value)}\n")
    text = (
        ",".join(listed)
        if listed is not None
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
    by_file, by_variable = load_config({}, {}, path), load_config({}, {f"CORRAL_{spelled.upper()}": text})
    assert by_file == by_variable == load_config({name: value}, {})
    assert by_file != ServerConfig()


def test_keys_from_files_have_no_line_break() -> None:
    config = load_config({"api_keys": ["a\n", " b\r\n"]}, {})
    assert [key.get_secret_value() for key in config.api_keys] == ["a", "b"]
    config = load_config({}, {"CORRAL_API_KEYS": "a\n,b\n"})
    assert [key.get_secret_value() for key in config.api_keys] == ["a", "b"]


def test_every_setting_has_a_help_text() -> None:
    assert all(setting_help(name).endswith(".") for name in SETTINGS)


def test_how_long_models_stay(tmp_path: Path) -> None:
    toml = tmp_path / "corral.toml"
    toml.write_text(
        'keep_alive = 300\nmodel_keep_alive = ["org/one=1h", "two:q8_0=-1"]\npriority = ["two=-2"]\n'
    )
    lives = load_config({"pin": ["org/one:q4_k_m"]}, {}, toml).lives
    one, other = lives.life_of("org/one", "org/one:Q4_K_M"), lives.life_of("org/one", "org/one:Q8_0")
    assert (one.keep_alive_s, one.pinned, one.priority) == (3600.0, True, 0)
    assert (other.keep_alive_s, other.pinned) == (3600.0, False)
    assert one.idle_limit_s == float("inf")
    two = lives.life_of("two", "two:Q8_0")
    assert (two.keep_alive_s, two.priority) == (float("inf"), -2)
    assert lives.life_of("three", "three").keep_alive_s == 300.0
    assert load_config({}, {}).lives.life_of("a", "a").keep_alive_s == float("inf")
    assert load_config({}, {"CORRAL_PRELOAD": "a, b"}).preload == ("a", "b")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"keep_alive": "soon"}, "bad value for --keep-alive: 'soon' is no time"),
        (
            {"model_keep_alive": ["one"]},
            "bad value for --model-keep-alive: write it as MODEL=VALUE, not 'one'",
        ),
        ({"model_keep_alive": ["one=x"]}, "'x' is no time"),
        ({"priority": ["one=high"]}, "'high' is no whole number"),
        ({"priority": ["=3"]}, "write it as MODEL=VALUE"),
    ],
)
def test_bad_words_about_lives(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        load_config(settings, {})
