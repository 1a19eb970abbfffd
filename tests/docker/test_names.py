"""Every flag, variable, package and path that docker/ and its page name exists in Corral as it is now."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest
import typer
from typer.exceptions import TyperException

from models.errors import ConfigError
from scripts import lockfile
from server.cli.program import COMMANDS, make_app
from server.config import ENVIRONMENT_PREFIX, SETTINGS
from server.config_sources import _OTHER_VARIABLES, load_config
from server.routes import health
from tests.docker.files import COMPOSE, DOCKER, ROOT, Instructions, dockerfile, instructions, service, values

SYSTEM_VARIABLES = {"PATH", "DEBIAN_FRONTEND"}
"""Read by the system and by apt; all others are read by Corral's own code."""
PAGES = ("docker/README.md", "README.md")
VARIABLE = re.compile(r"\b(?:CORRAL|HF)_[A-Z0-9_]*[A-Z0-9]\b")
LLAMA_CPP = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")


# --- variables ---------------------------------------------------------------------------------------------


@cache
def code_of_corral() -> str:
    """The product's and the build's code, in which the variables that these read are strings."""
    folders = ("models", "quantize", "server", "scripts")
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def exists(variable: str) -> bool:
    if variable in SYSTEM_VARIABLES:
        return True
    if variable.startswith(ENVIRONMENT_PREFIX):
        setting = variable.removeprefix(ENVIRONMENT_PREFIX)
        return variable in _OTHER_VARIABLES or (setting.isupper() and setting.lower() in SETTINGS)
    return f'"{variable}"' in code_of_corral()


def image_variables(found: Instructions) -> dict[str, str | None]:
    """Those that the Dockerfile sets, before commands too, and those that its commands ask for (None)."""
    named: dict[str, str | None] = dict.fromkeys(re.findall(r"environ\.get\('(\w+)'", repr_of(found)))
    for rest in values("ENV", found):
        named |= dict(part.split("=", 1) for part in shlex.split(rest))
    for rest in values("RUN", found):
        named |= dict(re.findall(r"(?:^|\s)([A-Z][A-Z0-9_]*)=(\S+)", rest))
    for rest in values("ARG", found):
        name, _, value = rest.partition("=")
        if not name.endswith("_IMAGE") and name != "RUN_AS":  # the Dockerfile itself reads these
            named[name] = value
    return named


def repr_of(found: Instructions) -> str:
    return "\n".join(rest for _, rest in found)


def problems(named: Mapping[str, str | None]) -> list[str]:
    """The variables that nothing reads, and what the server says to its settings."""
    found = [name for name in named if not exists(name)]
    try:
        load_config({}, {name: value for name, value in named.items() if value is not None})
    except ConfigError as error:
        found.append(error.message)
    return found


def test_the_image_sets_and_asks_for_variables_that_exist() -> None:
    named = image_variables(instructions(dockerfile()))
    assert {"CORRAL_HOME", "CORRAL_PORT", "HF_HOME", "XDG_CACHE_HOME", "CMAKE_ARGS"} <= set(named)
    assert problems(named) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("CORRAL_HOME=", "CORRAL_HOUSE="),
        ("CORRAL_PORT", "CORRAL_PORTS"),
        ("CORRAL_SHUTDOWN_GRACE_S=2", "CORRAL_SHUTDOWN_GRACE_S=2s"),
        ("CORRAL_HOST", "CORRAL_BIND"),
        ("HF_HOME", "HF_FOLDER"),
        ("XDG_CACHE_HOME", "XDG_CACHE"),
    ],
)
def test_a_wrong_variable_is_found(right: str, wrong: str) -> None:
    text = dockerfile()
    assert right in text
    assert problems(image_variables(instructions(text.replace(right, wrong)))) != []


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_passes_variables_that_exist(name: str) -> None:
    pairs = [variable.partition("=") for variable in service(name)["environment"]]
    assert problems({key: value if equals else None for key, equals, value in pairs}) == []


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_asks_the_shell_for_the_model_alone_and_says_so(name: str) -> None:
    text = (DOCKER / name).read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)", text)) == {"MODEL"}
    assert "MODEL=org/name" in text


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_name_variables_that_exist(page: str) -> None:
    named = set(VARIABLE.findall((ROOT / page).read_text(encoding="utf-8")))
    assert named
    assert [name for name in named if not exists(name)] == []


# --- command lines -----------------------------------------------------------------------------------------


def parse(arguments: Sequence[str]) -> None:
    """As `corral ARGUMENTS` would, without running it. Raises what the command line raises."""
    name, *rest = arguments
    group = typer.main.get_command(make_app(name))
    assert isinstance(group, typer.core.TyperGroup)
    group.commands[name].make_context(name, list(rest))


def served(found: Instructions) -> list[str]:
    """What the image runs, from `serve` on."""
    words: list[str] = json.loads(values("ENTRYPOINT", found)[-1]) + json.loads(values("CMD", found)[-1])
    return words[words.index("corral") + 1 :]


def test_the_image_runs_a_command_line_that_exists() -> None:
    assert served(instructions(dockerfile())) == ["serve"]
    parse(served(instructions(dockerfile())))


@pytest.mark.parametrize("wrong", ['"serve", "--hosts=0.0.0.0"', '"server"'])
def test_a_wrong_command_line_is_found(wrong: str) -> None:
    text = dockerfile().replace('CMD ["serve"]', f"CMD [{wrong}]")
    assert text != dockerfile()
    with pytest.raises((TyperException, KeyError)):
        parse(served(instructions(text)))


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_runs_a_command_line_that_exists(name: str) -> None:
    entry_point = json.loads(values("ENTRYPOINT", instructions(dockerfile()))[-1])
    words = [*entry_point, *(word.replace("${MODEL:-demo}", "demo") for word in service(name)["command"])]
    assert not [word for word in words if "$" in word]
    parse(words[words.index("corral") + 1 :])


def corral_lines(text: str) -> Iterator[list[str]]:
    """The arguments of `corral` in the page's command lines for containers."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            words = shlex.split(line, comments=True)
            if "docker" not in words or not {"run", "exec"} & set(words):
                continue
            image = next(index for index, word in reversed([*enumerate(words)]) if word.startswith("corral"))
            yield words[image + 1 :]


def test_the_pages_command_lines_exist() -> None:
    lines = list(corral_lines((DOCKER / "README.md").read_text(encoding="utf-8")))
    assert {"serve", "tune", "bench", "list"} <= {line[0] for line in lines}
    for line in lines:
        assert line[0] in COMMANDS, line
        parse(line)


def test_a_wrong_command_line_in_a_page_is_found() -> None:
    (line,) = corral_lines("```\ndocker run --rm -v corral:/data corral:cpu serve demo --adapter ./x\n```\n")
    with pytest.raises(TyperException, match="--adapter"):
        parse(line)


def test_the_pages_name_files_that_exist() -> None:
    for page in PAGES:
        for path in re.findall(r"-f (docker/\S+)", (ROOT / page).read_text(encoding="utf-8")):
            assert (ROOT / path).is_file(), path


# --- the build ---------------------------------------------------------------------------------------------


def test_the_build_calls_scripts_with_flags_they_have() -> None:
    (run,) = (rest for rest in values("RUN", instructions(dockerfile())) if "scripts.environment" in rest)
    flags = re.findall(r"--[a-z-]+", run.partition("scripts.environment")[2])
    assert flags
    help_text = subprocess.run(
        [sys.executable, "-m", "scripts.environment", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    assert [flag for flag in flags if not re.search(rf"{flag}\b", help_text)] == []


def test_the_build_has_the_locks_that_its_environment_is_made_from() -> None:
    from scripts.environment import PURPOSES

    copied = {word for rest in values("COPY", instructions(dockerfile())) for word in rest.split()}
    # Those of "dev" too: an environment for development would do.
    same_folder = [one for one in PURPOSES.values() if one.folder == PURPOSES["run"].folder]
    assert {"pyproject.toml", *(lock for one in same_folder for lock in one.locks)} <= copied


def test_slim_takes_out_what_building_needs_and_nothing_that_running_needs() -> None:
    match = re.search(r"pip\" uninstall --yes --quiet (.+)", (DOCKER / "slim.sh").read_text(encoding="utf-8"))
    assert match is not None
    removed = set(match[1].split())
    needed = {one.name for one in lockfile.read(ROOT / "requirements.lock")}
    building = {one.name for one in lockfile.read(ROOT / "requirements-build.lock")}
    assert removed == building - needed


def test_the_health_check_asks_for_a_route_that_exists() -> None:
    (check,) = values("HEALTHCHECK", instructions(dockerfile()))
    asked = re.findall(r"'(/\w+)'", check)
    assert asked == ["/health"]
    assert asked[0] in {getattr(route, "path", None) for route in health.router.routes}


@pytest.mark.skipif(not LLAMA_CPP, reason="CORRAL_LLAMA_CPP_SOURCE doesn't point to llama.cpp's sources")
def test_llama_cpp_has_the_build_options() -> None:
    """CMake doesn't mind an option that nothing reads."""
    assert LLAMA_CPP is not None
    texts = [path.read_text(errors="replace") for path in Path(LLAMA_CPP).rglob("CMakeLists.txt")]
    wanted = set(re.findall(r"-D(\w+)[=:]", dockerfile()))
    for name in COMPOSE:
        wanted |= set(
            re.findall(r"-D(\w+)[=:]", service(name)["build"].get("args", {}).get("CMAKE_ARGS", ""))
        )
    assert "GGML_CUDA" in wanted
    assert [name for name in wanted if not any(name in text for text in texts)] == []
