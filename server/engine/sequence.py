"""One choice of one request while the engine works on it, and the request that its choices make up."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from enum import Enum, auto

from server.engine.answer_plan import AnswerProgress
from server.engine.batch import Adapters
from server.engine.detokenizer import Detokenizer
from server.engine.events import Finish, FinishReason, Timings, TokenLogprob, Usage
from server.engine.request import EngineRequest
from server.engine.stop import StopChecker, StopStrings

CHOICES_PER_TURN = 4
"""So many choices of a request are served before it is the next request's turn."""


class SequenceStatus(Enum):
    """The states of a sequence; it is in exactly one."""

    WAITING = auto()
    """The sequence is in the queue: new, or preempted and to be computed again."""
    RUNNING = auto()
    """The sequence has a slot."""
    FINISHED = auto()
    """The sequence has ended and has nothing of the engine any more."""


class Sequence:
    """The prompt and generated tokens of one choice, and how far they are computed.

    ```
    tokens   |--------- prompt ---------|-- generated --|
    KV cache |-- computed --|--------- pending ---------|
                            n_computed                  len(tokens)
    ```

    A sequence that generates has one pending token, the last it got, and those that were forced after it.
    More are pending while its prompt is computed and after a preemption. `slot` is set while it runs.
    """

    __slots__ = (
        "adapters",
        "borders",
        "detokenizer",
        "draft",
        "finish_reason",
        "group",
        "has_new_line",
        "id",
        "images",
        "index",
        "logprobs",
        "n_ahead",
        "n_computed",
        "n_ctx",
        "n_dropped",
        "n_emitted",
        "n_fed",
        "n_forced",
        "n_prompt",
        "n_shown",
        "n_slides",
        "n_tokens_max",
        "n_unreported",
        "n_used_before",
        "owner",
        "progress",
        "scores_prompt",
        "slot",
        "status",
        "stops",
        "text_ends",
        "tokens",
    )

    def __init__(self, sequence_id: int, group: Group, index: int, n_ctx: int, stops: StopStrings) -> None:
        request = group.request
        self.id = sequence_id
        self.group = group
        self.index = index
        self.tokens = list(request.prompt_tokens)
        self.n_prompt = len(self.tokens)
        self.images = request.images
        """The images in its prompt; a request with some gives up no tokens."""
        self.borders = request.borders
        """The positions at which a turn ends: another prompt may be the same up to there."""
        self.n_ctx = n_ctx
        self.n_dropped = 0
        """The number of its tokens that it has given up, as the context was full."""
        self.n_slides = 0
        """The number of times that it has given up tokens."""
        self.n_tokens_max = self._end()
        """The number of tokens at which it ends, or gives up some."""
        self.n_computed = 0
        self.has_new_line = False
        self.n_forced = 0
        """The number of its last tokens that a guide forced, and that are pending behind the token before."""
        self.n_unreported = 0
        """The number of generated tokens that no event has counted."""
        self.n_emitted = self.n_prompt
        """The number of `tokens` that the client sent or that an event carried."""
        self.owner = request.owner
        self.n_used_before = 0
        """The tokens that had been computed for its owner when it got its slot, by `FairShare`."""
        self.adapters: Adapters = request.adapters
        self.draft: list[int] = []
        """Guesses of the tokens after the last one, to be checked in the next step."""
        self.logprobs: list[TokenLogprob] = []
        """The logprobs of the unreported tokens, if the request wants them."""
        self.text_ends: list[int] = []
        """The number of the text's characters up to the end of each unreported token, beside `logprobs`."""
        self.n_fed = 0
        """The number of characters that the generated tokens have made."""
        self.n_shown = 0
        """The number of those characters that events have carried; the rest may begin a stop string."""
        self.n_ahead = 0
        """The number of characters after those that the client has already: the choice goes on here."""
        resumption = request.resumption
        is_scored = resumption is not None and resumption.is_scored
        self.scores_prompt = request.score_prompt and index == 0 and not is_scored
        """True while its prompt is to be scored, and so to be computed from the start."""
        self.slot: int | None = None
        self.status = SequenceStatus.WAITING
        self.finish_reason: FinishReason | None = None
        self.detokenizer = Detokenizer(strip_leading_space=request.strip_leading_space)
        self.stops = StopChecker(stops)
        self.progress = None if request.plan is None else AnswerProgress(request.plan)
        """The place within the answer's thoughts, content and calls, where it matters."""

    @property
    def n_slidable(self) -> int:
        """The number of tokens that it gives up where it has no more room; 0: it ends there.

        They are the older half of what follows those that are kept. Tokens that events will carry stay.
        """
        request = self.group.request
        limit = request.params.max_tokens
        if request.n_keep is None or (limit is not None and self.n_generated >= limit):
            return 0
        n = (len(self.tokens) - request.n_keep) // 2
        keeps_unreported = request.wants_tokens or request.has_replay
        return max(0, min(n, self.n_emitted - request.n_keep) if keeps_unreported else n)

    def slide(self) -> None:
        """Give up the tokens that it may; it has no slot."""
        assert self.slot is None
        n, n_keep = self.n_slidable, self.group.request.n_keep
        assert n > 0
        assert n_keep is not None
        del self.tokens[n_keep : n_keep + n]
        self.n_dropped += n
        self.n_emitted -= n
        self.n_slides += 1
        self.n_computed = 0
        self.borders = ()
        self.n_tokens_max = self._end()

    def _end(self) -> int:
        limit = self.group.request.params.max_tokens
        return self.n_ctx if limit is None else min(self.n_ctx, self.n_prompt - self.n_dropped + limit)

    @property
    def n_pending(self) -> int:
        """The number of tokens that are not in the KV cache."""
        return len(self.tokens) - self.n_computed

    @property
    def n_generated(self) -> int:
        """The number of tokens after the prompt."""
        return len(self.tokens) + self.n_dropped - self.n_prompt

    @property
    def n_covered(self) -> int:
        """The number of unreported tokens all of whose text has been shown; only with `text_ends`."""
        return bisect_right(self.text_ends, self.n_shown)

    @property
    def named_slot(self) -> int | None:
        """The slot that it waits for; None: any. Only a request's first choice may name one."""
        return self.group.request.slot if self.index == 0 else None

    @property
    def waits_for_scores(self) -> bool:
        """True if another choice of its request has to score the prompt first."""
        first = self.group.sequences[0]
        return first.scores_prompt and first is not self

    @property
    def must_go_on(self) -> bool:
        """True if the next token may not end it."""
        params = self.group.request.params
        return params.ignore_eos or self.n_generated < params.min_tokens


def rank(sequence: Sequence) -> tuple[int, int, int]:
    """Return the sort key of the queue: the lower priority number goes first, then who came first.

    Each further `CHOICES_PER_TURN` choices of a request rank as if they had come one request later: so one
    with a hundred of them takes turns with those that come after it, and isn't overtaken for ever.
    """
    group = sequence.group
    return group.request.priority, group.n_before + sequence.index // CHOICES_PER_TURN, sequence.id


class Group:
    """A request and the sequences of its choices; it ends when the last of them does.

    Times are those of the engine's clock, in seconds, None until the thing has happened. `sequence_ids` gives
    each choice its id: ids ascend in the order of arrival. `n_before` is the number of requests before it.
    """

    __slots__ = (
        "admitted_s",
        "deadline_s",
        "first_token_s",
        "n_accepted",
        "n_before",
        "n_cached",
        "n_computed_prompt",
        "n_drafted",
        "request",
        "scores",
        "seed",
        "sequences",
        "submitted_s",
    )

    def __init__(
        self,
        request: EngineRequest,
        n_ctx: int,
        now_s: float,
        sequence_ids: Iterator[int],
        n_before: int = 0,
    ) -> None:
        self.request = request
        self.n_before = n_before
        self.submitted_s = now_s
        resumption = request.resumption
        age_s = 0.0 if resumption is None else resumption.age_s
        self.deadline_s = None if request.timeout_s is None else now_s + request.timeout_s - age_s
        self.admitted_s: float | None = None
        self.first_token_s: float | None = None
        if resumption is not None and resumption.first_token_age_s is not None:
            self.first_token_s = now_s - resumption.first_token_age_s
        self.seed: int | None = request.params.seed if resumption is None else resumption.beginning.seed
        """The seed of the first choice; None until one is drawn."""
        self.n_cached = 0
        """The number of prompt tokens that the first admitted choice found in the cache."""
        self.n_computed_prompt = 0
        """The number of prompt tokens computed for all choices together."""
        self.n_drafted = 0
        """The number of draft tokens computed for all choices together."""
        self.n_accepted = 0
        """The number of draft tokens that the model chose too."""
        self.scores: list[TokenLogprob] = []
        """The scores of the prompt's tokens, as far as it is computed."""
        stops = StopStrings((*request.params.stop, *request.extra_stops), request.stop_tokens)
        indices = range(request.n) if resumption is None else [each.index for each in resumption.choices]
        self.sequences = [Sequence(next(sequence_ids), self, at, n_ctx, stops) for at in indices]
        """Its choices, without those that ended in an earlier worker."""

    @property
    def id(self) -> str:
        """The request's id."""
        return self.request.id

    @property
    def is_finished(self) -> bool:
        """True if every choice has ended."""
        return all(sequence.status is SequenceStatus.FINISHED for sequence in self.sequences)

    def summary(self, now_s: float) -> Finish:
        """Return the terminal event of a request whose choices have all ended."""
        admitted_s = self.submitted_s if self.admitted_s is None else self.admitted_s
        first_token_s = now_s if self.first_token_s is None else self.first_token_s
        n_generated = sum(sequence.n_generated for sequence in self.sequences)
        return Finish(
            id=self.id,
            usage=Usage(
                prompt_tokens=len(self.request.prompt_tokens),
                completion_tokens=n_generated,
                cached_tokens=self.n_cached,
                reasoning_tokens=sum(
                    sequence.progress.n_thoughts for sequence in self.sequences if sequence.progress
                ),
            ),
            timings=Timings(
                queue_ms=(admitted_s - self.submitted_s) * 1e3,
                prompt_n=self.n_computed_prompt,
                prompt_ms=(first_token_s - admitted_s) * 1e3,
                predicted_n=n_generated,
                predicted_ms=(now_s - first_token_s) * 1e3,
                draft_n=self.n_drafted,
                draft_n_accepted=self.n_accepted,
                context_shifts=sum(sequence.n_slides for sequence in self.sequences),
            ),
        )
