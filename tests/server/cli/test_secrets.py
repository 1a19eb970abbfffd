"""No command prints a secret of its environment, whatever is wrong with it, with --debug neither."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.hub_server import HubServer, Repo
from tests.pico import write_pico_checkpoint
from tests.warm_commands import WarmCommands

SECRET = "verysecret0token"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pico_checkpoint(tmp_path_factory.mktemp("served") / "pico", n_layers=1)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as running:
        yield running


@pytest.fixture
def repo(hub: HubServer, checkpoint: Path) -> Repo:
    repo = hub.add("org/name", checkpoint, private=True)
    repo.readers.add(SECRET)
    return repo


@pytest.fixture
def run(warm_commands: WarmCommands) -> Run:
    """Run a command; what it prints has no part of the secret."""

    def run_command(env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
        done = warm_commands.run(arguments, env, timeout_s=60)
        for part in (SECRET, SECRET[:8], SECRET[-8:]):
            assert part not in done.stdout + done.stderr
        return done

    return run_command


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_TOKEN", f"{SECRET}\n"),
        ("HF_TOKEN", f" {SECRET}\r\n"),
        ("HUGGING_FACE_HUB_TOKEN", f"{SECRET}\n"),
    ],
)
def test_a_token_with_a_line_break(
    name: str, value: str, hub: HubServer, repo: Repo, env: dict[str, str], tmp_path: Path, run: Run
) -> None:
    env = env | hub.environment(tmp_path) | {"HF_HUB_OFFLINE": "0 ", name: value}
    done = run(env, "--debug", "pull", "org/name")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("variable", ["HF_TOKEN_PATH", "HF_HOME"])
def test_a_stored_token(
    variable: str, hub: HubServer, repo: Repo, env: dict[str, str], tmp_path: Path, run: Run
) -> None:
    env = env | hub.environment(tmp_path) | {"HF_HUB_OFFLINE": "0"}
    file = tmp_path / "mine" if variable == "HF_TOKEN_PATH" else Path(env["HF_HOME"]) / "token"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{SECRET}\n\n")
    if variable == "HF_TOKEN_PATH":
        env[variable] = str(file)
    assert run(env, "pull", "org/name").returncode == 0
    file.write_bytes(SECRET.encode() + b"\xff")
    done = run(env, "--debug", "pull", "org/name")
    assert done.returncode == 2
    assert "set HF_TOKEN" in done.stderr


@pytest.mark.parametrize("spoiled", ["{} {}", "{}ü{}", "{}\x1b{}"])
def test_a_token_that_cannot_be_sent(
    spoiled: str, hub: HubServer, repo: Repo, env: dict[str, str], tmp_path: Path, run: Run
) -> None:
    token = spoiled.format(SECRET, SECRET)
    env = env | hub.environment(tmp_path) | {"HF_HUB_OFFLINE": "0", "HF_TOKEN": token}
    done = run(env, "--debug", "pull", "org/name")
    assert done.returncode == 2
    assert "HF_TOKEN has a character" in " ".join(done.stderr.split())


@pytest.mark.parametrize("token", ["wrong", None])
def test_an_endpoint_with_a_password(
    token: str | None, hub: HubServer, repo: Repo, env: dict[str, str], tmp_path: Path, run: Run
) -> None:
    place = hub.url.removeprefix("http://")
    env = (
        env
        | hub.environment(tmp_path)
        | {"HF_ENDPOINT": f"http://me:{SECRET}@{place}/ \n", "HF_HUB_OFFLINE": "0"}
    )
    if token:
        env["HF_TOKEN"] = token
    done = run(env, "--debug", "pull", "org/name")
    assert done.returncode == 1
    assert place in done.stderr


@pytest.mark.parametrize(
    "variables",
    [
        {"HF_ENDPOINT": f"http://me:{SECRET}@127.0.0.1:1"},
        {"HF_ENDPOINT": f"http://me:{SECRET}@127.0.0.1:port"},
        {"HF_ENDPOINT": f"ftp://me:{SECRET}@127.0.0.1"},
        {"HF_ENDPOINT": f"me:{SECRET}@127.0.0.1:1"},
        {"HF_ENDPOINT": f"http://me:{SECRET}/{SECRET}@127.0.0.1"},
        {"HTTP_PROXY": f"me:{SECRET}@127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""},
        {"HTTP_PROXY": f"http://me:{SECRET}/{SECRET}@127.0.0.1", "NO_PROXY": "", "no_proxy": ""},
        {"HTTP_PROXY": f"http://me:{SECRET}@127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""},
        {"HTTP_PROXY": f"http://me:{SECRET}@127.0.0.1:1\n", "NO_PROXY": "", "no_proxy": ""},
        {"HTTP_PROXY": f"gopher://me:{SECRET}@127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""},
    ],
    ids=str,
)
def test_addresses_with_a_password(
    variables: dict[str, str], hub: HubServer, repo: Repo, env: dict[str, str], tmp_path: Path, run: Run
) -> None:
    done = run(
        env | hub.environment(tmp_path) | {"HF_HUB_OFFLINE": "0"} | variables, "--debug", "pull", "org/name"
    )
    assert done.returncode in (1, 2)
    assert done.stderr.splitlines()[-1].startswith("corral: ")


@pytest.mark.parametrize("key", [f"{SECRET}\x1b", f"{SECRET}\x00{SECRET}"])
def test_keys_of_the_server(key: str, env: dict[str, str], tmp_path: Path, run: Run) -> None:
    file = tmp_path / "corral.toml"
    for text in (
        f"api_keys = {SECRET}\n",
        f'api_keys = ["{SECRET}\n',
        f'api_keys = "{SECRET}"\n',
        f"{SECRET}\n",
    ):
        file.write_text(text)
        assert run(env, "--debug", "serve", "--config", str(file), "demo").returncode == 2
    if "\x00" not in key:
        assert run(env | {"CORRAL_API_KEYS": key}, "--debug", "serve", "demo").returncode == 2
        assert run(env | {"CORRAL_API_KEYSS": key}, "--debug", "serve", "demo").returncode == 2


@pytest.mark.parametrize("command", [["chat"], ["bench"]])
def test_a_clients_key(command: list[str], env: dict[str, str], run: Run) -> None:
    for key in (f"{SECRET}\n", f"{SECRET}\nX-More: {SECRET}", f"{SECRET}ü"):
        done = run(env, "--debug", *command, "--url", f"http://me:{SECRET}@127.0.0.1:9", "--api-key", key)
        assert done.returncode in (1, 2)
        assert done.stderr.splitlines()[-1].startswith("corral: ")
