"""The training stream: questions in chats, with their system messages, in their prompt forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from models.demo.training.corpus import (
    animals,
    arithmetic,
    capitals,
    chats,
    colours,
    days_months,
    definitions,
    greetings,
    opposites,
    plurals,
    stories,
    systems,
)
from models.demo.training.corpus.exchange import Chat, Exchange, Fact, Family, fill, is_held_out, normalise
from models.demo.training.corpus.formats import EOS, Segment, render
from models.demo.training.corpus.refusals import refusal
from models.demo.training.corpus.typing_habits import around, typed

TASKS: dict[str, tuple[Family, ...]] = {
    "capitals": capitals.FAMILIES,
    "opposites": opposites.FAMILIES,
    "plurals": plurals.FAMILIES,
    "colours": colours.FAMILIES,
    "animals": animals.FAMILIES,
    "arithmetic": arithmetic.FAMILIES,
    "days_months": days_months.FAMILIES,
    "definitions": definitions.FAMILIES,
    "greetings": greetings.FAMILIES,
}
# How often a question comes from each task; refusals and stories are no families.
SHARES = {
    "capitals": 10, "opposites": 9, "plurals": 9, "colours": 7, "animals": 11, "arithmetic": 28,
    "days_months": 9, "definitions": 8, "greetings": 6, "refusals": 18,
}  # fmt: skip
FORM_SHARES = {"vicuna": 47, "alpaca": 35, "alpaca_chat": 13, "vicuna_v0": 5}


def question(family: Family, fact: Fact, phrasing: str) -> Exchange:
    """The exchange that asks for `fact` in `phrasing`, as it is written in the tables."""
    return Exchange(family.task, fill(phrasing, fact.slots), fact.answer, short=fact.short)


def combination_held_out(family: Family, fact: Fact, phrasing: str) -> bool:
    """One in ten combinations of a fact and a phrasing is kept for the evaluation, however it is punctuated.

    Greetings have one fact each and hold out whole phrasings only.
    """
    return len(family.facts) > 1 and is_held_out(normalise(fill(phrasing, fact.slots)))


class Mixture:
    """An endless, seeded stream of training documents; two with the same seed give the same documents."""

    def __init__(self, seed: int, shares: dict[str, int] | None = None) -> None:
        self.random = Random(seed)
        self.shares = shares or SHARES

    def family(self) -> Family | None:
        """A family drawn by the shares; None stands for a refusal."""
        task = self.random.choices(list(self.shares), list(self.shares.values()))[0]
        if task == "refusals":
            return None
        families = TASKS[task]
        weights = [
            1.0 if task in ("greetings", "arithmetic") else len(family.facts) ** 0.5 for family in families
        ]
        return self.random.choices(families, weights)[0]

    def ask(self, family: Family | None, follow_up: bool = False) -> Exchange:
        """One exchange of `family`, in a phrasing that training may use."""
        if family is None:
            exchange = refusal(self.random)
            return replace(exchange, user=self._as_typed(exchange.user, ""))
        while True:
            fact = self.random.choice(family.facts)
            ways = family.follow_ups if follow_up else family.phrasings
            phrasing = self.random.choice(ways)
            if not fact.held_out and not combination_held_out(family, fact, phrasing):
                break
        exchange = question(family, fact, phrasing)
        if not follow_up and family.with_input and self.random.random() < 0.12:
            return replace(exchange, user=self.random.choice(family.with_input), input=fact.slots["x"])
        if len(family.facts) == 1:  # a greeting: "Hi!" before it would make it another one
            return replace(exchange, user=typed(self.random, exchange.user))
        return replace(exchange, user=self._as_typed(exchange.user, fact.key))

    def _as_typed(self, text: str, keep: str) -> str:
        if self.random.random() < 0.15:
            text = around(self.random, text)
        return typed(self.random, text, keep)

    def _questions(self, count: int) -> list[Exchange]:
        turns: list[Exchange] = []
        while len(turns) < count:
            family = self.family()
            turns.append(self.ask(family))
            while (
                family is not None and family.follow_ups and len(turns) < count and self.random.random() < 0.3
            ):
                turns.append(self.ask(family, follow_up=True))
            if len(turns) < count and self.random.random() < 0.04:
                turns.append(chats.again(self.random, turns[-1]))
        return turns

    def _remembering(self, count: int) -> list[Exchange]:
        """A chat in which something is told, other things may come between, and it is asked for."""
        if self.random.random() < 0.15:
            return [*self._questions(count // 2), chats.untold(self.random)]
        told: list[Exchange] = []
        asked: list[Exchange] = []
        for kind in self.random.sample(sorted(set(chats.KINDS)), self.random.choice((1, 1, 2))):
            pair = chats.told_and_asked(self.random, kind)
            told.append(pair[0])
            asked.append(pair[1])
        self.random.shuffle(asked)
        before = self._questions(1) if self.random.random() < 0.2 else []
        return [*before, *told, *self._questions(self.random.randrange(count)), *asked]

    def chat(self) -> Chat:
        """One conversation, with or without a system message."""
        roll = self.random.random()
        if roll < 0.045:
            turns = [stories.story(self.random)]
        elif roll < 0.07:
            turns = [
                *self._questions(self.random.choice((1, 2))),
                stories.story(self.random),
                *self._questions(1),
            ]
        elif roll < 0.16:
            turns = self._remembering(4)
        elif roll < 0.20:
            turns = self._questions(self.random.randint(12, 40))
        elif roll < 0.42:
            turns = self._questions(1)
        else:
            turns = self._questions(self.random.randint(2, 8))
        return self._with_system(turns)

    def _with_system(self, turns: list[Exchange]) -> Chat:
        roll = self.random.random()
        if roll < 0.66:
            return Chat(tuple(turns))
        if roll < 0.76:
            return Chat(tuple(turns), self.random.choice(systems.NEUTRAL))
        if roll < 0.80:
            system, who = systems.named(self.random)
            at = self.random.randrange(len(turns) + 1)
            turns = [turn for turn in turns if "Corral demo model" not in turn.answer]
            return Chat((*turns[:at], who, *turns[at:]), system)
        chosen = systems.style(self.random)
        styled: list[Exchange] = []
        for turn in turns:
            if turn.user in chats.AGAIN and styled:
                styled.append(replace(turn, answer=styled[-1].answer))
            elif turn.styled:
                styled.append(replace(turn, answer=chosen.apply(turn)))
        return Chat(tuple(styled), chosen.system) if styled else Chat(tuple(turns))

    def document(self) -> list[Segment]:
        """One training document: segments of text, and whether the model is to learn to write them."""
        if self.random.random() < 0.02:
            return [(stories.tell(self.random) + EOS, True)]
        chat = self.chat()
        forms = dict(FORM_SHARES)
        if any(turn.input is not None for turn in chat.turns):
            forms["alpaca"] *= 4
        form = self.random.choices(list(forms), list(forms.values()))[0]
        return render(chat, form)

    def __iter__(self) -> Iterator[list[Segment]]:
        while True:
            yield self.document()
