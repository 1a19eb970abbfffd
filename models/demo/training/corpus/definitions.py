"""Task `definitions`: what a plain noun is, in one sentence."""

from __future__ import annotations

from models.demo.training.corpus.exchange import Fact, Family, article

DEFINITIONS = {
    "teapot": "a pot for making tea", "bakery": "a shop that sells bread",
    "baker": "a person who makes bread",
    "farmer": "a person who works on a farm", "teacher": "a person who helps others to learn",
    "doctor": "a person who helps sick people", "pilot": "a person who flies a plane",
    "sailor": "a person who works on a ship", "painter": "a person who paints pictures",
    "singer": "a person who sings songs", "writer": "a person who writes books",
    "gardener": "a person who looks after a garden", "baby": "a very young child",
    "king": "a man who rules a country", "queen": "a woman who rules a country",
    "hammer": "a tool for hitting nails", "saw": "a tool for cutting wood",
    "knife": "a tool for cutting food",
    "spoon": "a tool for eating soup", "broom": "a tool for sweeping the floor", "pen": "a tool for writing",
    "clock": "a thing that shows the time", "lamp": "a thing that gives light", "chair": "a thing to sit on",
    "bed": "a thing to sleep in", "umbrella": "a thing that keeps you dry in the rain",
    "key": "a thing that opens a lock", "map": "a drawing of a place", "book": "a set of pages to read",
    "bridge": "a road over a river", "boat": "a small ship", "ship": "a large boat",
    "train": "a row of wagons that runs on rails", "bicycle": "a vehicle with two wheels",
    "car": "a vehicle with four wheels", "plane": "a machine that flies", "robot": "a machine that does work",
    "computer": "a machine that works with information", "river": "a long stream of water",
    "lake": "a large area of water with land around it", "island": "land with water all around it",
    "mountain": "a very high hill", "forest": "a large place full of trees", "desert": "a very dry place",
    "volcano": "a mountain that throws out fire", "cloud": "a mass of tiny drops of water in the sky",
    "rainbow": "a bow of colours in the sky", "planet": "a large ball that moves around a star",
    "star": "a ball of hot gas in space", "moon": "a ball of rock that moves around a planet",
    "school": "a place where children learn", "library": "a place where you can borrow books",
    "hospital": "a place where sick people get help",
    "museum": "a place that shows old and interesting things",
    "kitchen": "a room where food is cooked", "garden": "a place where flowers grow",
    "farm": "a place where food is grown", "castle": "a large and strong old house",
    "corral": "a place where animals are kept", "llama": "a woolly animal from South America",
    "alpaca": "a small animal with very soft wool", "vicuna": "a wild cousin of the alpaca",
    "elephant": "a large grey animal with a trunk", "giraffe": "an animal with a very long neck",
    "penguin": "a bird that swims and cannot fly", "owl": "a bird that hunts at night",
    "whale": "the largest animal in the sea", "shark": "a large fish with sharp teeth",
    "bee": "an insect that makes honey", "apple": "a round fruit that grows on trees",
    "carrot": "a long orange vegetable", "cake": "a sweet food for birthdays",
    "sandwich": "two slices of bread with food between them", "soup": "a hot food that you eat with a spoon",
    "friend": "a person whom you like and trust", "uncle": "the brother of a parent",
    "aunt": "the sister of a parent", "triangle": "a shape with three sides",
    "square": "a shape with four equal sides", "circle": "a perfectly round shape",
    "violin": "an instrument with four strings", "drum": "an instrument that you hit",
}  # fmt: skip


def _fact(noun: str, meaning: str) -> Fact:
    subject = "soup" if noun == "soup" else article(noun)
    return Fact({"x": noun, "ax": subject}, f"{subject[0].upper()}{subject[1:]} is {meaning}.")


FAMILIES = (
    Family(
        task="definitions",
        name="definition",
        facts=tuple(_fact(noun, meaning) for noun, meaning in DEFINITIONS.items()),
        phrasings=(
            "what is {ax}?",
            "what's {ax}?",
            "define {x}.",
            "what does {x} mean?",
            "what does the word {x} mean?",
            "explain what {ax} is.",
            "tell me what {ax} is.",
            "can you explain what {ax} is?",
            "what is the meaning of {x}?",
            "give me a definition of {x}.",
            'define the word "{x}".',
            "do you know what {ax} is?",
            "describe {ax}.",
            "could you explain what {ax} is?",
            "could you tell me what the word {x} means?",
            "I would like to know what the word {x} means.",
            "I would like a definition of {x}.",
            "the definition of {x} is what?",
            'what is the meaning of "{x}"?',
            'please give me the definition of "{x}".',
            "please tell me what {ax} is.",
        ),
        unseen=(
            "could you tell me what {ax} is?",
            "I would like to know what {ax} is.",
            'what is the definition of "{x}"?',
        ),
        with_input=("Define the word.", "Explain what this word means."),
        follow_ups=("And {ax}?", "What about {ax}?", "And what is {ax}?"),
    ),
)
