"""The units of systemd: what they start exists, and systemd itself finds nothing wrong with them."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.config_sources import load_config

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
COMMAND = "/opt/corral/.venv/bin/corral"


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name)
    return parser


def test_systemd_takes_them(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd here")
    for source in UNITS.iterdir():
        (tmp_path / source.name).write_text(source.read_text().replace(COMMAND, sys.executable))
    units = [str(path) for path in sorted(tmp_path.iterdir())]
    verified = subprocess.run(
        [analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_the_command_and_the_environment_are_corrals(tmp_path: Path) -> None:
    service = unit("corral.service")["Service"]
    command = shlex.split(service["ExecStart"])
    assert command == [COMMAND, "serve", "--config", "/etc/corral/corral.toml"]
    variables = dict(pair.split("=", 1) for pair in service["Environment"].split())
    assert {"CORRAL_HOME", "HF_HOME"} <= variables.keys()
    settings = tmp_path / "corral.toml"
    settings.write_text('models = ["demo"]\n')
    assert load_config({}, variables, settings).models == ("demo",)


def test_the_service_speaks_the_managers_protocol() -> None:
    service = unit("corral.service")["Service"]
    assert service["Type"] == "notify"
    assert service["TimeoutStartSec"] == "infinity", "a first start may quantize"
    assert service["ExecReload"].endswith("-HUP $MAINPID")
    config = load_config({}, {}, None)
    assert int(service["TimeoutStopSec"]) > config.drain_delay_s + config.shutdown_grace_s
    assert service["KillMode"] == "mixed", "workers finish what runs; the server tells them when to end"
