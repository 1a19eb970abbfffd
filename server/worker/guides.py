"""`AnswerGuides`: the grammar and the parts of answers, made of tools, constraint and thoughts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from models.errors import RequestError
from models.llamacpp.vocab import Vocab
from server.chat.render import RenderedPrompt
from server.chat.sound_schemas import sound_tool
from server.chat.thinking import thinking_variables
from server.chat.tool_formats.registry import tool_formats
from server.chat.tool_formats.tool_format import GrammarJob, ToolFormat, thought_messages
from server.chat.tools import Tool
from server.engine.answer_plan import AnswerPlan
from server.engine.events import AnswerForm
from server.ipc.constraint import Constraint
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt
from server.worker.constraints.compiler import CompiledGrammar, ConstraintCompiler
from server.worker.constraints.grammar_text import CONTENT

logger = logging.getLogger("corral.worker")

_MAX_TOLD = 1000
"""So many keywords that aren't held are told in the log."""
_LONG = 16_384
"""A constraint of more characters is checked before its prompt is made, which may hold it, too."""
_LEADS = ("", ".", "a", "0", "~", "\n")
"""A text is tokenized behind one of these: the tokenizer may put a space in front of a text's beginning."""


@dataclass(frozen=True, slots=True)
class AnswerGuide:
    """The fields of an `EngineRequest` that come of tools, thoughts and constraints."""

    guide: CompiledGrammar | None = None
    plan: AnswerPlan | None = None
    form: AnswerForm | None = None
    spelled_tokens: frozenset[int] = frozenset()


NO_GUIDE = AnswerGuide()


class AnswerGuides:
    """Makes guides for one model. Any thread.

    The vocabulary is read for grammars, and their process started, by `open` or when the first request needs
    them.
    """

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab
        self._compiler = ConstraintCompiler(vocab)
        self._told: set[str] = set()
        self._hidden = vocab.hidden_tokens if vocab.type != "none" else {}
        self._opening: threading.Thread | None = None

    def open(self) -> None:
        """Make ready for the first grammar, which takes up to two seconds of a core; return at once."""
        if self._opening is None:
            self._opening = threading.Thread(target=self._open, name="grammars", daemon=True)
            self._opening.start()

    def close(self) -> None:
        """End the grammars' process, if there is one. The vocabulary is used no more then."""
        if self._opening is not None:
            self._opening.join()
        self._compiler.close()

    def check(self, message: Generate) -> None:
        """Refuse a long constraint that can't be held before its prompt is made. Raises RequestError."""
        constraint, prompt = message.constraint, message.prompt
        has_tools = isinstance(prompt, ChatPrompt) and prompt.tools
        if constraint is not None and len(constraint.text) > _LONG and not has_tools:
            self._compiler.check(constraint)

    def make(self, message: Generate, rendered: RenderedPrompt | None) -> AnswerGuide:
        """Return the guide of a request. Raises RequestError naming what can't be held."""
        prompt, constraint = message.prompt, message.constraint
        if rendered is None or not isinstance(prompt, ChatPrompt):
            if constraint is None:
                return NO_GUIDE
            plan = AnswerPlan(is_whole=True) if constraint.is_whole else None
            return AnswerGuide(self._compiler.compile(constraint), plan)
        form = rendered.form
        known = None if form.tool_format is None else tool_formats()[form.tool_format]
        if known is not None and prompt.tools and prompt.tool_choice.mode == "required":
            form = replace(form, calls_only=True)
        if form.thoughts is None and known is None and constraint is None:
            return NO_GUIDE
        marks: set[str] = set()
        return AnswerGuide(
            guide=self._grammar(prompt, constraint, form, known, marks),
            plan=self._plan(prompt, constraint, rendered, known),
            form=None if form == AnswerForm() else form,
            spelled_tokens=self._spelled(form, known, marks),
        )

    def _open(self) -> None:
        try:
            self._compiler.open()
        except OSError as error:
            logger.warning("the process that makes grammars can't be started: %s", error)

    def _grammar(
        self,
        prompt: ChatPrompt,
        constraint: Constraint | None,
        form: AnswerForm,
        known: ToolFormat | None,
        marks: set[str],
    ) -> CompiledGrammar | None:
        """Return the grammar; the texts that it wants as tokens are added to `marks`."""
        if known is None or (not prompt.tools and not (constraint and thought_messages(known))):
            if constraint is None:
                return None
            thoughts = _allowed_thoughts(prompt, form)
            return self._compiler.compile(constraint, thoughts=thoughts, thinks=form.thinks)
        choice = prompt.tool_choice
        tools = choice.callable_tools(prompt.tools)
        if choice.mode == "required" and not tools:
            raise RequestError(
                "tool_choice asks for a call of a tool that the request doesn't offer; add it to tools",
                param="tool_choice",
            )
        # Other tools' schemas have a name for the log.
        placed = [replace(tool, path=tool.path or f"tools.{tool.name}") for tool in tools]
        sound = [sound_tool(tool) for tool in placed]
        tools = [tool for tool, _ in sound]

        def is_token(text: str) -> bool:
            marks.add(text)
            return self._compiler.is_token(text)

        def mark(text: str) -> str:
            marks.add(text)
            return self._compiler.mark(text)

        job = GrammarJob(
            tools=tools,
            required=choice.mode == "required",
            parallel=choice.parallel,
            mark=mark,
            is_token=is_token,
            thoughts=_allowed_thoughts(prompt, form),
            thinks=form.thinks,
            content=None if constraint is None or choice.mode == "required" else CONTENT,
            left_out=[place for _, places in sound for place in places],
        )
        content = constraint if job.content else None
        param = "tools" if constraint is None or tools else constraint.param
        compiled = self._compiler.compile_lark(
            known.grammar(job), param, content=content, relaxed=bool(tools)
        )
        self._tell_left_out(tools, [*job.left_out, *compiled.left_out])
        return compiled

    def _tell_left_out(self, tools: Sequence[Tool], places: Sequence[str]) -> None:
        """Warn of the keywords that aren't held, once each. Raises RequestError for a strict tool's."""
        for place in dict.fromkeys(places):
            if any(tool.strict and _is_within(place, tool.path) for tool in tools):
                raise RequestError(
                    f"'{place}' can't be held, and the tool is strict; leave the keyword or 'strict' out",
                    param=place,
                    code="unsupported_schema",
                )
            if place not in self._told and len(self._told) < _MAX_TOLD:
                self._told.add(place)
                logger.warning("calls of tools aren't held to '%s', which no grammar here can say", place)

    def _plan(
        self,
        prompt: ChatPrompt,
        constraint: Constraint | None,
        rendered: RenderedPrompt,
        known: ToolFormat | None,
    ) -> AnswerPlan:
        form, choice = rendered.form, prompt.tool_choice
        calls = known is not None and bool(choice.callable_tools(prompt.tools))
        budget = prompt.thinking.allowed_tokens
        own = thought_messages(known) if form.thoughts is None else None
        thoughts = form.thoughts if own is None else own.thought_marks
        between = "" if own is None else own.next_message
        closing: tuple[int, ...] = ()
        if budget is not None and thoughts is not None:
            closing = exact_tokens(self._vocab, rendered.closing or f"{thoughts[1]}{between}")
        return AnswerPlan(
            thoughts=thoughts,
            between=between,
            thinks=form.thinks,
            budget_tokens=budget,
            closing_tokens=closing,
            call_marks=known.marks if known is not None and calls else (),
            bare_calls=calls,
            is_whole=(constraint is not None and constraint.is_whole)
            or (calls and choice.mode == "required"),
        )

    def _spelled(self, form: AnswerForm, known: ToolFormat | None, more: set[str]) -> frozenset[int]:
        """Return the tokens without text that are the answer's marks, or parts of them, or of `more`."""
        marks = [*(form.thoughts or ()), *(known.marks if known is not None else ()), *more]
        ends = self._vocab.eog_tokens
        return frozenset(
            token
            for token, name in self._hidden.items()
            if token not in ends and any(name in mark for mark in marks)
        )


def _allowed_thoughts(prompt: ChatPrompt, form: AnswerForm) -> tuple[str, str] | None:
    """Return the marks of the thoughts that an answer may begin with.

    There are none where the request wants none, unless the prompt has opened them nevertheless.
    """
    is_off = thinking_variables(prompt.thinking).get("enable_thinking") is False
    return None if is_off and not form.thinks else form.thoughts


def _is_within(place: str, path: str) -> bool:
    """Return True if a place of the request is `path`, or below it."""
    return place == path or place.startswith((f"{path}.", f"{path}["))


def exact_tokens(vocab: Vocab, text: str) -> tuple[int, ...]:
    """Return the tokens of a text within other text, without the space that some put in front of it."""
    wanted = text.encode()
    for lead in _LEADS:
        tokens = vocab.tokenize(lead + text, add_special=False, parse_special=True)
        begun = b""
        for at, token in enumerate(tokens):
            if begun.lstrip(b" ") == lead.encode():
                own = tokens[at:]
                if b"".join(vocab.piece(each, special=True) for each in own) == wanted:
                    return tuple(own)
            begun += vocab.piece(token, special=True)
    return tuple(vocab.tokenize(text, add_special=False, parse_special=True))
