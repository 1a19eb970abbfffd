"""`PrefixStore`: prefixes kept on disk over restarts, read and written in the background.

`PrefixStore` is the engine's `PrefixSource` and the runner's place for states. A state is offered only when
its file has been read whole and every checksum is right; what is damaged or another model's is deleted.

The folder has one sub-folder per model and settings (`prefix.key`), and one size limit over all of them: the
files used longest ago go first. Processes that know nothing of each other may share it: files appear by
rename, and one that has been deleted by another process is simply no longer there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.errors import StoreError
from models.llamacpp.sequence_state import StateMemory
from models.machine.priority import give_way
from models.store.atomic_write import TEMPORARY_SUFFIX, disk_errors
from models.store.prefixes import note_model
from server.engine.batch import Adapters, Save
from server.engine.prefix.prefix_cache import SAVE_TOKENS_MIN
from server.engine.prefix.prefix_source import StoredPrefix
from server.worker.prefix.file import (
    SUFFIX,
    Bounds,
    KeptPrefix,
    PrefixHead,
    kept_prefix,
    read_head,
    read_state,
    write,
)
from server.worker.prefix.index import Entry, PrefixIndex
from server.worker.prefix.key import NO_ADAPTERS

logger = logging.getLogger("corral.worker")

BUSY_BYTES_MAX = 64 * 2**20
"""While sequences run, no state of more bytes is copied: copying stops them all (64 MiB: 40 ms)."""
PENDING_BYTES_MAX = 512 * 2**20
"""The states that wait for the disk have at most this many bytes; a larger one is kept when none waits."""
LOADED_S = 30.0
"""A state that has been read and that nobody took is given up after this many seconds."""
WAIT_S = 0.02
"""`wait` waits at most this many seconds for a state that is being read."""
SPARE_BYTES_MAX = 128 * 2**20
"""Memory of twice so many bytes at most stays allocated for the next states that are copied."""
HELD_S = 5.0
"""A write that prompts hold back isn't any more after this many seconds."""
FREE_SHARE = 0.25
"""The folder may have at most this fraction of the disk's free space and its own together."""
_ABANDONED_S = 3600.0
"""A temporary file that hasn't changed for this many seconds is what a dead writer has left."""


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """The settings of a model's store.

    `key`: the `context_key` of the model and its context. `bytes_per_token`: size of a state, roughly.
    `max_bytes`: size of the folder, of all models together. `n_swa`, `can_trim`: what the model's memory
    forgets, and can forget. `adapters_key`: gives the key of a set of LoRA adapters; None: what is computed
    with any isn't kept. `model`: its file, with which the states go.
    """

    key: bytes
    bounds: Bounds
    bytes_per_token: float
    max_bytes: int
    can_trim: bool = True
    n_swa: int = 0
    adapters_key: Callable[[Adapters], bytes] | None = None
    model: Path | None = None


class PrefixStore:
    """The prefixes of one model. The engine's thread calls it; two threads of its own read and write."""

    def __init__(self, folder: Path, settings: StoreSettings) -> None:
        """Read the heads of the files there are. Raises StoreError if the folder can't be made."""
        self._root = folder
        self._folder = folder / settings.key.hex()[:24]
        self._settings = settings
        self._lock = threading.Lock()
        self._loaded_one = threading.Condition(self._lock)
        self._index = PrefixIndex(can_trim=settings.can_trim, n_swa=settings.n_swa)
        self._loading: set[str] = set()
        self._loaded: dict[str, tuple[KeptPrefix, float]] = {}
        self._n_pending_bytes = 0
        self._reader = ThreadPoolExecutor(1, "prefix-reader")
        self._writer = ThreadPoolExecutor(1, "prefix-writer", _give_way)
        self._writes: set[Future[None]] = set()
        self._memory = StateMemory(SPARE_BYTES_MAX)
        self._may_write = threading.Event()
        self._may_write.set()
        paths = _sweep(self._root, self._folder)
        self._note_model()
        for path in paths:
            if (head := self._checked(path)) is not None:
                self._index.add(path.stem, Entry(head, is_written=True))

    def __len__(self) -> int:
        return len(self._index)

    # --- the engine's PrefixSource -------------------------------------------------------------------

    def longest(self, tokens: list[int], adapters: Adapters, least: int) -> StoredPrefix | None:
        adapters_key = self._adapters_key(adapters)
        if adapters_key is None:
            return None
        with self._lock:
            match = self._index.longest(tokens, len(tokens) - 1, adapters_key, preferred=self._loaded)
            if match is None or match[1] < least:
                return None
            key, n_tokens = match
            if key not in self._loaded and key not in self._loading:
                self._loading.add(key)
                self._reader.submit(self._load, key)
            loaded = self._loaded.get(key)
            if loaded is None:
                return StoredPrefix(key, n_tokens, ready=False)
            return StoredPrefix(key, n_tokens, ready=True, checkpoints=loaded[0].checkpoints)

    def wants(self, tokens: list[int], adapters: Adapters, *, beside_others: bool) -> bool:
        settings, adapters_key = self._settings, self._adapters_key(adapters)
        n_bytes = int(len(tokens) * settings.bytes_per_token)
        if (
            adapters_key is None
            or 2 * n_bytes > settings.max_bytes
            or len(tokens) > settings.bounds.n_tokens_max
        ):
            return False
        if beside_others and n_bytes > BUSY_BYTES_MAX:
            return False
        with self._lock:
            if self._n_pending_bytes and self._n_pending_bytes + n_bytes > PENDING_BYTES_MAX:
                return False
            match = self._index.longest(tokens, len(tokens), adapters_key, written_only=False)
        return len(tokens) - (match[1] if match else 0) >= SAVE_TOKENS_MIN

    def wait(self) -> None:
        with self._lock:
            if self._loading:
                self._loaded_one.wait(WAIT_S)

    # --- the runner's states -------------------------------------------------------------------------

    def take(self, key: str) -> tuple[PrefixHead, memoryview] | None:
        """Return a state that has been read, for the last time; None if it is there no longer."""
        with self._lock:
            loaded = self._loaded.pop(key, None)
            is_there = key in self._index
        if is_there:
            self._writer.submit(_touch, self._path(key))
        return None if loaded is None else (loaded[0].head, loaded[0].state)

    def memory(self, n_bytes: int) -> memoryview:
        return self._memory.take(n_bytes)

    def keep(self, kept: Save, first: int, state: memoryview) -> None:
        """Write the state after `kept.tokens`, in the background. `first`: its smallest position."""
        adapters_key = self._adapters_key(kept.adapters)
        if adapters_key is None:
            return
        key = hashlib.sha256(adapters_key + np.asarray(kept.tokens, "<i4").tobytes()).hexdigest()[:32]
        prefix = kept_prefix(kept, adapters_key, first, state)
        entry = Entry(prefix.head, is_written=False)
        with self._lock:
            if key in self._index:
                return
            self._index.add(key, entry)
            self._n_pending_bytes += prefix.head.n_all_bytes
            write_ = self._writer.submit(self._write, key, entry, prefix)
            self._writes.add(write_)
        write_.add_done_callback(self._writes.discard)

    def drop(self, key: str) -> None:
        """Offer a state no more that llama.cpp refused. The file stays; it was whole."""
        with self._lock:
            self._remove(key)

    def hold_writes(self, *, hold: bool) -> None:
        if not hold:
            self._may_write.set()
        elif self._may_write.is_set():
            self._may_write.clear()

    def expect(self, n_tokens: int) -> None:
        n_bytes = int(n_tokens * self._settings.bytes_per_token)
        if n_tokens >= SAVE_TOKENS_MIN and self._memory.is_to_grow(n_bytes):
            self._writer.submit(self._memory.grow, n_bytes)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is written; False if it isn't in time."""
        self.hold_writes(hold=False)
        deadline_s = time.monotonic() + timeout_s
        for write_ in list(self._writes):
            try:
                write_.result(max(0.0, deadline_s - time.monotonic()))
            except TimeoutError:
                return False
        return True

    def close(self) -> None:
        """Give up what hasn't been begun."""
        self.hold_writes(hold=False)
        self._reader.shutdown(wait=False, cancel_futures=True)
        self._writer.shutdown(wait=False, cancel_futures=True)

    # --- inside --------------------------------------------------------------------------------------

    def _adapters_key(self, adapters: Adapters) -> bytes | None:
        if not adapters:
            return NO_ADAPTERS
        return None if self._settings.adapters_key is None else self._settings.adapters_key(adapters)

    def _note_model(self) -> None:
        """Say whose states the folder has. Raises StoreError."""
        if self._settings.model is not None:
            with disk_errors("keep prefixes", self._folder):
                note_model(self._folder, self._settings.model)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{SUFFIX}"

    def _checked(self, path: Path) -> PrefixHead | None:
        try:
            return read_head(path, self._settings.key, self._settings.bounds)
        except (StoreError, OSError) as error:
            _give_up(path, error)
            return None

    def _load(self, key: str) -> None:
        """Read a state; on the reader's thread."""
        path = self._path(key)
        kept: KeptPrefix | None = None
        try:
            kept = read_state(path, self._settings.key, self._settings.bounds)
        except (StoreError, OSError, MemoryError) as error:
            _give_up(path, error)
        except (
            Exception
        ):  # this thread's top: a request waits for the state, or for the news that it has gone
            logger.exception("a kept prefix is ignored")
        now_s = time.monotonic()
        with self._lock:
            entry = self._index.get(key)
            self._loading.discard(key)
            for old in [old for old, (_, at_s) in self._loaded.items() if now_s - at_s > LOADED_S]:
                del self._loaded[old]
            if kept is None or entry is None or kept.head != entry.head:
                self._remove(key)
            else:
                self._loaded[key] = kept, now_s
            self._loaded_one.notify_all()

    def _write(self, key: str, entry: Entry, kept: KeptPrefix) -> None:
        """Write a state; on the writer's thread."""
        written = False
        last_s = time.monotonic() + HELD_S

        def take_turn() -> None:
            self._may_write.wait(max(0.0, last_s - time.monotonic()))

        take_turn()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._note_model()
            if _make_room(self._root, entry.head.n_file_bytes, self._settings.max_bytes):
                write(self._path(key), self._settings.key, kept, take_turn)
                written = True
        except (StoreError, OSError) as error:
            logger.warning("a prefix of %d tokens wasn't kept: %s", len(entry.head.tokens), error)
        except Exception:  # this thread's top: nobody else would hear of a defect
            logger.exception("a prefix of %d tokens wasn't kept", len(entry.head.tokens))
        n_bytes = kept.head.n_all_bytes
        self._memory.give_back(kept.state)
        with self._lock:
            self._n_pending_bytes -= n_bytes
            entry.is_written = written
            surpassed = self._index.surpassed_by(key) if written else []
            for gone in surpassed if written else [key]:
                self._remove(gone)
        for old in surpassed:
            self._path(old).unlink(missing_ok=True)

    def _remove(self, key: str) -> None:
        self._index.remove(key)
        self._loaded.pop(key, None)


def _give_way() -> None:
    """Let this thread's checksums and copies leave the cores to the prompt that took a state's place."""
    give_way(threading.get_native_id())


def _give_up(path: Path, error: Exception) -> None:
    """Delete a file that can't be used, and say so; one that is gone already is nobody's fault."""
    if isinstance(error, FileNotFoundError):
        return
    logger.warning("a kept prefix is ignored: %s", error)
    if isinstance(error, StoreError):
        path.unlink(missing_ok=True)


def _touch(path: Path) -> None:
    """Note that a file was used: of all files it goes last."""
    try:
        os.utime(path)
    except OSError:
        logger.debug("%s has gone", path)


# --- the folder, of which each file may vanish at any moment ---------------------------------------------


def _sweep(root: Path, folder: Path) -> list[Path]:
    """Make `folder`, below `root`, delete what writers that died have left there, and list its files.

    Only this user may read there: prompts are private. Raises StoreError.
    """
    with disk_errors("keep prefixes", folder):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        old_s = time.time() - _ABANDONED_S
        for path in root.glob(f"*/.*{TEMPORARY_SUFFIX}"):
            if _age(path) < old_s:
                path.unlink(missing_ok=True)
        return sorted(folder.glob(f"*{SUFFIX}"))


def _make_room(root: Path, n_bytes: int, max_bytes: int) -> bool:
    """Delete the files used longest ago until one of `n_bytes` can be added; False if it never can."""
    files = []
    for path in root.glob(f"*/*{SUFFIX}"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        files.append((status.st_mtime_ns, status.st_size, path))
    n_held = sum(size for _, size, _ in files)
    limit = min(max_bytes, int((n_held + shutil.disk_usage(root).free) * FREE_SHARE))
    if n_bytes > limit:
        return False
    for _, size, path in sorted(files):
        if n_held + n_bytes <= limit:
            break
        path.unlink(missing_ok=True)
        n_held -= size
    return True


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
