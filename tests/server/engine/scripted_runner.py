"""A ModelRunner without weights. Its next token is a function of everything its KV cache holds.

So whatever goes wrong in the cache's books (a wrong prefix, a gap, a neighbour's tokens) changes the output.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

from models.errors import CorralError, DecodeError, RequestError
from server.engine.batch import Batch, Copy
from server.engine.sampling_params import SamplingParams

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


def next_token(held: Tokens[int], seed: int, *, ban_eog: bool) -> int:
    """What the scripted model says after `held`."""
    digest = zlib.crc32(b"".join(token.to_bytes(2, "little") for token in held) + seed.to_bytes(4, "little"))
    if digest % 23 == 0 and not ban_eog:
        return EOG
    return (digest // 23) % EOG


@dataclass
class ScriptedRunner:
    n_slots: int = 4
    n_ctx: int = 256
    n_batch: int = 64
    can_trim: bool = True
    n_cells: int | None = None
    """Tokens that all slots together may hold; None: as many as they like."""
    n_vocab: int = N_VOCAB
    poisoned: set[int] = field(default_factory=set)
    """Sequences whose sampling fails."""
    open_limit: int | None = None
    """Sequences that may be open at once; one more is refused."""
    fatal_after: int | None = None
    """Number of runs after which the next one fails for good."""

    def __post_init__(self) -> None:
        self.held: list[list[int]] = [[] for _ in range(self.n_slots)]
        self.samplers: dict[int, tuple[SamplingParams, int]] = {}
        self.batches: list[Batch] = []
        self.n_computed = 0

    def open(self, sequence_id: int, params: SamplingParams, seed: int, prompt_tokens: Tokens[int]) -> None:
        assert sequence_id not in self.samplers
        if self.open_limit is not None and len(self.samplers) >= self.open_limit:
            raise RequestError("a bad parameter", param="top_p")
        self.samplers[sequence_id] = (params, seed)

    def close(self, sequence_id: int) -> None:
        self.samplers.pop(sequence_id, None)

    def run(self, batch: Batch) -> list[int | CorralError]:
        self.batches.append(batch)
        if self.fatal_after is not None and len(self.batches) > self.fatal_after:
            raise DecodeError("llama_decode failed", -3)
        self._change_memory(batch)
        assert 0 < batch.n_tokens <= self.n_batch
        slots = [entry.slot for entry in batch.entries]
        assert slots == sorted(set(slots)), "slots must ascend"
        n_held = sum(len(tokens) for tokens in self.held)
        if self.n_cells is not None and n_held + batch.n_tokens > self.n_cells:
            raise DecodeError("no room", 1)
        sampled: list[int | CorralError] = []
        for entry in batch.entries:
            held = self.held[entry.slot]
            assert len(held) == entry.position, "a gap or an overlap in the KV cache"
            held.extend(entry.tokens)
            self.n_computed += len(entry.tokens)
            assert len(held) <= self.n_ctx
            if entry.wants_output:
                params, seed = self.samplers[entry.sequence_id]
                if entry.sequence_id in self.poisoned:
                    sampled.append(CorralError("no finite logits"))
                else:
                    seed = seed if params.temperature > 0 else 0
                    sampled.append(next_token(held, seed, ban_eog=entry.ban_eog))
        return sampled

    def is_eog(self, token: int) -> bool:
        return token == EOG

    def piece(self, token: int) -> bytes:
        return b"" if token == EOG else PIECES[token]

    def _change_memory(self, batch: Batch) -> None:
        for change in batch.memory:
            if isinstance(change, Copy):
                source = self.held[change.source]
                assert change.source != change.target
                assert 0 < change.n_tokens <= len(source)
                assert self.can_trim or change.n_tokens == len(source)
                self.held[change.target] = source[: change.n_tokens]
            else:
                assert change.n_keep < len(self.held[change.slot])
                assert self.can_trim or change.n_keep == 0
                del self.held[change.slot][change.n_keep :]
