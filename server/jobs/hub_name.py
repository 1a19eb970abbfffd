"""`hub_name`: the model that a client wants to be fetched, which is never a path. Pure."""

from __future__ import annotations

from models.errors import InvalidReference, RequestError
from models.reference import ModelRef


def hub_name(text: str) -> str:
    """Return a reference as it is. Raises RequestError for a path: clients don't say what files we read."""
    try:
        ref = ModelRef.parse(text)
    except InvalidReference as error:
        raise RequestError(error.message, param="model") from error
    if ref.path is not None:
        raise RequestError(
            f"{text!r} is a path; name a model of the Hub, as org/name, or demo", param="model"
        )
    return text
