"""The Dockerfile and the compose files, read as data. Building them is described in docker/README.md."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from models.paths import Paths
from server.config_sources import load_config
from server.serve import LAST_BYTES_S
from server.supervisor.policy import Policy
from server.worker.prefix.open import AFTER_GRACE_S, SAVE_S
from tests.docker.files import (
    COMPOSE,
    DOCKER,
    ROOT,
    Instructions,
    compose,
    dockerfile,
    final_stage,
    instructions,
    service,
    values,
)

INSTRUCTIONS = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"}
INSTRUCTIONS |= {"HEALTHCHECK", "ENTRYPOINT", "CMD"}


def stages() -> Instructions:
    return instructions(dockerfile())


def final(name: str) -> list[str]:
    return values(name, final_stage(stages()))


def image_environment() -> dict[str, str]:
    return dict(part.split("=", 1) for rest in final("ENV") for part in shlex.split(rest))


def environment(name: str) -> dict[str, str | None]:
    """What a compose file sets; None: passed on from the shell."""
    pairs = (variable.partition("=") for variable in service(name)["environment"])
    return {key: value if equals else None for key, equals, value in pairs}


def test_the_dockerfile_has_only_known_instructions_and_two_stages() -> None:
    assert {name for name, _ in stages()} <= INSTRUCTIONS
    assert [rest for name, rest in stages() if name == "FROM"] == [
        "${BUILD_IMAGE} AS build",
        "${BASE_IMAGE}",
    ]


def test_base_images_are_build_arguments() -> None:
    found = stages()
    before = found[: next(index for index, (name, _) in enumerate(found) if name == "FROM")]
    assert [rest.split("=")[0] for name, rest in before if name == "ARG"] == ["BASE_IMAGE", "BUILD_IMAGE"]


def test_the_final_image_copies_from_the_build_stage_only() -> None:
    assert final("COPY")
    assert all(rest.startswith("--from=build ") for rest in final("COPY"))


def test_it_does_not_run_as_root() -> None:
    assert final("USER") == ["${RUN_AS}"]
    (user,) = (rest.removeprefix("RUN_AS=") for rest in final("ARG") if rest.startswith("RUN_AS="))
    match = re.fullmatch(r"(\d+):\1", user)
    assert match is not None, "Kubernetes' runAsNonRoot wants a number"
    assert int(match[1]) >= 1000
    (setup,) = (rest for rest in final("RUN") if "useradd" in rest)
    assert f"useradd --uid {match[1]} " in setup
    order = [name for name, _ in final_stage(stages())]
    assert "RUN" not in order[order.index("USER") :], "what runs after USER can't install"


def test_installing_leaves_no_lists_and_no_caches_of_apt() -> None:
    installing = [rest for rest in values("RUN", stages()) if "apt-get install" in rest]
    assert len(installing) == 2
    for rest in installing:
        assert "rm -rf /var/lib/apt/lists/* /var/cache/apt/*" in rest.partition("apt-get install")[2]


def test_weights_live_in_the_volume_and_not_over_the_package() -> None:
    assert final("VOLUME") == ["/data"]
    assert Paths.from_environment(image_environment()) == Paths(Path("/data"), Path("/data/huggingface/hub"))
    assert image_environment()["HOME"] == "/data"
    # All addresses of the container, whose ports nobody reaches unless they are published.
    assert image_environment()["CORRAL_HOST"] == "0.0.0.0"  # noqa: S104
    (copied,) = final("COPY")
    assert not copied.split()[-1].startswith("/data")


def test_the_health_check_asks_health_without_a_shell_or_curl() -> None:
    (check,) = final("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "healthcheck", "exec")
    assert "/health" in command[2]
    assert "timeout=" in command[2]


def test_the_health_check_tells_alive_from_dead(tmp_path: Path) -> None:
    command = json.loads(final("HEALTHCHECK")[0].partition("CMD ")[2])
    dead = subprocess.run(
        [sys.executable, *command[1:]],
        env={"CORRAL_PORT": "1"},
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    assert dead.returncode != 0


def test_the_entry_point_serves_below_an_init() -> None:
    """The first process of a container ignores SIGTERM until it has a handler: `docker stop` would take ten
    seconds and a SIGKILL while a model is made."""
    init, *arguments = json.loads(final("ENTRYPOINT")[0])
    assert arguments == ["-s", "--", "corral"]
    assert json.loads(final("CMD")[0]) == ["serve"]
    (setup,) = (rest for rest in final("RUN") if "apt-get install" in rest)
    assert init in shlex.split(setup.partition("packages=")[2].partition(" &&")[0])[0].split()


def seconds_to_stop(grace_s: float) -> float:
    """The most that `corral serve` takes from SIGTERM to its end."""
    saving_s = max(SAVE_S, grace_s + AFTER_GRACE_S)
    return max(saving_s, grace_s + Policy().exit_wait_s) + LAST_BYTES_S


def test_the_image_alone_ends_before_it_is_killed() -> None:
    """What runs ends within the 10 s of `docker stop`, and all prefixes are kept within the clouds' 30 s."""
    variables = image_environment()
    delay_s, grace_s = (float(variables[f"CORRAL_{name}_S"]) for name in ("DRAIN_DELAY", "SHUTDOWN_GRACE"))
    assert delay_s == 5
    assert delay_s + grace_s + AFTER_GRACE_S < 10
    assert delay_s + seconds_to_stop(grace_s) < 30


def test_a_model_that_a_host_has_mounted_is_served_else_the_demo() -> None:
    config = load_config({}, {k: v for k, v in image_environment().items() if k.startswith("CORRAL_")})
    assert config.models == ()
    assert config.default_models == ("/opt/ml/model", "/mnt/models", "demo")


def test_what_is_copied_exists_and_is_let_into_the_context() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignore[1] == "*"
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    for name, rest in stages():
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
    secrets = {key: value for key, value in environment(name).items() if re.search("TOKEN|KEY|SECRET", key)}
    assert secrets
    assert all(value is None for value in secrets.values()), "secrets come from the shell"


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_builds_this_dockerfile_with_its_own_arguments(name: str) -> None:
    build = service(name)["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).resolve() == DOCKER / "Dockerfile"
    arguments = {rest.split("=")[0] for found, rest in stages() if found == "ARG"}
    assert set(build.get("args", {})) <= arguments


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_waits_longer_than_the_server_gives_running_requests(name: str) -> None:
    seconds = re.fullmatch(r"(\d+)s", service(name)["stop_grace_period"])
    assert seconds is not None
    grace_s, delay_s = (environment(name)[f"CORRAL_{each}_S"] for each in ("SHUTDOWN_GRACE", "DRAIN_DELAY"))
    assert grace_s is not None
    assert delay_s is not None
    assert float(delay_s) + seconds_to_stop(float(grace_s)) < int(seconds[1])


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
        (text,) = (rest for found, rest in stages() if found == "ARG" and rest.startswith("CMAKE_ARGS="))
        arguments = shlex.split(text.partition("=")[2])[0].split()
    else:
        arguments = service(name)["build"]["args"]["CMAKE_ARGS"].split()
    assert {"-DGGML_NATIVE=OFF", "-DGGML_BACKEND_DL=ON", "-DGGML_CPU_ALL_VARIANTS=ON"} <= set(arguments)
    # Without its type CMake makes the path absolute, and the back ends land outside the wheel.
    assert "-DGGML_BACKEND_DIR:STRING=llama_cpp/lib" in arguments
