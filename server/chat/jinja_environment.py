"""The sandbox of chat templates: Hugging Face's settings, filters and functions. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

EXPRESSION_ERRORS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError)
"""An expression of a template can raise these, apart from Jinja's own errors."""


def environment() -> ImmutableSandboxedEnvironment:
    """Return a new environment. Nothing of it is shared with another template's."""
    made = _Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation], cache_size=0
    )
    made.filters["tojson"] = _tojson
    # Nothing is escaped here, but what `safe` returns would escape all that is added to it (Functionary 3.1).
    made.filters["safe"] = str
    made.globals["raise_exception"] = _raise_exception
    made.globals["strftime_now"] = strftime_now
    del made.globals["lipsum"]
    return made


def strftime_now(form: str) -> str:
    """Return the local time in C's notation, with English names."""
    return datetime.now().astimezone().strftime(form)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Transformers' sandbox, in which a list may grow and shrink, too: Kimi K2's template keeps a queue."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return True if a template may read the attribute."""
        return (isinstance(obj, list) and attr in ("append", "pop")) or super().is_safe_attribute(
            obj, attr, value
        )


class _Generation(Extension):
    """The tag `{% generation %}` marks the assistant's words for training; here they are just printed."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    if isinstance(value, Iterator):  # what `map` and `select` return; transformers refuses to write it
        value = list(value)
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)
