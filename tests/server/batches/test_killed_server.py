"""A server that is killed while it runs a batch: each line is answered once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.batches import killed_server
from tests.server.batches.running import batch_server, results
from tests.server.scripted_service import ScriptedService


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_each_line_is_answered_once_after_twenty_kills(tmp_path: Path) -> None:
    command = [sys.executable, "-m", killed_server.__name__, str(tmp_path), "20"]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=380, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    service = ScriptedService()
    async with batch_server(service, tmp_path) as client:
        (batch,) = (await client.batches.list()).data
        answers = await results(client, batch.output_file_id)
        errors = await results(client, batch.error_file_id)
        files = (await client.files.list()).data
    failing = {f"request-{n}" for n in range(0, killed_server.N_LINES, 7)}
    assert batch.status == "completed"
    assert errors.keys() == failing
    assert answers.keys() == {f"request-{n}" for n in range(killed_server.N_LINES)} - failing
    assert batch.request_counts is not None
    assert (batch.request_counts.completed, batch.request_counts.failed) == (len(answers), len(errors))
    assert {file.id for file in files} == {batch.input_file_id, batch.output_file_id, batch.error_file_id}
    assert not service.requests
