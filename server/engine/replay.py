"""`replay`: brings a new sequence to where another worker has left it, token by token."""

from __future__ import annotations

from server.engine.answer_text import new_text
from server.engine.resumption import ChoiceSoFar, cannot_resume, unpacked
from server.engine.runner import ModelRunner
from server.engine.sequence import Sequence


def replay(sequence: Sequence, so_far: ChoiceSoFar, runner: ModelRunner) -> None:
    """Give a sequence, whose sampler is open and which nobody has scheduled, the tokens that it had.

    It is then as one that was preempted: all its tokens are pending, and none of what the client has had will
    be reported again. Its last token may have ended it (`has_ended`). Raises RequestError where it can't be
    the same answer: the tokens, the text or the context are those of another model.
    """
    tokens = unpacked(so_far.tokens)
    if any(not 0 <= token < runner.n_vocab or runner.is_eog(token) for token in tokens):
        raise cannot_resume("its tokens are those of another model")
    n_characters, progress = 0, sequence.progress
    for token in tokens:
        if has_ended(sequence):
            raise cannot_resume("its context is smaller there, or its tokens are those of another model")
        runner.replay(sequence.id, token)
        sequence.tokens.append(token)
        n_characters += len(new_text(sequence, token, runner))
        sequence.n_emitted = len(sequence.tokens)
        if sequence.n_emitted >= sequence.n_tokens_max and sequence.n_slidable:
            sequence.slide()
        if progress is not None and progress.must_close and not sequence.detokenizer.is_within_character:
            runner.force(sequence.id, progress.close())
    is_exact = sequence.group.request.n_probs is None
    n_ahead = so_far.n_characters - n_characters
    if n_ahead < 0 or (is_exact and n_ahead and not has_ended(sequence)):
        raise cannot_resume("its text was another one there")
    sequence.n_shown = n_characters
    sequence.n_ahead = n_ahead
    sequence.text_ends.clear()


def has_ended(sequence: Sequence) -> bool:
    """Return True if the last token of a sequence has ended it, by a stop string or by its number."""
    if sequence.stops.matched is not None:
        return True
    return len(sequence.tokens) >= sequence.n_tokens_max and not sequence.n_slidable
