"""`TaggedCalls`: the formats that write each parameter of a call between marks of its own. Pure.

Parameters come in the schema's order, where optional ones may be left out; permutations would make grammars
large. What a string may be is held by a terminal, so that its text needs no quotes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import answer, repeated, spelled, text_then
from server.chat.tool_formats.grammar.loose_keywords import note_loose
from server.chat.tool_formats.grammar.parameter_schema import Parameter, other_parameter, parameters_of
from server.chat.tool_formats.grammar.written_values import PythonValues
from server.chat.tool_formats.reading.answer_script import AnswerScript, AnswerText, Steps
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_GAP = r"/\n{0,2}/"


_BOUNDS = frozenset(
    {"pattern", "enum", "const", "minLength", "maxLength", "anyOf", "oneOf", "allOf", "not", "$ref"}
)
"""A text with one of these keywords stands in no CDATA section, whose rule is any text."""


@dataclass(frozen=True, kw_only=True)
class TaggedCalls:
    """A `ToolFormat` made of its marks."""

    tokens: tuple[str, ...]
    """Marks that vocabularies may have as tokens."""
    is_used_by: Callable[[str], bool]
    """Returns True if a template writes calls so."""
    section: tuple[str, str] | None = None
    """The marks around all calls."""
    call: tuple[str, str]
    """The texts in front of a call's name and behind it; nothing behind it: it ends with its line."""
    closing: str
    key: tuple[str, str]
    """The texts in front of a parameter's name and behind it, up to its value, white space aside."""
    value_opening: str = ""
    value_closing: str
    string_attribute: str = ""
    """The text behind the name of a parameter that is a string; `other_attribute`: of one that isn't."""
    other_attribute: str = ""
    other_types: str = ""
    """The regular expression of the types that stand in the place of `{}` in `other_attribute`."""
    after_name: str = ""
    """The regular expression of what stands between a call's name and the mark behind it."""
    content: tuple[str, ...] = ()
    """Marks around content, which are left out of it."""
    one_per_section: bool = False
    """Each call stands between marks of the section of its own."""
    is_python: bool = False
    """The template prints values in Python's notation; JSON is written, too."""
    has_cdata: bool = False
    """A string may stand in a CDATA section, which may hold any mark."""

    @property
    def marks(self) -> tuple[str, ...]:
        return self.tokens

    @property
    def openings(self) -> tuple[str, ...]:
        return (self.call[0], *((self.section[0],) if self.section else ()))

    def matches(self, template: str) -> bool:
        return self.is_used_by(template)

    def grammar(self, job: GrammarJob) -> str:
        rules = self.rules(job)
        opening = self.section[0] if self.section else self.call[0]
        call = f"{spelled(job, self.call[0])} named"
        if self.section is None:
            calls = repeated(call, f"gap {call}", job)
            behind = f"named (gap {call})*" if job.parallel else "named"
        elif self.one_per_section:
            behind = f"gap {call} gap {spelled(job, self.section[1])}"
            calls = f"{spelled(job, opening)} {behind}"
            if job.parallel:
                behind, calls = f"{behind} (gap {calls})*", f"{calls} (gap {calls})*"
        else:
            inner = f"gap {repeated(call, f'gap {call}', job)} gap {spelled(job, self.section[1])}"
            calls, behind = f"{spelled(job, opening)} {inner}", inner
        return answer(job, calls, [opening], rules, after_opening=behind)

    def rules(self, job: GrammarJob) -> list[str]:
        """Return the rules of `named`, a call behind its opening mark, and of `gap`."""
        rules = [f"gap: {_GAP}"]
        names = []
        for place, tool in enumerate(job.tools):
            names.append(f"tool_{lark.letters(place)}")
            rules += self._tool_rules(job, tool, names[-1])
        return [*rules, f"named: {lark.choice(names)}"] if names else rules

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        reader = AnswerScript(lambda text: self._read(text, {tool.name: tool for tool in tools}))
        return with_thoughts(reader, thoughts, thinks=thinks)

    def _tool_rules(self, job: GrammarJob, tool: Tool, name: str) -> list[str]:
        parts, rules = [], []
        note_loose(job, tool)
        for place, parameter in enumerate(parameters_of(tool).values()):
            rule = f"{name}_{lark.letters(place)}"
            parts.append(rule if parameter.required else f"{rule}?")
            rules += self._parameter_rules(job, parameter, rule, lark.quoted(parameter.name))
        other = other_parameter(tool)
        if other is not None:
            rule = f"{name}_other"
            parts.append(f"{rule}*")
            rules += self._parameter_rules(job, other, rule, r"/[a-zA-Z_][a-zA-Z0-9_.\-]{0,63}/")
        after = [lark.quoted(tool.name)]
        if self.after_name:
            after.append(f"/{self.after_name}/")
        if self.call[1]:
            after.append(spelled(job, self.call[1]))
        body = " ".join([*after, "gap", *parts, spelled(job, self.closing)])
        return [f"{name}: {body}", *rules]

    def _parameter_rules(self, job: GrammarJob, parameter: Parameter, rule: str, key: str) -> list[str]:
        opening = f"{spelled(job, self.key[0])} {key}"
        between = f"gap {spelled(job, self.value_opening)}" if self.value_opening else ""
        kinds = []
        if self.string_attribute:
            kinds += [(self.string_attribute, "string")] if "string" in parameter.types else []
            kinds += [(self.other_attribute, "other")] if not parameter.is_string else []
        else:
            kinds.append((self.key[1], "any"))
        rules, alternatives = [], []
        for behind, kind in kinds:
            value = f"{rule}_{kind}"
            head, place, tail = behind.partition("{}")
            attributes = spelled(job, head)
            if place:
                attributes += f" /{self._types_of(parameter)}/ {spelled(job, tail)}"
            alternatives.append(f"{opening} {attributes} {between} {value} gap")
            if self.has_cdata and "string" in parameter.types and not _BOUNDS & parameter.schema.keys():
                rules += text_then(job, f"{value}_cdata", None, f"]]>{self.value_closing}")
                rules.append(f'{value}: {value}_bare | "<![CDATA[" {value}_cdata')
                value = f"{value}_bare"
            structured = parameter.structured_schema if self.is_python and kind != "string" else None
            if structured is not None:
                values = PythonValues(f"{value}_python")
                name = values.value_of(structured, {"$defs": parameter.definitions})
                rules += [*values.rules, f"{value}: {value}_json | {name} {spelled(job, self.value_closing)}"]
                value = f"{value}_json"
            excluding = r"(~/<!\[CDATA\[(?s:.*)/)" if self.has_cdata else ""
            rules += parameter.rules(job, value, self.value_closing, kind=kind, excluding=excluding)
        return [f"{rule}: {' | '.join(alternatives)}", *rules]

    def _types_of(self, parameter: Parameter) -> str:
        types = parameter.types | ({"number"} if "integer" in parameter.types else set())
        return "|".join(name for name in self.other_types.split("|") if name in types) or self.other_types

    def _read(self, text: AnswerText, tools: dict[str, Tool]) -> Steps[None]:
        yield from text.bare_calls(tools)
        openings = [self.call[0], *([self.section[0]] if self.section else [])]
        while (mark := (yield from text.until([*openings, *self.content]))) is not None:
            if mark in openings:
                yield from self.read_calls(text, tools, mark)

    def read_calls(self, text: AnswerText, tools: dict[str, Tool], mark: str) -> Steps[None]:
        """Read the calls behind an opening mark, which was taken."""
        raw = mark
        if mark != self.call[0]:
            raw += yield from text.skip()
            if (yield from text.mark([self.call[0]], skip="")) is None:
                text.add_content(raw)
                return
            raw += self.call[0]
        while (yield from self._read_call(text, tools, raw)):
            endings = [self.call[0], *([self.section[1]] if self.section else [])]
            if (yield from text.mark(endings)) != self.call[0]:
                return
            raw = self.call[0]

    def _read_call(self, text: AnswerText, tools: dict[str, Tool], raw: str) -> Steps[bool]:
        """Read a call behind its opening mark; return False, with all of it handed out, if it is none."""
        ends = [self.call[1]] if self.call[1] else ["\n", self.key[0], self.closing]
        name, end = yield from text.word(ends)
        tool = tools.get(name.split('"')[0].strip())
        if tool is None or end is None:
            text.add_content(raw + name + (end or ""))
            return False
        if not self.call[1] and end != "\n":
            text.buffer.text = end + text.buffer.text
        text.begin_call(tool.name)
        parameters = parameters_of(tool)
        n_read, stray = 0, ""
        while (mark := (yield from text.mark([self.key[0], self.closing]))) != self.closing:
            if mark is None:
                more, mark = yield from text.word([self.key[0], self.closing])
                stray += more
                if mark is None:
                    return True
                text.buffer.text = mark + text.buffer.text
                continue
            key, end = yield from text.word([self.key[1]])
            if end is None:
                return True
            if self.value_opening:
                yield from text.mark([self.value_opening])
            key, _, attributes = key.partition('"')
            text.add_arguments(("{" if not n_read else ", ") + json.dumps(key, ensure_ascii=False) + ": ")
            n_read += 1
            parameter = parameters.get(key) or Parameter(key, {})
            if not (yield from self._read_value(text, parameter, self._is_string(attributes))):
                return True
        text.add_arguments("}" if n_read else "{}")
        text.end_call()
        if stray.strip():
            text.add_content(stray)
        return True

    def _is_string(self, attributes: str) -> bool | None:
        if not self.string_attribute or not attributes:
            return None
        return self.string_attribute.lstrip('"').strip().startswith(attributes.strip())

    def _read_value(self, text: AnswerText, parameter: Parameter, is_string: bool | None) -> Steps[bool]:
        if self.has_cdata and (yield from text.mark(["<![CDATA["])):
            whole, mark = yield from text.word([f"]]>{self.value_closing}"])
            text.add_arguments(json.dumps(whole, ensure_ascii=False)[: None if mark else -1])
            return mark is not None
        if is_string or (is_string is None and parameter.is_string):
            text.add_arguments('"')
            if (yield from text.until([self.value_closing], lambda piece: text.add_arguments(_inner(piece)))):
                text.add_arguments('"')
                return True
            return False
        pieces: list[str] = []
        space = yield from text.skip()
        if text.buffer.text.startswith(("{", "[")):
            yield from text.json(pieces.append)
        rest, mark = yield from text.word([self.value_closing])
        value = space + "".join(pieces) + rest
        text.add_arguments(value if mark is None else parameter.json_of(value, is_string=is_string))
        return mark is not None


def _inner(text: str) -> str:
    """Return a text as a piece of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
