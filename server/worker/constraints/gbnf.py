"""llama.cpp's grammars (GBNF), read: rules of a syntax tree. Pure.

The syntax is that of llama.cpp's `grammars/README.md`. Special tokens in it are refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.worker.constraints.schema.limits import Place

MAX_REPEAT = 2_000
"""The highest bound of a repetition, as in llama.cpp."""
MAX_CHARS = 200_000
_MAX_DEPTH = 50
_MAX_CODE = 0x10FFFF


@dataclass(frozen=True, slots=True)
class Letter:
    """One character of some ranges, both ends of each included."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Name:
    """A reference to a rule."""

    name: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """Parts one after another; without any it is the empty text."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Options:
    """One of these."""

    options: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A part several times."""

    part: Part
    least: int
    most: int | None


Part = Letter | Name | Sequence | Options | Repeat

ANY = Letter(((0, 0xD7FF), (0xE000, _MAX_CODE)))
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-", "/": "/"}
_HEX = {"x": 2, "u": 4, "U": 8}


def read_gbnf(text: str, place: Place) -> dict[str, Part]:
    """Return the rules by name, as written; a name's last definition counts. Raises RequestError."""
    if len(text) > MAX_CHARS:
        place.refuse(f"it has {len(text):,} characters; the limit is {MAX_CHARS:,}")
    rules = _Reader(text, place).rules()
    if "root" not in rules:
        place.refuse("there is no rule 'root'")
    return rules


class _Reader:
    def __init__(self, text: str, place: Place) -> None:
        self._text = text
        self._at = 0
        self._place = place
        self._names: dict[str, int] = {}

    def rules(self) -> dict[str, Part]:
        rules: dict[str, Part] = {}
        self._skip(lines=True)
        while self._at < len(self._text):
            name = self._name()
            self._skip(lines=False)
            if not self._text.startswith("::=", self._at):
                self._fail("expected ::=")
            self._at += 3
            self._skip(lines=True)
            rules[name] = self._options(0)
            self._skip(lines=True)
        missing = next((name for name in self._names if name not in rules), None)
        if missing is not None:
            self._at = self._names[missing]
            self._fail(f"the rule '{missing}' isn't defined")
        return rules

    def _options(self, depth: int) -> Part:
        if depth > _MAX_DEPTH:
            self._fail(f"groups are nested deeper than {_MAX_DEPTH}")
        options = [self._sequence(depth)]
        while self._sees_bar(depth):
            self._at += 1
            self._skip(lines=True)
            options.append(self._sequence(depth))
        return options[0] if len(options) == 1 else Options(tuple(options))

    def _sees_bar(self, depth: int) -> bool:
        begin = self._at
        self._skip(lines=True)
        if self._text.startswith("|", self._at):
            return True
        self._at = self._at if depth else begin
        return False

    def _sequence(self, depth: int) -> Part:
        parts: list[Part] = []
        while self._at < len(self._text):
            letter = self._text[self._at]
            if letter == '"':
                read = self._literal()
                parts.append(read)
            elif letter == "[":
                parts.append(self._letters())
            elif letter == "(":
                self._at += 1
                self._skip(lines=True)
                parts.append(self._options(depth + 1))
                self._expect(")")
            elif letter == ".":
                self._at += 1
                parts.append(ANY)
            elif _is_word(letter):
                begin = self._at
                name = self._name()
                self._names.setdefault(name, begin)
                parts.append(Name(name))
            elif letter in "*+?{" and parts:
                least, most = self._bounds()
                parts[-1] = Repeat(parts[-1], least, most)
            elif letter in "<!":
                self._fail("special tokens can't be named; write what the text is")
            else:
                break
            self._skip(lines=depth > 0)
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _literal(self) -> Part:
        self._at += 1
        letters: list[Part] = []
        while not self._text.startswith('"', self._at):
            code = self._letter()
            letters.append(Letter(((code, code),)))
        self._at += 1
        return Sequence(tuple(letters)) if len(letters) != 1 else letters[0]

    def _letters(self) -> Letter:
        self._at += 1
        inverted = self._text.startswith("^", self._at)
        self._at += inverted
        ranges: list[tuple[int, int]] = []
        while not self._text.startswith("]", self._at):
            low = high = self._letter()
            if self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at):
                self._at += 1
                high = self._letter()
            if low > high:
                self._fail("a range ends before it begins")
            ranges.append((low, high))
        self._at += 1
        return Letter(_inverted(ranges) if inverted else _joined(ranges))

    def _letter(self) -> int:
        if self._at >= len(self._text):
            self._fail("a text or a set of characters has no end")
        letter = self._text[self._at]
        self._at += 1
        if letter != "\\":
            return ord(letter)
        escape = self._text[self._at : self._at + 1]
        self._at += 1
        if escape in _HEX:
            digits = self._text[self._at : self._at + _HEX[escape]]
            self._at += len(digits)
            if len(digits) != _HEX[escape] or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
                self._fail(f"\\{escape} needs {_HEX[escape]} hexadecimal digits")
            code = int(digits, 16)
            if code > _MAX_CODE or 0xD800 <= code <= 0xDFFF:
                self._fail("that isn't a character")
            return code
        if escape not in _ESCAPES or not escape:
            self._fail(f"there is no escape '\\{escape}'")
        return ord(_ESCAPES[escape])

    def _bounds(self) -> tuple[int, int | None]:
        letter = self._text[self._at]
        self._at += 1
        if letter != "{":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[letter]
        self._skip(lines=True)
        least = self._number(0)
        self._skip(lines=True)
        most: int | None = least
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip(lines=True)
            most = self._number(None)
            self._skip(lines=True)
        elif least is None:
            self._fail("expected a number")
        self._expect("}")
        least = least or 0
        if max(least, most or 0) > MAX_REPEAT:
            self._fail(f"a repetition's bound is at most {MAX_REPEAT:,}")
        if most is not None and most < least:
            self._fail("a repetition's bounds contradict")
        return least, most

    def _number(self, missing: int | None) -> int | None:
        begin = self._at
        while self._text[self._at : self._at + 1] in tuple("0123456789"):
            self._at += 1
        if self._at - begin > 9:
            self._fail(f"a repetition's bound is at most {MAX_REPEAT:,}")
        return int(self._text[begin : self._at]) if self._at > begin else missing

    def _name(self) -> str:
        begin = self._at
        while self._at < len(self._text) and _is_word(self._text[self._at]):
            self._at += 1
        if self._at == begin:
            self._fail("expected the name of a rule")
        return self._text[begin : self._at]

    def _expect(self, text: str) -> None:
        if not self._text.startswith(text, self._at):
            self._fail(f"expected {text}")
        self._at += len(text)

    def _skip(self, *, lines: bool) -> None:
        spaces = " \t\r\n" if lines else " \t"
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif self._text[self._at] in spaces:
                self._at += 1
            else:
                return

    def _fail(self, problem: str) -> None:
        line = self._text.count("\n", 0, self._at) + 1
        self._place.refuse(f"{problem} in line {line}, before {self._text[self._at : self._at + 20]!r}")


def _is_word(letter: str) -> bool:
    return letter in "-_" or (letter.isascii() and letter.isalnum())


def _joined(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def _inverted(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    inverted: list[tuple[int, int]] = []
    at = 0
    for low, high in [*_joined([*ranges, (0xD800, 0xDFFF)]), (_MAX_CODE + 1, 0)]:
        if low > at:
            inverted.append((at, low - 1))
        at = high + 1
    return tuple(inverted)
