"""Task `days_months`: the order of days, months and seasons, and how long things of the calendar last."""

from __future__ import annotations

from models.demo.training.corpus.exchange import Fact, Family

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth",
    "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth",
)  # fmt: skip
SEASONS = (
    "winter", "winter", "spring", "spring", "spring", "summer",
    "summer", "summer", "autumn", "autumn", "autumn", "winter",
)  # fmt: skip
COUNTS = {
    ("days", "a week"): "seven", ("months", "a year"): "twelve", ("hours", "a day"): "twenty-four",
    ("minutes", "an hour"): "sixty", ("seconds", "a minute"): "sixty", ("seasons", "a year"): "four",
    ("weeks", "a year"): "fifty-two", ("days", "a year"): "365", ("days", "a weekend"): "two",
    ("years", "a century"): "one hundred", ("years", "a decade"): "ten",
}  # fmt: skip


def _next(names: tuple[str, ...], kind: str, step: int, word: str) -> Family:
    facts = []
    for index, name in enumerate(names):
        other = names[(index + step) % len(names)]
        facts.append(Fact({"x": name}, f"{other} comes {word} {name}.", other))
    return Family(
        task="days_months",
        name=f"{kind} {word}",
        facts=tuple(facts),
        phrasings=(
            f"what {kind} comes {word} {{x}}?",
            f"which {kind} comes {word} {{x}}?",
            f"what is the {kind} {word} {{x}}?",
            f"what comes {word} {{x}}?",
            f"which {kind} is {word} {{x}}?",
            f"name the {kind} {word} {{x}}.",
            f"tell me the {kind} {word} {{x}}.",
            f"what {kind} is it {word} {{x}}?",
            f"{kind} {word} {{x}}?",
            f"tell me which {kind} comes {word} {{x}}.",
            f"could you tell me what {kind} comes {word} {{x}}?",
            f"I would like to know which {kind} comes {word} {{x}}.",
            f"the {kind} {word} {{x}} is what?",
            f"which {kind} do we have {word} {{x}}?",
            f"can you name the {kind} {word} {{x}}?",
            f"which one is the {kind} {word} {{x}}?",
        ),
        unseen=(
            f"could you tell me which {kind} comes {word} {{x}}?",
            f"the {kind} {word} {{x}} is which one?",
        ),
        with_input=(f"Which {kind} comes {word} this one?",),
        follow_ups=("And {x}?", f"And {word} {{x}}?", f"What about {word} {{x}}?"),
    )


def _ordinal(names: tuple[str, ...], kind: str, whole: str) -> Family:
    return Family(
        task="days_months",
        name=f"{kind} of the {whole}",
        facts=tuple(
            Fact({"x": ordinal}, f"The {ordinal} {kind} of the {whole} is {name}.", name)
            for ordinal, name in zip(ORDINALS, names, strict=False)
        ),
        phrasings=(
            f"what is the {{x}} {kind} of the {whole}?",
            f"which {kind} is the {{x}} of the {whole}?",
            f"which is the {{x}} {kind} of the {whole}?",
            f"name the {{x}} {kind} of the {whole}.",
            f"tell me the {{x}} {kind} of the {whole}.",
            f"what's the {{x}} {kind} in the {whole}?",
            f"{{x}} {kind} of the {whole}?",
            f"could you tell me the {{x}} {kind} of the {whole}?",
            f"can you name the {{x}} {kind} of the {whole}?",
            f"what is the {{x}} {kind} of the {whole} called?",
            f"what do we call the {{x}} {kind} in a {whole}?",
        ),
        unseen=(
            f"could you name the {{x}} {kind} of the {whole}?",
            f"what do you call the {{x}} {kind} of the {whole}?",
        ),
        follow_ups=("And the {x}?", f"And the {{x}} {kind}?"),
    )


FAMILIES = (
    _next(DAYS, "day", 1, "after"),
    _next(DAYS, "day", -1, "before"),
    _next(MONTHS, "month", 1, "after"),
    _next(MONTHS, "month", -1, "before"),
    _ordinal(DAYS, "day", "week"),
    _ordinal(MONTHS, "month", "year"),
    Family(
        task="days_months",
        name="length of a month",
        facts=tuple(
            Fact({"x": month}, f"{month} has {length} days.", str(length))
            for month, length in zip(MONTHS, LENGTHS, strict=True)
        ),
        phrasings=(
            "how many days does {x} have?",
            "how many days are in {x}?",
            "how many days are there in {x}?",
            "how long is {x}?",
            "how many days has {x} got?",
            "tell me how many days {x} has.",
            "{x} has how many days?",
            "what is the number of days in {x}?",
            "could you tell me how many days {x} has?",
            "I would like to know how many days are in {x}.",
            "can you tell me the number of days in {x}?",
        ),
        unseen=("could you tell me how many days are in {x}?", "I would like to know how many days {x} has."),
        follow_ups=("And {x}?", "What about {x}?", "And how many days does {x} have?"),
    ),
    Family(
        task="days_months",
        name="season of a month",
        facts=tuple(
            Fact({"x": month}, f"{month} is in {season}.", season)
            for month, season in zip(MONTHS, SEASONS, strict=True)
        ),
        phrasings=(
            "in which season is {x}?",
            "which season is {x} in?",
            "what season is {x} in?",
            "{x} is in which season?",
            "tell me the season of {x}.",
            "what is the season in {x}?",
            "could you tell me the season of {x}?",
            "tell me which season {x} is in.",
            "can you tell me in which season {x} is?",
        ),
        unseen=("could you tell me which season {x} is in?",),
        follow_ups=("And {x}?", "What about {x}?"),
    ),
    Family(
        task="days_months",
        name="count",
        facts=tuple(
            Fact({"x": part, "y": whole}, f"There are {count} {part} in {whole}.", count)
            for (part, whole), count in COUNTS.items()
        ),
        phrasings=(
            "how many {x} are in {y}?",
            "how many {x} are there in {y}?",
            "how many {x} does {y} have?",
            "tell me how many {x} {y} has.",
            "{y} has how many {x}?",
            "what is the number of {x} in {y}?",
            "do you know how many {x} are in {y}?",
            "could you tell me how many {x} {y} has?",
            "how many {x} make up {y}?",
            "I would like to know how many {x} are in {y}.",
            "tell me how many {x} there are in {y}.",
        ),
        unseen=("could you tell me how many {x} there are in {y}?", "how many {x} make {y}?"),
        follow_ups=("And how many {x} are in {y}?",),
    ),
)
