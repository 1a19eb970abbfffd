"""Task `refusals`: questions from outside the closed world.

The only right answer is "I don't know that."

Some look just like the model's own questions (the capital of a country that it was not taught, the
opposite of a table), so that it learns what it knows and not only how a question looks. Names are partly
invented.
"""

from __future__ import annotations

from random import Random

from models.demo.training.corpus.animals import ANIMALS
from models.demo.training.corpus.exchange import REFUSAL, Exchange, article, words

ELSEWHERE = words(
    "Mexico Guatemala Honduras Nicaragua Panama Jamaica Haiti Paraguay Uruguay Guyana Suriname Algeria "
    "Libya Sudan Ethiopia Somalia Uganda Tanzania Rwanda Angola Zambia Zimbabwe Namibia Botswana "
    "Mozambique Malawi Senegal Mali Niger Chad Cameroon Gabon Estonia Latvia Lithuania Belarus Moldova "
    "Slovakia Slovenia Albania Malta Cyprus Lebanon Yemen Oman Qatar Kuwait Afghanistan Bangladesh Bhutan "
    "Myanmar Laos Cambodia Malaysia Mongolia Taiwan Fiji Samoa Tonga Georgia Armenia Azerbaijan "
    "Kazakhstan Uzbekistan Texas California Florida Bavaria Narnia Atlantis Wonderland Mordor Gondor "
    "Africa Europe Asia Madagascar Luxembourg Monaco Andorra"
)
UNSEEN_ELSEWHERE = words(
    "Belize Barbados Congo Togo Benin Eritrea Lesotho Macedonia Montenegro Bosnia Bahrain Turkmenistan "
    "Palau Liechtenstein Alaska Ohio Utopia Lilliput Greenland Singapore"
)
WORDS = words(
    "table window pencil paper guitar carpet bottle blanket pillow ceiling curtain ticket button "
    "candle bucket ladder engine mirror basket helmet jacket wallet camera radio pizza pasta yoghurt "
    "pepper onion garlic grape melon walnut almond cotton velvet rubber plastic marble copper bronze "
    "diamond emerald sapphire oxygen hydrogen electron molecule democracy philosophy algebra geometry "
    "economy inflation justice mercy algorithm compiler keyboard database internet satellite telescope "
    "microscope thermometer parliament senator lawyer judge plumber electrician carpenter tailor butcher "
    "dentist astronaut archaeologist hedgehog ostrich walrus lobster"
)
UNSEEN_WORDS = words(
    "spatula trumpet lantern saddle magnet anchor pistachio cinnamon cathedral accountant photon entropy "
    "bureaucracy metaphor raccoon quartz chandelier wrench tortoise mosquito"
)
_REFUSED_OPPOSITES = (
    *WORDS[:60],
    "cat",
    "cow",
    "seven",
    "Monday",
    "water",
    "Paris",
    "bread",
    "house",
    "music",
)
PEOPLE = words(
    "Napoleon|Shakespeare|Mozart|Einstein|Newton|Cleopatra|Caesar|Gandhi|Picasso|Beethoven|Columbus|"
    "Darwin|Lincoln|Elvis Presley|Marie Curie|Leonardo da Vinci|the president|the pope|"
    "the king of Spain|my neighbour|my teacher|my grandmother|your mother|John Smith|Jane Doe|"
    "Peter Brown|Harry Potter|Sherlock Holmes|Batman|Aristotle",
    "|",
)
UNSEEN_PEOPLE = words(
    "Galileo|Bach|Queen Victoria|Vincent van Gogh|my dentist|Maria Lopez|Superman|Plato",
    "|",
)
TEMPLATES = (
    "who is {person}?", "who was {person}?", "when was {person} born?", "where was {person} born?",
    "how old is {person}?", "how tall is {person}?", "what did {person} do?", "when did {person} die?",
    "tell me about {person}.", "what is the phone number of {person}?", "where does {person} live?",
    "what is the name of {person}'s wife?", "why is {person} famous?", "did {person} like {word}?",
    "what is the population of {place}?", "how many people live in {place}?", "where is {place}?",
    "what language is spoken in {place}?", "how far is it to {place}?", "who rules {place}?",
    "what is the weather in {place}?", "what is the highest mountain in {place}?",
    "is {place} larger than {place2}?",
    "what is the longest river in {place}?", "when was {place} founded?",
    "what money do they use in {place}?",
    "how do I get to {place}?", "who is the president of {place}?", "what is the history of {place}?",
    "how much does {a_word} cost?", "how do I make {a_word}?", "how do I repair {a_word}?",
    "where can I buy {a_word}?",
    "who invented the {word}?", "how does {a_word} work?", "why do people need {a_word}?",
    "how heavy is {a_word}?",
    "translate {word} into French.", "how do you say {word} in Spanish?", "what is {word} in German?",
    "how do you spell {word} backwards?", "write a poem about {word}.", "write a song about {word}.",
    "write a program about {word}.", "what rhymes with {word}?", "what is the history of the {word}?",
    "what is the price of gold?", "what time is it?", "what day is it today?", "what is the date today?",
    "what is the weather today?", "will it rain tomorrow?", "who won the game last night?",
    "what is in the news?",
    "what is the square root of {n}?", "what is {n} divided by {m}?", "what is {n} percent of {m}?",
    "what is {n} + {m}?", "what is {n} - {m}?", "what is {n} x {m}?", "how much is {n} plus {m}?",
    "{n} * {m}",
    "what is {n} times {m}?", "{n} + {m} =", "calculate {n} - {m}.", "is {n} a prime number?",
    "what is the meaning of life?", "what is the speed of light?", "how far away is the moon?",
    "what is the distance to the sun?", "how old is the universe?", "what is the largest planet?",
    "how deep is the ocean?", "what is the boiling point of {word}?",
    "what is the chemical formula of {word}?",
    "how many bones are in the body?", "how many {word}s are in a box?", "what is my phone number?",
    "where am I?", "what am I thinking?", "what did I eat yesterday?", "what is the best film?",
    "which book should I read?", "who wrote the book about {person}?", "what is the name of my dog?",
    "which football team is the best?", "who will win the election?", "how do I fix my computer?",
    "how do I cook {word}?", "how long does {word} keep?", "can you open the {word}?",
    "what does {person} think?",
    "where is my {word}?", "what is the wavelength of {colour}?", "how many {animal}s are there in {place}?",
    "how fast is {an_animal}?", "how old does {an_animal} get?", "how much does {an_animal} weigh?",
    "what does {an_animal} eat?", "how many teeth does {an_animal} have?",
    "what is the Latin name of {an_animal}?",
    "why does {an_animal} sleep?", "how tall is {an_animal}?", "can {an_animal} fly?",
    "what is the {word} of {place}?", "what is the currency of {place}?", "what is the flag of {place}?",
    "who painted the {word}?", "when does the {word} open?", "why is {word} important?",
    "explain {word} theory.",
    "summarise the book about {word}.", "what is the anthem of {place}?", "how big is {place}?",
    "do they speak Greek in {place}?", "which language do people use in {place}?", "is {place} a nice place?",
    "what was the first thing {person} wrote?", "what will {person} do tomorrow?",
    "how many children does {person} have?",
    "who is the friend of {person}?", "which school did {person} go to?",
    "has {person} ever been to {place}?",
    "what should I eat today?", "what should I buy for {person}?", "what should I do tomorrow?",
    "where should I go?",
    "what is the mass of {a_word}?", "what is the size of the sun?", "how heavy is the moon?",
    "how hot is the sun?",
    "which month is it now?", "which day is it?", "what year is it now?", "what is the year?",
    "how late is it?",
    "how do I wash {a_word}?", "how do I build {a_word}?", "how do I use {a_word}?",
    "how do I find {a_word}?",
    "who found the first {word}?", "who made the first {word}?", "when was the {word} discovered?",
    "what is the cube of {n}?", "what is half of {n}?", "what is the root of {n}?",
    "round {n} to the next ten.",
    "how long does {an_animal} live?", "how much does {an_animal} eat?", "when does {an_animal} sleep?",
    "what is the name of the sea near {place}?", "what is the name of the largest city in {place}?",
    "is it warm in {place}?", "does it snow in {place}?", "how hot is it in {place}?",
    "what did {person} say?",
    "which team plays in {place}?", "can you drive a car?", "can you send a letter to {person}?",
    "is {person} older than {person}?", "please call {person}.", "turn on the light.", "play some music.",
    "what is your favourite {word}?", "do you like {word}?", "do you have {a_word}?",
    "what does love mean to you?",
    "why is the sky blue?", "why is snow cold?", "why do we dream?", "how does the brain work?",
    "what is 5 divided by 2?",
    "which country is next to {place}?", "what is the area of {place}?", "what do people eat in {place}?",
    "how many cities are in {place}?", "what is the name of the king of {place}?",
    "which sea is near {place}?",
)  # fmt: skip
UNSEEN_TEMPLATES = (
    "what was the last thing {person} said?", "is it cold in {place}?",
    "what is the name of the river in {place}?",
    "how do I clean {a_word}?", "what is the square of {n}?", "which year is it?", "who discovered {word}?",
    "how long does {an_animal} sleep?", "what should I wear today?", "what is the mass of the earth?",
    "what language do they speak in {place}?", "how many friends does {person} have?",
)  # fmt: skip
LOOKALIKES = (
    "what is the capital of {place}?", "what's the capital of {place}?", "capital of {place}?",
    "what is the capital city of {place}?", "name the capital of {place}.", "tell me the capital of {place}.",
    "which city is the capital of {place}?", "can you tell me the capital of {place}?",
    "do you know the capital of {place}?", "I want to know the capital of {place}.",
    "what is the opposite of {opposite}?", "what's the opposite of {opposite}?", "opposite of {opposite}?",
    "tell me the opposite of {opposite}.", "give me the opposite of {opposite}.",
    "what is {a_word}?", "what is {a_word}?", "define {word}.", "what does {word} mean?",
    "explain what {a_word} is.",
    "tell me what {a_word} is.", "what is the meaning of {word}?", "describe {a_word}.", "what's {a_word}?",
    "what colour is {a_word}?", "what color is {a_word}?", "what is the colour of {a_word}?",
    "what sound does {a_word} make?", "what does {a_word} say?", "how many legs does {a_word} have?",
    "what is a baby {word} called?", "where does {a_word} live?", "what comes after {word}?",
    "{place} is the capital of which country?", "how many days does {word} have?",
    "could you tell me the capital of {place}?", "I would like to know the capital city of {place}.",
    "could you tell me the opposite of {opposite}?", "I would like to know the opposite of {opposite}.",
    "could you explain what {a_word} is?", "I would like to know what the word {word} means.",
    "what would be the opposite of {opposite}?", "the definition of {word} is what?",
    "could you tell me the colour of {a_word}?", "which color is {a_word}?",
    "what is {less} - {more}?", "what is {less} minus {more}?", "{less} - {more}", "what is {teen} x {m}?",
    "what is {teen} times {small}?", "{small} x {teen}", "what is {small} plus {n}?",
)  # fmt: skip
UNSEEN_LOOKALIKES = (
    "could you name the capital city of {place}?", "I would like to know what the opposite of {opposite} is.",
    "could you tell me what {a_word} is?", "which color does {a_word} have?",
)  # fmt: skip
_STARTS = words("b br c d dr f fl g gr h j k kr l m n p pl qu r s st t tr v w y z")
_MIDDLES = words("a e i o u ee oo ai")
_ENDS = words("b d g k l lm m n nd r rt s st t x z nia land via stan dor ria mish bo pu")


def invented_name(random: Random, capital: bool) -> str:
    """A word that no list holds, such as `Blorvia` or `zeemish`."""
    parts = [random.choice(_STARTS), random.choice(_MIDDLES)]
    if random.random() < 0.5:
        parts += [random.choice(_STARTS), random.choice(_MIDDLES)]
    name = "".join(parts) + random.choice(_ENDS)
    return name.capitalize() if capital else name


def refusal(random: Random, unseen: bool = False) -> Exchange:
    """One question that the model can't answer; with `unseen`, from the names and phrasings kept out of
    training.
    """
    lookalike = random.random() < 0.55
    if unseen:
        template = random.choice(
            random.choice((UNSEEN_LOOKALIKES, LOOKALIKES)) if lookalike else UNSEEN_TEMPLATES
        )
    else:
        template = random.choice(LOOKALIKES if lookalike else TEMPLATES)
    places, words = (UNSEEN_ELSEWHERE, UNSEEN_WORDS) if unseen else (ELSEWHERE, WORDS)
    invented = random.random() < (0.4 if not unseen else 0.3)
    word = invented_name(random, capital=False) if invented else random.choice(words)
    opposite = word if invented or unseen else random.choice(_REFUSED_OPPOSITES)
    animal = random.choice(ANIMALS)
    text = template.format(
        person=random.choice(UNSEEN_PEOPLE if unseen else PEOPLE),
        place=invented_name(random, capital=True) if invented else random.choice(places),
        place2=random.choice(places),
        word=word,
        a_word=article(word),
        opposite=opposite,
        animal=animal,
        an_animal=article(animal),
        colour=random.choice(("red", "blue", "green")),
        n=random.randint(21, 999),
        m=random.randint(2, 999),
        less=(less := random.randint(0, 18)),
        more=random.randint(less + 1, 20),
        teen=random.randint(11, 20),
        small=random.randint(1, 10),
    )
    return Exchange("refusals", text[:1].upper() + text[1:], REFUSAL)
