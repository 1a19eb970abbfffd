from __future__ import annotations

import typing
from pathlib import Path

import pytest
import typer

from models.errors import ConfigError
from server.cli.settings import flag_parameter, read_settings, value_kinds
from server.config import SETTINGS, ServerConfig, flag_of, setting_help


def option_of(name: str) -> typing.Any:
    annotation = flag_parameter(name).annotation
    return typing.get_args(annotation)[1]


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "models"])
def test_every_setting_is_a_flag_with_its_description(name: str) -> None:
    option = option_of(name)
    assert isinstance(option, typer.models.OptionInfo)
    assert option.help is not None
    assert option.help.startswith(setting_help(name))


@pytest.mark.parametrize(
    ("name", "flag"), [("api_keys", "--api-key"), ("gpu_layers", "--gpu-layers"), ("default_type", "--type")]
)
def test_flag_names(name: str, flag: str) -> None:
    assert flag_of(name) == flag


@pytest.mark.parametrize(
    ("name", "type_", "metavar"),
    [
        ("port", int | None, "N"),
        ("threads", int | None, "N"),
        ("gap_ms", float | None, "X"),
        ("load_wait_s", float | None, "S"),
        ("use_mmap", bool | None, None),
        ("gpu_layers", str | None, "auto|N"),
        ("flash_attn", str | None, "auto|on|off"),
        ("prompt_format", str | None, "NAME"),
        ("lora", list[str], "PATH"),
    ],
)
def test_a_flags_type_is_that_of_its_setting(name: str, type_: typing.Any, metavar: str | None) -> None:
    assert typing.get_args(flag_parameter(name).annotation)[0] == type_
    assert option_of(name).metavar == metavar


@pytest.mark.parametrize(
    ("annotation", "kinds"),
    [
        (typing.Annotated[int, "bool"], (int,)),
        (typing.Annotated[float, "x"] | None, (float,)),
        (typing.Literal["auto"] | typing.Annotated[int, "x"], ("auto", int)),
        (tuple[int, ...], (list,)),
        (type(None), ()),
    ],
)
def test_kinds_are_read_from_the_annotation_not_its_text(annotation: typing.Any, kinds: object) -> None:
    assert value_kinds(annotation) == kinds


def test_defaults_are_shown() -> None:
    assert option_of("port").help.endswith("[8000]")
    assert option_of("use_mmap").help.endswith("[on]")
    assert "[" not in option_of("ctx").help


def test_flags_win_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "corral.toml"
    file.write_text("port = 1\nparallel = 2\nctx = 3\n")
    flags = {"port": 11, "parallel": None, "ctx": None}
    config = read_settings(flags, file, {"CORRAL_PORT": "111", "CORRAL_PARALLEL": "22"})
    assert (config.port, config.parallel, config.ctx) == (11, 22, 3)


def test_the_file_may_be_named_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "corral.toml"
    file.write_text("port = 1\n")
    assert read_settings({}, None, {"CORRAL_CONFIG": str(file)}).port == 1


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no settings file"):
        read_settings({}, tmp_path / "none.toml", {})


def test_nothing_given_is_the_defaults() -> None:
    nothing = {name: None for name in SETTINGS if name != "models"}
    assert read_settings({**nothing, "api_keys": [], "cors_origins": []}, None, {}) == ServerConfig()
