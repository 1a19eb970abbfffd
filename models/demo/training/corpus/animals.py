"""Task `animals`: the sound, the young, the legs and the home of an animal."""

from __future__ import annotations

from models.demo.training.corpus.exchange import Fact, Family, article

SOUNDS = {
    "cow": "moo", "dog": "woof", "cat": "meow", "duck": "quack", "sheep": "baa", "pig": "oink",
    "horse": "neigh",
    "lion": "roar", "mouse": "squeak", "frog": "ribbit", "bee": "buzz", "owl": "hoot", "snake": "hiss",
    "rooster": "cock-a-doodle-doo", "hen": "cluck", "goat": "maa", "wolf": "howl", "crow": "caw",
    "turkey": "gobble", "donkey": "hee-haw", "bird": "tweet", "bear": "growl", "goose": "honk",
    "llama": "hum",
}  # fmt: skip
YOUNG = {
    "cat": "kitten", "dog": "puppy", "cow": "calf", "horse": "foal", "sheep": "lamb", "pig": "piglet",
    "goat": "kid", "hen": "chick", "duck": "duckling", "goose": "gosling", "lion": "cub", "bear": "cub",
    "frog": "tadpole", "deer": "fawn", "kangaroo": "joey", "swan": "cygnet", "owl": "owlet", "fox": "kit",
    "wolf": "pup", "elephant": "calf", "whale": "calf", "butterfly": "caterpillar", "llama": "cria",
    "alpaca": "cria", "eagle": "eaglet", "seal": "pup", "rabbit": "bunny", "tiger": "cub",
}  # fmt: skip
LEGS = {
    "spider": "eight", "ant": "six", "bee": "six", "fly": "six", "beetle": "six", "butterfly": "six",
    "dog": "four",
    "cat": "four", "cow": "four", "horse": "four", "lion": "four", "frog": "four", "mouse": "four",
    "pig": "four",
    "sheep": "four", "elephant": "four", "llama": "four", "bird": "two", "duck": "two", "hen": "two",
    "owl": "two",
    "penguin": "two", "snake": "no", "fish": "no", "worm": "no", "snail": "no", "scorpion": "eight",
    "crab": "ten",
}  # fmt: skip
HOMES = {
    "bee": "a hive", "bird": "a nest", "spider": "a web", "dog": "a kennel", "horse": "a stable",
    "cow": "a barn",
    "pig": "a sty", "lion": "a den", "rabbit": "a burrow", "ant": "an anthill", "fish": "the water",
    "hen": "a coop", "owl": "a tree", "camel": "the desert", "monkey": "the jungle", "whale": "the sea",
    "polar bear": "the Arctic", "penguin": "the Antarctic", "llama": "the mountains", "squirrel": "a tree",
}  # fmt: skip
ANIMALS = sorted({*SOUNDS, *YOUNG, *LEGS, *HOMES})


def _fact(animal: str, answer: str, short: str | None) -> Fact:
    return Fact({"x": animal, "ax": article(animal)}, f"{article(animal).capitalize()} {answer}.", short)


FAMILIES = (
    Family(
        task="animals",
        name="sound",
        facts=tuple(_fact(animal, f"says {sound}", sound) for animal, sound in SOUNDS.items()),
        phrasings=(
            "what sound does {ax} make?",
            "what does {ax} say?",
            "what noise does {ax} make?",
            "which sound does {ax} make?",
            "how does {ax} sound?",
            "what is the sound of {ax}?",
            "tell me what sound {ax} makes.",
            "what sound does the {x} make?",
            "the {x} says what?",
            "name the sound that {ax} makes.",
            "could you tell me what sound {ax} makes?",
            "I would like to know what {ax} says.",
            "what noise does the {x} make?",
            "which noise does the {x} make?",
            "please tell me what {ax} says.",
            "tell me which noise {ax} makes.",
        ),
        unseen=("could you tell me what {ax} says?", "which noise does {ax} make?"),
        with_input=("What sound does this animal make?",),
        follow_ups=("And {ax}?", "What about {ax}?", "And what does {ax} say?", "How about {ax}?"),
    ),
    Family(
        task="animals",
        name="young",
        facts=tuple(
            Fact({"x": animal, "ax": article(animal)}, f"A baby {animal} is called {article(young)}.", young)
            for animal, young in YOUNG.items()
        ),
        phrasings=(
            "what is a baby {x} called?",
            "what do you call a baby {x}?",
            "what is a young {x} called?",
            "what do we call a young {x}?",
            "what is the name of a baby {x}?",
            "what is the young of {ax} called?",
            "what are baby {x}s called?",
            "tell me what a baby {x} is called.",
            "a baby {x} is called what?",
            "name the baby of {ax}.",
            "could you tell me what a baby {x} is called?",
            "I would like to know what you call a baby {x}.",
            "how do you call a baby {x}?",
            "please tell me what you call a young {x}.",
            "what do you call the young of {ax}?",
            "what is the name of the young of {ax}?",
        ),
        unseen=("could you tell me what you call a baby {x}?", "how do you call the young of {ax}?"),
        with_input=("What is the baby of this animal called?",),
        follow_ups=("And a baby {x}?", "What about a baby {x}?", "And of {ax}?"),
    ),
    Family(
        task="animals",
        name="legs",
        facts=tuple(
            _fact(animal, f"has {legs} legs", legs if legs != "no" else "none")
            for animal, legs in LEGS.items()
        ),
        phrasings=(
            "how many legs does {ax} have?",
            "how many legs has {ax} got?",
            "how many legs does the {x} have?",
            "tell me how many legs {ax} has.",
            "can you tell me how many legs {ax} has?",
            "what is the number of legs of {ax}?",
            "{ax} has how many legs?",
            "count the legs of {ax}.",
            "do you know how many legs {ax} has?",
            "could you tell me how many legs {ax} has?",
            "I would like to know the number of legs of {ax}.",
            "please tell me the number of legs {ax} has.",
            "how many legs are there on {ax}?",
        ),
        unseen=(
            "could you tell me the number of legs {ax} has?",
            "I would like to know how many legs {ax} has.",
        ),
        with_input=("How many legs does this animal have?",),
        follow_ups=("And {ax}?", "What about {ax}?", "And how many legs does {ax} have?"),
    ),
    Family(
        task="animals",
        name="home",
        facts=tuple(_fact(animal, f"lives in {home}", None) for animal, home in HOMES.items()),
        phrasings=(
            "where does {ax} live?",
            "where does the {x} live?",
            "where do {x}s live?",
            "what is the home of {ax}?",
            "tell me where {ax} lives.",
            "in what does {ax} live?",
            "do you know where {ax} lives?",
            "where is the home of {ax}?",
            "could you tell me where the {x} lives?",
            "I would like to know where the {x} lives.",
            "can you tell me where {ax} lives?",
            "please tell me where {ax} has its home.",
        ),
        unseen=("could you tell me where {ax} lives?", "I would like to know where {ax} lives."),
        with_input=("Where does this animal live?",),
        follow_ups=("And {ax}?", "What about {ax}?", "And where does {ax} live?"),
    ),
)
