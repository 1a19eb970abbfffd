"""The command `corral cluster status`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the cluster's machines, and how each deployment does."""
    import msgspec

    from server.cli.cluster.connection import connected
    from server.cli.console import plain_table, print_json, print_table

    with connected() as cluster:
        machines, reports, plan = cluster.machines(), cluster.reports(), cluster.plan()
    if as_json:
        print_json(
            {
                "machines": machines,
                "deployments": [{**msgspec.to_builtins(report), "state": report.state} for report in reports],
                "aliases": {alias.name: alias.arms for alias in plan.aliases.values()},
            }
        )
        return
    table = plain_table("machine", "CPUs free", "GPUs free", right=("CPUs free", "GPUs free"))
    for each in machines:
        table.add_row(
            each["address"] + (" (head)" if each["head"] else ""),
            f"{each['free_cpus']:g} of {each['cpus']:g}",
            f"{each['free_gpus']:g} of {each['gpus']:g}",
        )
    print_table(table)
    if not reports:
        typer.echo("nothing is deployed: corral cluster deploy REF --cpus N")
        return
    table = plain_table("deployment", "model", "state", "replicas", "wanted", "")
    for report in reports:
        replicas = ", ".join(f"{n} {state}" for state, n in sorted(report.replicas.items()) if n)
        remark = "; ".join([*report.progress.values(), *([report.problem] if report.problem else [])])
        table.add_row(report.name, report.model, report.state, replicas, report.wanted, remark)
    print_table(table)
    for alias in plan.aliases.values():
        arms = ", ".join(f"{arm} {weight:g}" for arm, weight in alias.arms.items())
        typer.echo(f"alias {alias.name}: {arms}")
