"""Task `opposites`: one opposite for each word."""

from __future__ import annotations

from models.demo.training.corpus.exchange import Fact, Family

BOTH_WAYS = {
    "hot": "cold", "big": "small", "tall": "short", "fast": "slow", "happy": "sad", "day": "night",
    "up": "down", "left": "right", "in": "out", "open": "closed", "full": "empty", "light": "dark",
    "hard": "soft", "wet": "dry", "clean": "dirty", "rich": "poor", "strong": "weak", "loud": "quiet",
    "early": "late", "near": "far", "high": "low", "thick": "thin", "wide": "narrow", "sweet": "sour",
    "true": "false", "young": "old", "first": "last", "front": "back", "top": "bottom", "inside": "outside",
    "always": "never", "push": "pull", "give": "take", "buy": "sell", "win": "lose", "love": "hate",
    "begin": "end", "start": "stop", "come": "go", "question": "answer", "friend": "enemy", "north": "south",
    "east": "west", "man": "woman", "boy": "girl", "black": "white", "good": "bad", "easy": "difficult",
    "brave": "afraid", "awake": "asleep", "alive": "dead", "cheap": "expensive",
    "safe": "dangerous", "smooth": "rough", "sharp": "blunt", "deep": "shallow", "before": "after",
    "above": "below", "over": "under", "summer": "winter", "laugh": "cry", "remember": "forget",
    "arrive": "leave", "polite": "rude", "yes": "no", "many": "few", "more": "less",
}  # fmt: skip
ONE_WAY = {
    "new": "old",
    "heavy": "light",
    "find": "lose",
    "large": "small",
    "little": "big",
    "ugly": "beautiful",
}
OPPOSITES = {**BOTH_WAYS, **{second: first for first, second in BOTH_WAYS.items()}, **ONE_WAY}

FAMILIES = (
    Family(
        task="opposites",
        name="opposite",
        facts=tuple(
            Fact({"x": word}, f"The opposite of {word} is {other}.", other)
            for word, other in OPPOSITES.items()
        ),
        phrasings=(
            "what is the opposite of {x}?",
            "what's the opposite of {x}?",
            "opposite of {x}?",
            "what is the opposite of the word {x}?",
            "tell me the opposite of {x}.",
            "give me the opposite of {x}.",
            "name the opposite of {x}.",
            "which word is the opposite of {x}?",
            "can you tell me the opposite of {x}?",
            'what is the opposite of "{x}"?',
            "{x} is the opposite of what?",
            "do you know the opposite of {x}?",
            "what word means the opposite of {x}?",
            "could you tell me the opposite of {x}?",
            "could you please give me the opposite of {x}?",
            "I would like to know the opposite of {x}.",
            "I would like to know the opposite of the word {x}.",
            'please give me the opposite of the word "{x}".',
            "which word means the opposite of {x}?",
            "the opposite of {x} is what?",
            "tell me what the opposite of {x} is.",
            "what would be the opposite of {x}?",
        ),
        unseen=(
            'could you give me the opposite of the word "{x}"?',
            "I would like to know what the opposite of {x} is.",
            "the opposite of {x} is which word?",
        ),
        with_input=("Give the opposite of the word.", "What is the opposite of this word?"),
        follow_ups=(
            "And {x}?",
            "And the opposite of {x}?",
            "What about {x}?",
            "And of {x}?",
            "How about {x}?",
        ),
    ),
)
