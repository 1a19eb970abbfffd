"""`Attributes`: what a client of SageMaker says beside its body, in a header."""

from __future__ import annotations

import re

import msgspec

from models.errors import RequestError

HEADER = "x-amzn-sagemaker-custom-attributes"
_KNOWN = ("model", "adapter", "session")
_MOST_CHARS = 512


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a body that stand in the header in its place; empty: it doesn't say."""

    model: str = ""
    adapter: str = ""
    """A LoRA adapter of the model."""
    session: str = ""
    """A name for the client's user: it becomes `prompt_cache_key`."""


NO_ATTRIBUTES = Attributes()
"""The attributes of a request without the header."""


def attributes_of(header: str) -> Attributes:
    """Return the attributes of `model=demo,adapter=pirate,session=42`; `;` separates, too.

    The header is the client's own: names that aren't ours may stand in it. Raises RequestError for a value
    that no name can have.
    """
    given: dict[str, str] = {}
    for part in re.split("[,;]", header):
        name, equals, value = (text.strip() for text in part.partition("="))
        if name not in _KNOWN:
            continue
        if not equals or not value or len(value) > _MOST_CHARS:
            raise RequestError(
                f"'{name}' in X-Amzn-SageMaker-Custom-Attributes must be {name}=VALUE, with up to"
                f" {_MOST_CHARS} characters",
                param=name,
                code="invalid_value",
            )
        given[name] = value
    return Attributes(**given)
