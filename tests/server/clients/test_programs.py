"""Every client's settings: what they say of the target, and that they never hold a key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import ConfigError
from server.clients.client import KEY_VARIABLE, Client
from server.clients.documents import content_of, render
from server.clients.registry import client_named, clients
from server.config_sources import load_config
from tests.server.clients.targets import a_target

DOCS = Path(__file__).parents[3] / "docs" / "clients"


@pytest.mark.parametrize("name", clients())
def test_a_client_is_told_of_the_server(name: str) -> None:
    setup = clients()[name].set_up(a_target())
    told = json.dumps([dict(setup.environment), [content_of(d) for d in setup.documents], setup.notes])
    assert "http://127.0.0.1:8000" in told
    assert "org/name" in told + str(setup.arguments)


@pytest.mark.parametrize("name", clients())
def test_a_key_is_a_variable(name: str) -> None:
    """A key's variables are there, the text of files names them at most."""
    client = clients()[name]
    setup = client.set_up(a_target(needs_key=True))
    if client.program is not None or setup.notes is None:
        assert setup.key_variables
    assert not set(setup.key_variables) & set(setup.environment)
    for document in setup.documents:
        assert '"none"' not in render(content_of(document), document.form)


@pytest.mark.parametrize("name", clients())
def test_variables_are_no_settings_of_a_server(name: str) -> None:
    """A `corral` that the client starts must not take them for its own."""
    setup = clients()[name].set_up(a_target(needs_key=True))
    env = {**setup.environment, **dict.fromkeys(setup.key_variables, "secret")}
    assert load_config({}, env) == load_config({}, {})


@pytest.mark.parametrize("name", clients())
def test_a_client_has_a_page_with_its_facts(name: str) -> None:
    client = clients()[name]
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    if client.program is not None:
        assert f"`{client.install}`" in page
        assert f"{client.least_context:,}" in page
    assert f"({name}.md)" in (DOCS / "README.md").read_text(encoding="utf-8")


def test_every_page_is_of_a_client() -> None:
    assert {path.stem for path in DOCS.glob("*.md")} - {"README"} == set(clients())


@pytest.mark.parametrize("name", ["opencode", "pi", "zed"])
def test_all_models_of_the_server_are_listed(name: str) -> None:
    [document] = clients()[name].set_up(a_target()).documents
    text = render(content_of(document), document.form)
    assert '"org/name"' in text
    assert '"other"' in text
    assert "8192" in text
    assert text.count("65536") == 2  # the chosen one, and one whose context isn't told


def test_codex_is_told_of_no_variable_without_a_key() -> None:
    """It ends where the variable that it is told of isn't set."""
    [without] = clients()["codex"].set_up(a_target()).documents
    [with_key] = clients()["codex"].set_up(a_target(needs_key=True)).documents
    assert "env_key" not in render(content_of(without), "toml")
    assert f'env_key = "{KEY_VARIABLE}"' in render(content_of(with_key), "toml")


def test_claude_is_told_of_its_context() -> None:
    environment = clients()["claude"].set_up(a_target(context=40_000)).environment
    assert environment["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "40000"
    assert environment["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "5000"
    assert environment["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8000"
    models = {value for variable, value in environment.items() if variable.endswith("_MODEL")}
    assert models == {"org/name"}


def test_a_lighter_mode_needs_less() -> None:
    claude: Client = clients()["claude"]
    assert claude.context_needed(["-p", "x"]) == 24_576
    assert claude.context_needed(["-p", "x", "--bare"]) == 4096


@pytest.mark.parametrize(("name", "hint"), [("claud", "did you mean claude"), ("emacs", "known are aider, ")])
def test_an_unknown_client(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"no client called {name}; {hint}"):
        client_named(name)
