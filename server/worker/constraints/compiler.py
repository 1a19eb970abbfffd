"""`ConstraintCompiler`: constraints and tool formats' grammars as matchers over one vocabulary.

A grammar is made and checked in a process of its own (`process`), then compiled here without the GIL, by a
thread that gives way (`compilation`). Nothing runs the engine's step; lanes call it. Checked grammars are
kept, and what was compiled if that took long; refusals are kept, too (`refusals`). A lexer gets states as its
grammar is followed, up to a limit, so that requests share none for ever.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from models.errors import RequestError
from models.llamacpp.token_trie import open_token_trie
from models.machine.allowance import Allowance
from server.chat.tool_formats import lark
from server.chat.tool_formats.grammar.answer_rules import thoughts_first
from server.chat.tool_formats.tool_format import GrammarJob
from server.ipc.constraint import Constraint
from server.worker.constraints.checker import Limits
from server.worker.constraints.compilation import compiled_apart
from server.worker.constraints.grammar_text import Grammar, GrammarRequest
from server.worker.constraints.process import GrammarProcess, Unfinished
from server.worker.constraints.refusals import Refusals

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

    from models.llamacpp.vocab import Vocab

MAX_KEPT = 64
"""So many compiled grammars are kept."""
MAX_KEPT_CHARS = 4_000_000
"""The texts of the kept grammars have together at most so many characters."""
MAX_LEXER_STATES = 150_000
"""A lexer, which the answers of a request share, has at most so many states of some 300 bytes each."""
MAX_LEXER_WORK = 50_000
"""One mask makes at most so many of the lexer's expressions, which takes some 20 ms."""
MAX_PARSER_ITEMS = 4_000
"""One mask makes at most so many of the parser's items, some 40 ms of work; 300 optional properties pass."""
DEAR_S = 0.03
"""A lexer that takes longer to make, in seconds of computing, is shared by several requests."""
MAX_USES = 32
"""So many requests share a dear lexer: with each it has more states."""
MAX_DEAR = 8
"""So many dear lexers are kept, as each may hold all of its states."""


class CompiledGrammar:
    """A grammar over a vocabulary. Immutable; any thread may ask for matchers, each of one thread."""

    def __init__(self, prototype: LLMatcher, param: str, left_out: tuple[str, ...] = ()) -> None:
        self._prototype = prototype
        self.param = param
        """The field that the grammar comes from, for errors while it is followed."""
        self.left_out = left_out
        """The places of schema keywords that aren't held; empty unless a compilation was `relaxed`."""

    def matcher(self) -> LLMatcher:
        """Return a matcher at the beginning of a text. It has an error instead of raising one."""
        return self._prototype.deep_copy()

    def error(self, matcher: LLMatcher) -> str:
        """Return why a matcher failed, in words for its client; empty if it didn't."""
        if not matcher.is_error():
            return ""
        first = (matcher.get_error().strip().splitlines() or ["unknown"])[0]
        return f"'{self.param}' can't be followed any further: {first[:200]}; make it simpler"


@dataclass(slots=True)
class _Known:
    """A grammar that was checked. `compiled` is kept if it is dear to make."""

    grammar: Grammar
    size: int
    compiled: CompiledGrammar | None = None
    n_uses: int = 0


class ConstraintCompiler:
    """Compiles for one vocabulary. Any thread."""

    def __init__(self, vocab: Vocab, limits: Limits | None = None) -> None:
        self._vocab = vocab
        self._allowance = Allowance()
        self._process = GrammarProcess(limits, self._allowance)
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._refusals = Refusals()
        self._trie: LLTokenizer | None = None
        self._kept: OrderedDict[bytes, _Known] = OrderedDict()
        self._n_kept_chars = 0

    def open(self) -> None:
        """Make ready for the first request: the vocabulary's trie takes up to a second, the child 0.2 s."""
        self._process.start()
        self._tokenizer()

    def close(self) -> None:
        """End the child process."""
        self._process.close()

    def check(self, constraint: Constraint) -> None:
        """Raise the RequestError of a constraint that can't be held; what compiles is checked just once."""
        request = GrammarRequest(param=constraint.param, constraint=constraint)
        key = msgspec.json.encode(request)
        with self._lock:
            if key in self._kept:
                return
        grammar = self._checked(key, request)
        with self._lock:
            self._keep(key, _Known(grammar, len(key) + len(grammar.text)))

    def compile(
        self, constraint: Constraint, *, thoughts: tuple[str, str] | None = None, thinks: bool = False
    ) -> CompiledGrammar:
        """Return the grammar of a whole answer. Raises RequestError naming what can't be held.

        `thoughts`: the marks around thoughts, after which the constraint holds; `thinks`: they are open.
        """
        before = ""
        rules: tuple[str, ...] = ()
        if thoughts is not None:
            job = GrammarJob(
                tools=(),
                required=False,
                parallel=False,
                mark=self.mark,
                is_token=self.is_token,
                thoughts=thoughts,
                thinks=thinks,
            )
            before, listed = thoughts_first(job)
            rules = (*listed, lark.TEXT)
        return self._compiled(
            GrammarRequest(param=constraint.param, constraint=constraint, before=before, before_rules=rules)
        )

    def compile_lark(
        self, text: str, param: str, *, content: Constraint | None = None, relaxed: bool = False
    ) -> CompiledGrammar:
        """Return the grammar that a tool format wrote. Raises RequestError naming what can't be held.

        `content`: the constraint that `GrammarJob.content` stands for. With `relaxed`, keywords of the
        grammar's schemas that can't be held are left out, and named in `left_out`.
        """
        return self._compiled(GrammarRequest(param=param, lark=text, constraint=content, relaxed=relaxed))

    def mark(self, text: str) -> str:
        """Return the Lark expression of a mark: its special token, or its text."""
        token = self._special(text)
        return lark.quoted(text) if token is None else f"<[{token}]>"

    def is_token(self, text: str) -> bool:
        """Return True if the mark is one special token, which plain text can't spell."""
        return self._special(text) is not None

    def _special(self, text: str) -> int | None:
        tokens = self._vocab.tokenize(text, add_special=False, parse_special=True)
        if len(tokens) != 1 or not self._tokenizer().is_special_token(tokens[0]):
            return None
        return (
            tokens[0]
            if self._vocab.piece(tokens[0], special=True).decode("utf-8", "replace") == text
            else None
        )

    def _tokenizer(self) -> LLTokenizer:
        with self._lock:
            if self._trie is None:
                self._trie = open_token_trie(self._vocab)
            return self._trie

    def _compiled(self, request: GrammarRequest) -> CompiledGrammar:
        key = msgspec.json.encode(request)
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
                known.n_uses += 1
                if known.compiled is not None and known.n_uses <= MAX_USES:
                    return known.compiled
        try:
            grammar = self._checked(key, request) if known is None else known.grammar
            prototype, seconds = compiled_apart(
                lambda: self._prototype(grammar.text, request), self._allowance
            )
        except Unfinished:
            raise
        except RequestError as error:
            self._refusals.keep(key, error)
            raise
        compiled = CompiledGrammar(prototype, request.param, grammar.left_out)
        is_dear = seconds > DEAR_S
        with self._lock:
            self._keep(key, _Known(grammar, len(key) + len(grammar.text), compiled if is_dear else None))
        return compiled

    def _checked(self, key: bytes, request: GrammarRequest) -> Grammar:
        with self._turn:  # one that waited behind its like is refused with it
            self._refusals.check(key)
            try:
                return self._process.grammar(request, key)
            except Unfinished:
                raise
            except RequestError as error:
                self._refusals.keep(key, error)
                raise

    def _keep(self, key: bytes, known: _Known) -> None:
        """Put a grammar in front of those that are kept, and let go of the last ones beyond the limits."""
        if (before := self._kept.pop(key, None)) is not None:
            self._n_kept_chars -= before.size
        self._kept[key] = known
        self._n_kept_chars += known.size
        while len(self._kept) > MAX_KEPT or (self._n_kept_chars > MAX_KEPT_CHARS and len(self._kept) > 1):
            self._n_kept_chars -= self._kept.popitem(last=False)[1].size
        dear = [each for each in self._kept.values() if each.compiled is not None]
        for each in dear[:-MAX_DEAR]:
            each.compiled = None

    def _prototype(self, text: str, request: GrammarRequest) -> LLMatcher:
        """Return a matcher that a text can begin with."""
        from llguidance import LLMatcher, LLParserLimits

        limits = LLParserLimits(
            max_lexer_states=MAX_LEXER_STATES,
            step_lexer_fuel=MAX_LEXER_WORK,
            step_max_items=MAX_PARSER_ITEMS,
            verbose_errors=False,
        )
        matcher = LLMatcher(self._tokenizer(), text, log_level=0, limits=limits)
        problem = matcher.get_error() or _problem_at_the_beginning(matcher.deep_copy())
        if problem:
            field, reason = request.field, f"{problem.strip().splitlines()[0][:200]}; make it simpler"
            if _NO_TEXT in problem:
                reason = "no text follows it; add an option that a text can end with"
            raise RequestError(f"'{field}' can't be held: {reason}", field, "unsupported_grammar")
        return matcher


_NO_TEXT = "NoExtension"
"""These letters are in llguidance's errors where no token can come next."""


def _problem_at_the_beginning(matcher: LLMatcher) -> str:
    """Return why no text begins, or why a matcher can't take its first tokens; empty if neither is so."""
    if not any(matcher.compute_bitmask()) and not matcher.is_error():
        return _NO_TEXT
    if (forced := matcher.compute_ff_tokens()) and matcher.consume_tokens(forced):
        matcher.compute_bitmask()
    return str(matcher.get_error())
