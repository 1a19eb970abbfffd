r"""Mistral's format from Small 3.2 on: for each call a mark, the name, a mark and the arguments.

I look.[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]get_weather[ARGS]{"city": "Rome"}

Some write an id, too: `[TOOL_CALLS]get_weather[CALL_ID]a1B2c3D4e[ARGS]{"city": "Paris"}`.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import answer, repeated, spelled
from server.chat.tool_formats.reading.marked_calls import MarkedCalls
from server.chat.tool_formats.reading.named_call import NamedCall
from server.chat.tool_formats.thoughts_first import with_thoughts
from server.chat.tool_formats.tool_format import GrammarJob, PartReader
from server.chat.tools import Tool

_OPENING, _ID, _ARGUMENTS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"


class _MistralNamed:
    marks = (_OPENING, _ID, _ARGUMENTS)

    def matches(self, template: str) -> bool:
        return _OPENING in template and _ARGUMENTS in template

    def grammar(self, job: GrammarJob) -> str:
        # Only vocabularies that have the mark belong to models that know ids.
        call_id = f"({job.mark(_ID)} /[a-zA-Z0-9]{{9}}/)?" if job.is_token(_ID) else ""
        calls = [
            f"{lark.quoted(tool.name)} {call_id} {job.mark(_ARGUMENTS)} "
            f"{lark.json_rule(lark.arguments_schema(tool))}"
            for tool in job.tools
        ]
        opening = spelled(job, _OPENING)
        behind = repeated("named", f"{opening} named", job)
        rules = [f"named: {lark.choice(calls)}"] if calls else []
        return answer(job, f"{opening} {behind}", [_OPENING], rules, after_opening=behind)

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        names = frozenset(tool.name for tool in tools)
        calls = MarkedCalls(
            lambda: NamedCall(names, separator=_ARGUMENTS, name_of=_name, id_of=_own_id),
            _OPENING,
            None,
            call_begins="",
            unwrapped="",
            separators=" \t\r\n",
            mark_per_call=True,
        )
        return with_thoughts(calls, thoughts, thinks=thinks)


def _name(head: str) -> str:
    return head.partition(_ID)[0].strip()


def _own_id(head: str) -> str | None:
    return head.partition(_ID)[2].strip() or None


FORMAT = _MistralNamed()
