"""Tests that the names and docstrings of the sources keep their rules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    path for folder in ("models", "quantize", "server") for path in sorted((ROOT / folder).rglob("*.py"))
]

FIRST_LINE = 100
"""The first line of a module's docstring has at most this many characters."""

QUESTION_WORDS = re.compile(r"(Of|What|How|Whether|Who|Where)\b")
"""A docstring that begins with one of these names no subject."""

# fmt: off
PARTICIPLES = frozenset((
    "asked", "brought", "changed", "chosen", "composed", "counted", "described", "downloaded",
    "evaluated", "found", "gained", "given", "heard", "kept", "located", "made", "measured", "moved",
    "noted", "obtained", "planned", "said", "seen", "shown", "stored", "taken", "told", "tried",
    "tuned", "wanted",
))
"""A name that is one of these alone says what happened to a thing, not what the thing is."""
# fmt: on


def problems(source: str, module: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every breach of the rules in a module's source."""
    tree = ast.parse(source)
    yield from _module_problems(tree, module)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if node.name.lower() in PARTICIPLES:
                yield node.lineno, f"the name {node.name} is a bare participle"
            if docstring is not None and QUESTION_WORDS.match(docstring):
                yield node.lineno, f"the docstring of {node.name} begins {_beginning(docstring)}"
    for name, line, docstring in attribute_docstrings(tree):
        if QUESTION_WORDS.match(docstring):
            yield line, f"the docstring of {name} begins {_beginning(docstring)}"
        if not docstring.partition("\n\n")[0].endswith("."):
            yield line, f"the first paragraph of {name}'s docstring ends without a full stop"


def _module_problems(tree: ast.Module, module: str) -> Iterator[tuple[int, str]]:
    if module in PARTICIPLES:
        yield 1, f"the module's name {module} is a bare participle"
    docstring = ast.get_docstring(tree)
    if docstring is None:
        yield 1, "the module has no docstring"
        return
    first, *others = docstring.splitlines()
    if QUESTION_WORDS.match(first):
        yield 1, f"the module's docstring begins {_beginning(first)}"
    if len(first) > FIRST_LINE:
        yield 1, f"the docstring's first line has {len(first)} characters, more than {FIRST_LINE}"
    if not first.endswith(".") or (others and others[0]):
        yield 1, f"the docstring's first line is no paragraph by itself: {first}"


def attribute_docstrings(tree: ast.AST) -> Iterator[tuple[str, int, str]]:
    """Yield name, line and text of every string that follows an assignment."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for before, after in pairwise(body if isinstance(body, list) else ()):
            if isinstance(before, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr):
                target = before.targets[0] if isinstance(before, ast.Assign) else before.target
                match after.value:
                    case ast.Constant(value=str(text)):
                        yield ast.unparse(target), after.lineno, text.strip()


def _beginning(docstring: str) -> str:
    return repr(" ".join(docstring.split()[:4]) + " …")


def test_the_sources_keep_the_rules_for_prose() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in SOURCES
        for line, text in problems(path.read_text(encoding="utf-8"), path.stem)
    ]
    if found:
        pytest.fail("\n".join([f"{len(found)} breaches", *found]), pytrace=False)


def test_a_source_that_keeps_the_rules_has_no_problems() -> None:
    source = '"""Cats."""\nLIVES = 9\n"""A cat has this many lives."""\n\ndef purr():\n    """Purr once."""\n'
    assert list(problems(source, "cat")) == []


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("x = 1\n", "no docstring"),
        ('"""Of cats."""\n', "the module's docstring begins 'Of cats."),
        ('"""A first line\nthat goes on."""\n', "no paragraph by itself"),
        ('"""No stop"""\n', "no paragraph by itself"),
        (f'"""{"long " * 20}line."""\n', "more than 100"),
        ('"""M."""\nclass Found:\n    pass\n', "Found is a bare participle"),
        ('"""M."""\nasync def f():\n    """Whether it is."""\n', "the docstring of f begins 'Whether"),
        ('"""M."""\nclass C:\n    """Where it is."""\n', "the docstring of C begins 'Where"),
        ('"""M."""\nclass C:\n    x: int\n    """How many."""\n', "the docstring of x begins 'How"),
        ('"""M."""\nx = 1\n"""A number"""\n', "the first paragraph of x's docstring ends without"),
        ('"""M."""\ndef f(self):\n    self.x = 1\n    """What x is."""\n', "the docstring of self.x begins"),
    ],
)
def test_each_rule_can_be_broken(source: str, problem: str) -> None:
    assert [problem in text for _, text in problems(source, "cat")] == [True]


def test_a_module_named_by_a_participle_is_a_problem() -> None:
    assert list(problems('"""M."""\n', "chosen")) == [(1, "the module's name chosen is a bare participle")]
