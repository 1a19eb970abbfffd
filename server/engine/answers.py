"""`Answers`: generated tokens become an answer's text, up to the one that ends it."""

from __future__ import annotations

from server.engine.answer_text import new_text
from server.engine.event_factory import take_delta
from server.engine.repetition import LOOK_TOKENS, repeats
from server.engine.request_table import RequestTable
from server.engine.runner import ModelRunner
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import Sequence, SequenceStatus
from server.engine.speculation.speculation import Drafting


class Answers:
    """The answers of an engine's sequences: what of their tokens is text, and when they end.

    An answer whose last `loop_tokens` tokens are one passage again and again ends; 0: it goes on.
    """

    def __init__(
        self,
        runner: ModelRunner,
        scheduler: Scheduler,
        requests: RequestTable,
        speculation: Drafting | None,
        loop_tokens: int,
    ) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._requests = requests
        self._speculation = speculation
        self._loop_tokens = loop_tokens

    def append(self, sequence: Sequence, tokens: list[int], *, ends: bool) -> None:
        """Add generated tokens, up to the one that ends the sequence, and report their text.

        If `ends`, the last of them does.
        """
        text, request, progress = "", sequence.group.request, sequence.progress
        n_last = len(sequence.tokens) + len(tokens) if ends else -1
        for token in tokens:
            sequence.tokens.append(token)
            if self._runner.is_eog(token):
                text += sequence.stops.token(token)
                sequence.n_unreported += request.score_prompt  # scoring counts every generated token
                self._requests.finish(sequence, "stop", text + sequence.stops.flush())
                return
            sequence.n_unreported += 1
            text += new_text(sequence, token, self._runner)
            if sequence.stops.matched is not None:
                self._requests.finish(sequence, "stop", text)
                return
            if self._is_loop(sequence):
                self._requests.finish(sequence, "length", text + sequence.stops.flush(), is_loop=True)
                return
            if len(sequence.tokens) >= sequence.n_tokens_max and len(sequence.tokens) != n_last:
                if sequence.n_slidable:
                    n_last -= sequence.n_slidable
                    self._slide(sequence)
                    continue
                self._requests.finish(sequence, "length", text + sequence.stops.flush())
                return
        if ends:
            self._requests.finish(sequence, "stop", text + sequence.stops.flush())
            return
        if progress is not None and progress.must_close and not sequence.detokenizer.is_within_character:
            self._runner.force(sequence.id, progress.close())
        if text or request.return_tokens:
            delta = take_delta(sequence, text)
            if delta.text or delta.n_tokens:
                self._requests.report(delta)

    def _is_loop(self, sequence: Sequence) -> bool:
        """True if the end of an answer is one passage again and again; it is looked at now and then."""
        n = self._loop_tokens
        if not n or sequence.n_generated < n or sequence.n_generated % LOOK_TOKENS:
            return False
        return repeats(sequence.tokens[-n:])

    def end_late(self, sequence: Sequence, limit_ms: float, now_s: float) -> None:
        """End a choice that has taken longer than it may and has a whole line."""
        first_s = sequence.group.first_token_s
        is_late = first_s is not None and (now_s - first_s) * 1e3 > limit_ms
        if is_late and sequence.has_new_line and sequence.status is not SequenceStatus.FINISHED:
            self._requests.finish(sequence, "length", sequence.stops.flush())

    def _slide(self, sequence: Sequence) -> None:
        """Let a sequence go on without its older tokens, of which nobody's guesses may know any more."""
        sequence.draft = []
        self._scheduler.slide(sequence)
        if self._speculation is not None:
            self._speculation.close(sequence)
