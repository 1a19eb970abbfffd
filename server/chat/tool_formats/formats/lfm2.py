r"""LFM2's format: a list of calls in Python's notation between two marks.

I look.<|tool_call_start|>[get_weather(city="Paris", days=3), get_weather(city='Rome')]<|tool_call_end|>

Strings are written with double quotes under a grammar: there JSON's escapes are Python's, too. Words of JSON
(`true`, `null`) are read and written as they are in Python.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import answer, spelled
from server.chat.tool_formats.grammar.loose_keywords import note_loose
from server.chat.tool_formats.grammar.parameter_schema import (
    Parameter,
    other_parameter,
    parameters_of,
    string_terminal,
)
from server.chat.tool_formats.reading.answer_script import AnswerScript, AnswerText, Steps
from server.chat.tool_formats.reading.python_call import read_python_call
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_OPENING, _CLOSING = "<|tool_call_start|>", "<|tool_call_end|>"


class _Lfm2:
    marks = (_OPENING, _CLOSING)

    def matches(self, template: str) -> bool:
        """LFM2's templates that don't render calls themselves are told by their list of tools."""
        return _OPENING in template or "List of tools: " in template

    def grammar(self, job: GrammarJob) -> str:
        rules, names = [], []
        for place, tool in enumerate(job.tools):
            note_loose(job, tool)
            names.append(f"tool_{lark.letters(place)}")
            rules += _tool_rules(tool, names[-1])
        rules.append(f"named: {lark.choice(names)}")
        more = '(", " named)*' if job.parallel else ""
        behind = f'"[" named {more} "]" {spelled(job, _CLOSING)}'
        return answer(job, f"{spelled(job, _OPENING)} {behind}", [_OPENING], rules, after_opening=behind)

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        known = {tool.name: tool for tool in tools}
        reader = AnswerScript(lambda text: _read(text, known))
        return with_thoughts(reader, thoughts, thinks=thinks)

    def write(self, calls: Sequence[tuple[str, str]]) -> str:
        """Return the calls as the grammar has them, their values as JSON."""
        listed = ", ".join(f"{name}({_keywords(json.loads(arguments))})" for name, arguments in calls)
        return f"{_OPENING}[{listed}]{_CLOSING}"


def _keywords(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items())


def _tool_rules(tool: Tool, name: str) -> list[str]:
    """Return the rules of a call: parameters in the schema's order, those without need left out or not."""
    rules: list[str] = []
    required: list[str] = []
    optional: list[str] = []
    for place, parameter in enumerate(parameters_of(tool).values()):
        rule = f"{name}_{lark.letters(place)}"
        rules += [f"{rule}: {lark.quoted(parameter.name + '=')} {rule}_value", *_value_rules(parameter, rule)]
        (required if parameter.required else optional).append(rule)
    other = other_parameter(tool)
    if other is not None:
        rules.append(
            f'{name}_other: /[a-zA-Z_][a-zA-Z0-9_]{{0,63}}/ "=" {lark.json_rule(other.whole_schema)}'
        )
    body = _series(required, optional, f"{name}_other" if other is not None else None, name, rules)
    rules.append(f"{name}: {lark.quoted(tool.name + '(')} {body} {lark.quoted(')')}")
    return rules


def _value_rules(parameter: Parameter, rule: str) -> list[str]:
    """Return the rules of a value: JSON, or a string in single quotes, as the templates render it."""
    whole = f"{rule}_value: {lark.json_rule(parameter.whole_schema)}"
    if not parameter.is_string:
        return [whole]
    if parameter.texts is not None:
        texts = [text for text in parameter.texts if not _ESCAPED & set(text)]
        return [" | ".join([whole, *(lark.quoted(f"'{text}'") for text in texts)])]
    terminal = f"{rule}_text".upper()
    wanted = string_terminal(parameter.schema)
    bare = rf"/[^'\\]*/{' & ' + wanted if wanted else ''}"
    return [f"{whole} | {terminal}", f"""{terminal}: "'" ({bare}) "'" """]


_ESCAPED = frozenset("'\\")


def _series(required: list[str], optional: list[str], other: str | None, name: str, rules: list[str]) -> str:
    """Return the expression of arguments with commas between them: required ones, then any of the rest."""
    rest = " ".join(f'(", " {rule})?' for rule in optional) + (f' (", " {other})*' if other else "")
    if required:
        return _joined([*required], rest)
    firsts = [
        _joined(
            [rule],
            " ".join(f'(", " {later})?' for later in optional[place + 1 :])
            + (f' (", " {other})*' if other else ""),
        )
        for place, rule in enumerate(optional)
    ]
    if other:
        firsts.append(_joined([other], f'(", " {other})*'))
    if not firsts:
        return ""
    rules.append(f"{name}_arguments: {' | '.join(firsts)}")
    return f"{name}_arguments?"


def _joined(rules: list[str], rest: str) -> str:
    return f"{_COMMA.join(rules)} {rest}"


_COMMA = ' ", " '


def _read(text: AnswerText, tools: Mapping[str, Tool]) -> Steps[None]:
    yield from text.bare_calls(tools)
    bare = yield from _bare_list(text, tools)
    while bare or (yield from text.until([_OPENING])) is not None:
        raw = "" if bare else _OPENING
        bare = False
        while True:
            raw += yield from text.skip(" \t\r\n[,;")
            if (yield from text.mark(["]"], skip="")):
                yield from text.mark([_CLOSING])
                break
            if (yield from text.mark([_CLOSING], skip="")):
                break
            if not text.buffer.text:
                if raw.strip(" \t\r\n[,;"):
                    text.add_content(raw)
                break
            if not (yield from read_python_call(text, tools, raw)):
                break
            raw = ""


def _bare_list(text: AnswerText, names: Collection[str]) -> Steps[bool]:
    """Return True if the answer begins with a list of calls whose opening mark is missing."""
    return (yield from text.mark([f"[{name}(" for name in names], take=False)) is not None


FORMAT = _Lfm2()
