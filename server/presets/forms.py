"""`form_in`: the form of an answer that a preset sets, as each protocol's requests ask for it. Pure.

A preset says it as chat completions do. Responses have it in `text.format`, Messages in
`output_config.format`, Ollama in `format`, each in a shape of its own, and none of them has grammars.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

_NAME_MAX = 64
"""A schema's name has at most so many characters in Responses; it means nothing to the answer."""
FORMS: Final = ("response_format", "json_schema", "grammar", "regex", "choice", "lark")
"""The parameters that ask for a form."""


class PlacedForm(NamedTuple):
    """A form at its place in a request; a `value` of None: the request asks for any text by having none."""

    path: str
    value: Any


class _Form(NamedTuple):
    """A form that isn't a grammar's: any text, any object, or a schema."""

    kind: str
    """`text`, `json_object` or `json_schema`."""
    schema: dict[str, Any] | None = None
    more: Mapping[str, Any] = MappingProxyType({})
    """The rest that chat completions say of a schema: its name, `strict`, `description`."""


def form_in(purpose: str, parameter: str, value: Any) -> PlacedForm | None:
    """Return a form in the requests of a purpose that doesn't have chat completions' fields; None: no place.

    A value that is no form has no place either: the check of presets refuses it by chat completions' rules.
    """
    form = _form_of(parameter, value)
    write = _WRITERS.get(purpose)
    return None if form is None or write is None else write(form)


def _form_of(parameter: str, value: Any) -> _Form | None:
    if parameter == "json_schema":
        return _schema_form(value)
    if parameter != "response_format" or not isinstance(value, dict):
        return None
    match {name: given for name, given in value.items() if given is not None}:
        case {"type": "text"}:
            return _Form("text")
        case {"type": "json_schema", "json_schema": {"schema": schema, **more}}:
            return _schema_form(schema, more)
        case {"type": "json_schema", "schema": schema, **more}:
            return _schema_form(schema, more)
        case {"type": "json_object" | "json", "schema": schema} | {"type": "json", "value": schema}:
            return _schema_form(schema)
        case {"type": "json_object" | "json"}:
            return _Form("json_object")
    return None


def _schema_form(schema: Any, more: Mapping[Any, Any] = MappingProxyType({})) -> _Form | None:
    """Return the form of a schema, which may come as JSON text or as true or false, too."""
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError):
            return None
    if isinstance(schema, bool):
        schema = {} if schema else {"not": {}}
    return _Form("json_schema", schema, more) if isinstance(schema, dict) else None


def _responses(form: _Form) -> PlacedForm:
    value: dict[str, Any] = {"type": form.kind}
    if form.kind == "json_schema":
        value |= {key: more for key in ("description", "strict") if (more := form.more.get(key)) is not None}
        name = form.more.get("name")
        if isinstance(name, str) and len(name) <= _NAME_MAX:
            value["name"] = name
        value["schema"] = form.schema
    return PlacedForm("text.format", value)


def _messages(form: _Form) -> PlacedForm:
    path = "output_config.format"
    if form.kind == "text":
        return PlacedForm(path, None)
    schema = {"type": "object"} if form.kind == "json_object" else form.schema
    return PlacedForm(path, {"type": "json_schema", "schema": schema})


def _ollama(form: _Form) -> PlacedForm:
    if form.kind == "json_schema":
        return PlacedForm("format", form.schema)
    return PlacedForm("format", "json" if form.kind == "json_object" else None)


_WRITERS: Final[Mapping[str, Callable[[_Form], PlacedForm]]] = MappingProxyType(
    {
        "response": _responses,
        "messages": _messages,
        "count_tokens": _messages,
        "ollama_chat": _ollama,
        "ollama_generate": _ollama,
    }
)
