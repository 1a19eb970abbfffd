"""The tools and the typed answer that both libraries ask for."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pydantic

from tests.e2e.guided_answers import problem

TRIES = range(1, 4)
"""Seeds: random weights write something else under each."""

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1, "maxLength": 20},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["C", "F"]},
        "hours": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
    },
    "required": ["city", "days", "unit"],
    "additionalProperties": False,
}
NOTE: dict[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "at": {"$ref": "#/$defs/Place"}},
    "required": ["text", "at"],
    "additionalProperties": False,
    "$defs": {
        "Place": {
            "type": "object",
            "properties": {"line": {"type": ["integer", "null"]}},
            "required": ["line"],
            "additionalProperties": False,
        }
    },
}
PARAMETERS = {"weather": WEATHER, "write_note": NOTE}
DESCRIPTIONS = {"weather": "The weather of a city.", "write_note": "Keep a note."}
QUESTION = "What is the weather in Rome?"


class Sky(Enum):
    clear = "clear"
    clouds = "clouds"


class Stop(pydantic.BaseModel):
    name: str
    nights: int


class Trip(pydantic.BaseModel):
    """The typed answer: an enumeration, a choice of types, and objects in a list."""

    city: str
    sky: Sky
    hotel: str | None
    stops: list[Stop]


class ShortTrip(Trip):
    """The same with bounds. Anthropic's library leaves them out of the schema, and checks them afterwards."""

    city: str = pydantic.Field(max_length=12)
    stops: list[Stop] = pydantic.Field(max_length=3)


def wrong(name: str, arguments: str) -> str | None:
    """Return what is wrong with a call; None if it is one of our tools with what that asks for."""
    return problem(arguments, PARAMETERS[name]) if name in PARAMETERS else f"{name} isn't offered"
