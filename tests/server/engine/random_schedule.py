"""One random schedule: requests of all kinds, cancelled, poisoned, crowded out, and what each must get."""

from __future__ import annotations

import random
from collections.abc import Sequence

from server.engine.batch import Adapters
from server.engine.engine import EngineConfig
from server.engine.events import Failure
from server.engine.images import ImageSpan, image_tokens, is_image_token, without_images
from server.engine.request import IDLE_PRIORITY, EngineRequest
from server.engine.speculation.ngram import NgramProposer
from server.engine.speculation.speculation import Proposer, Speculation
from tests.server.engine.harness import Clock, Harness, Outcome, request
from tests.server.engine.proposers import Oracle
from tests.server.engine.reference import expected_answer, expected_logprobs, expected_scores
from tests.server.engine.scripted_runner import EOG, ScriptedRunner
from tests.server.engine.scripted_store import ScriptedStore

STOPS = ["ab", "ba.", "stop", "#a", "the end#", "é", "c", "\ufffd"]
OWNERS = ["", "", "", "a", "b"]
ADAPTERS: list[Adapters] = [(), (), (), ((1, 1.0),), ((1, 0.5), (2, 1.0))]


def random_request(chance: random.Random, prefixes: Sequence[list[int]], n_ctx: int) -> EngineRequest:
    start = chance.choice(prefixes)[: chance.randint(0, 80)]
    prompt = [*start, *(chance.randrange(EOG) for _ in range(chance.randint(1, 30)))]
    limit = chance.choice([None, 0, 1, 5, 40])
    slides = chance.random() < 0.2
    images: tuple[ImageSpan, ...] = ()
    if chance.random() < 0.2 and len(prompt) < n_ctx - 40:
        slides = False
        prompt, images = with_images(chance, prompt)
    if slides:
        limit = chance.choice([1, 40, 150, 400])
    return request(
        prompt,
        images=images,
        borders=tuple(sorted(chance.sample(range(len(prompt)), chance.choice([0, 0, 1, 2]))))
        if len(prompt) > 1
        else (),
        n=chance.choice([1, 1, 1, 2, 5]),
        max_tokens=limit if limit is None or slides else min(limit, n_ctx - len(prompt)),
        n_keep=chance.choice([0, 1, min(len(prompt), 30)]) if slides else None,
        min_tokens=chance.choice([0, 0, 0, 3, 20]),
        temperature=chance.choice([0.0, 1.0]),
        seed=chance.randrange(1000),
        stop=tuple(chance.sample(STOPS, chance.choice([0, 0, 1, 2]))),
        extra_stops=chance.choice([(), (), ("###",)]),
        ignore_eos=chance.random() < 0.2,
        cache_prompt=chance.random() < 0.8,
        return_tokens=chance.random() < 0.5,
        echo_text=chance.choice(["", "", "echo: "]),
        strip_leading_space=chance.random() < 0.2,
        timeout_s=chance.choice([None, None, None, 0.05]),
        n_probs=chance.choice([None, None, 0, 2]),
        score_prompt=chance.random() < 0.15 and not images,
        priority=chance.choice([0, 0, 0, -1, 3, IDLE_PRIORITY]),
        adapters=chance.choice(ADAPTERS),
        owner=chance.choice(OWNERS),
        slot=chance.choice([None, None, None, None, 0]),
    )


def with_images(chance: random.Random, prompt: list[int]) -> tuple[list[int], tuple[ImageSpan, ...]]:
    """One or two of three images, anywhere before the prompt's last token."""
    tokens: list[int] = []
    spans = []
    places = sorted(chance.randrange(len(prompt)) for _ in range(chance.choice([1, 1, 2])))
    for at, token in enumerate(prompt):
        for _ in range(places.count(at)):
            number = chance.randrange(3)
            n_tokens = (1, 7, 18)[number]
            spans.append(ImageSpan(len(tokens), n_tokens, f"image {number}"))
            tokens += image_tokens(b"%d" % number, n_tokens)
        tokens.append(token)
    return tokens, tuple(spans)


def random_proposer(chance: random.Random) -> Proposer | None:
    """None, prompt lookup that finds something anywhere, or an oracle always, often or never right."""
    kind = chance.choice([None, None, "ngram", "oracle", "oracle", "wrong"])
    if kind is None:
        return None
    if kind == "ngram":
        return NgramProposer(chance.choice([(2, 1), (3,), (6, 3)]))
    share = 0.0 if kind == "wrong" else chance.choice([0.3, 0.7, 0.95, 1.0])
    return Oracle(share, chance, guess_s=chance.choice([0.0, 0.0, 0.0005]), shorter=chance.choice([0.0, 0.3]))


def random_harness(chance: random.Random) -> Harness:
    n_slots = chance.randint(1, 6)
    clock = Clock()
    n_ctx = chance.choice([128, 256])
    runner = ScriptedRunner(
        n_slots=n_slots,
        n_ctx=n_ctx,
        n_stream=chance.choice([0, 0, n_ctx // 4, n_ctx // 2]),
        n_batch=chance.choice([n_slots + 1, 16, 64]),
        can_trim=(can_trim := chance.random() < 0.6),
        can_pad=can_trim and chance.random() < 0.5,
        n_swa=(n_swa := chance.choice([0, 0, 0, 24])),
        forgets=n_swa > 0,
        can_rewind=(not can_trim or n_swa > 0) and chance.random() < 0.7,
        refused_checkpoints=chance.choice([0, 0, 3]),
        n_cells=chance.choice([None, None, 60, 150, 300]),
        spend=clock.spend_per_token(chance.choice([0.0, 0.0001, 0.002])),
    )
    store = None
    if chance.random() < 0.3:
        store = ScriptedStore(runner, chance, quick=chance.choice([0.0, 0.5, 1.0]), willing=0.8)
    config = EngineConfig(
        queue_size=chance.choice([3, 50, 200]),
        prefill_chunk_tokens=chance.choice([1, 7, 32]),
        prefill_tokens_alone=chance.choice([1, 16, 64]),
        gap_s=chance.choice([0.01, 0.1]),
        copy_tokens_min=chance.choice([1, 8, 32]),
        divide_after_steps=chance.choice([0, 3, 20]),
        checkpoint_tokens=chance.choice([1, 7, 32, 512]),
        checkpoint_bytes=chance.choice([0, 100, 1000, 100_000]),
    )
    proposer = random_proposer(chance)
    speculation = None
    if proposer is not None:
        speculation = Speculation(proposer, draft_max=chance.choice([1, 4, 16]))
    return Harness(runner, config, speculation, clock, store)


class Schedule:
    """Plays one seed; `play` raises AssertionError with the first thing that isn't right."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.harness = random_harness(self.chance)
        self.prefixes = [[self.chance.randrange(EOG) for _ in range(80)] for _ in range(3)]
        self.asked: dict[str, EngineRequest] = {}
        self.disturbed: set[str] = set()

    def play(self) -> None:
        for _ in range(self.chance.randint(20, 120)):
            self._act()
        self.harness.run()
        for name in self.asked:
            self._check(name)

    def _act(self) -> None:
        chance, harness = self.chance, self.harness
        action = chance.random()
        if action < 0.25:
            for _ in range(chance.choice([1, 1, 1, 4])):
                new = self._next_request()
                self.asked[harness.submit(new)] = new
        elif action < 0.30 and self.asked:
            victim = chance.choice(list(self.asked))
            self.disturbed.add(victim)
            harness.engine.cancel(victim)
        elif action < 0.32 and harness.runner.samplers:
            poisoned = chance.choice(list(harness.runner.samplers))
            harness.runner.poisoned.add(poisoned)
            self.disturbed.add(harness.engine.snapshot().request_id_of(poisoned))
        elif action < 0.33:
            harness.runner.forgetful.add(chance.randrange(harness.runner.n_slots))
        elif action < 0.35 and harness.runner.saved:
            harness.runner.damaged.add(chance.choice(list(harness.runner.saved)))
        elif action < 0.38:
            self._change_slot()
        else:
            harness.step()

    def _change_slot(self) -> None:
        """Empty an idle slot, or have it hold what another one does."""
        chance, runner, contents = self.chance, self.harness.runner, self.harness.engine.slot_contents
        held = contents.held(chance.randrange(runner.n_slots))
        if held is None:
            return
        if chance.random() < 0.5:
            contents.erase(held.slot)
        elif any(map(is_image_token, held.tokens)):
            return  # the worker keeps no such slot in a file
        elif held.tokens and not held.adapters and runner.held[held.slot] == held.tokens:
            runner.save(held)
            target = contents.held(chance.randrange(runner.n_slots))
            if target is not None and len(held.tokens) <= runner.n_stream:
                contents.fill(target.slot, list(held.tokens), runner.key_of(held))

    def _next_request(self) -> EngineRequest:
        """Something new, or the next turn after an answer: its prompt is all that was said before."""
        chance, n_ctx = self.chance, self.harness.runner.n_ctx
        if self.asked and chance.random() < 0.3:
            before = self.asked[chance.choice(list(self.asked))]
            said = expected_answer(before, n_ctx).tokens
            if before.images and chance.random() < 0.7:
                return self._next_turn(before, said)
            history = [token for token in without_images((*before.prompt_tokens, *said)) if token != EOG]
            self.prefixes[chance.randrange(3)] = history[: n_ctx - 31]
            turn = random_request(chance, [history[: n_ctx - 31]], n_ctx)
            if chance.random() < 0.5:
                return turn
        return random_request(chance, self.prefixes, n_ctx)

    def _next_turn(self, before: EngineRequest, said: list[int]) -> EngineRequest:
        """The same images at the same places, then the answer and something new, as far as there is room."""
        more = [*said, *(self.chance.randrange(EOG) for _ in range(4))]
        n_room = self.harness.runner.n_ctx - 1 - len(before.prompt_tokens)
        prompt = [*before.prompt_tokens, *(token for token in more if token != EOG)][
            : len(before.prompt_tokens) + n_room
        ]
        limit = min(20, self.harness.runner.n_ctx - len(prompt))
        return request(
            prompt, images=before.images, max_tokens=limit, cache_prompt=self.chance.random() < 0.8
        )

    # --- what it must have got -------------------------------------------------------------------------

    def _check(self, name: str) -> None:
        original, outcome = self.asked[name], self.harness.outcomes[name]
        n_cells = self.harness.runner.n_cells
        assert outcome.terminal is not None, "no terminal event"
        if isinstance(outcome.terminal, Failure):
            allowed = name in self.disturbed or original.timeout_s is not None
            allowed |= outcome.terminal.kind == "busy"
            allowed |= n_cells is not None and len(original.prompt_tokens) > n_cells
            assert allowed, outcome.terminal
            return
        assert set(outcome.ends) == set(range(original.n))
        n_said = sum(self._check_choice(original, outcome, index) for index in range(original.n))
        self._check_finish(original, outcome, n_said)

    def _check_choice(self, original: EngineRequest, outcome: Outcome, index: int) -> int:
        """Return the number of tokens that the choice had."""
        prompt, end = list(original.prompt_tokens), outcome.ends[index]
        answer = expected_answer(original, self.harness.runner.n_ctx, index)
        said, text = answer.tokens, outcome.text.get(index, "")
        n_cells, n_ctx = self.harness.runner.n_cells, self.harness.runner.n_ctx
        n_room = 10**6 if n_cells is None or n_cells >= n_ctx else n_cells - len(prompt) + 1
        full = n_room < len(said)
        if full:  # it had the whole KV cache to itself, up to the last cell
            said = said[:n_room]
            assert end.finish_reason == "length"
            assert answer.text.startswith(text) or answer.stop is not None
        else:
            assert text == answer.text
            assert (end.finish_reason, end.stop) == (answer.finish_reason, answer.stop)
        told = said if original.score_prompt or not said or said[-1] != EOG else said[:-1]
        if original.return_tokens:
            assert list(outcome.tokens.get(index, ())) == told
        if original.n_probs is not None:
            covered = told if full or answer.stop is None else answer.covered(original)
            expected = expected_logprobs(prompt, covered)
            n_before = len(expected) if original.n_keep is None else n_ctx - len(prompt)
            found = list(outcome.logprobs.get(index, ()))
            assert len(found) == len(expected)
            assert found[:n_before] == expected[:n_before]
            assert [one.token for one in found] == covered
        return len(said)

    def _check_finish(self, original: EngineRequest, outcome: Outcome, n_said: int) -> None:
        usage, timings = outcome.finish.usage, outcome.finish.timings
        n_prompt = len(original.prompt_tokens)
        assert (usage.prompt_tokens, usage.completion_tokens) == (n_prompt, n_said)
        assert timings.predicted_n == n_said
        assert 0 <= timings.draft_n_accepted <= timings.draft_n
        assert usage.cached_tokens < n_prompt
        assert outcome.started is not None
        assert outcome.started.cached_tokens == usage.cached_tokens
        again = self.harness.engine.stats.preemptions_total or self.harness.runner.n_forgotten
        computed_once = original.n == 1 and not again and not timings.context_shifts
        if original.n_keep is None:
            assert timings.context_shifts == 0
        if computed_once and (original.params.max_tokens != 0 or original.score_prompt):
            assert usage.cached_tokens + timings.prompt_n == n_prompt
        if original.score_prompt or (original.n == 1 and not original.cache_prompt):
            assert usage.cached_tokens == 0
        if original.score_prompt:
            scores = expected_scores(list(original.prompt_tokens))
            assert outcome.prompt_logprobs == tuple(scores)
        else:
            assert outcome.prompt_logprobs is None
