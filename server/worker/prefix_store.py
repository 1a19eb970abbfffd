"""Prefixes kept on disk, over restarts and model swaps: an index in memory, files read and written beside.

`PrefixStore` is the engine's `PrefixSource` and the runner's place for states. A state is offered only when
its file has been read whole and every checksum is right; what is damaged or another model's is deleted.

The folder has one sub-folder per model and settings (`prefix_key`), and one size limit over all of them: the
files used longest ago go first. Several processes may share it: files appear by rename, and one that has been
deleted by another process is simply no longer there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.errors import StoreError
from server.engine.batch import Adapters
from server.engine.prefix_cache import SAVE_TOKENS_MIN
from server.engine.prefix_source import StoredPrefix
from server.engine.radix_tree import RadixTree
from server.worker.prefix_file import SUFFIX, Bounds, PrefixHead, read_head, read_state, write
from server.worker.prefix_folder import make_room, sweep

logger = logging.getLogger("corral.worker")

BESIDE_BYTES_MAX = 64 * 2**20
"""Copying a state stops all sequences (64 MiB: 40 ms): while any run, none that is larger is copied."""
PENDING_BYTES_MAX = 512 * 2**20
"""Of states that wait for the disk, together; one that is larger is kept when none waits."""
LOADED_S = 30.0
"""A state that has been read and that nobody took is given up after this."""
WAIT_S = 0.02


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """`key`: of the model and its context. `n_swa`, `can_trim`: what its memory forgets, and can forget."""

    key: bytes
    bounds: Bounds
    bytes_per_token: float
    max_bytes: int
    can_trim: bool = True
    n_swa: int = 0


@dataclass(slots=True)
class _Entry:
    """A file, or one that is being written (`is_written` False)."""

    head: PrefixHead
    path: Path
    is_written: bool


class PrefixStore:
    """The prefixes of one model. The engine's thread calls it; two threads of its own read and write."""

    def __init__(self, folder: Path, settings: StoreSettings) -> None:
        """Reads the heads of the files there are. Raises StoreError if the folder can't be made."""
        self._root = folder
        self._folder = folder / settings.key.hex()[:24]
        self._settings = settings
        self._lock = threading.Lock()
        self._loaded_one = threading.Condition(self._lock)
        self._tree: RadixTree[str] = RadixTree()
        self._entries: dict[str, _Entry] = {}
        self._loading: set[str] = set()
        self._loaded: dict[str, tuple[PrefixHead, memoryview, float]] = {}
        self._n_pending_bytes = 0
        self._reader = ThreadPoolExecutor(1, "prefix-reader")
        self._writer = ThreadPoolExecutor(1, "prefix-writer")
        self._writes: set[Future[None]] = set()
        for path in sweep(self._root, self._folder):
            self._index(path)

    def __len__(self) -> int:
        return len(self._entries)

    # --- the engine's PrefixSource -------------------------------------------------------------------

    def longest(self, tokens: list[int], adapters: Adapters, least: int) -> StoredPrefix | None:
        if adapters:
            return None
        with self._lock:
            found = self._longest(tokens, len(tokens) - 1)
            if found is None or found[1] < least:
                return None
            key, n_tokens = found
            if key not in self._loaded and key not in self._loading:
                self._loading.add(key)
                self._reader.submit(self._load, key, self._entries[key].path)
            return StoredPrefix(key, n_tokens, key in self._loaded)

    def wants(self, tokens: list[int], adapters: Adapters, *, beside_others: bool) -> bool:
        """A state computed with adapters isn't kept: their numbers mean nothing to another process."""
        settings = self._settings
        n_bytes = int(len(tokens) * settings.bytes_per_token)
        if adapters or 2 * n_bytes > settings.max_bytes or len(tokens) > settings.bounds.n_tokens_max:
            return False
        if beside_others and n_bytes > BESIDE_BYTES_MAX:
            return False
        with self._lock:
            if self._n_pending_bytes and self._n_pending_bytes + n_bytes > PENDING_BYTES_MAX:
                return False
            found = self._longest(tokens, len(tokens), written_only=False)
        return len(tokens) - (found[1] if found else 0) >= SAVE_TOKENS_MIN

    def wait(self) -> None:
        with self._lock:
            if self._loading:
                self._loaded_one.wait(WAIT_S)

    # --- the runner's states -------------------------------------------------------------------------

    def take(self, key: str) -> tuple[PrefixHead, memoryview] | None:
        """A state that has been read, for the last time; None if it is there no longer."""
        with self._lock:
            found = self._loaded.pop(key, None)
            entry = self._entries.get(key)
        if entry is not None:
            self._writer.submit(_touch, entry.path)
        return None if found is None else found[:2]

    def keep(self, tokens: list[int], first: int, state: bytearray) -> None:
        """Write the state after `tokens`, beside. `first`: the smallest position that it has."""
        head = PrefixHead(list(tokens), first, len(state))
        key = hashlib.sha256(np.asarray(tokens, "<i4").tobytes()).hexdigest()[:32]
        entry = _Entry(head, self._folder / f"{key}{SUFFIX}", is_written=False)
        with self._lock:
            if key in self._entries:
                return
            self._entries[key] = entry
            self._tree.insert(key, head.tokens)
            self._n_pending_bytes += len(state)
            write_ = self._writer.submit(self._write, key, entry, state)
            self._writes.add(write_)
        write_.add_done_callback(self._writes.discard)

    def drop(self, key: str) -> None:
        """A state that llama.cpp refused: don't offer it again. The file stays; it was whole."""
        with self._lock:
            self._remove(key)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is written; whether it is."""
        deadline_s = time.monotonic() + timeout_s
        for write_ in list(self._writes):
            try:
                write_.result(max(0.0, deadline_s - time.monotonic()))
            except TimeoutError:
                return False
        return True

    def close(self) -> None:
        """Give up what hasn't been begun."""
        self._reader.shutdown(wait=False, cancel_futures=True)
        self._writer.shutdown(wait=False, cancel_futures=True)

    # --- inside --------------------------------------------------------------------------------------

    def _longest(self, tokens: list[int], limit: int, *, written_only: bool = True) -> tuple[str, int] | None:
        """(key, usable tokens) of the entry that gives most; of equals one in memory, then the smallest."""
        best: tuple[int, bool, int] = (0, False, 0)
        best_key: str | None = None
        for depth, keys in self._tree.matches(tokens, limit):
            if depth < best[0]:
                break
            for key in keys:
                entry = self._entries[key]
                if entry.is_written or not written_only:
                    n_tokens = self._usable(entry.head, depth)
                    rank = (n_tokens, key in self._loaded, -entry.head.n_state_bytes)
                    if n_tokens and (best_key is None or rank > best):
                        best, best_key = rank, key
        return None if best_key is None else (best_key, best[0])

    def _usable(self, head: PrefixHead, n_shared: int) -> int:
        """Of the shared tokens those after which the state can go on."""
        if n_shared == len(head.tokens):
            return n_shared
        if not self._settings.can_trim:
            return 0
        needed_from = max(0, n_shared - self._settings.n_swa + 1) if self._settings.n_swa else 0
        return n_shared if head.first <= needed_from else 0

    def _index(self, path: Path) -> None:
        head = self._checked(path)
        if head is not None:
            self._entries[path.stem] = _Entry(head, path, is_written=True)
            self._tree.insert(path.stem, head.tokens)

    def _checked(self, path: Path) -> PrefixHead | None:
        try:
            return read_head(path, self._settings.key, self._settings.bounds)
        except (StoreError, OSError) as error:
            _give_up(path, error)
            return None

    def _load(self, key: str, path: Path) -> None:
        """On the reader's thread."""
        found: tuple[PrefixHead, memoryview] | None = None
        try:
            found = read_state(path, self._settings.key, self._settings.bounds)
        except (StoreError, OSError, MemoryError) as error:
            _give_up(path, error)
        now_s = time.monotonic()
        with self._lock:
            entry = self._entries.get(key)
            self._loading.discard(key)
            for old in [old for old, (_, _, at_s) in self._loaded.items() if now_s - at_s > LOADED_S]:
                del self._loaded[old]
            if found is None or entry is None or found[0] != entry.head:
                self._remove(key)
            else:
                self._loaded[key] = (*found, now_s)
            self._loaded_one.notify_all()

    def _write(self, key: str, entry: _Entry, state: bytearray) -> None:
        """On the writer's thread."""
        written = False
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if make_room(self._root, entry.head.n_file_bytes, self._settings.max_bytes):
                write(entry.path, self._settings.key, entry.head, state)
                written = True
        except (StoreError, OSError) as error:
            logger.warning("a prefix of %d tokens wasn't kept: %s", len(entry.head.tokens), error)
        with self._lock:
            self._n_pending_bytes -= len(state)
            if written:
                entry.is_written = True
            else:
                self._remove(key)
            surpassed = self._surpassed_by(key) if written else []
        for path in surpassed:
            path.unlink(missing_ok=True)

    def _surpassed_by(self, key: str) -> list[Path]:
        """Take out the entries that the one under `key` makes needless: beginnings of the same tokens."""
        if not self._settings.can_trim or self._settings.n_swa:
            return []
        tokens = self._entries[key].head.tokens
        old = [
            other
            for depth, others in self._tree.matches(tokens, len(tokens))
            for other in others
            if other != key and depth == len(self._entries[other].head.tokens)
        ]
        paths = [self._entries[other].path for other in old if self._entries[other].is_written]
        for other in old:
            if self._entries[other].is_written:
                self._remove(other)
        return paths

    def _remove(self, key: str) -> None:
        self._entries.pop(key, None)
        self._loaded.pop(key, None)
        self._tree.remove(key)


def _give_up(path: Path, error: Exception) -> None:
    """Delete a file that can't be used, and say so; one that is gone already is nobody's fault."""
    if isinstance(error, FileNotFoundError):
        return
    logger.warning("a kept prefix is ignored: %s", error)
    if isinstance(error, StoreError):
        path.unlink(missing_ok=True)


def _touch(path: Path) -> None:
    """It was used: of all files it goes last."""
    try:
        os.utime(path)
    except OSError:
        logger.debug("%s has gone", path)
