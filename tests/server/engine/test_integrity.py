"""The check finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.engine import integrity
from server.engine.batch import Adapters, Output
from server.engine.prefix.prefix_cache import PrefixCache
from server.engine.request_table import RequestTable
from server.engine.scheduling.prompt_budget import SchedulerConfig
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import SequenceStatus
from tests.server.engine.harness import Clock, request
from tests.server.engine.scripted_runner import ScriptedRunner


class Books:
    """An engine's scheduler and requests without the engine, so that a test can damage them."""

    def __init__(self) -> None:
        self.runner = ScriptedRunner(n_slots=4)
        config = SchedulerConfig(
            n_batch=self.runner.n_batch,
            n_vocab=self.runner.n_vocab,
            prefill_tokens_alone=4,
            prefill_chunk_tokens=4,
        )
        self.cache = PrefixCache(4, can_trim=True, copy_tokens_min=32)
        self.scheduler = Scheduler(self.cache, config)
        self.requests = RequestTable(self.runner, self.scheduler, None, Clock())

    def submit(self, prompt: list[int], *, n: int = 1, score: bool = False, adapters: Adapters = ()) -> None:
        asked = request(prompt, n=n, max_tokens=50, ignore_eos=True, score_prompt=score, adapters=adapters)
        self.requests.add(asked)

    def step(self) -> None:
        """Do what an engine does in a step, as far as nothing ends."""
        batch = self.scheduler.schedule()
        outputs = iter(self.runner.run(batch))
        self.scheduler.admitted.clear()
        for entry in batch.entries:
            sequence = self.requests.sequences[entry.sequence_id]
            sequence.n_computed += len(entry.tokens)
            if entry.n_outputs or entry.targets is not None:
                output = next(outputs)
                assert isinstance(output, Output)
                sequence.tokens += output.tokens
                sequence.group.scores += output.scores or []
        self.check()

    def check(self) -> None:
        integrity.check(self.scheduler, self.requests)


def busy_books() -> Books:
    """Two sequences that generate, a prompt half scored with its choice behind it, two that wait."""
    books = Books()
    for first in range(2):
        books.submit([first], adapters=((first, 1.0),))
    for _ in range(4):
        books.step()
    books.submit(list(range(20)), n=2, score=True, adapters=((1, 1.0),))
    for _ in range(4):
        books.step()
    books.submit(list(range(9)), n=2)
    assert len(books.scheduler.running) == 3
    assert books.scheduler.running[-1].scores_prompt
    assert len(books.scheduler.waiting) == 3
    return books


def swap_slots(books: Books) -> None:
    a, b = books.scheduler.running[:2]
    a.slot, b.slot = b.slot, a.slot


def run_twice(books: Books) -> None:
    books.scheduler.running.append(books.scheduler.running[0])


def lose(books: Books) -> None:
    books.scheduler.waiting.pop()


def disorder(books: Books) -> None:
    books.scheduler.waiting.reverse()


def miscount_adapters(books: Books) -> None:
    books.scheduler.waiting[0].adapters = ((7, 1.0),)


def forget_adapters_of_a_slot(books: Books) -> None:
    for slot in books.cache.slots:
        slot.adapters = ()


def keep_leftovers(books: Books) -> None:
    for slot in books.cache.slots:
        slot.resident = [1]


def compute_too_much(books: Books) -> None:
    books.scheduler.running[0].n_computed += 1


def draft_in_a_prompt(books: Books) -> None:
    books.scheduler.running[-1].draft = [1]


def draft_too_long(books: Books) -> None:
    books.scheduler.running[0].draft = [1] * 60


def draft_in_the_queue(books: Books) -> None:
    books.scheduler.waiting[0].draft = [1]


def run_beyond_the_end(books: Books) -> None:
    sequence = books.scheduler.running[0]
    sequence.n_tokens_max = len(sequence.tokens)


def lose_scores(books: Books) -> None:
    books.scheduler.running[-1].group.scores.pop()


def finish_silently(books: Books) -> None:
    for sequence in books.scheduler.waiting[-1].group.sequences:
        books.scheduler.remove(sequence)
        del books.requests.sequences[sequence.id]


def forget_a_request(books: Books) -> None:
    books.requests.groups.popitem()


def miscount_deadlines(books: Books) -> None:
    books.requests.n_with_deadline += 1


def admit_in_silence(books: Books) -> None:
    books.scheduler.admitted.append(books.scheduler.running[0])


DAMAGES: list[Callable[[Books], None]] = [
    swap_slots,
    run_twice,
    lose,
    disorder,
    miscount_adapters,
    forget_adapters_of_a_slot,
    keep_leftovers,
    compute_too_much,
    draft_in_a_prompt,
    draft_too_long,
    draft_in_the_queue,
    run_beyond_the_end,
    lose_scores,
    finish_silently,
    forget_a_request,
    miscount_deadlines,
    admit_in_silence,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_books_are_noticed(damage: Callable[[Books], None]) -> None:
    books = busy_books()
    books.check()
    damage(books)
    with pytest.raises(AssertionError):
        books.check()


def test_a_choice_may_not_run_before_its_prompt_is_scored() -> None:
    books = busy_books()
    sibling = books.scheduler.running[-1].group.sequences[1]
    placement = books.cache.place(sibling)
    assert placement is not None
    books.cache.acquire(placement, sibling)
    books.scheduler.waiting.remove(sibling)
    sibling.status = SequenceStatus.RUNNING
    books.scheduler.running.append(sibling)
    with pytest.raises(AssertionError, match="before its prompt is scored"):
        books.check()
