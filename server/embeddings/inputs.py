"""The texts of a request, in all the forms that clients send them in, checked by name. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.errors import RequestError
from server.ipc.prompts import PooledInputs, TextParts

MAX_TEXTS = 65_536
"""A request has at most so many texts."""
MAX_PAIRS = 65_536
"""A request has at most so many pairs of texts."""
TOKEN_ID_LIMIT = 1 << 31

Text = str | TextParts


def texts_of(value: Any, param: str) -> tuple[Text, ...]:
    """Return the texts of OpenAI's `input`, or of llama-server's, which may mix strings and token ids.

        "a"   [1, 2]   [1, "a", 2]                      one text
        ["a", "b"]   [[1], [2]]   ["a", [1, "b"]]       several
        {"prompt_string": "a"}   {"content": [{"type": "text", "text": "a"}]}      one, also in a list

    Raises RequestError.
    """
    if not isinstance(value, list):
        return (_text(value, param),)
    if not value:
        raise _invalid(param, "must not be an empty array; send at least one text")
    if any(_is_id(part) for part in value):
        return (_parts(value, param),)
    _check_number(len(value), param)
    return tuple(_text(each, f"{param}[{i}]") for i, each in enumerate(value))


def strings_of(value: Any, param: str) -> tuple[str, ...]:
    """Return the texts of a string or a list of strings. Raises RequestError."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not value:
        raise _invalid(param, "must be a string or an array of strings, at least one")
    _check_number(len(value), param)
    for i, each in enumerate(value):
        if not isinstance(each, str):
            raise _invalid(f"{param}[{i}]", "must be a string")
    return tuple(value)


def documents_of(value: Any, fields: Sequence[str] | None, param: str) -> tuple[str, ...]:
    """Return the texts of a reranker's documents: strings, or objects with their text.

    Of an object the text is that of `fields`, if the client names some (Cohere's `rank_fields`), each on a
    line with its name, else its `text`. Raises RequestError.
    """
    if not isinstance(value, list) or not value:
        raise _invalid(param, "must be an array of strings or objects, at least one")
    _check_number(len(value), param)
    return tuple(document_text(each, fields, f"{param}[{i}]") for i, each in enumerate(value))


def document_text(value: Any, fields: Sequence[str] | None, param: str) -> str:
    """Return the text of one document or query. Raises RequestError."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise _invalid(param, "must be a string or an object with a 'text'")
    if fields:
        found = [
            f"{name}: {value[name]}" for name in fields if isinstance(value.get(name), str | int | float)
        ]
        if not found:
            raise _invalid(param, f"has none of the fields that 'rank_fields' names ({', '.join(fields)})")
        return "\n".join(found)
    text = value.get("text")
    if not isinstance(text, str):
        raise _invalid(param, "must have a string called 'text', or 'rank_fields' must name others")
    return text


def ranked(query: str, documents: Sequence[str]) -> PooledInputs:
    """Return the pairs of a query with each document."""
    return PooledInputs((query, *documents), tuple((0, i + 1) for i in range(len(documents))))


def scored(firsts: Sequence[Text], seconds: Sequence[Text], params: tuple[str, str]) -> PooledInputs:
    """Return the pairs that vLLM's `/score` makes: one with each, or each with its own.

    Raises RequestError.
    """
    n_first, n_second = len(firsts), len(seconds)
    if n_first not in (1, n_second):
        raise _invalid(
            params[0],
            f"has {n_first:,} texts and '{params[1]}' {n_second:,}; send one with any number, or as many",
        )
    texts = (*firsts, *seconds)
    pairs = tuple((i if n_first > 1 else 0, n_first + i) for i in range(n_second))
    return PooledInputs(texts, pairs)


def _text(value: Any, param: str) -> Text:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return _parts(value, param)
    if isinstance(value, dict):
        return _object_text(value, param)
    raise _invalid(param, "must be a string, an array of token ids, or an array of those")


def _parts(value: list[Any], param: str) -> TextParts:
    if not value:
        raise _invalid(param, "must not be empty; send at least one token id")
    for part in value:
        if not isinstance(part, str) and not _is_id(part):
            raise _invalid(param, "must hold token ids, whole numbers from 0 on, and strings alone")
    return tuple(value)


def _object_text(value: dict[str, Any], param: str) -> str:
    """Return the text of llama-server's objects, and of OpenAI's parts of a content."""
    if isinstance(text := value.get("prompt_string"), str):
        return text
    parts = value.get("content")
    if not isinstance(parts, list) or not parts:
        raise _invalid(param, "must have a 'prompt_string' or a 'content' of text parts")
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise _invalid(f"{param}.content", f"has a part of type {kind!r}; this model reads text alone")
        texts.append(part["text"])
    return "".join(texts)


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < TOKEN_ID_LIMIT


def _check_number(n: int, param: str) -> None:
    if n > MAX_TEXTS:
        raise _invalid(param, f"has {n:,} texts; at most {MAX_TEXTS:,} are allowed in one request")


def _invalid(param: str, fault: str) -> RequestError:
    return RequestError(f"Invalid value for '{param}': {fault}", param=param, code="invalid_value")
