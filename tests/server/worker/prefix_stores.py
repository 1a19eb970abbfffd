"""Stores of one folder, with made-up states."""

from __future__ import annotations

import random
import time
from pathlib import Path

from server.engine.batch import Adapters, Checkpoint, Save
from server.engine.prefix.prefix_source import StoredPrefix
from server.worker.prefix.file import Bounds
from server.worker.prefix.store import PrefixStore, StoreSettings

SETTINGS = StoreSettings(
    key=b"k" * 32, bounds=Bounds(n_tokens_max=4096, n_vocab=1000), bytes_per_token=10.0, max_bytes=10**6
)
PROMPT = [token % 1000 for token in range(600)]
STATE = bytearray(random.Random(0).randbytes(6000))


class Stores:
    """Opens stores of one folder and closes them at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: list[PrefixStore] = []

    def open(self, settings: StoreSettings = SETTINGS) -> PrefixStore:
        store = PrefixStore(self.folder, settings)
        self._open.append(store)
        return store

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*/*") if path.is_file())

    def close(self) -> None:
        for store in self._open:
            store.close()


def keep(
    store: PrefixStore,
    tokens: list[int],
    first: int = 0,
    adapters: Adapters = (),
    *,
    checkpoint_at: int | None = None,
) -> None:
    checkpoints: tuple[Checkpoint, ...] = ()
    if checkpoint_at is not None:
        checkpoints = (Checkpoint(checkpoint_at, memoryview(STATE)[:500], is_border=True),)
    store.keep(Save(0, tokens, adapters, checkpoints), first, memoryview(STATE))
    assert store.flush(10)


def offered(
    store: PrefixStore, tokens: list[int], least: int = 1, adapters: Adapters = ()
) -> StoredPrefix | None:
    """What the store offers once it has read what it wants to read."""
    deadline_s = time.monotonic() + 60
    while True:
        found = store.longest(tokens, adapters, least)
        if found is None or found.ready:
            return found
        store.wait()
        assert time.monotonic() < deadline_s, "it is never ready"
