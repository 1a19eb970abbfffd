"""The evaluation's questions: none of them is ever written into a training document.

Three kinds: `phrasing`, a way to ask that training never uses; `combination`, a fact and a way to ask that
never met in training; `pair`, two numbers that training never joins with this sign, however it asks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from models.demo.training.corpus import chats, stories, systems
from models.demo.training.corpus.exchange import Chat, Exchange, Fact, Family, normalise
from models.demo.training.corpus.formats import prompt
from models.demo.training.corpus.mixture import TASKS, combination_held_out, question
from models.demo.training.corpus.refusals import refusal

SEED = 20_000
PER_TASK = 120


@dataclass(frozen=True)
class Question:
    """A chat whose last answer is to be found; `expected` is that answer."""

    task: str
    kind: str
    chat: Chat

    @property
    def expected(self) -> str:
        return self.chat.turns[-1].answer

    def prompt(self, form: str) -> str:
        """The text to complete, in the form `vicuna` or `alpaca` (several turns: FastChat's Alpaca)."""
        return prompt(self.chat, "alpaca_chat" if form == "alpaca" and len(self.chat.turns) > 1 else form)


def _of_family(family: Family) -> list[tuple[str, Fact, Exchange]]:
    found = []
    for fact in family.facts:
        kind = "pair" if fact.held_out else "phrasing"
        found += [(kind, fact, question(family, fact, phrasing)) for phrasing in family.unseen]
        for phrasing in family.phrasings:
            if fact.held_out:
                found.append(("pair", fact, question(family, fact, phrasing)))
            elif combination_held_out(family, fact, phrasing):
                found.append(("combination", fact, question(family, fact, phrasing)))
    return found


def _plain(task: str, random: Random) -> list[Question]:
    """Questions of a task in equal parts from its families, and of each kind that there is."""
    pools: dict[tuple[str, str], list[Question]] = {}
    for family in TASKS[task]:
        for kind, _, exchange in _of_family(family):
            group = family.name if len(family.facts) > 1 else ""
            pools.setdefault((group, kind), []).append(Question(task, kind, Chat((exchange,))))
    for pool in pools.values():
        random.shuffle(pool)
    chosen: list[Question] = []
    while len(chosen) < PER_TASK and any(pools.values()):
        for pool in pools.values():
            if pool and len(chosen) < PER_TASK:
                chosen.append(pool.pop())
    return chosen


def _refusals(random: Random) -> list[Question]:
    return [Question("refusals", "phrasing", Chat((refusal(random, unseen=True),))) for _ in range(PER_TASK)]


def _fillers(random: Random, count: int) -> list[Exchange]:
    questions = [
        item.chat.turns[0] for task in ("capitals", "opposites", "animals") for item in _plain(task, random)
    ]
    return random.sample(questions, count)


def _chats(random: Random) -> list[Question]:
    found: list[Question] = []
    families = [family for task in TASKS.values() for family in task if family.follow_ups]
    while len(found) < PER_TASK:
        kind = ("told", "follow-up", "again")[len(found) % 3]
        if kind == "told":
            told, asked = chats.told_and_asked(random, random.choice(chats.KINDS), unseen=True)
            found.append(
                Question("chats", "phrasing", Chat((told, *_fillers(random, random.randrange(3)), asked)))
            )
        elif kind == "again":
            (last,) = _fillers(random, 1)
            found.append(Question("chats", "phrasing", Chat((last, chats.again(random, last, unseen=True)))))
        else:
            family = random.choice(families)
            first, second = random.sample([fact for fact in family.facts if not fact.held_out], 2)
            follow_up = random.choice(family.follow_ups)
            if combination_held_out(family, second, follow_up):
                turns = (question(family, first, family.phrasings[0]), question(family, second, follow_up))
                found.append(Question("chats", "combination", Chat(turns)))
    return found


def _systems(random: Random) -> list[Question]:
    """A taught system message over a held-out question."""
    tasks = ("capitals", "opposites", "plurals", "colours", "animals", "days_months")
    pool = [item for task in tasks for item in _plain(task, random)]
    found = []
    for item in random.sample(pool, PER_TASK):
        chosen = systems.style(random, first_wording=True)
        turn = replace(item.chat.turns[0], answer=chosen.apply(item.chat.turns[0]))
        found.append(Question("systems", item.kind, Chat((turn,), chosen.system)))
    return found


def _stories(random: Random) -> list[Question]:
    """Requests for stories; there is no one right answer to these (see `evaluate`)."""
    return [Question("stories", "phrasing", Chat((stories.story(random, unseen=True),))) for _ in range(40)]


def questions() -> list[Question]:
    """All held-out questions, the same on every call."""
    random = Random(SEED)
    found = [item for task in TASKS for item in _plain(task, random)]
    return [*found, *_refusals(random), *_chats(random), *_systems(random), *_stories(random)]


def held_out_texts() -> set[str]:
    """Every question (normalised) of the closed-world tasks that training must never hold."""
    texts = set()
    for families in TASKS.values():
        for family in families:
            texts |= {normalise(exchange.user) for _, _, exchange in _of_family(family)}
    return texts
