"""Task `plurals`: regular and irregular plurals of plain nouns."""

from __future__ import annotations

from models.demo.training.corpus.exchange import Fact, Family, words

IRREGULAR = {
    "mouse": "mice", "child": "children", "man": "men", "woman": "women", "foot": "feet", "tooth": "teeth",
    "goose": "geese", "person": "people", "ox": "oxen", "sheep": "sheep", "fish": "fish", "deer": "deer",
    "leaf": "leaves", "wolf": "wolves", "knife": "knives", "life": "lives", "wife": "wives",
    "shelf": "shelves",
    "half": "halves", "loaf": "loaves", "thief": "thieves", "calf": "calves", "potato": "potatoes",
    "tomato": "tomatoes", "hero": "heroes", "city": "cities", "baby": "babies", "story": "stories",
    "berry": "berries", "lady": "ladies", "country": "countries", "family": "families", "puppy": "puppies",
    "butterfly": "butterflies", "party": "parties", "cherry": "cherries", "box": "boxes", "fox": "foxes",
    "bus": "buses", "glass": "glasses", "dress": "dresses", "church": "churches", "watch": "watches",
    "brush": "brushes", "dish": "dishes", "peach": "peaches", "bench": "benches", "class": "classes",
    "beach": "beaches", "witch": "witches", "lunch": "lunches",
}  # fmt: skip
REGULAR = words(
    "cat dog bird cow horse pig duck hen lion tiger bear frog bee snake spider monkey rabbit apple banana "
    "pear orange lemon carrot egg cake cup plate spoon fork table chair bed door window house garden tree "
    "flower river mountain star moon cloud road bridge car boat ship train plane book pencil letter word "
    "song game ball kite doll robot hat coat shoe sock king queen farmer teacher doctor friend boy girl "
    "day week month year hour eye ear hand arm leg nose llama alpaca toy key lamp clock"
)
PLURALS = {**IRREGULAR, **{noun: noun + "s" for noun in REGULAR}}

FAMILIES = (
    Family(
        task="plurals",
        name="plural",
        facts=tuple(
            Fact({"x": noun}, f"The plural of {noun} is {plural}.", plural)
            for noun, plural in PLURALS.items()
        ),
        phrasings=(
            "what is the plural of {x}?",
            "what's the plural of {x}?",
            "plural of {x}?",
            "what is the plural form of {x}?",
            "what is the plural of the word {x}?",
            "give me the plural of {x}.",
            "tell me the plural of {x}.",
            "write the plural of {x}.",
            "can you tell me the plural of {x}?",
            'what is the plural of "{x}"?',
            "do you know the plural of {x}?",
            "the plural of {x} is what?",
            "which word is the plural of {x}?",
            "could you tell me the plural of {x}?",
            "could you please give me the plural of {x}?",
            "I would like to know the plural of {x}.",
            "I would like the plural form of {x}.",
            'give me the plural form of the word "{x}".',
            "name the plural of {x}.",
            "what is the plural of the noun {x}?",
            "tell me what the plural of {x} is.",
            "what would be the plural of {x}?",
        ),
        unseen=(
            'could you give me the plural form of "{x}"?',
            "I would like to know what the plural of {x} is.",
            "name the plural of the noun {x}.",
        ),
        with_input=("Give the plural of the noun.", "Write the plural of this word."),
        follow_ups=("And {x}?", "And the plural of {x}?", "What about {x}?", "And of {x}?", "How about {x}?"),
    ),
)
