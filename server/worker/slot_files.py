"""`SlotChanges`: what slots hold, kept in files, brought back and dropped when a client says so.

The prefix cache keeps prompts by itself; this is for llama-server's clients, which name slots and files. A
file is a kept prefix's (`server.worker.prefix.file`), so what is damaged, or another model's, is refused.
Files are read and written beside the engine; slots are read and changed between two of its steps, once no
request has them.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from models.errors import CorralError, RequestError, StoreError
from server.engine.batch import Save
from server.engine.engine import Engine
from server.engine.event_factory import error_failure
from server.engine.events import Failure
from server.engine.images import is_image_token
from server.engine.request import check_slot
from server.ipc.messages import ChangeSlot, ChangeSlotReply
from server.worker.channel import Channel
from server.worker.prefix.file import Bounds, KeptPrefix, PrefixHead, kept_prefix, read_state, write
from server.worker.prefix.key import NO_ADAPTERS

logger = logging.getLogger("corral.worker")


class SlotStates(Protocol):
    """A runner whose slots' states can be copied and put back."""

    def copy_state(self, kept: Save) -> tuple[int, memoryview] | None:
        """Return the smallest position that a slot's state has, and a copy; None if it isn't all there."""

    def give(self, slot: int, key: str, head: PrefixHead, state: memoryview) -> None:
        """Take the state that a `Restore` of this slot and key, still to come, puts there."""


@dataclass(frozen=True)
class SlotFiles:
    """The states of one model's slots, and which files fit them."""

    states: SlotStates
    key: Callable[[], bytes]
    """Returns the key of the model and its context, which takes milliseconds. Raises StoreError."""
    bounds: Bounds
    """A file has at most as many tokens as a slot."""


@dataclass(frozen=True)
class ReadSlot:
    """A file that has been read for a slot."""

    message: ChangeSlot
    kept: KeptPrefix


class SlotChanges:
    """The changes that clients wish, each answered once. The engine's thread calls it."""

    def __init__(self, channel: Channel, put: Callable[[ReadSlot], None]) -> None:
        """`put` takes what was read, from another thread, to `take` it in the engine's."""
        self._channel = channel
        self._put = put
        self._files: SlotFiles | None = None
        self._waiting: list[ChangeSlot | ReadSlot] = []
        self._began_s: dict[str, float] = {}
        self._keys = itertools.count()
        self._disk = ThreadPoolExecutor(1, "slot-files")

    def open(self, files: SlotFiles | None) -> None:
        """Begin to serve a model; None: its slots can't be kept."""
        self._files = files

    def take(self, wish: ChangeSlot | ReadSlot, engine: object) -> None:
        """Begin with a change, or go on with what was read for it."""
        if isinstance(wish, ReadSlot):
            self._waiting.append(wish)
            return
        self._began_s[wish.id] = time.monotonic()
        try:
            if not isinstance(engine, Engine) or (self._files is None and wish.action != "erase"):
                raise RequestError("this kind of model keeps nothing in its slots", param="action")
            check_slot(wish.slot, engine.slot_contents.n_slots)
        except RequestError as error:
            self._fail(wish, error_failure(wish.id, error))
            return
        if wish.action == "restore":
            self._beside(wish, self._read)
        else:
            self._waiting.append(wish)

    def settle(self, engine: object) -> None:
        """Make the changes of all slots that are idle now."""
        if not self._waiting or not isinstance(engine, Engine):
            return
        waiting, self._waiting = self._waiting, []
        for wish in waiting:
            message = wish.message if isinstance(wish, ReadSlot) else wish
            held = engine.slot_contents.held(message.slot)
            if held is not None:
                self._guarded(message, partial(self._change, engine, wish, held))
            elif engine.has_work:
                self._waiting.append(wish)
            else:
                text = f"slot {message.slot} is to be changed by the next request; try again after it"
                self._fail(message, Failure(id=message.id, kind="unavailable", message=text))

    def _change(self, engine: Engine, wish: ChangeSlot | ReadSlot, held: Save) -> None:
        contents = engine.slot_contents
        if isinstance(wish, ReadSlot):
            assert self._files is not None
            key = f"slot file {next(self._keys)}"
            head = wish.kept.head
            self._files.states.give(held.slot, key, head, wish.kept.state)
            contents.fill(held.slot, head.tokens, key, wish.kept.checkpoints)
            self._answer(wish.message, len(head.tokens), head.n_file_bytes)
        elif wish.action == "erase":
            contents.erase(held.slot)
            self._answer(wish, len(held.tokens))
        else:
            self._save(wish, held)

    def _save(self, wish: ChangeSlot, held: Save) -> None:
        assert self._files is not None
        if not held.tokens:
            raise RequestError(f"slot {held.slot} holds nothing; send a request with its id_slot first")
        if len(held.tokens) > self._files.bounds.n_tokens_max:
            raise RequestError(
                f"slot {held.slot} holds {len(held.tokens):,} tokens, some in other slots' place; at most "
                f"{self._files.bounds.n_tokens_max:,} fit one slot and a file"
            )
        if held.adapters:
            raise RequestError(f"slot {held.slot} was computed with LoRA adapters, and is not for a file")
        if any(map(is_image_token, held.tokens)):
            raise RequestError(f"slot {held.slot} holds images, which are not for a file")
        copied = self._files.states.copy_state(held)
        if copied is None:
            raise RequestError(f"slot {held.slot} is to be changed by the next request; save it after that")
        first, state = copied
        kept = kept_prefix(held, NO_ADAPTERS, first, state)
        self._beside(wish, lambda message: self._write(message, kept))

    # --- the disk's thread -----------------------------------------------------------------------------

    def _write(self, wish: ChangeSlot, kept: KeptPrefix) -> None:
        assert self._files is not None
        write(Path(wish.path), self._files.key(), kept)
        self._answer(wish, len(kept.head.tokens), kept.head.n_file_bytes)

    def _read(self, wish: ChangeSlot) -> None:
        assert self._files is not None
        path = Path(wish.path)
        try:
            kept = read_state(path, self._files.key(), self._files.bounds)
        except FileNotFoundError:
            raise RequestError(f"there is no file {path.name}; save a slot there first", "filename") from None
        except StoreError as error:
            raise RequestError(error.message, param="filename") from error
        self._put(ReadSlot(wish, kept))

    # --- both ------------------------------------------------------------------------------------------

    def _beside(self, wish: ChangeSlot, act: Callable[[ChangeSlot], None]) -> None:
        self._disk.submit(lambda: self._on_disk(wish, lambda: act(wish)))

    def _on_disk(self, wish: ChangeSlot, act: Callable[[], None]) -> None:
        try:
            self._guarded(wish, act)
        except OSError:
            pass  # the other side is gone: the inbox's thread hears it, too
        except Exception as error:  # this thread's top: the client hears of a defect
            logger.exception("slot %d could not be changed", wish.slot)
            text = f"slot {wish.slot} could not be changed: {type(error).__name__}; the server's log has more"
            self._fail(wish, Failure(id=wish.id, kind="server_error", message=text))

    def _guarded(self, wish: ChangeSlot, act: Callable[[], None]) -> None:
        """Do it, or answer with the reason why it can't be done."""
        try:
            act()
        except CorralError as error:
            if error.public != error.message:
                logger.warning("slot %d: %s", wish.slot, error.message)
            self._fail(wish, error_failure(wish.id, error))
        except (OSError, MemoryError) as error:
            logger.exception("slot %d could not be changed", wish.slot)
            why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            text = f"slot {wish.slot} could not be changed: {why}; the server's log has more"
            self._fail(wish, Failure(id=wish.id, kind="server_error", message=text))

    def _answer(self, wish: ChangeSlot, n_tokens: int, n_bytes: int = 0) -> None:
        ms = (time.monotonic() - self._began_s.pop(wish.id)) * 1e3
        self._channel.send(ChangeSlotReply(wish.id, n_tokens, n_bytes, ms))

    def _fail(self, wish: ChangeSlot, failure: Failure) -> None:
        self._began_s.pop(wish.id, None)
        self._channel.send(failure)
