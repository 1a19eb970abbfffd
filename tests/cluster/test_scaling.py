"""Four machines do four times what one does, where no processor is in the way."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import LocalCluster, join, require_hosts
from tests.cluster.hosts import hosts

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

DEPLOY = """
import os
from server.cli.cluster.connection import node_here
os.environ.update(node_here().environment())
from tests.cluster.scripted_replica import deploy
deploy({count})
"""
SENT = ("--model", "one", "--prompt", "tokens 40 0.05{number:04d}", "--at-once", "64")


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[LocalCluster]:
    """Four hosts in one cluster, without a model of its own."""
    require_hosts()
    folder = Path(f"/tmp/cw{os.getpid()}")  # noqa: S108 - paths of sockets have to be short
    try:
        with hosts(4, folder, {"PYTHONPATH": str(Path.cwd())}) as made:
            running = LocalCluster(made, tmp_path)
            running.must("cluster", "up", "--address", made[0].address)
            for number in range(1, 4):
                join(running, number)
            yield running
            running.end_api()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_four_replicas_do_nearly_four_times_what_one_does(wide: LocalCluster) -> None:
    speeds = []
    for count in (1, 4):
        done = wide.hosts[0].run(sys.executable, "-c", DEPLOY.format(count=count))
        assert done.returncode == 0, done.stderr
        if wide.api is None:
            wide.start_api()
        outcome = wide.sent(*SENT, "--requests", str(100 * count))
        assert outcome["errors"] == []
        speeds.append(outcome["tokens"] / outcome["seconds"])
    print(f"tokens per second: one {speeds[0]:.0f}, four {speeds[1]:.0f}: {speeds[1] / speeds[0]:.2f} times")
    assert speeds[1] >= 3.6 * speeds[0]
