"""`declare_names`: a tool's schema declares each property that it requires, wherever it says so. Pure.

The objects of tools have no other properties than those declared, and formats whose arguments are elements
write nothing else. So a name that only `required` has, or a branch beside `properties`, is declared here; one
that no object of the schema can have isn't required.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_LISTS = ("allOf", "anyOf", "oneOf")
_BRANCHES = ("if", "then", "else")
_DEPENDENCIES = ("dependentRequired", "dependentSchemas", "dependencies")
_REFERENCES = frozenset(("$ref", "$dynamicRef", "$recursiveRef"))
_MAX_DEPTH = 16
_MAX_PATTERN = 200
"""Longer expressions are left to the grammar's compiler."""
_BACKTRACKING = re.compile(r"[+*}]\)*[+*{]|\(.*[+*|].*\)[+*{]")


def declare_names(found: dict[str, Any], leave_out: Callable[[], None], *, is_object: bool = False) -> None:
    """Declare in `found`, a sound schema, the names that it requires or that branches beside it have.

    `leave_out` is called if `required` has a name that no object can have. `is_object`: the schema is one of
    objects though it doesn't say so.
    """
    properties: Mapping[str, Any] = found.get("properties") or {}
    required: list[str] = list(found.get("required", ()))
    possible = [name for name in required if _is_possible(name, found)]
    if len(possible) < len(required):
        found["required"] = possible
        leave_out()
    if not properties and not (is_object or found.get("type") == "object"):
        return
    missing = [name for name in possible if name not in properties and not _patterns_of(name, found)]
    declared = dict.fromkeys(missing, _others(found))
    if properties and found.get("additionalProperties") is not False:
        declared |= {
            name: {} for name in _beside(found, 0) if name not in declared and name not in properties
        }
    if not declared:
        return
    found["properties"] = {**properties, **declared}
    if not properties and found.get("additionalProperties", True) is True:
        found["additionalProperties"] = {}  # it declared none, so any may come


def _others(found: Mapping[str, Any]) -> Any:
    """Return the schema of properties that nothing names."""
    if "additionalProperties" in found or any(True for _ in _branches(found)) or _REFERENCES & found.keys():
        return found.get("additionalProperties", {})
    return found.get("unevaluatedProperties", {})


def _is_possible(name: str, found: Mapping[str, Any]) -> bool:
    """Return False if it is plain that no object has a property of this name."""
    properties = found.get("properties") or {}
    if name in properties:
        if properties[name] is False:
            return False
    elif _others(found) is False and not _patterns_of(name, found):
        return False
    return _may_be_named(name, found.get("propertyNames", True))


def _may_be_named(name: str, names: Any) -> bool:
    if not isinstance(names, dict):
        return names is not False
    if isinstance(names.get("enum"), list) and name not in names["enum"]:
        return False
    if "const" in names and name != names["const"]:
        return False
    least, most = names.get("minLength", 0), names.get("maxLength", len(name))
    return least <= len(name) <= most and _matches(names.get("pattern", ""), name) is not False


def _patterns_of(name: str, found: Mapping[str, Any]) -> bool:
    """Return True if a pattern of properties might have the name."""
    return any(_matches(pattern, name) is not False for pattern in found.get("patternProperties") or ())


def _matches(pattern: str, name: str) -> bool | None:
    """Return True if the name matches; None if that isn't plain."""
    if len(pattern) > _MAX_PATTERN or _BACKTRACKING.search(pattern):
        return None
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return None


def _beside(schema: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Yield the names that the branches of a schema require or declare for the same object."""
    if depth > _MAX_DEPTH:
        return
    for branch in _branches(schema):
        if isinstance(branch, list):  # the names that another name brings with it
            yield from (name for name in branch if isinstance(name, str))
        elif isinstance(branch, dict):
            yield from (
                name for name, member in (branch.get("properties") or {}).items() if member is not False
            )
            yield from (name for name in branch.get("required") or () if isinstance(name, str))
            yield from _beside(branch, depth + 1)


def _branches(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what holds beside a schema for the same object: schemas, and lists of required names."""
    for keyword in _LISTS:
        yield from schema.get(keyword) or ()
    for keyword in _BRANCHES:
        if keyword in schema:
            yield schema[keyword]
    for keyword in _DEPENDENCIES:
        members = schema.get(keyword)
        if isinstance(members, dict):
            yield from members.values()


def has_references_beside(schema: Mapping[str, Any], depth: int = 0) -> bool:
    """Return True if definitions elsewhere have a say in the properties of the same object."""
    if _REFERENCES & schema.keys():
        return True
    return depth <= _MAX_DEPTH and any(
        isinstance(branch, dict) and has_references_beside(branch, depth + 1) for branch in _branches(schema)
    )
