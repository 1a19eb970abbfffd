"""`AnswerPlan` and `AnswerProgress`: the places of thoughts and calls in an answer, told by its text.

The engine counts thoughts with it, ends them at their budget, and knows where stop strings count: in content
that may be cut. It reads no calls; that is `server.answers`' work.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerPlan:
    """The marks in one answer's text, and the limit of its thoughts."""

    thoughts: tuple[str, str] | None = None
    """The marks that open and close thoughts; None: there are none."""
    between: str = ""
    """More thoughts may follow behind this text, right after the closing mark; empty: they come once."""
    thinks: bool = False
    """The prompt has opened the thoughts already."""
    budget_tokens: int | None = None
    """Thoughts end after so many tokens, the opening mark's included; None: whenever the model ends them."""
    closing_tokens: tuple[int, ...] = ()
    """These tokens end the thoughts at their budget."""
    call_marks: tuple[str, ...] = ()
    """From the first of these texts on, an answer's content is calls."""
    bare_calls: bool = False
    """Content that begins with a bracket is a call, too, although no mark stands before it."""
    is_whole: bool = False
    """No stop string cuts the content: it is a document, or nothing but calls."""

    @property
    def has_budget(self) -> bool:
        """True if thoughts may be ended by force."""
        return self.budget_tokens is not None and self.thoughts is not None and bool(self.closing_tokens)


class _Place(Enum):
    BEFORE = auto()
    """Nothing but white space, or the beginning of the opening mark, has come."""
    THOUGHTS = auto()
    CONTENT = auto()
    BOUND = auto()
    """Calls, or content that is whole."""


class AnswerProgress:
    """One answer's place in its plan. It is fed each token's text."""

    __slots__ = ("_at", "_is_closing", "_is_fresh", "_n_maybe", "_opening", "_plan", "_tail", "n_thoughts")

    def __init__(self, plan: AnswerPlan) -> None:
        self._plan = plan
        self._at = _Place.BEFORE
        self._tail = ""
        """The end of the text that may be the beginning of a mark."""
        self._opening = "" if plan.thoughts is None else plan.thoughts[0].lstrip()
        """The text that opens thoughts at this place."""
        self._is_closing = False
        self._is_fresh = True
        """True while the content is white space."""
        self._n_maybe = 0
        """The number of tokens that belong to the thoughts if what they begin is the opening mark."""
        self.n_thoughts = 0
        """The number of tokens of the thoughts, the marks' included."""
        if plan.thinks and plan.thoughts is not None:
            self._at = _Place.THOUGHTS
        elif plan.thoughts is None:
            self._begin_content("")

    @property
    def stops_count(self) -> bool:
        """True if stop strings count here: in content that may be cut, and in text that may begin it."""
        return self._at is _Place.CONTENT or (
            self._at is _Place.BEFORE and not self._plan.is_whole and not self._n_maybe
        )

    @property
    def must_close(self) -> bool:
        """True if the thoughts have used up their budget, and their end hasn't been forced yet."""
        if self._at is not _Place.THOUGHTS or self._is_closing or not self._plan.has_budget:
            return False
        assert self._plan.budget_tokens is not None
        return self.n_thoughts >= self._plan.budget_tokens

    @property
    def n_left(self) -> int | None:
        """The number of tokens after which thoughts may have to be ended; None: there is no such limit."""
        if self._at not in (_Place.BEFORE, _Place.THOUGHTS) or not self._plan.has_budget:
            return None
        assert self._plan.budget_tokens is not None
        return max(0, self._plan.budget_tokens - self.n_thoughts - self._n_maybe)

    def close(self) -> list[int]:
        """Return the tokens that end the thoughts; they will be fed as any others."""
        self._is_closing = True
        return list(self._plan.closing_tokens)

    def add(self, text: str) -> None:
        """Count a token, with the text that it makes whole."""
        if self._at is _Place.BOUND:
            return
        if self._at is _Place.BEFORE:
            self._begin(text)
        elif self._at is _Place.THOUGHTS:
            self.n_thoughts += 1
            self._think(text)
        else:
            self._read_content(text)

    def _begin(self, text: str) -> None:
        opening = self._opening
        self._tail += text
        start = self._tail.lstrip()
        self._n_maybe = self._n_maybe + 1 if start else 0
        if start.startswith(opening):
            self._at, self._is_closing = _Place.THOUGHTS, False
            self.n_thoughts += self._n_maybe
            self._n_maybe, self._tail = 0, ""
            self._think(start[len(opening) :])
        elif not opening.startswith(start):
            self._n_maybe = 0
            self._begin_content(start)

    def _think(self, text: str) -> None:
        assert self._plan.thoughts is not None
        closing = self._plan.thoughts[1]
        text = self._tail + text
        at = text.find(closing)
        if at < 0:
            self._tail = _begun(text, closing)
        elif not self._plan.between:
            self._begin_content(text[at + len(closing) :])
        else:
            self._at, self._tail = _Place.BEFORE, ""
            self._opening = f"{self._plan.between}{self._plan.thoughts[0]}"
            self._n_maybe = -1  # this token is counted already
            self._begin(text[at + len(closing) :])

    def _begin_content(self, text: str) -> None:
        self._tail = ""
        self._at = _Place.BOUND if self._plan.is_whole else _Place.CONTENT
        if text and self._at is _Place.CONTENT:
            self._read_content(text)

    def _read_content(self, text: str) -> None:
        plan, text = self._plan, self._tail + text
        if self._is_fresh and (start := text.lstrip()):
            self._is_fresh = False
            if plan.bare_calls and start[0] in "{[":
                self._at, self._tail = _Place.BOUND, ""
                return
        if any(mark in text for mark in plan.call_marks):
            self._at, self._tail = _Place.BOUND, ""
            return
        self._tail = max((_begun(text, mark) for mark in plan.call_marks), key=len, default="")


def _begun(text: str, mark: str) -> str:
    """Return the longest end of `text` with which `mark` begins."""
    for n in range(min(len(mark) - 1, len(text)), 0, -1):
        if mark.startswith(text[-n:]):
            return text[-n:]
    return ""
