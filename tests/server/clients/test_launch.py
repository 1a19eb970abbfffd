from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

from models.errors import ConfigError, CorralError, StoreError
from server.clients.launch import Launch, check_context, find_program, plan
from server.clients.registry import clients
from server.clients.user_files import UserFiles
from tests.server.clients.targets import a_target


def a_plan(name: str, tmp_path: Path, *arguments: str, needs_key: bool = False) -> Launch:
    target = a_target(needs_key=needs_key)
    return plan(clients()[name], name, target, tmp_path / "own", tmp_path / "home", arguments)


def test_a_client_with_a_folder_of_its_own(tmp_path: Path) -> None:
    launch = a_plan("codex", tmp_path, "exec", "Hi")
    assert launch.arguments == ("exec", "Hi")
    assert launch.environment["CODEX_HOME"] == str(tmp_path / "own")
    [file] = launch.files
    assert (file.path, file.is_users) == (tmp_path / "own" / "config.toml", False)
    assert not file.path.exists()
    launch.prepare(UserFiles(tmp_path / "backups"))
    assert tomllib.loads(file.path.read_text())["model"] == "org/name"
    assert file.path.stat().st_mode & 0o077 == 0
    assert not (tmp_path / "home").exists()
    assert not (tmp_path / "backups").exists()


def test_what_the_client_wrote_into_its_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.toml").write_text('model = "x"\n[projects."/w"]\ntrust_level = "trusted"\n')
    [file] = a_plan("codex", tmp_path).files
    assert tomllib.loads(file.text)["projects"] == {"/w": {"trust_level": "trusted"}}
    assert tomllib.loads(file.text)["model"] == "org/name"


def test_a_client_whose_settings_are_a_variable(tmp_path: Path) -> None:
    launch = a_plan("opencode", tmp_path, needs_key=True)
    assert launch.files == ()
    content = json.loads(launch.environment["OPENCODE_CONFIG_CONTENT"])
    assert content["model"] == "corral/org/name"
    assert content["provider"]["corral"]["options"]["apiKey"] == "{env:CORRAL_CLIENT_KEY}"


def test_a_client_that_is_told_a_files_place(tmp_path: Path) -> None:
    launch = a_plan("aider", tmp_path)
    [file] = launch.files
    assert launch.environment["AIDER_MODEL_METADATA_FILE"] == str(file.path)
    assert not file.is_users
    assert json.loads(file.text)["openai/org/name"]["max_input_tokens"] == 65_536


def test_a_client_that_reads_one_file_only(tmp_path: Path) -> None:
    path = tmp_path / "home" / ".config" / "zed" / "settings.json"
    path.parent.mkdir(parents=True)
    path.write_text(
        '{"theme": "One", "language_models": {"openai_compatible": {"X": {"api_url": "u"}}}} // mine'
    )
    before = path.read_bytes()
    launch = a_plan("zed", tmp_path)
    [file] = launch.files
    assert (file.path, file.is_users) == (path, True)
    backups = UserFiles(tmp_path / "backups")
    launch.prepare(backups)
    content = json.loads(path.read_text())
    assert content["theme"] == "One"
    assert content["language_models"]["openai_compatible"].keys() == {"X", "corral-local"}
    a_plan("zed", tmp_path).prepare(backups)
    backups.restore()
    assert path.read_bytes() == before


def test_the_key_is_in_the_environment_alone(tmp_path: Path) -> None:
    for name, client in clients().items():
        if client.program is None:
            continue
        launch = a_plan(name, tmp_path / name, needs_key=True)
        env = launch.full_environment({"PATH": "/bin"}, "s3cret")
        assert "s3cret" in env.values()
        assert env["PATH"] == "/bin"
        del env
        assert "s3cret" not in repr(launch)


def test_without_a_key_clients_get_a_word(tmp_path: Path) -> None:
    env = a_plan("claude", tmp_path).full_environment({}, None)
    assert env["ANTHROPIC_AUTH_TOKEN"] == "none"


def test_what_would_lead_elsewhere_is_unset(tmp_path: Path) -> None:
    given = {"CLAUDE_CODE_USE_BEDROCK": "1", "ANTHROPIC_API_KEY": "sk-mine", "ANTHROPIC_MODEL": "opus"}
    env = a_plan("claude", tmp_path).full_environment(given, None)
    assert "CLAUDE_CODE_USE_BEDROCK" not in env
    assert env["ANTHROPIC_API_KEY"] == ""
    assert env["ANTHROPIC_MODEL"] == "org/name"


def test_pi_gets_its_model_before_the_users_arguments(tmp_path: Path) -> None:
    launch = a_plan("pi", tmp_path, "-p", "Hi there")
    assert launch.command_line() == "pi --provider corral --model org/name -p 'Hi there'"


def test_a_library_is_not_started(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be started from here; corral connect openai"):
        a_plan("openai", tmp_path)


@pytest.mark.parametrize("name", [name for name, client in clients().items() if client.program])
def test_a_context_that_is_too_short_is_refused_with_the_fix(name: str) -> None:
    client = clients()[name]
    check_context(client, name, a_target(context=client.least_context), [])
    with pytest.raises(ConfigError, match=f"start the server with --ctx {client.least_context}"):
        check_context(client, name, a_target(context=client.least_context - 1), [])


def test_claude_is_offered_its_lighter_mode() -> None:
    claude = clients()["claude"]
    with pytest.raises(ConfigError, match="or run corral launch claude -- --bare"):
        check_context(claude, "claude", a_target(context=8192), [])
    check_context(claude, "claude", a_target(context=8192), ["--bare"])
    with pytest.raises(ConfigError, match=r"--ctx 4096$"):
        check_context(claude, "claude", a_target(context=1024), ["--bare"])


def test_a_missing_program_is_named_with_its_install_command(tmp_path: Path) -> None:
    with pytest.raises(CorralError, match=r"no codex on PATH; install it: npm install -g @openai/codex@"):
        find_program(clients()["codex"], str(tmp_path))
    (tmp_path / "codex").write_text("#!/bin/sh\n")
    (tmp_path / "codex").chmod(0o755)
    assert find_program(clients()["codex"], str(tmp_path)) == str(tmp_path / "codex")


def test_settings_that_cannot_be_read_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"config\.toml can't be read"):
        a_plan("codex", tmp_path)
    assert (tmp_path / "own" / "config.toml").read_bytes() == b"\xff"


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("a file")
    with pytest.raises((ConfigError, StoreError), match="own"):
        a_plan("codex", tmp_path).prepare(UserFiles(tmp_path / "backups"))
    assert os.listdir(tmp_path) == ["own"]  # noqa: PTH208
