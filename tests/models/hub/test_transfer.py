from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from models.errors import (
    HubError,
)
from models.hub import download
from models.hub.download import DownloadProgress
from tests.hub_server import Repo
from tests.models.hub.client import WEIGHTS, WEIGHTS_BYTES, Client, same


def test_cancelling_keeps_what_has_arrived(client: Client, repo: Repo, folder: Path) -> None:
    repo.fault(WEIGHTS, stall=True)
    threading.Timer(0.7, client.cancel.set).start()
    start = time.monotonic()
    with pytest.raises(HubError, match="cancelled"):
        client.pull()
    assert time.monotonic() - start < 2.5
    assert client.partials == [WEIGHTS_BYTES // 2]
    client.cancel.clear()
    repo.mend()
    assert same(client.pull(), folder, WEIGHTS)


def test_an_interrupt_in_the_callback_stops_it(client: Client, repo: Repo) -> None:
    repo.fault(WEIGHTS, bytes_per_s=500_000)

    def interrupt(event: DownloadProgress) -> None:
        if event.path == WEIGHTS and event.file_bytes_done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.run(client.plan(), interrupt, paths=client.paths, settings=client.settings)
    assert client.partials[0] > 100_000
