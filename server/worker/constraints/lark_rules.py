"""`read_rules`: the rules of a Lark grammar as far as their texts' ends and lengths go. Pure.

What isn't read has any text: a rule with it is taken for one that ends, so none is refused wrongly.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as List

from server.worker.constraints.gbnf import ANY, Name, Options, Part, Repeat, Sequence
from server.worker.constraints.lark_tokens import Token
from server.worker.constraints.schema.repetitions import least_length

_EMPTY = Sequence(())
_MAX_DEPTH = 100
_MAX_ESCAPE = len(r"\u0000")
_STATEMENTS = frozenset({"%ignore", "%import", "%declare", "%llguidance", "%override"})
_BEHIND_NAMES = frozenset({":", "[", ".", "{"})
"""A definition's name is followed by a colon, options, a priority, or parameters."""


class _Unread(Exception):
    """A rule has something that this reader doesn't know."""


def read_rules(tokens: Iterable[Token], defined: set[str]) -> dict[str, Part]:
    """Return the rules and terminals by name."""
    rules: dict[str, Part] = {}
    for name, body in _statements(list(tokens)):
        try:
            part = _Reader(body, defined).options(0)
        except _Unread:
            part = _EMPTY
        rules[name] = Options((rules[name], part)) if name in rules else part
    return rules | dict.fromkeys(defined - rules.keys(), _EMPTY)


def _statements(tokens: List[Token]) -> list[tuple[str, list[Token]]]:
    """Return each definition's name and the tokens behind its colon."""
    found: list[tuple[str, list[Token]]] = []
    at_line_start, in_head = True, False
    for index, token in enumerate(tokens):
        if token.kind == "space":
            at_line_start = at_line_start or "\n" in token.text
        elif token.kind != "comment" and not (at_line_start and token.text in "?!"):
            if at_line_start and token.kind == "name" and _next(tokens, index) in _BEHIND_NAMES:
                found.append((token.text, []))
                in_head = True
            elif at_line_start and token.text in _STATEMENTS:
                found.append(("", []))
                in_head = False
            elif in_head:
                in_head = token.text != ":"
            elif found:
                found[-1][1].append(token)
            at_line_start = False
    return [(name, body) for name, body in found if name]


def _next(tokens: List[Token], index: int) -> str:
    return next((token.text for token in tokens[index + 1 :] if token.kind not in ("space", "comment")), "")


class _Reader:
    def __init__(self, body: list[Token], defined: set[str]) -> None:
        self._body = body
        self._at = 0
        self._defined = defined

    def options(self, depth: int) -> Part:
        if depth > _MAX_DEPTH:
            raise _Unread
        options = [self._sequence(depth)]
        while self._sees("|"):
            options.append(self._sequence(depth))
        if depth == 0 and self._at < len(self._body):
            raise _Unread
        return Options(tuple(options))

    def _sequence(self, depth: int) -> Part:
        parts: list[Part] = []
        while self._at < len(self._body) and self._body[self._at].text not in ("|", ")", "]"):
            if self._sees("-"):  # -> alias
                self._at += 2
                continue
            parts.append(self._repeated(self._item(depth)))
        return Sequence(tuple(parts))

    def _item(self, depth: int) -> Part:
        token = self._body[self._at]
        self._at += 1
        if token.text in "([":
            inner = self.options(depth + 1)
            if not self._sees(")" if token.text == "(" else "]"):
                raise _Unread
            return inner if token.text == "(" else Repeat(inner, 0, 1)
        if token.kind == "name":
            return Name(token.text) if token.text in self._defined else _EMPTY
        if token.kind == "text":
            if self._sees("."):  # a range of letters
                self._at += 2
                return ANY
            return _any_of(len(token.text.rstrip("i")) - len('""') - _MAX_ESCAPE * token.text.count("\\"))
        if token.kind == "regex":
            return _any_of(least_length(token.text[1 : token.text.rindex("/")]))
        if token.kind == "directive" and token.text in ("%json", "%regex"):
            self._at += 1
            return _EMPTY
        raise _Unread

    def _repeated(self, part: Part) -> Part:
        if self._sees("?") or self._sees("*"):
            return Repeat(part, 0, None)
        if self._sees("+"):
            return Repeat(part, 1, None)
        if self._sees("{"):
            least = self._number()
            while not self._sees("}"):
                if self._at == len(self._body):
                    raise _Unread
                self._at += 1
            return Repeat(part, least, None)
        if self._sees("~"):
            least = self._number()
            if self._sees("."):
                self._at += 1
                self._number()
            return Repeat(part, least, None)
        return part

    def _number(self) -> int:
        digits = ""
        while self._at < len(self._body) and self._body[self._at].text.isdigit():
            digits += self._body[self._at].text
            self._at += 1
        if len(digits) > 9:
            raise _Unread
        return int(digits or 0)

    def _sees(self, text: str) -> bool:
        """Return True, behind it, if the next token is `text`."""
        if self._at < len(self._body) and self._body[self._at].text == text:
            self._at += 1
            return True
        return False


def _any_of(n: int) -> Part:
    return Repeat(ANY, max(0, n), None)
