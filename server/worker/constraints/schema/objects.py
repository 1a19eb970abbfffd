"""The keywords of objects, as llguidance holds them. Pure.

Properties come in the order of `properties`; others follow. Other names than those may come twice, so no
schema is held that counts them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from server.worker.constraints.schema.limits import MAX_COUNT, Place
from server.worker.constraints.schema.references import Node
from server.worker.constraints.schema.scalars import count, pattern
from server.worker.constraints.schema.values import check_text, exactly

if TYPE_CHECKING:
    from server.worker.constraints.schema.rewrite import Rewriting

MAX_PROPERTIES = 1_000
"""One object has at most so many named properties."""


def objects(job: Rewriting) -> None:
    """Keep the keywords of objects."""
    node, plain = job.node, job.plain
    properties = _members(job, "properties")
    patterns = _members(job, "patternProperties")
    for text in patterns:
        pattern(text, node.place.at("patternProperties", text))
    required = _names(node.schema.get("required", []), node.place.at("required"))
    others = _others(job)
    if "propertyNames" in node.schema:
        patterns, others = _named(job, properties, patterns, others)
    if properties:
        plain["properties"] = properties
    if patterns:
        plain["patternProperties"] = patterns
    if others is not True:
        plain["additionalProperties"] = others
    if required:
        plain["required"] = required
    _counts(job, properties, required, others is not False or bool(patterns))
    _dependencies(job)


def _members(job: Rewriting, keyword: str) -> dict[str, Any]:
    node = job.node
    members = node.schema.get(keyword, {})
    if not isinstance(members, dict):
        node.place.at(keyword).refuse("it must be an object of schemas")
    if len(members) > MAX_PROPERTIES:
        node.place.at(keyword).refuse(f"it has {len(members):,} members; the limit is {MAX_PROPERTIES:,}")
    for name in members:
        check_text(name, node.place.at(keyword))
    return {name: job.rewrite(node.child(keyword, name)) for name in members}


def _names(names: Any, place: Place) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        place.refuse("it must be a list of names")
    if len(names) > MAX_PROPERTIES:
        place.refuse(f"it has {len(names):,} names; the limit is {MAX_PROPERTIES:,}")
    for name in names:
        check_text(name, place)
    return list(dict.fromkeys(names))


def _others(job: Rewriting) -> Any:
    """Return the schema of properties that nothing names."""
    node, schema = job.node, job.node.schema
    if "additionalProperties" in schema:
        return job.rewrite(node.child("additionalProperties"))
    if "unevaluatedProperties" not in schema or schema["unevaluatedProperties"] is True:
        return True
    beside = ("allOf", "anyOf", "oneOf", "$ref", "if", "dependentSchemas")
    applied = [key for key in beside if key in schema]
    if applied:
        node.place.at("unevaluatedProperties").refuse(
            f"it stands beside '{applied[0]}'; list all properties here and use 'additionalProperties'"
        )
    return job.rewrite(node.child("unevaluatedProperties"))


def _named(
    job: Rewriting, properties: dict[str, Any], patterns: dict[str, Any], others: Any
) -> tuple[dict[str, Any], Any]:
    """Return the patterns and the rest for `propertyNames`; a named property that it refuses is false."""
    place, names = job.node.place.at("propertyNames"), job.node.child("propertyNames")
    while isinstance(names.schema, dict) and set(names.schema) & {"$ref"}:
        names = job.rewriter.references.target(names, "$ref")
    allowed = _name_pattern(names, place)
    if allowed is None:
        return patterns, others
    if patterns:
        place.refuse("it stands beside 'patternProperties'; put it into their patterns")
    for name in properties:
        if not _matches(allowed, name, place):
            properties[name] = False
    return ({} if others is False else {allowed: others}), False


def _name_pattern(names: Node, place: Place) -> str | None:
    """Return the pattern of the names that may be; None: all."""
    schema = names.schema
    if isinstance(schema, bool):
        return None if schema else "^[^\\s\\S]$"
    if not isinstance(schema, dict):
        place.refuse("a schema is an object, true or false")
    said = {key: schema[key] for key in schema if key in _SAYING}
    if said.get("type", "string") not in ("string", ["string"]):
        place.refuse("names are strings")
    said.pop("type", None)
    if not said:
        return None
    if len(said) == 1 and "pattern" in said:
        return pattern(said["pattern"], place.at("pattern"))
    if len(said) == 1 and ("enum" in said or "const" in said):
        values = said.get("enum", [said.get("const")])
        texts = [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
        if not texts:
            place.refuse("it has no name")
        return exactly(texts)
    if set(said) <= {"minLength", "maxLength"}:
        low = count(said.get("minLength", 0), place.at("minLength"), 1_000)
        high = count(said["maxLength"], place.at("maxLength"), 1_000) if "maxLength" in said else ""
        return rf"^[\s\S]{{{low},{high}}}$"
    return place.refuse("it can have a pattern, an enum or lengths, one of them; use 'patternProperties'")


_SAYING = frozenset(
    {
        "type",
        "pattern",
        "enum",
        "const",
        "minLength",
        "maxLength",
        "format",
        "not",
        "if",
        "allOf",
        "anyOf",
        "oneOf",
        "$dynamicRef",
        "$recursiveRef",
    }
)


def _matches(expression: str, name: str, place: Place) -> bool:
    if len(expression) > 200 and not expression.startswith("^(?:"):
        place.refuse("its pattern is too long beside named properties")
    if re.search(r"[+*}]\)*[+*{]|\(.*[+*|].*\)[+*{]", expression) and len(name) > 20:
        place.refuse("its pattern is too complex beside named properties")
    try:
        return re.search(expression, name) is not None
    except re.error:
        place.refuse("its pattern isn't a regular expression")


def _counts(job: Rewriting, properties: Iterable[str], required: list[str], free: bool) -> None:
    """Keep `minProperties` and `maxProperties`."""
    schema, place = job.node.schema, job.node.place
    if "maxProperties" in schema:
        job.plain["maxProperties"] = count(schema["maxProperties"], place.at("maxProperties"), MAX_COUNT)
    at_least = count(schema.get("minProperties", 0), place.at("minProperties"), MAX_COUNT)
    if at_least <= len(required):
        return
    optional = [name for name in properties if name not in required]
    if at_least > len(required) + 1 and (free or optional):
        problem = f"with {len(required)} names in 'required' it can be at most {len(required) + 1}"
        job.rewriter.attempt(place.at("minProperties"), f"{problem}; require more names")
    elif optional and "maxProperties" not in schema:
        job.more.append({"anyOf": [*job.other_types("object"), *({"required": [name]} for name in optional)]})
    else:
        job.plain["minProperties"] = at_least


def _dependencies(job: Rewriting) -> None:
    """Hold `dependentRequired`, `dependentSchemas` and draft 4's `dependencies`: without, or with."""
    node, schema = job.node, job.node.schema
    for keyword in ("dependentRequired", "dependentSchemas", "dependencies"):
        members = schema.get(keyword, {})
        if not isinstance(members, dict):
            node.place.at(keyword).refuse("it must be an object")
        for name, needed in members.items():
            check_text(name, node.place.at(keyword))
            if isinstance(needed, list):
                names = _names(needed, node.place.at(keyword, name))
                then: Any = {"required": [name, *names]}
            elif keyword == "dependentRequired":
                node.place.at(keyword, name).refuse("it must be a list of names")
            else:
                then = {"allOf": [{"required": [name]}, job.rewrite(node.child(keyword, name))]}
            without = {"type": "object", "properties": {name: False}}
            job.more.append({"anyOf": [*job.other_types("object"), without, {"type": "object", **then}]})
