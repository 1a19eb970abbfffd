"""System messages: the neutral ones that change nothing, and the few that the model learns to follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from models.demo.training.corpus.exchange import Exchange, words

NEUTRAL = (
    "You are a helpful assistant.",
    "You are a helpful, respectful and honest assistant.",
    "You are a friendly assistant.",
    "You are an AI assistant.",
    "You are a helpful AI assistant. Answer the user's questions.",
    "Answer the question.",
    "Answer the user's questions.",
    "Be helpful.",
    "Be polite and friendly.",
    "You are a kind teacher.",
    "You answer questions for children.",
    "Give short and clear answers.",
    "You are a careful assistant. If you do not know something, say so.",
    "This is a test.",
    "Help the user.",
    "You are an assistant that answers questions and tells stories.",
    "Please answer in English.",
    "You are a model in a demo.",
)
ENDINGS = (
    "Cheers!",
    "Have a nice day!",
    "Thank you!",
    "Good luck!",
    "See you soon!",
    "Peace.",
    "Bye!",
    "Yes, sir!",
)
BEGINNINGS = ("Hello!", "Well,", "Sure!", "My friend,", "Of course!", "Listen:", "Good question!", "Hooray!")
NAMES = words(
    "Ada Luna Max Robo Bella Alpha Nova Coral Buddy Pixel Maya Oscar Stella Ruby Zara Hal Rex Vera Iris Otto"
)


@dataclass(frozen=True)
class Style:
    """A system message that changes answers, and how."""

    system: str
    apply: Callable[[Exchange], str]
    name: str


def _word(exchange: Exchange) -> str:
    if exchange.short is None:
        return exchange.answer
    return exchange.short[0].upper() + exchange.short[1:] + "."


def _pirate(exchange: Exchange) -> str:
    return f"Arr! {exchange.answer[:-1]}, matey!"


def _ending(text: str) -> Callable[[Exchange], str]:
    return lambda exchange: f"{exchange.answer} {text}"


def _beginning(text: str) -> Callable[[Exchange], str]:
    return lambda exchange: f"{text} {exchange.answer}"


def _upper(exchange: Exchange) -> str:
    return exchange.answer.upper()


# The first wording of each is also asked in the evaluation, in combinations that training never sees.
_WORD = (
    "Answer in one word.", "Answer with one word.", "Answer with one word only.", "Use only one word.",
    "You answer in one word.", "Give one-word answers.", "Always answer in a single word.",
)  # fmt: skip
_PIRATE = (
    "You are a pirate.", "Talk like a pirate.", "You are a friendly pirate.", "Speak like a pirate.",
    "Act as a pirate.",
    "Answer like a pirate.",
)  # fmt: skip
_CAPITALS = (
    "Answer in capital letters.", "Write in capital letters.", "Use only capital letters.",
    "Answer in upper case.",
    "Always write in capitals.", "Shout your answers.",
)  # fmt: skip
_ENDING = (
    "Always end with '{x}'",
    "End every answer with '{x}'", 'Always end with "{x}"', "Finish each answer with '{x}'",
    'End your answer with "{x}"', "Say '{x}' at the end of each answer.",
)  # fmt: skip
_BEGINNING = (
    "Always begin with '{x}'",
    "Begin every answer with '{x}'", 'Always start with "{x}"', "Start each answer with '{x}'",
    'Begin your answer with "{x}"', "Say '{x}' at the start of each answer.",
)  # fmt: skip
_NAMED = (
    "Your name is {x}.", "You are {x}.", "You are {x}, a helpful assistant.",
    "You are an assistant called {x}.",
    "You are a helpful assistant named {x}.", "You are called {x}.", "You are {x}, a friendly llama.",
)  # fmt: skip
WHO = (
    "Who are you?", "What is your name?", "What's your name?", "Tell me who you are.", "Do you have a name?",
    "What should I call you?", "Who am I talking to?", "Introduce yourself.",
)  # fmt: skip


def style(random: Random, first_wording: bool = False) -> Style:
    """A system message from the taught set."""
    pick: Callable[[tuple[str, ...]], str] = (lambda ways: ways[0]) if first_wording else random.choice
    kind = random.choice(("word", "word", "pirate", "upper", "upper", "ending", "beginning"))
    if kind == "word":
        return Style(pick(_WORD), _word, kind)
    if kind == "pirate":
        return Style(pick(_PIRATE), _pirate, kind)
    if kind == "upper":
        return Style(pick(_CAPITALS), _upper, kind)
    if kind == "ending":
        text = random.choice(ENDINGS)
        return Style(pick(_ENDING).format(x=text), _ending(text), kind)
    text = random.choice(BEGINNINGS)
    return Style(pick(_BEGINNING).format(x=text), _beginning(text), kind)


def named(random: Random) -> tuple[str, Exchange]:
    """A system message that gives the model a name, and the turn that asks for it."""
    name = random.choice(NAMES)
    return random.choice(_NAMED).format(x=name), Exchange(
        "systems", random.choice(WHO), f"I am {name}.", styled=False
    )
