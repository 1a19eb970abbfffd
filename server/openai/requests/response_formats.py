"""`constraint_of`: the form that a request asks of its answer, in any of its names, as a `Constraint`.

The names are those of OpenAI, llama-server, TGI and vLLM.

Whether the form can be held, the worker says when it compiles it. Pure.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from models.errors import RequestError
from server.chat.response_schemas import schema_text
from server.ipc.constraint import Constraint, ConstraintKind

if TYPE_CHECKING:
    from pydantic import BaseModel

    from server.openai.requests.schemas import GenerationRequest

_TEXTS: dict[str, ConstraintKind] = {
    "regex": "regex",
    "lark": "lark",
    "guided_regex": "regex",
}
_SCHEMAS = ("json_schema", "guided_json")
_CHOICES = ("choice", "guided_choice")
_GRAMMARS = ("grammar", "guided_grammar")
_STRUCTURED = {"json": "json_schema", "regex": "regex", "choice": "choice", "grammar": "grammar"}
"""The members of vLLM's `structured_outputs`, and the fields that they are here."""
_FORMAT_FIELDS: dict[str, tuple[str, ...]] = {
    "text": (),
    "json_object": ("schema", "value"),
    "json_schema": ("json_schema", "schema"),
    "json": ("schema", "value"),
    "regex": ("value", "regex", "pattern"),
    "grammar": ("grammar", "value"),
}
"""The kinds of `response_format`, and the fields that say more."""

FIELDS = ("response_format", *_SCHEMAS, *_GRAMMARS, *_TEXTS, *_CHOICES, "structured_outputs")
"""The fields that ask for a form; one of them at once."""


def constraint_of(request: GenerationRequest) -> Constraint | None:
    """Return the form of the answer's content; None: any text. Raises RequestError naming the field."""
    found = [
        constraint
        for name in FIELDS
        if (value := getattr(request, name)) is not None
        and (constraint := _read(name, name, value)) is not None
    ]
    if len(found) > 1:
        raise RequestError(
            f"'{found[0].param}' and '{found[1].param}' both ask for a form of the answer; leave one out",
            param=found[1].param,
        )
    return found[0] if found else None


def shown_schema(request: GenerationRequest, constraint: Constraint | None) -> str | None:
    """Return the schema that the prompt tells the model, as JSON text; None: none, or the client doesn't
    want it told."""
    return None if request.show_schema is False else schema_to_tell(constraint)


def schema_to_tell(constraint: Constraint | None) -> str | None:
    """Return the schema of a form, if it is one that a model can be told."""
    if constraint is None:
        return None
    if constraint.kind == "json_object":
        return schema_text({"type": "object"})
    is_object = constraint.kind == "json_schema" and constraint.text.startswith("{")
    return constraint.text if is_object else None


def refuse_elsewhere(request: BaseModel, home: str) -> None:
    """Raise RequestError if a request of another protocol asks for a form, or functions, in a chat's field.

    `home`: the protocol's own field of forms. What is ignored there would be no guarantee.
    """
    if (request.model_extra or {}).get("functions"):
        raise RequestError(
            "'functions' is a field of chat completions; here functions are offered by 'tools'",
            param="functions",
            code="unsupported_parameter",
        )
    for name, value in (request.model_extra or {}).items():
        if name in FIELDS and value is not None and value != {"type": "text"}:
            raise RequestError(
                f"'{name}' is a field of chat completions; here an answer's form is asked for by '{home}'",
                param=name,
                code="unsupported_parameter",
            )


def _read(name: str, param: str, value: Any) -> Constraint | None:
    if name == "response_format":
        return _response_format(value, param)
    if name == "structured_outputs":
        return _structured_outputs(value, param)
    if name in _SCHEMAS:
        return schema_constraint(value, param)
    if name in _CHOICES:
        return _choices(value, param)
    text = _text(value, param)
    if not text:
        return None
    return Constraint(kind=_grammar_kind(text) if name in _GRAMMARS else _TEXTS[name], text=text, param=param)


def _response_format(value: Any, param: str) -> Constraint | None:
    if not isinstance(value, dict):
        raise _invalid(param, "must be an object with a 'type'")
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _FORMAT_FIELDS:
        raise _invalid(f"{param}.type", f"must be one of {', '.join(_FORMAT_FIELDS)}")
    given = {key: more for key, more in value.items() if key != "type" and more is not None}
    if kind == "json_schema" and "json_schema" not in given and "schema" in given:  # as Responses have it
        return _json_schema(given, param)
    unknown = next((key for key in given if key not in _FORMAT_FIELDS[kind]), None)
    if unknown is not None:
        raise _invalid(f"{param}.{unknown}", f"isn't known for the type '{kind}'; leave it out")
    if len(given) > 1:
        raise _invalid(param, f"has {' and '.join(map(repr, given))}; leave one of them out")
    field, more = next(iter(given.items()), (None, None))
    where = f"{param}.{field}"
    match kind:
        case "text":
            return None
        case "json_object" | "json" if field is None:
            return Constraint(kind="json_object", param=param)
        case "json_schema" if field == "json_schema":
            return _json_schema(more, where)
        case "json_schema" | "json_object" | "json" if field is not None:
            return schema_constraint(more, where)
        case "regex" | "grammar" if field is not None and _text(more, where):
            text = _text(more, where)
            return Constraint(
                kind="regex" if kind == "regex" else _grammar_kind(text), text=text, param=where
            )
        case _:
            raise _missing(f"{param}.{_FORMAT_FIELDS[kind][0]}")


def _json_schema(value: Any, param: str) -> Constraint:
    """Return OpenAI's `json_schema`: the schema; `strict` changes nothing, as each is held."""
    if not isinstance(value, dict):
        raise _invalid(param, "must be an object with a 'schema'")
    for key, kind in (("name", str), ("description", str), ("strict", bool)):
        if not isinstance(value.get(key), kind | None):
            raise _invalid(f"{param}.{key}", "must be a string" if kind is str else "must be true or false")
    unknown = next((key for key in value if key not in ("name", "description", "strict", "schema")), None)
    if unknown is not None:
        raise _invalid(f"{param}.{unknown}", "isn't known; a schema's own fields go into 'schema'")
    if value.get("schema") is None:
        raise _missing(f"{param}.schema")
    return schema_constraint(value["schema"], f"{param}.schema")


def _structured_outputs(value: Any, param: str) -> Constraint | None:
    if not isinstance(value, dict):
        raise _invalid(param, "must be an object")
    found: list[Constraint] = []
    for key, more in value.items():
        if more is None or more is False:
            continue
        if key == "json_object" and more is True:
            found.append(Constraint(kind="json_object", param=f"{param}.{key}"))
        elif key in _STRUCTURED:
            constraint = _read(_STRUCTURED[key], f"{param}.{key}", more)
            found += [constraint] if constraint is not None else []
        else:
            raise _invalid(
                f"{param}.{key}", f"isn't known; there are {', '.join([*_STRUCTURED, 'json_object'])}"
            )
    if len(found) > 1:
        raise _invalid(param, "asks for several forms; leave one")
    return found[0] if found else None


def schema_constraint(value: Any, param: str) -> Constraint:
    """Return the constraint of a schema, which may come as JSON text, too."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:  # one of its numbers may have too many digits
            raise _invalid(param, "must be a JSON schema; the text isn't JSON") from error
    if not isinstance(value, dict | bool):
        raise _invalid(param, "must be a JSON schema: an object, true or false")
    try:
        msgspec.msgpack.encode(value)
    except OverflowError as error:
        raise _invalid(param, "has a whole number of more than 64 bits; leave the bound out") from error
    except RecursionError as error:
        raise _invalid(param, "is nested too deeply; make it flatter") from error
    return Constraint(kind="json_schema", text=json.dumps(value, ensure_ascii=False), param=param)


def _choices(value: Any, param: str) -> Constraint:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) and text for text in value):
        raise _invalid(param, "must be a list of texts that aren't empty")
    return Constraint(kind="choice", text=json.dumps(value, ensure_ascii=False), param=param)


def _grammar_kind(text: str) -> ConstraintKind:
    """Return `lark` for what llama-server reads so, and for a grammar without GBNF's `::=`."""
    return "lark" if text.lstrip().startswith("%llguidance") or "::=" not in text else "gbnf"


def _text(value: Any, param: str) -> str:
    if not isinstance(value, str):
        raise _invalid(param, "must be a string")
    return value


def _invalid(param: str, problem: str) -> RequestError:
    return RequestError(f"Invalid value for '{param}': {problem}", param=param)


def _missing(param: str) -> RequestError:
    return RequestError(
        f"Missing required parameter: '{param}'", param=param, code="missing_required_parameter"
    )
