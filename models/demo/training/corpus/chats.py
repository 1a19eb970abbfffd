"""Task `chats`: turns whose answer lies earlier in the conversation: names, likes, "say that again".

A chat of this task is a short plan: something is said, other questions may come between, then it is asked
for.
"""

from __future__ import annotations

from random import Random

from models.demo.training.corpus.exchange import Exchange, is_held_out, words

NAMES = words(
    "Anna Ben Clara Daniel Emma Finn Grace Henry Ida Jack Kate Leo Mia Noah Olive Paul Rosa Sam Tina "
    "Victor Wendy Zoe Alice Bob Carol David Eva Frank George Hannah Ivan Julia Kevin Lucy Maria Nina "
    "Oscar Peter Ruth Simon Thomas Ursula Vera Walter Yara Tom Lily Max Ella Hugo"
)
COLOURS = words("red blue green yellow orange purple pink black white brown grey")
PETS = words("dog cat horse rabbit hamster parrot llama duck goat pony")
CITIES = words(
    "Paris London Berlin Rome Madrid Lisbon Oslo Vienna Prague Athens Dublin Cairo Tokyo Ottawa Lima"
)
FOODS = words("bread cheese soup cake rice apples pizza honey fish pancakes noodles chocolate")

Plan = tuple[tuple[tuple[str, ...], str], tuple[tuple[str, ...], str]]
# kind: ((ways to say it, answer), (ways to ask for it, answer)); the last way is only in the evaluation
PLANS: dict[str, Plan] = {
    "name": (
        (("My name is {x}.", "I am {x}.", "Hello, my name is {x}.", "Hi, I am {x}.", "I'm {x}.",
        "You can call me {x}.",
          "Hi, I'm {x}!", "Hello! My name is {x}.", "Good day, my name is {x}."), "Nice to meet you, {x}!"),
        (("What is my name?", "What's my name?", "Do you remember my name?", "Who am I?", "Tell me my name.",
          "Do you know my name?", "Say my name.", "Can you tell me my name?"), "Your name is {x}."),
    ),
    "colour": (
        (("My favourite colour is {x}.", "I like {x} best.", "The colour I like best is {x}.",
          "My favorite color is {x}.", "I love the colour {x}."), "{X} is a nice colour."),
        (("What is my favourite colour?", "Which colour do I like best?", "What's my favorite color?",
          "Do you remember my favourite colour?", "Tell me my favourite colour."),
          "Your favourite colour is {x}."),
    ),
    "city": (
        (("I live in {x}.", "I am from {x}.", "My home is in {x}.", "I come from {x}.",
        "My home town is {x}."),
         "{x} is a nice place."),
        (("Where do I live?", "Where am I from?", "Do you remember where I live?", "In which city do I live?",
          "Tell me where I live."), "You live in {x}."),
    ),
    "food": (
        (("My favourite food is {x}.", "I like to eat {x}.", "I love {x}.", "The food I like best is {x}.",
          "My favorite food is {x}."), "I hear that {x} can be very tasty."),
        (("What is my favourite food?", "What do I like to eat?", "Which food do I like best?",
          "Do you remember my favourite food?", "Tell me my favourite food."), "Your favourite food is {x}."),
    ),
}  # fmt: skip
VALUES = {"name": NAMES, "colour": COLOURS, "city": CITIES, "food": FOODS}
UNTOLD = {
    "name": "You have not told me your name.",
    "colour": "You have not told me your favourite colour.",
    "city": "You have not told me where you live.",
    "food": "You have not told me your favourite food.",
}
AGAIN = (
    "Could you say that again?", "Could you repeat that?", "Say it once more.", "Can you say that again?",
    "Could you repeat your answer once more?", "Tell me that once more.",
    "Say that again.", "Please repeat that.", "Can you repeat that?", "What did you say?",
    "Repeat your answer.",
    "Sorry, what was that?", "Once more, please.", "Repeat that, please.", "Could you say that once more?",
)  # fmt: skip
PET_TOLD: tuple[str, ...] = (
    "I have a {p} called {x}.", "My {p} is called {x}.", "I have a {p}. Its name is {x}.",
    "The name of my {p} is {x}.",
    "I own a {p} named {x}.",
)  # fmt: skip
PET_ASKED: tuple[str, ...] = (
    "What is my {p} called?", "What is the name of my {p}?", "What's my {p}'s name?",
    "Do you remember my {p}'s name?",
    "Tell me the name of my {p}.",
)  # fmt: skip


def _pick(random: Random, ways: tuple[str, ...], unseen: bool, *key: str) -> str:
    if unseen:
        return ways[-1]
    allowed = [way for way in ways[:-1] if not is_held_out("chats", way, *key)]
    return random.choice(allowed or [ways[0]])


def told_and_asked(random: Random, kind: str, unseen: bool = False) -> tuple[Exchange, Exchange]:
    """A pair of turns: the user says something about themselves, and later asks for it."""
    if kind == "pet":
        pet, name = random.choice(PETS), random.choice(NAMES)
        slots = {"p": pet, "x": name}
        told, told_answer = PET_TOLD, "{x} is a nice name for a {p}."
        asked, asked_answer = PET_ASKED, "Your {p} is called {x}."
    else:
        value = random.choice(VALUES[kind])
        slots = {"x": value, "X": value[0].upper() + value[1:]}
        (told, told_answer), (asked, asked_answer) = PLANS[kind]
    return (
        Exchange(
            "chats",
            _pick(random, told, unseen, *slots.values()).format(**slots),
            told_answer.format(**slots),
            styled=False,
        ),
        Exchange(
            "chats",
            _pick(random, asked, unseen, *slots.values()).format(**slots),
            asked_answer.format(**slots),
            styled=False,
        ),
    )


def untold(random: Random) -> Exchange:
    """The user asks for something that they never said; only right in a chat where it was not said."""
    kind = random.choice(sorted(UNTOLD))
    return Exchange("chats", random.choice(PLANS[kind][1][0][:-1]), UNTOLD[kind], styled=False)


def again(random: Random, last: Exchange, unseen: bool = False) -> Exchange:
    """The user wants the last answer once more."""
    return Exchange("chats", AGAIN[-1] if unseen else random.choice(AGAIN[:-1]), last.answer, styled=False)


KINDS = ("name", "name", "colour", "city", "food", "pet")
