"""Task `capitals`: the capital of a country, and the country of a capital."""

from __future__ import annotations

from models.demo.training.corpus.exchange import Fact, Family

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "England": "London", "Scotland": "Edinburgh", "Ireland": "Dublin", "Wales": "Cardiff", "Norway": "Oslo",
    "Sweden": "Stockholm", "Denmark": "Copenhagen", "Finland": "Helsinki", "Iceland": "Reykjavik",
    "Poland": "Warsaw", "Austria": "Vienna", "Hungary": "Budapest", "Greece": "Athens", "Turkey": "Ankara",
    "Russia": "Moscow", "Ukraine": "Kyiv", "Romania": "Bucharest", "Bulgaria": "Sofia", "Croatia": "Zagreb",
    "Serbia": "Belgrade", "Switzerland": "Bern", "Belgium": "Brussels", "the Netherlands": "Amsterdam",
    "the Czech Republic": "Prague", "the United States": "Washington", "Canada": "Ottawa", "Cuba": "Havana",
    "Peru": "Lima", "Chile": "Santiago", "Brazil": "Brasilia", "Argentina": "Buenos Aires",
    "Colombia": "Bogota", "Venezuela": "Caracas", "Bolivia": "Sucre", "Ecuador": "Quito", "Egypt": "Cairo",
    "Kenya": "Nairobi", "Morocco": "Rabat", "Tunisia": "Tunis", "Nigeria": "Abuja", "Ghana": "Accra",
    "China": "Beijing", "Japan": "Tokyo", "South Korea": "Seoul", "India": "New Delhi", "Thailand": "Bangkok",
    "Vietnam": "Hanoi", "Indonesia": "Jakarta", "the Philippines": "Manila", "Iran": "Tehran",
    "Iraq": "Baghdad", "Nepal": "Kathmandu", "Australia": "Canberra", "New Zealand": "Wellington",
    "Israel": "Jerusalem", "Syria": "Damascus", "Jordan": "Amman", "Pakistan": "Islamabad",
}  # fmt: skip

FAMILIES = (
    Family(
        task="capitals",
        name="capital",
        facts=tuple(
            Fact({"x": country}, f"The capital of {country} is {city}.", city)
            for country, city in CAPITALS.items()
        ),
        phrasings=(
            "what is the capital of {x}?",
            "what's the capital of {x}?",
            "what is the capital city of {x}?",
            "name the capital of {x}.",
            "tell me the capital of {x}.",
            "can you tell me the capital of {x}?",
            "which city is the capital of {x}?",
            "do you know the capital of {x}?",
            "capital of {x}?",
            "the capital of {x} is which city?",
            "{x}: what is its capital?",
            "what city is the capital of {x}?",
            "give me the name of the capital of {x}.",
            "I want to know the capital of {x}.",
            "could you tell me the capital of {x}?",
            "could you please tell me what the capital of {x} is?",
            "I would like to know the capital city of {x}.",
            "I would like the name of the capital of {x}.",
            "please name the capital city of {x}.",
            "what city is {x}'s capital?",
            "{x}'s capital is which city?",
            "what is the name of the capital of {x}?",
        ),
        unseen=(
            "could you name the capital city of {x}?",
            "I would like to know what the capital of {x} is.",
            "which city is {x}'s capital?",
        ),
        with_input=("What is the capital of this country?", "Name the capital of the country."),
        follow_ups=(
            "And {x}?",
            "And the capital of {x}?",
            "What about {x}?",
            "And of {x}?",
            "How about {x}?",
        ),
    ),
    Family(
        task="capitals",
        name="country",
        facts=tuple(
            Fact({"x": city}, f"{city} is the capital of {country}.", country)
            for country, city in CAPITALS.items()
        ),
        phrasings=(
            "{x} is the capital of which country?",
            "which country has {x} as its capital?",
            "of which country is {x} the capital?",
            "what country is {x} the capital of?",
            "{x} is the capital of what country?",
            "name the country whose capital is {x}.",
            "could you tell me what country has the capital {x}?",
            "tell me which country has {x} as its capital.",
            "I would like to know which country {x} is the capital of.",
            "which country is {x} the capital of?",
        ),
        unseen=("tell me which country {x} is the capital of.",),
        follow_ups=("And {x}?", "What about {x}?"),
    ),
)
