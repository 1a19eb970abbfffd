"""A ModelRunner without weights. Its next token is a function of everything its KV cache holds.

So whatever goes wrong in the cache's books (a wrong prefix, a gap, a neighbour's tokens) changes the output.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from models.errors import CorralError, DecodeError, RequestError, RestoreError
from server.engine.batch import (
    Adapters,
    Batch,
    BatchEntry,
    Checkpoint,
    Copy,
    Output,
    Relayout,
    Restore,
    Save,
    Trim,
)
from server.engine.events import TokenLogprob
from server.engine.images import is_image_token
from server.engine.sampling_params import SamplingParams
from server.engine.scheduling.passes import natural_passes

PIECES: list[bytes] = [
    *(bytes([byte]) for byte in b"abcdefgh .\n"),
    *(bytes([byte]) for byte in "é".encode()),
    *(bytes([byte]) for byte in "🦙".encode()),
    "ça".encode(),
    b"stop",
    b"###",
    b" the end",
    b"\xff",
]
EOG = len(PIECES)
N_VOCAB = len(PIECES) + 1


def as_bytes(tokens: Sequence[int]) -> bytes:
    """Return a byte of each token, those of images included."""
    return bytes([token & 0xFF for token in tokens])


def next_token(held: Sequence[int], seed: int, *, ban_eog: bool, adapters: Adapters = ()) -> int:
    """Return the scripted model's token after `held`."""
    if adapters:
        seed += zlib.crc32(repr(adapters).encode()) >> 8
    digest = zlib.crc32(as_bytes(held) + seed.to_bytes(5, "little"))
    if digest % 23 == 0 and not ban_eog:
        return EOG
    return (digest // 23) % EOG


def scripted_logprob(held: Sequence[int], token: int) -> TokenLogprob:
    """Return the scripted model's logprob of `token` after `held`."""
    digest = zlib.crc32(as_bytes(held) + b"|" + bytes([token]))
    return TokenLogprob(token, b"<end>" if token == EOG else PIECES[token], -(digest % 1000) / 100)


@dataclass(frozen=True)
class ScriptedGuide:
    """Forces `forced[token]` after a token that was chosen; nothing may come after `last`."""

    forced: Mapping[int, Sequence[int]] = field(default_factory=dict)
    last: int | None = None

    def forced_after(self, token: int) -> Sequence[int]:
        return self.forced.get(token, ())


@dataclass
class ScriptedRunner:
    n_slots: int = 4
    n_ctx: int = 256
    n_batch: int = 64
    can_trim: bool = True
    n_cells: int | None = None
    """All slots together may hold so many tokens; None: any number."""
    n_stream: int = 0
    """A slot may hold so many tokens until slots share the cells; 0: as many as a sequence may have."""
    n_vocab: int = N_VOCAB
    can_pad: bool = False
    can_rewind: bool = False
    n_swa: int = 0
    """Window of attention: a run at position p forgets what lies before p's window."""
    forgets: bool = False
    """A third of the runs forget what lies before the window of their last token, a wrong guess perhaps."""
    refused_checkpoints: int = 0
    """Every so many-th checkpoint finds no memory; 0: none."""
    poisoned: set[int] = field(default_factory=set)
    """Sequences whose sampling fails."""
    open_limit: int | None = None
    """So many sequences may be open at once; one more is refused."""
    fatal_after: int | None = None
    """After so many runs the next one fails for good."""
    spend: Callable[[int], None] | None = None
    """Called with each batch's number of tokens, to move a test's clock."""

    def __post_init__(self) -> None:
        self.held: list[list[int]] = [[] for _ in range(self.n_slots)]
        self.n_stream = self.n_stream or self.n_ctx
        self.unified = self.n_stream == self.n_ctx
        self.forgetful: set[int] = set()
        """Slots whose tokens get lost when the cells are divided anew."""
        self.n_forgotten = 0
        self.held_with: list[Adapters] = [()] * self.n_slots
        """The adapters with which a slot's tokens were computed."""
        self.n_lost = [0] * self.n_slots
        """Tokens at a slot's front that its window has left behind."""
        self.saved: dict[str, Save] = {}
        self._saved_lost: dict[str, int] = {}
        self.damaged: set[str] = set()
        """Keys of saved prefixes that can't be restored."""
        self.samplers: dict[int, tuple[SamplingParams, int]] = {}
        self.n_probs: dict[int, int | None] = {}
        self.guides: dict[int, ScriptedGuide | None] = {}
        self.queues: dict[int, deque[int]] = {}
        """The tokens that come next, whatever the script says."""
        self.batches: list[Batch] = []
        self.n_computed = 0
        self.n_checkpoints = 0
        self.n_rewinds = 0

    def open(
        self,
        sequence_id: int,
        params: SamplingParams,
        seed: int,
        prompt_tokens: Sequence[int],
        n_probs: int | None = None,
        guide: object | None = None,
        *,
        after_sampling: bool = False,
    ) -> None:
        assert sequence_id not in self.samplers
        if self.open_limit is not None and len(self.samplers) >= self.open_limit:
            raise RequestError("a bad parameter", param="top_p")
        self.samplers[sequence_id] = (params, seed)
        self.n_probs[sequence_id] = n_probs
        assert guide is None or isinstance(guide, ScriptedGuide)
        self.guides[sequence_id] = guide
        self.queues[sequence_id] = deque()

    def force(self, sequence_id: int, tokens: Sequence[int]) -> None:
        self.queues[sequence_id].extend(tokens)

    def replay(self, sequence_id: int, token: int) -> None:
        queue, guide = self.queues[sequence_id], self.guides[sequence_id]
        if queue:
            assert queue.popleft() == token
        elif guide is not None:
            queue.extend(guide.forced_after(token))

    def close(self, sequence_id: int) -> None:
        self.samplers.pop(sequence_id, None)

    def run(self, batch: Batch) -> list[Output | CorralError]:
        self.batches.append(batch)
        if self.spend is not None:
            self.spend(batch.n_tokens)
        if self.fatal_after is not None and len(self.batches) > self.fatal_after:
            raise DecodeError("llama_decode failed", -3)
        self._change_memory(batch)
        n_images = sum(len(entry.tokens) for entry in batch.entries if entry.image is not None)
        assert 0 < batch.n_tokens <= self.n_batch + n_images
        assert sum(entry.image is not None for entry in batch.entries) <= 1, "images take long"
        slots = [entry.slot for entry in batch.entries]
        assert slots == sorted(set(slots)), "slots must ascend"
        n_held = sum(len(tokens) for tokens in self.held)
        if self.n_cells is not None and n_held + batch.n_tokens > self.n_cells:
            raise DecodeError("no room", 1)
        self._require_place_for_pads(batch)
        results: list[Output | CorralError] = []
        for entry in batch.entries:
            held = self.held[entry.slot]
            assert len(held) == entry.position, "a gap or an overlap in the KV cache"
            if not held:
                self.held_with[entry.slot] = batch.adapters
            assert self.held_with[entry.slot] == batch.adapters, "adapters mixed in one slot"
            assert self.holds(entry.slot, entry.position), "tokens of the window are forgotten"
            n_guessed = len(entry.tokens) - 1 if self.forgets and entry.position % 3 == 0 else 0
            seen = self._window(entry.position + n_guessed)
            self.n_lost[entry.slot] = max(self.n_lost[entry.slot], seen)
            if entry.image is not None:
                assert (entry.position, len(entry.tokens)) == (entry.image.start, entry.image.n_tokens)
                if entry.sequence_id in self.poisoned:
                    self._hold(entry.slot, [], 0, ())
                    results.append(CorralError("a broken image"))
                    continue
            assert all(is_image_token(token) == (entry.image is not None) for token in entry.tokens)
            held.extend(entry.tokens)
            self.n_computed += len(entry.tokens)
            assert len(held) <= (self.n_ctx if self.unified else self.n_stream)
            if entry.image is not None:
                results.append(Output([]))
            elif entry.has_result:
                results.append(self._result(entry, held, batch.adapters))
        return results

    def _require_place_for_pads(self, batch: Batch) -> None:
        """Nothing stays of them, so there is nothing to do; chunks are computed before them, and apart."""
        if not batch.pads:
            return
        assert self.can_pad
        assert not self.unified or self.n_stream == self.n_ctx
        held = [len(tokens) for tokens in self.held]
        for entry in batch.entries:
            held[entry.slot] += len(entry.tokens)
        apart = {entry.slot for entry in batch.entries if entry.is_chunk}
        rows = dict(batch.pads)
        for entry in batch.entries:
            if not entry.is_chunk:
                rows[entry.slot] = rows.get(entry.slot, 0) + len(entry.tokens)
        assert sum(rows.values()) == sum(batch.rows) <= self.n_batch
        for slot, n in batch.pads.items():
            assert n > 0
            assert held[slot] + n <= self.n_stream
            assert apart.isdisjoint({slot}) or held[slot] > 0
        assert natural_passes(tuple(sorted(rows.items()))) == list(batch.rows)

    def _result(self, entry: BatchEntry, held: list[int], adapters: Adapters) -> Output | CorralError:
        if entry.sequence_id in self.poisoned:
            return CorralError("no finite logits")
        scores = None
        if entry.targets is not None:
            assert len(entry.tokens) - len(entry.targets) in (0, 1)
            ends = range(entry.position + 1, entry.position + 1 + len(entry.targets))
            scores = [
                scripted_logprob(held[:end], token) for end, token in zip(ends, entry.targets, strict=True)
            ]
        params, seed = self.samplers[entry.sequence_id]
        seed = seed if params.temperature > 0 else 0
        tokens: list[int] = []
        n_before = len(held) - entry.n_outputs
        queue, guide = self.queues[entry.sequence_id], self.guides[entry.sequence_id]
        for i in range(1, entry.n_outputs + 1):
            before = held[: n_before + i]
            if queue:
                tokens.append(queue.popleft())
            else:
                tokens.append(next_token(before, seed, ban_eog=entry.ban_eog, adapters=adapters))
                if guide is not None:
                    queue.extend(guide.forced_after(tokens[-1]))
            if i < entry.n_outputs and tokens[-1] != held[n_before + i]:
                break
        logprobs = None
        if self.n_probs[entry.sequence_id] is not None:
            logprobs = [scripted_logprob(held[: n_before + i + 1], token) for i, token in enumerate(tokens)]
        forced: list[int] = []
        if logprobs is None:
            forced = list(queue)
            queue.clear()
        is_over = guide is not None and not queue and guide.last in (*tokens[-1:], *forced[-1:])
        return Output(tokens, logprobs, scores, forced, is_over)

    def is_eog(self, token: int) -> bool:
        return token == EOG

    def piece(self, token: int) -> bytes:
        return b"" if token == EOG else PIECES[token]

    def holds(self, slot: int, n_tokens: int) -> bool:
        return self._window(n_tokens) >= self.n_lost[slot]

    def checkpoint(self, slot: int) -> memoryview | None:
        """What the slot holds, as the real one's state is made of it; now and then none."""
        assert self.can_rewind
        self.n_checkpoints += 1
        if self.refused_checkpoints and self.n_checkpoints % self.refused_checkpoints == 0:
            return None
        return memoryview(as_bytes(self.held[slot]))

    def save(self, kept: Save) -> None:
        assert self.held[kept.slot] == kept.tokens
        assert not any(map(is_image_token, kept.tokens)), "images aren't kept"
        assert self.held_with[kept.slot] == kept.adapters
        key = self.key_of(kept)
        self.saved[key], self._saved_lost[key] = kept, self.n_lost[kept.slot]

    @staticmethod
    def key_of(kept: Save) -> str:
        """The key of a saved prefix."""
        return f"{kept.adapters} {bytes(kept.tokens).hex()}"

    def _window(self, position: int) -> int:
        """The first token that one at `position` sees."""
        return max(0, position - self.n_swa + 1) if self.n_swa else 0

    def spelling(self, token: int) -> bytes:
        return b"<end>" if token == EOG else PIECES[token]

    def _change_memory(self, batch: Batch) -> None:
        empty: set[int] = set()
        for change in batch.memory:
            if isinstance(change, Save):
                if change.slot not in empty:  # as the real one: what got lost is not kept
                    self.save(change)
            elif isinstance(change, Trim):
                self._trim(change, empty)
            elif isinstance(change, Copy):
                self._copy(change, empty)
            elif isinstance(change, Relayout):
                self._relayout(change, empty)
            else:
                self._restore(change, empty)
        if empty:
            raise RestoreError("damaged", frozenset(empty))

    def _relayout(self, relayout: Relayout, empty: set[int]) -> None:
        assert relayout.unified != self.unified
        self.unified = relayout.unified
        assert self.unified or all(len(held) <= self.n_stream for held in self.held)
        for slot in self.forgetful:
            if self.held[slot]:
                self._hold(slot, [], 0, ())
                empty.add(slot)
                self.n_forgotten += 1
        self.forgetful.clear()

    def _trim(self, trim: Trim, empty: set[int]) -> None:
        assert trim.slot in empty or trim.n_keep < len(self.held[trim.slot])
        if trim.n_keep and trim.slot in empty:
            return
        del self.held[trim.slot][trim.n_keep :]
        if trim.n_keep == 0:
            self.n_lost[trim.slot] = 0
        else:
            self._rewind(trim.slot, trim.checkpoint)
            if self.forgets and not self.holds(trim.slot, trim.n_keep):
                self._hold(trim.slot, [], 0, ())
                empty.add(trim.slot)
                self.n_forgotten += 1

    def _rewind(self, slot: int, checkpoint: Checkpoint | None) -> None:
        """Have a slot, cut back by now, go on from there: by itself, or with the state from there."""
        if checkpoint is None:
            assert self.can_trim
            return
        assert checkpoint.n_tokens == len(self.held[slot])
        assert checkpoint.state == as_bytes(self.held[slot]), "the state of other tokens"
        self.n_lost[slot] = self._window(len(self.held[slot]))
        self.n_rewinds += 1

    def _copy(self, copy: Copy, empty: set[int]) -> None:
        source, target = copy.source, copy.target
        assert source != target
        empty.discard(target)
        if source in empty:
            empty.add(target)
            self._hold(target, [], 0, ())
            return
        held = self.held[source]
        assert 0 < copy.n_tokens <= len(held)
        is_whole = copy.n_tokens == len(held)
        self._hold(target, held[: copy.n_tokens], self.n_lost[source], self.held_with[source])
        if not is_whole:
            self._rewind(target, copy.checkpoint)

    def _restore(self, restore: Restore, empty: set[int]) -> None:
        kept = self.saved[restore.key]
        assert 0 < restore.n_tokens <= len(kept.tokens)
        if restore.key in self.damaged:
            empty.add(restore.slot)
            self._hold(restore.slot, [], 0, ())
        else:
            empty.discard(restore.slot)
            n_lost = self._saved_lost[restore.key]
            self._hold(restore.slot, kept.tokens[: restore.n_tokens], n_lost, kept.adapters)
            if restore.n_tokens < len(kept.tokens):
                self._rewind(restore.slot, restore.checkpoint)

    def _hold(self, slot: int, tokens: list[int], n_lost: int, adapters: Adapters) -> None:
        self.held[slot], self.n_lost[slot], self.held_with[slot] = tokens, n_lost, adapters
