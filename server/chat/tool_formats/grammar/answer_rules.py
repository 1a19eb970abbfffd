"""Rules of whole answers: text without calls, thoughts, and calls behind text. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from server.chat.tool_formats import lark
from server.chat.tool_formats.tool_format import GrammarJob

SPACE = r"/[ \t\n]{0,4}/"
_TAIL = r"/\n?/"
"""Some templates end an answer's calls with a line break."""


def pieces_of(job: GrammarJob, text: str) -> list[tuple[str, bool]]:
    """Return the pieces of a text with marks in it; True: the piece is a special token of the vocabulary."""
    if job.is_token(text):
        return [(text, True)]
    pieces: list[tuple[str, bool]] = []
    for piece in filter(None, re.split(_MARK, text)):
        parts = [piece] if job.is_token(piece) else [part for part in re.split(_INNER_MARK, piece) if part]
        for part in parts:
            if job.is_token(part):
                pieces.append((part, True))
            elif pieces and not pieces[-1][1]:
                pieces[-1] = (pieces[-1][0] + part, False)
            else:
                pieces.append((part, False))
    return pieces


_MARK = r"(\]<\]minimax\[>\[|<[^<>\s]+>|</?\w+(?=\s))"
_INNER_MARK = r"(｜[^｜\s<>]+｜)"


def spelled(job: GrammarJob, text: str) -> str:
    """Return the Lark expression of a text with marks in it: special tokens as tokens, the rest in quotes."""
    return " ".join(_spelled(job, pieces_of(job, text)))


def _spelled(job: GrammarJob, pieces: Sequence[tuple[str, bool]]) -> list[str]:
    return [job.mark(piece) if is_token else lark.quoted(piece) for piece, is_token in pieces]


def literal(text: str) -> str:
    """Return a regular expression of exactly this text, for a terminal."""
    return re.sub(r"([^\w\s])", lambda found: _escaped(found[1]), text).replace("\n", r"\n")


def text_then(
    job: GrammarJob, name: str, text: str | None, mark: str, *, without: Sequence[str] = ()
) -> list[str]:
    """Return the rules of `name`: text up to the first such mark, and the mark.

    `text` is what the text must match besides, as a terminal's expression; None: anything. It has none of the
    marks of `without`, either, at which the format's reader would end it.
    """
    terminal = name.upper()
    pieces = pieces_of(job, mark)
    lead = "" if pieces[0][1] else pieces[0][0]
    ends = dict.fromkeys([mark, *without] if lead == mark else without)
    text = " & ".join(filter(None, [text, _exclusion(job, list(ends))]))
    if lead == mark:
        return [f"{name}: {terminal}", f"{terminal}: ({ANY} & {text}) {lark.quoted(mark)}"]
    rest = " ".join(_spelled(job, pieces[1:] if lead else pieces))
    return [
        f"{name}: {terminal} {rest}",
        f"{terminal}: {f'({ANY} & {text})' if text else ANY}{' ' + lark.quoted(lead) if lead else ''}",
    ]


def text_without(job: GrammarJob, name: str, marks: Sequence[str]) -> str:
    """Return the rule of a terminal of any text that has none of the marks."""
    return f"{name}: {' & '.join(filter(None, [ANY, _exclusion(job, marks)]))}"


def _exclusion(job: GrammarJob, marks: Sequence[str]) -> str:
    """Return the terminal of text without the marks, but those with special tokens, which no text has.

    It is one expression: of several, each with the others, llguidance would make too many.
    """
    spelt = [literal(mark) for mark in marks if not any(is_token for _, is_token in pieces_of(job, mark))]
    return rf"(~/(?s:.*)({'|'.join(spelt)})(?s:.*)/)" if spelt else ""


ANY = r"/(?s:.*)/"


def answer(
    job: GrammarJob,
    calls: str,
    openings: Sequence[str],
    rules: Sequence[str],
    *,
    after_opening: str,
    around: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the grammar of an answer: thoughts, then content, then calls.

    `calls` is the expression of all calls with their first opening mark; `after_opening` that of what follows
    the mark, which ends the content as soon as it stands there; both refer to `rules`. Content may stand
    between two marks of `around`. Of `openings` those count that begin with a special token, and the first.
    """
    thoughts, more = thoughts_first(job)
    lines = [*more, *rules]
    content = job.content
    wrapped = [pair for pair in around if any(is_token for _, is_token in pieces_of(job, pair[0]))]
    counting = [mark for mark in openings[1:] if pieces_of(job, mark)[0][1]]
    if not job.tools or not job.required:
        lines.append(text_without(job, "PLAIN", openings[:1]))
    said: list[str] = []
    for place, (opening, closing) in enumerate(wrapped):
        text = f"wrapped_{lark.letters(place)}"
        if content:
            said.append(f"{spelled(job, opening)} {content} {spelled(job, closing)}")
        else:
            lines += text_then(job, text, None, closing)
            said.append(f"{spelled(job, opening)} {text}")
    if not job.tools:
        body = lark.choice([content or "PLAIN", *said])
    elif job.required:
        body = f"{calls} {_TAIL}"
    elif content:
        body = lark.choice([content, *said, f"{calls} {_TAIL}"])
    else:
        body = f"PLAIN | before_calls {after_opening} {_TAIL}"
        lines += text_then(job, "before_calls", None, openings[0])
        for place, mark in enumerate(counting):
            before = f"before_other_{lark.letters(place)}"
            lines += text_then(job, before, None, mark)
            body += f" | {before} {after_opening} {_TAIL}"
        body = f"({' | '.join([body, *(f'{one} ({calls} {_TAIL})?' for one in said)])})"
    return "\n".join(["%llguidance {}", f"start: {thoughts} {body}", *lines])


def thoughts_first(job: GrammarJob) -> tuple[str, list[str]]:
    """Return the expression that an answer begins with for its thoughts, empty without any, and its rules."""
    if job.thoughts is None:
        return "", []
    opening, closing = job.thoughts
    rules = text_then(job, "thoughts_end", None, closing)
    if job.thinks:
        return f"thoughts_end {SPACE}", rules
    rules.append(rf"thoughts: {SPACE} {spelled(job, opening)} thoughts_end {SPACE}")
    return "thoughts?", rules


def repeated(call: str, more: str, job: GrammarJob) -> str:
    """Return the expression of one call, and of more behind it where an answer may have several."""
    return f"{call} ({more})*" if job.parallel else call


def _escaped(character: str) -> str:
    return "\\" + character if character in r"\.+*?()|[]{}^$/" else character
