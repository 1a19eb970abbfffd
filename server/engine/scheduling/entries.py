"""The entries of a batch: what one sequence has computed in a step."""

from __future__ import annotations

from server.engine.batch import BatchEntry
from server.engine.images import ImageSpan
from server.engine.sequence import Sequence


def next_token_entry(sequence: Sequence) -> BatchEntry:
    """Return the entry of a sequence that generates: its pending token, what was forced, and its draft."""
    assert sequence.slot is not None
    draft = sequence.draft
    tokens = sequence.tokens[sequence.n_computed :]
    if draft:
        tokens += draft
    return BatchEntry(
        sequence.id, sequence.slot, tokens, sequence.n_computed, 1 + len(draft), sequence.must_go_on
    )


def chunk_entry(sequence: Sequence, n_tokens: int) -> BatchEntry:
    """Return the entry of the next `n_tokens` of a prompt, or of what a preempted sequence computes again."""
    assert sequence.slot is not None
    start, tokens = sequence.n_computed, sequence.tokens
    end = start + n_tokens
    return BatchEntry(
        sequence.id,
        sequence.slot,
        tokens[start:end],
        start,
        1 if end == len(tokens) and len(tokens) < sequence.n_tokens_max else 0,
        sequence.must_go_on,
        tokens[start + 1 : end + 1] if sequence.scores_prompt else None,
    )


def image_entry(sequence: Sequence, image: ImageSpan) -> BatchEntry:
    """Return the entry of the image that comes next in a prompt."""
    assert sequence.slot is not None
    assert image.start == sequence.n_computed
    tokens = sequence.tokens[image.start : image.end]
    return BatchEntry(sequence.id, sequence.slot, tokens, image.start, image=image)
