"""`gbnf_to_lark`: llama.cpp's grammars (GBNF) as llguidance's Lark, with the same texts. Pure.

llguidance reads a text lexeme by lexeme and takes each as long as it can, GBNF letter by letter. A part
without recursion can be one lexeme where that makes no difference: no letter that may follow it could also go
on with it, or with another lexeme that begins alike. Other parts are taken apart, down to letters if need be,
which is right and slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from server.worker.constraints.gbnf import Letter, Name, Options, Part, Repeat, Sequence, read_gbnf
from server.worker.constraints.letter_automaton import Alphabet, LetterAutomaton, TooManyStates
from server.worker.constraints.rule_endings import check_rules, names_in, reachable, without_endless
from server.worker.constraints.schema.limits import Place

_MAX_ROUNDS = 300


def gbnf_to_lark(text: str, start: str, place: Place) -> str:
    """Return rules of which `start` has the texts of the grammar's `root`. Raises RequestError."""
    rules = reachable(read_gbnf(text, place), "root")
    lengths = check_rules(rules, "root", place)
    rules = {name: without_endless(part, lengths) for name, part in rules.items() if lengths[name] < math.inf}
    return _Lexemes(reachable(rules, "root")).lark(start)


def _recursive(rules: Mapping[str, Part]) -> set[str]:
    """Return the rules that lead back to a rule that leads to itself."""
    regular: set[str] = set()
    while new := [
        name for name in rules if name not in regular and regular.issuperset(names_in(rules[name]))
    ]:
        regular.update(new)
    return set(rules) - regular


class _Lexemes:
    def __init__(self, rules: dict[str, Part]) -> None:
        self._rules = rules
        self._recursive = _recursive(rules)
        self._regular: dict[Part, bool] = {}
        letters = {letter for part in rules.values() for letter in _letters(part)}
        self._alphabet = Alphabet(letters)
        self._automata: dict[Part, LetterAutomaton] = {}
        self._apart: set[Part] = set()
        """The parts without recursion that aren't one lexeme."""

    def lark(self, start: str) -> str:
        if "root" not in self._recursive:
            return "\n".join(
                [f"{start}: C_ROOT", "C_ROOT: " + self._terminal(self._rules["root"]), *self._terminals()]
            )
        self._take_apart()
        lines = [f"{start}: {self._rule_name('root')}"]
        names = ["root"]
        for name in names:
            lines.append(f"{self._rule_name(name)}: {self._expression(self._rules[name])}")
            names += [n for n in dict.fromkeys(self._open_names(self._rules[name])) if n not in names]
        return "\n".join([*lines, *self._terminals()])

    def _is_regular(self, part: Part) -> bool:
        known = self._regular.get(part)
        if known is None:
            known = self._regular[part] = self._recursive.isdisjoint(names_in(part))
        return known

    def _is_lexeme(self, part: Part) -> bool:
        return isinstance(part, Letter) or (
            part not in self._apart and self._is_regular(part) and part != Sequence(())
        )

    # --- which parts are lexemes ------------------------------------------------------------------------

    def _take_apart(self) -> None:
        for _ in range(_MAX_ROUNDS):
            new = self._conflicts()
            if not new:
                return
            self._apart |= new
        # What is left conflicts still: letters alone are always right.
        self._apart |= {inner for part in self._rules.values() for inner in _inner_parts(part)}

    def _conflicts(self) -> set[Part]:
        """Return the lexemes that would swallow letters of what follows them, or of what follows another."""
        after = _Following(self, self._rules).lexemes()
        new: set[Part] = set()
        for lexeme in after:
            try:
                self.automaton(lexeme)
            except TooManyStates:
                new.add(lexeme)
        if new:
            return new
        for longer in after:
            if isinstance(longer, Letter):
                continue
            mine = self.automaton(longer)
            begin = mine.first_letters()
            for lexeme, follow in after.items():
                other = self.automaton(lexeme)
                if follow and begin & other.first_letters() and mine.letters_after(other) & follow:
                    new.add(longer)
                    break
        return new

    def automaton(self, part: Part) -> LetterAutomaton:
        """Return a lexeme's automaton. Raises TooManyStates."""
        if part not in self._automata:
            self._automata[part] = LetterAutomaton.of(part, self._rules, self._alphabet)
        return self._automata[part]

    def is_lexeme(self, part: Part) -> bool:
        """Return True if the part is one lexeme now."""
        return self._is_lexeme(part)

    def _open_names(self, part: Part) -> Iterator[str]:
        """Yield the rules that are referred to as rules."""
        if self._is_lexeme(part):
            return
        match part:
            case Name(name):
                yield name
            case Sequence(parts) | Options(parts):
                for inner in parts:
                    yield from self._open_names(inner)
            case Repeat(inner):
                yield from self._open_names(inner)

    # --- as text ----------------------------------------------------------------------------------------

    def _rule_name(self, name: str) -> str:
        return f"c_r{list(self._rules).index(name)}"

    def _terminals(self) -> list[str]:
        return [
            f"C_T{index}: {self._terminal(part)}"
            for index, (name, part) in enumerate(self._rules.items())
            if name not in self._recursive
        ]

    def _expression(self, part: Part) -> str:
        """Return a part of a rule."""
        if self._is_lexeme(part):
            return self._lexeme(part)
        match part:
            case Name(name):
                return self._rule_name(name)
            case Sequence(parts):
                return " ".join(map(self._expression, parts)) if parts else '""'
            case Options(options):
                return f"({' | '.join(map(self._expression, options))})"
            case Repeat(inner, least, most):
                return f"({self._expression(inner)}){_times(least, most)}"
            case Letter():
                return _letter_text(part)

    def _lexeme(self, part: Part) -> str:
        if isinstance(part, Name):
            return f"C_T{list(self._rules).index(part.name)}"
        return f"/{self._regex(part)}/"

    def _terminal(self, part: Part) -> str:
        """Return a part of a terminal, which may refer to other terminals."""
        match part:
            case Name(name):
                return f"C_T{list(self._rules).index(name)}"
            case Sequence(parts) if any(True for _ in names_in(part)):
                return " ".join(map(self._terminal, parts))
            case Options(options) if any(True for _ in names_in(part)):
                return f"({' | '.join(map(self._terminal, options))})"
            case Repeat(inner, least, most) if any(True for _ in names_in(part)):
                return f"({self._terminal(inner)}){_times(least, most)}"
            case _:
                return f"/{self._regex(part)}/" if part != Sequence(()) else '""'

    def _regex(self, part: Part) -> str:
        match part:
            case Letter():
                return _letter_regex(part)
            case Name(name):
                return f"(?:{self._regex(self._rules[name])})"
            case Sequence(parts):
                return "".join(map(self._regex, parts)) if parts else "(?:)"
            case Options(options):
                return f"(?:{'|'.join(map(self._regex, options))})"
            case Repeat(inner, least, most):
                return f"(?:{self._regex(inner)}){_times(least, most)}"


class _Following:
    """The letters that can follow each lexeme, by a fixed point over the rules."""

    def __init__(self, lexemes: _Lexemes, rules: Mapping[str, Part]) -> None:
        self._lexemes = lexemes
        self._rules = rules
        self._first: dict[str, int] = {}
        self._empty: set[str] = set()
        self._after_rule: dict[str, int] = {"root": 0}
        self._after: dict[Part, int] = {}

    def lexemes(self) -> dict[Part, int]:
        """Return the lexemes of all rules that are used, with the letters that can follow each."""
        before: object = None
        while before != (state := (dict(self._first), set(self._empty))):
            before = state
            for name, part in self._rules.items():
                self._first[name], empty = self._begin(part)
                self._empty |= {name} if empty else set()
        before = None
        while before != (after := (dict(self._after_rule), dict(self._after))):
            before = after
            for name in list(self._after_rule):
                self._visit(self._rules[name], self._after_rule[name])
        return self._after

    def _begin(self, part: Part) -> tuple[int, bool]:
        """Return the letters that a part begins with, and whether it may be empty."""
        if self._lexemes.is_lexeme(part):
            try:
                automaton = self._lexemes.automaton(part)
            except TooManyStates:
                return 0, True
            return automaton.first_letters(), automaton.ends.empty
        match part:
            case Name(name):
                return self._first.get(name, 0), name in self._empty
            case Sequence(parts):
                letters = 0
                for inner in parts:
                    more, empty = self._begin(inner)
                    letters |= more
                    if not empty:
                        return letters, False
                return letters, True
            case Options(options):
                begins = [self._begin(option) for option in options]
                return _union(letters for letters, _ in begins), any(empty for _, empty in begins)
            case Repeat(inner, least, most):
                letters, empty = self._begin(inner)
                return (letters, empty or least == 0) if most != 0 else (0, True)
            case Letter():
                raise AssertionError("a letter is a lexeme")

    def _visit(self, part: Part, after: int) -> None:
        if self._lexemes.is_lexeme(part):
            self._after[part] = self._after.get(part, 0) | after
            return
        match part:
            case Name(name):
                self._after_rule[name] = self._after_rule.get(name, 0) | after
            case Sequence(parts):
                for inner in reversed(parts):
                    self._visit(inner, after)
                    letters, empty = self._begin(inner)
                    after = letters | (after if empty else 0)
            case Options(options):
                for option in options:
                    self._visit(option, after)
            case Repeat(inner, _, most):
                self._visit(inner, after | (self._begin(inner)[0] if most != 1 else 0))


def _union(masks: Iterator[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found


def _inner_parts(part: Part) -> Iterator[Part]:
    stack = [part]
    while stack:
        inner = stack.pop()
        yield inner
        match inner:
            case Sequence(parts) | Options(parts):
                stack += parts
            case Repeat(once):
                stack.append(once)


def _letters(part: Part) -> Iterator[Letter]:
    return (inner for inner in _inner_parts(part) if isinstance(inner, Letter))


def _times(least: int, most: int | None) -> str:
    return f"{{{least},{'' if most is None else most}}}"


def _letter_text(letter: Letter) -> str:
    return f"/{_letter_regex(letter)}/"


def _letter_regex(letter: Letter) -> str:
    if len(letter.ranges) == 1 and letter.ranges[0][0] == letter.ranges[0][1]:
        return _code(letter.ranges[0][0])
    return f"[{''.join(f'{_code(low)}-{_code(high)}' for low, high in letter.ranges)}]"


def _code(code: int) -> str:
    return chr(code) if chr(code).isascii() and chr(code).isalnum() else f"\\x{{{code:x}}}"
