"""The Dockerfile and the compose files, read as data. Building them is described in docker/README.md."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSE = ["compose.cpu.yaml", "compose.cuda.yaml"]
INSTRUCTIONS = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"}
INSTRUCTIONS |= {"HEALTHCHECK", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order: name and the rest, with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def values(name: str) -> list[str]:
    return [rest for found, rest in final_stage() if found == name]


def compose(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text())
    return loaded


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose(name)["services"]["corral"]
    return found


def test_the_dockerfile_has_only_known_instructions_and_two_stages() -> None:
    assert {name for name, _ in instructions()} <= INSTRUCTIONS
    assert [rest for name, rest in instructions() if name == "FROM"] == [
        "${BUILD_IMAGE} AS build",
        "${BASE_IMAGE}",
    ]


def test_base_images_are_build_arguments() -> None:
    found = instructions()
    before = found[: next(index for index, (name, _) in enumerate(found) if name == "FROM")]
    assert [rest.split("=")[0] for name, rest in before if name == "ARG"] == ["BASE_IMAGE", "BUILD_IMAGE"]


def test_the_final_image_copies_from_the_build_stage_only() -> None:
    assert values("COPY")
    assert all(rest.startswith("--from=build ") for rest in values("COPY"))


def test_it_does_not_run_as_root() -> None:
    (user,) = values("USER")
    assert user == "corral"
    (setup,) = (rest for rest in values("RUN") if "useradd" in rest)
    match = re.search(r"useradd --uid (\d+)", setup)
    assert match is not None
    assert int(match[1]) >= 1000
    order = [name for name, _ in final_stage()]
    assert "RUN" not in order[order.index("USER") :], "what runs after USER can't install"


def test_weights_live_in_the_volume_and_not_over_the_package() -> None:
    assert values("VOLUME") == ["/data"]
    environment = dict(part.split("=", 1) for rest in values("ENV") for part in shlex.split(rest))
    assert environment["CORRAL_HOME"] == "/data"
    assert environment["HF_HOME"] == "/data/huggingface"
    # All addresses of the container, whose ports nobody reaches unless they are published.
    assert environment["CORRAL_HOST"] == "0.0.0.0"  # noqa: S104
    (copied,) = values("COPY")
    assert not copied.split()[-1].startswith("/data")


def test_the_health_check_asks_health_without_a_shell_or_curl() -> None:
    (check,) = values("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "healthcheck", "exec")
    assert "/health" in command[2]
    assert "timeout=" in command[2]


def test_the_health_check_tells_alive_from_dead(tmp_path: Path) -> None:
    command = json.loads(values("HEALTHCHECK")[0].partition("CMD ")[2])
    dead = subprocess.run(
        [sys.executable, *command[1:]],
        env={"CORRAL_PORT": "1"},
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    assert dead.returncode != 0


def test_the_entry_point_serves() -> None:
    assert json.loads(values("ENTRYPOINT")[0]) == ["corral", "serve"]
    assert json.loads(values("CMD")[0]) == ["demo"]


def test_what_is_copied_exists_and_is_let_into_the_context() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignore[1] == "*"
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    for name, rest in instructions():
        if name != "COPY" or "--from" in rest:
            continue
        for source in rest.split()[:-1]:
            assert list(ROOT.glob(source)), source
            assert source in allowed or source.split("/")[0] in allowed, source


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_mounts_a_volume_at_data(name: str) -> None:
    assert service(name)["volumes"] == ["data:/data"]
    assert "data" in compose(name)["volumes"]


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_gives_away_nothing_it_need_not(name: str) -> None:
    found = service(name)
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in found["security_opt"]
    assert "privileged" not in found
    assert all("=" not in variable for variable in found["environment"]), "secrets come from the shell"


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_builds_this_dockerfile_with_its_own_arguments(name: str) -> None:
    build = service(name)["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).resolve() == DOCKER / "Dockerfile"
    arguments = {rest.split("=")[0] for found, rest in instructions() if found == "ARG"}
    assert set(build.get("args", {})) <= arguments


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_waits_longer_than_the_server_gives_running_requests(name: str) -> None:
    seconds = re.fullmatch(r"(\d+)s", service(name)["stop_grace_period"])
    assert seconds is not None
    assert int(seconds[1]) > 30


def test_a_laptop_is_served_on_loopback_only() -> None:
    assert service("compose.cpu.yaml")["ports"] == ["127.0.0.1:8000:8000"]


def test_the_gpu_box_gets_its_gpus_and_a_cuda_build() -> None:
    found = service("compose.cuda.yaml")
    (device,) = found["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]
    arguments = found["build"]["args"]
    assert "-DGGML_CUDA=ON" in arguments["CMAKE_ARGS"].split()
    assert "-devel-" in arguments["BUILD_IMAGE"]
    assert arguments["BUILD_IMAGE"].replace("-devel-", "-runtime-") == arguments["BASE_IMAGE"]


@pytest.mark.parametrize("name", [None, "compose.cuda.yaml"])
def test_images_are_built_for_other_machines(name: str | None) -> None:
    """-march=native of the building machine would be an illegal instruction elsewhere."""
    if name is None:
        (text,) = (
            rest for found, rest in instructions() if found == "ARG" and rest.startswith("CMAKE_ARGS=")
        )
        arguments = shlex.split(text.partition("=")[2])[0].split()
    else:
        arguments = service(name)["build"]["args"]["CMAKE_ARGS"].split()
    assert {"-DGGML_NATIVE=OFF", "-DGGML_BACKEND_DL=ON", "-DGGML_CPU_ALL_VARIANTS=ON"} <= set(arguments)
    # Without its type CMake makes the path absolute, and the back ends land outside the wheel.
    assert "-DGGML_BACKEND_DIR:STRING=llama_cpp/lib" in arguments
