"""Task `stories`: short stories from a grammar of plots, heroes and places, and requests for them.

A story is a plot (`plots.PLOTS`): a list of sentences, each with several wordings. Hero, friend, place and
thing are drawn once and stay the same to the end, so that every story holds together.
"""

from __future__ import annotations

from random import Random

from models.demo.training.corpus.exchange import Exchange, article, words
from models.demo.training.corpus.plots import PLOTS

HEROES = words(
    "cat dog fox rabbit bear mouse frog duck horse pony pig cow sheep goat hen owl squirrel hedgehog lion "
    "tiger elephant monkey penguin turtle wolf deer llama alpaca donkey parrot snail bee ant spider whale "
    "dolphin dragon robot girl boy farmer king queen princess prince knight wizard baker sailor fisherman "
    "teacher painter pirate giant ghost snowman fairy witch clown gardener"
)
FEMALE = words(
    "Anna Clara Emma Grace Kate Lily Mia Rosa Ruby Zoe Luna Bella Daisy Molly Nina Tina Ella Poppy"
)
MALE = words("Ben Finn Jack Leo Max Noah Oscar Sam Tom Toby Hugo Felix Rufus Milo Otto Bruno Charlie Tim")
WOMEN = {"girl", "queen", "princess", "fairy", "witch", "hen", "cow"}
MEN = {"boy", "king", "prince", "knight", "wizard", "fisherman", "clown"}
FRIENDS = words(
    "mouse rabbit squirrel bird frog hedgehog owl duck fox lamb kitten puppy turtle sparrow beaver badger "
    "deer donkey goat pony"
)
PLACES = {
    "forest": "in a green forest", "village": "in a small village", "farm": "on a quiet farm",
    "sea": "in a house by the sea", "mountain": "at the foot of a tall mountain",
    "castle": "in an old castle",
    "river": "beside a slow river", "city": "in a busy city", "garden": "in a big garden",
    "island": "on a sunny island", "valley": "in a wide valley", "lake": "near a blue lake",
}  # fmt: skip
THINGS = (
    "red ball|blue kite|golden key|silver bell|little drum|green hat|wooden flute|"
    "warm scarf|shiny coin|toy boat"
)
FOODS = "cake|pie|bread|soup|apples|berries|pancakes|cheese"
TRAITS = "kind|brave|clever|curious|cheerful|gentle|shy|busy|friendly|lively"
FEARS = "the dark|thunder|deep water|high places|loud noises|the wind"
MORALS = (
    "From that day on, they were the best of friends.",
    "And they all lived happily ever after.",
    "It was the best day of the whole year.",
    "That night, {n} slept very well.",
    "{n} never forgot that day.",
    "And {n} was happy for a long time.",
)
REQUESTS = (
    "Tell me a story about {ah}.",
    "Tell me a short story about {ah}.",
    "Write a story about {ah}.",
    "Write a short story about {ah}.",
    "Can you tell me a story about {ah}?",
    "Please tell me a short story about {ah}.",
    "I want to hear a story about {ah}.",
    "A story about {ah}, please.",
    "Do you know a story about {ah}?",
    "Story about {ah}",
    "Make up a story about {ah}.",
)
OPEN_REQUESTS = (
    "Tell me a story.", "Tell me a short story.", "Write a story.", "Write a short story.",
    "Can you tell me a story?",
    "I want to hear a story.", "A story, please.", "Tell me a bedtime story.", "Do you know a story?",
    "Another story.",
    "Tell me another story.", "Write a short story for children.", "Please tell me a story.",
)  # fmt: skip
UNSEEN_REQUESTS = ("Could you tell me a short story about {ah}?", "I would like a story about {ah}.")


def _choose(random: Random, options: str) -> str:
    return random.choice(options.split("|"))


def tell(random: Random, hero: str | None = None, name: str | None = None, place: str | None = None) -> str:
    """One story, about `hero` called `name` at `place` where these are given."""
    hero = hero or random.choice(HEROES)
    if name is None:
        names = FEMALE if hero in WOMEN else MALE if hero in MEN else (*FEMALE, *MALE)
        name = random.choice(names)
    female = name in FEMALE
    friend = random.choice([friend for friend in FRIENDS if friend != hero])
    slots = {
        "h": hero, "ah": article(hero), "n": name, "f": friend, "af": article(friend),
        "Af": article(friend).capitalize(),
        "he": "she" if female else "he", "him": "her" if female else "him", "his": "her" if female else "his",
        "He": "She" if female else "He", "His": "Her" if female else "His",
        "place": PLACES[place or random.choice(sorted(PLACES))],
        "thing": _choose(random, THINGS), "food": _choose(random, FOODS), "trait": _choose(random, TRAITS),
        "fear": _choose(random, FEARS),
    }  # fmt: skip
    sentences = [
        wording.split("|")[random.randrange(wording.count("|") + 1)].format_map(slots)
        for wording in random.choice(PLOTS)
    ]
    opening = random.choice(OPENINGS).format_map(slots)
    return " ".join((opening, *sentences, random.choice(MORALS).format_map(slots)))


OPENINGS = (
    "Once upon a time, {ah} named {n} lived {place}. {n} was very {trait}.",
    "Once upon a time, there was a {trait} {h} named {n}. {He} lived {place}.",
    "Once there was a little {h} called {n} who lived {place}.",
    "Once upon a time, a {trait} {h} lived {place}. {His} name was {n}.",
)


def story(random: Random, unseen: bool = False) -> Exchange:
    """A request for a story, and the story."""
    if random.random() < 0.2 and not unseen:
        return Exchange("stories", random.choice(OPEN_REQUESTS), tell(random), styled=False)
    hero = random.choice(HEROES)
    name = random.choice((*FEMALE, *MALE)) if random.random() < 0.3 and hero not in WOMEN | MEN else None
    place = random.choice(sorted(PLACES)) if random.random() < 0.2 else None
    subject = article(hero)
    if random.random() < 0.15:
        subject = f"a little {hero}"
    if name is not None:
        subject += random.choice((f" named {name}", f" called {name}"))
    if place is not None:
        subject += {"farm": " on a farm", "island": " on an island"}.get(place, f" in a {place}")
        subject = subject.replace("in a sea", "by the sea").replace("in a river", "by a river")
        subject = subject.replace("in a mountain", "near a mountain").replace("in a lake", "near a lake")
    request = random.choice(UNSEEN_REQUESTS if unseen else REQUESTS).format(ah=subject)
    if hero in WOMEN | MEN and name is None and random.random() < 0.5:
        request = request.replace("short ", "")
    return Exchange("stories", request, tell(random, hero, name, place), styled=False)
