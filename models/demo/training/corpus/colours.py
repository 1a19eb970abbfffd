"""Task `colours`: the colour of a thing, and what two colours make together."""

from __future__ import annotations

from models.demo.training.corpus.exchange import Fact, Family

PLAIN = {
    "grass": "green", "snow": "white", "milk": "white", "blood": "red", "coal": "black", "chocolate": "brown",
    "gold": "yellow", "silver": "grey", "butter": "yellow", "cheese": "yellow", "salt": "white",
    "sugar": "white", "rice": "white", "honey": "yellow", "mud": "brown", "coffee": "brown", "ketchup": "red",
    "mustard": "yellow", "lettuce": "green", "spinach": "green", "ice": "white", "ash": "grey", "lava": "red",
    "sand": "yellow",
}  # fmt: skip
WITH_ARTICLE = {
    "the sky": "blue", "the sun": "yellow", "the sea": "blue", "a banana": "yellow", "a lemon": "yellow",
    "a strawberry": "red", "a tomato": "red", "a cherry": "red", "a carrot": "orange", "an orange": "orange",
    "a pumpkin": "orange", "a frog": "green", "a leaf": "green", "a cucumber": "green", "a pea": "green",
    "an elephant": "grey", "a crow": "black", "a swan": "white", "a polar bear": "white", "a pig": "pink",
    "a flamingo": "pink", "a plum": "purple", "an aubergine": "purple", "a fire engine": "red",
    "a ripe apple": "red", "the night": "black", "a cloud": "white", "a daisy": "white",
    "a sunflower": "yellow",
    "a violet": "purple", "a blueberry": "blue", "a crocodile": "green",
}  # fmt: skip
THINGS = {**PLAIN, **WITH_ARTICLE}
MIXES = {
    ("blue", "yellow"): "green", ("red", "yellow"): "orange", ("red", "blue"): "purple",
    ("red", "white"): "pink", ("black", "white"): "grey", ("red", "green"): "brown",
}  # fmt: skip


def _thing(thing: str, colour: str) -> Fact:
    return Fact({"x": thing}, f"{thing[0].upper()}{thing[1:]} is {colour}.", colour)


def _mix(first: str, second: str, result: str) -> Fact:
    return Fact({"x": first, "y": second}, f"{first.capitalize()} and {second} make {result}.", result)


FAMILIES = (
    Family(
        task="colours",
        name="colour of a thing",
        facts=tuple(_thing(thing, colour) for thing, colour in THINGS.items()),
        phrasings=(
            "what colour is {x}?",
            "what color is {x}?",
            "which colour is {x}?",
            "what is the colour of {x}?",
            "what is the color of {x}?",
            "tell me the colour of {x}.",
            "tell me what colour {x} is.",
            "can you tell me what color {x} is?",
            "name the colour of {x}.",
            "colour of {x}?",
            "{x} has which colour?",
            "do you know the colour of {x}?",
            "what colour does {x} have?",
            "could you tell me the colour of {x}?",
            "could you please tell me what color {x} is?",
            "I would like to know the colour of {x}.",
            "I would like to know what color {x} has.",
            "which color is {x}?",
            "which colour does {x} have?",
            "what color does {x} have?",
            "please name the color of {x}.",
        ),
        unseen=(
            "could you tell me the color of {x}?",
            "I would like to know what colour {x} is.",
            "which color does {x} have?",
        ),
        with_input=("What colour is this?", "Name the colour of the thing."),
        follow_ups=("And {x}?", "What about {x}?", "And what colour is {x}?", "How about {x}?"),
    ),
    Family(
        task="colours",
        name="mixture",
        facts=tuple(
            fact for (one, two), mix in MIXES.items() for fact in (_mix(one, two, mix), _mix(two, one, mix))
        ),
        phrasings=(
            "what colour do {x} and {y} make?",
            "what color do {x} and {y} make?",
            "what do you get when you mix {x} and {y}?",
            "which colour do you get if you mix {x} and {y}?",
            "what colour is {x} mixed with {y}?",
            "if I mix {x} and {y}, what colour do I get?",
            "what does {x} and {y} make?",
            "mix {x} and {y}.",
            "which colour do I get from {x} and {y}?",
            "what colour do {x} and {y} make together?",
            "I mix {x} and {y}. What do I get?",
            "which colour is {x} mixed with {y}?",
            "could you tell me what {x} and {y} make?",
            "mixing {x} with {y} makes which color?",
        ),
        unseen=("which color do {x} and {y} make together?", "I mix {x} with {y}. What colour is it?"),
        follow_ups=("And {x} and {y}?", "What about {x} and {y}?"),
    ),
)
