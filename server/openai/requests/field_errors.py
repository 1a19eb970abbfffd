"""Field errors: pydantic's problems with a body as one error of ours that names the field. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from models.errors import RequestError


def from_validation(error: ValidationError) -> RequestError:
    """Return the first of pydantic's problems, naming the field: `messages[0].role`."""
    return from_problems(error.errors(include_url=False, include_context=True, include_input=False))


def from_problems(problems: Sequence[Mapping[str, Any]]) -> RequestError:
    """Return the same for a list of pydantic's problems."""
    problem, is_union = _nearest(problems)
    if problem["type"] == "json_invalid":
        reason = problem.get("ctx", {}).get("error", problem["msg"])
        return RequestError(
            f"We could not parse the JSON body of your request: {reason}", code="invalid_json"
        )
    if not problem["loc"]:
        return RequestError("The body of the request must be a JSON object")
    param = _path(problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return RequestError(
            f"Missing required parameter: '{param}'", param=param, code="missing_required_parameter"
        )
    if is_union:
        kinds = [each["msg"].removeprefix(_VALID).removeprefix(_AN) for each in _same_place(problems)]
        message = f"{_VALID}{' or '.join(dict.fromkeys(kinds))}"
    return RequestError(
        f"Invalid value for '{param}': {message[:1].lower()}{message[1:]}", param=param, code="invalid_value"
    )


def _nearest(problems: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], bool]:
    """Return the problem that says most of the first field, and True if all that is told is its type.

    A union has a problem for each of its branches. That of the branch which the value was meant for is
    deeper than its type, or another than the type.
    """
    same = _same_place(problems)
    first = _path(problems[0]["loc"])
    meant = [
        each
        for each in problems
        if (path := _path(each["loc"])) != first and path.startswith((f"{first}[", f"{first}."))
    ] + [each for each in same if not each["msg"].startswith((_VALID, f"{_AN}object"))]
    return (meant[0], False) if len(problems) > 1 and meant else (problems[0], len(same) > 1)


def _same_place(problems: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    first = _path(problems[0]["loc"])
    return [each for each in problems if _path(each["loc"]) == first]


_VALID = "Input should be a valid "
_AN = "Input should be an "


def _path(location: Sequence[str | int]) -> str:
    """Return a path without a union's branches: ("messages", 0, "content", "str") → messages[0].content."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and part not in _BRANCHES:
            path += f".{part}" if path else part
    return path or "body"


_BRANCHES = frozenset({"str", "int", "float", "bool", "none", "nullable", "json", "ConversationReference"})
