"""`new_text`: the text of an answer's tokens, one token at a time."""

from __future__ import annotations

from server.engine.runner import ModelRunner
from server.engine.sequence import Sequence


def new_text(sequence: Sequence, token: int, runner: ModelRunner) -> str:
    """Return the text that may be shown now that `token`, the sequence's last, has come.

    With logprobs, note where its own text ends.
    """
    request, progress = sequence.group.request, sequence.progress
    piece = runner.spelling(token) if token in request.spelled_tokens else runner.piece(token)
    new = sequence.detokenizer.feed(piece)
    sequence.has_new_line = sequence.has_new_line or "\n" in new
    if request.n_probs is not None:
        sequence.n_fed += len(new)
        more_to_come = sequence.detokenizer.is_within_character or token in request.stop_tokens
        sequence.text_ends.append(max([sequence.n_fed + more_to_come, *sequence.text_ends[-1:]]))
    if progress is not None:
        progress.add(new)
        if not progress.stops_count:
            return sequence.stops.flush() + new
    if sequence.n_generated > request.params.min_tokens:
        return sequence.stops.feed(new) + sequence.stops.token(token)
    return new
