"""The command `corral cluster deploy`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from server.cluster.plan import ClusterPlan


def command(
    what: Annotated[
        str, typer.Argument(metavar="FILE|REF", help="A cluster.toml, or a model: org/name:TYPE.")
    ],
    least: Annotated[
        int | None, typer.Option("--min", metavar="N", min=1, help="Least replicas [1].")
    ] = None,
    most: Annotated[
        int | None, typer.Option("--max", metavar="N", min=1, help="Most replicas; not set: as --min.")
    ] = None,
    cpus: Annotated[
        float | None,
        typer.Option("--cpus", metavar="X", help="CPUs of a replica, which is its number of threads, too."),
    ] = None,
    gpus: Annotated[float | None, typer.Option("--gpus", metavar="X", help="GPUs of a replica [0].")] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The deployment's name; not set: the model's."),
    ] = None,
) -> None:
    """Deploy models in the cluster, or deploy them anew with other settings.

    A machine that lacks a model downloads and quantizes it. What is deployed already is replaced one replica
    after the other; requests are answered meanwhile. A version that doesn't load leaves the old one serving:
    then the reason is said, and the exit code is 1. Deployments that a file doesn't name stay as they are.
    Ctrl-C ends the waiting, not what was begun.
    """
    from server.cli.cluster.connection import connected
    from server.cli.console import say
    from server.cluster.rollout import roll_out

    wanted = _wanted(what, name, {"min": least, "max": most}, {"cpus": cpus, "gpus": gpus})
    with connected() as cluster:
        old = cluster.plan()
        new = old.with_all_of(wanted)
        others = [each for each in new.deployments if each not in wanted.deployments]
        if others:
            say(f"not in {what}, and as before: {', '.join(others)}")
        try:
            roll_out(cluster, old, new, say, wanted.deployments)
        except KeyboardInterrupt:
            say("the cluster goes on by itself: corral cluster status")
            raise


def _wanted(
    what: str, name: str | None, replicas: dict[str, int | None], rest: dict[str, float | None]
) -> ClusterPlan:
    """Return what is to be deployed. Raises ConfigError for flags beside a file."""
    from models.errors import ConfigError
    from server.cluster.plan_file import plan_of, read_plan

    given = {key: value for key, value in {**replicas, **rest, "name": name}.items() if value is not None}
    if Path(what).suffix.lower() == ".toml":
        if given:
            raise ConfigError(
                f"--{next(iter(given))} is for a model; in {what} it is a key of the deployment"
            )
        try:
            text = Path(what).read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"can't read {what}: {error}") from error
        return read_plan(text, what)
    if rest["cpus"] is None:
        raise ConfigError(f"--cpus is missing: how many CPUs a replica of {what} has, such as --cpus 8")
    numbers = {key: value for key, value in replicas.items() if value is not None}
    if "max" in numbers and "min" not in numbers:
        numbers["min"] = 1
    settings = {key: value for key, value in rest.items() if value is not None}
    return plan_of(what, name, replicas=numbers, **settings)
