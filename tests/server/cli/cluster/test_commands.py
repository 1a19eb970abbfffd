"""The commands of a cluster where there is none, and what they refuse."""

from __future__ import annotations

import importlib.util
import socket
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from server.cli.program import main
from server.cluster import node

ALL = [
    ["up", "--address", "127.0.0.1"],
    ["join", "127.0.0.1"],
    ["deploy", "demo", "--cpus", "1"],
    ["status"],
    ["down"],
    ["leave"],
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def with_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray seem to be installed: none of these commands comes to it."""
    monkeypatch.setattr(node, "require_ray", lambda: None)
    monkeypatch.setattr("server.cli.cluster.connection.require_ray", lambda: None)


@pytest.mark.parametrize(
    "arguments", [*(["cluster", *each] for each in ALL), ["serve", "--cluster", "10.0.0.1"]]
)
def test_without_the_extra_each_names_the_install_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "ray" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    assert main(arguments) == 2
    assert "pip install 'corral[cluster]'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["deploy", "demo", "--cpus", "1"], ["status"], ["down"], ["leave"]])
def test_outside_a_cluster(arguments: list[str], with_ray: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", *arguments]) == 2
    assert "this machine is in no cluster" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cluster", "up", "--address", "0.0.0.0"], "all of this machine's addresses"),  # noqa: S104 - it is refused
        (["cluster", "up", "--address", "93.184.216.34"], "--network-is-private"),
        (["cluster", "up", "--address", "https://10.0.0.1"], "is no address of a cluster; give its head's"),
        (["cluster", "up", "--address", "a b"], "is no address of a cluster; give its head's"),
        (["cluster", "join", "127.0.0.1"], "--token-file is missing"),
        (["cluster", "join", "127.0.0.1", "--token-file", "gone"], "can't read the token file"),
        (["cluster", "deploy", "demo"], "--cpus is missing"),
        (["cluster", "deploy", "demo:Q9", "--cpus", "1"], "is no quantization type"),
        (["cluster", "deploy", "demo", "--cpus", "1", "--min", "3", "--max", "2"], "max is 2 and min 3"),
        (["cluster", "deploy", "gone.toml"], "can't read gone.toml"),
        (["cluster", "deploy", "gone.toml", "--cpus", "1"], "--cpus is for a model"),
        (["serve", "--cluster", "10.0.0.1", "demo"], "demo: with --cluster the models are those"),
        (
            ["serve", "--cluster", "10.0.0.1", "--ctx", "4096"],
            "--ctx has no effect with --cluster: it is set when",
        ),
        (["serve", "--cluster", "10.0.0.1", "--pin", "demo"], "--pin has no effect with --cluster: replicas"),
        (["serve", "--cluster", "10.0.0.1"], "this machine is in no cluster"),
    ],
)
def test_what_is_refused(
    arguments: list[str], words: str, with_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_the_secret_of_a_head_that_does_not_answer_replaces_none(
    home: Path, with_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, given = home / "home" / "cluster" / "token", home / "given"
    kept.parent.mkdir(parents=True)
    for file, letter in ((kept, "a"), (given, "b")):
        file.write_text(letter * 64)
        file.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as absent:
        address = f"127.0.0.1:{absent.getsockname()[1]}"
    assert main(["cluster", "join", address, "--token-file", str(given)]) == 1
    assert f"nothing answers at {address}" in capsys.readouterr().err
    assert kept.read_text() == "a" * 64


def test_defaults_and_variables_of_a_server_without_models_are_no_settings_of_models(
    with_ray: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORRAL_PORT", "0")
    assert main(["serve", "--cluster", "10.0.0.1", "--api-key", "secret", "--load-wait-s", "5"]) == 2
    assert "this machine is in no cluster" in capsys.readouterr().err
