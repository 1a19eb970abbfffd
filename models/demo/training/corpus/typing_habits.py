"""Habits of typing: lower case, no full stop, a slip of the finger, polite words around a question."""

from __future__ import annotations

from random import Random

BEFORE = (
    "Please answer: ", "Quick question: ", "I have a question. ", "Tell me, ", "Hey, ", "So, ", "Excuse me, ",
    "Question: ", "Hi! ", "Hello, ", "Please, ", "Now, ", "OK, ", "I wonder: ", "And now: ",
)  # fmt: skip
AFTER = (" Thanks!", " Please.", " Thank you.", " Please answer.", " I want to know.")


def around(random: Random, text: str) -> str:
    """Put a few polite words before or after a question."""
    roll = random.random()
    if roll < 0.7:
        return random.choice(BEFORE) + text
    return text + random.choice(AFTER)


def _slip(random: Random, word: str) -> str:
    """Swap, drop or double one inner letter."""
    at = random.randrange(1, len(word) - 2)
    kind = random.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]


def typed(random: Random, text: str, keep: str = "") -> str:
    """`text` as it might be typed; words that occur in `keep` (the subject of the question) get no slip."""
    roll = random.random()
    if roll < 0.12:
        text = text.lower()
    elif roll < 0.24:
        text = text.rstrip(".?!") or text
    elif roll < 0.36:
        text = text.lower().rstrip(".?!") or text
    elif roll < 0.38:
        text = text.rstrip(".?!") + " " + text[-1]
    elif roll < 0.40:
        text = text + random.choice((" ", "?", "!", "."))
    elif roll < 0.42:
        text = text.upper()
    if random.random() < 0.08:
        words = text.split(" ")
        long = [
            i
            for i, word in enumerate(words)
            if len(word) >= 5 and word.isalpha() and word.lower() not in keep.lower()
        ]
        if long:
            at = random.choice(long)
            words[at] = _slip(random, words[at])
            text = " ".join(words)
    return text
