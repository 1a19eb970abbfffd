"""Every message has one address: it is imported from the module that defines it, and from no other."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("bench", "docker", "models", "quantize", "scripts", "server", "tests")
HOMES = (
    "server.engine.events",
    "server.engine.sampling_params",
    "server.ipc.messages",
    "server.ipc.model_spec",
    "server.ipc.prompts",
)
"""These modules define what travels between the API process and a worker."""


def sources() -> dict[str, str]:
    """Return the text of every module of the project by its dotted name."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {module_name(path): path.read_text("utf-8") for path in paths}


FROM = re.compile(r"^\s*from\s+[\w.]+\s+import\s+(\([^)]*\)|.*)", re.MULTILINE)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def statements(block: ast.AST) -> Iterator[ast.AST]:
    """Yield every statement in a block, however deep, and none of their expressions, most of a tree."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        nested = getattr(block, field, ())
        for node in nested if isinstance(nested, list) else ():
            yield node
            yield from statements(node)


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Return the address that each `from ... import ...` of a module gives to a name."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in statements(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def exports(tree: ast.Module) -> Iterator[str]:
    """Yield the expressions, like `Delta` or `events.Delta`, that a module names again or exports."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            if isinstance(node.value, ast.Name | ast.Attribute):
                yield ast.unparse(node.value)
            if ast.unparse(node.targets[0]) == "__all__":
                yield from ast.literal_eval(node.value)


def trees_of(texts: Mapping[str, str]) -> dict[str, ast.Module]:
    """Return the syntax trees of the modules that may import a message, by whatever name it has there."""
    trees = {home: ast.parse(texts[home]) for home in HOMES if home in texts}
    words = {node.name for tree in trees.values() for node in tree.body if isinstance(node, ast.ClassDef)}
    words |= {home.rpartition(".")[2] for home in HOMES}
    imports = {module: {*re.findall(r"\w+", " ".join(FROM.findall(text)))} for module, text in texts.items()}
    while found := [module for module in imports.keys() - trees if imports[module] & words]:
        for module in found:
            trees[module] = ast.parse(texts[module])
            names = imported_names(trees[module])
            words |= {name for name, address in names.items() if address.rpartition(".")[2] in words}
    return trees


def second_addresses(texts: Mapping[str, str]) -> Iterator[str]:
    """Yield each import of a message from a module that doesn't define it, and each such module's exports."""
    trees = trees_of(texts)
    names = {module: imported_names(tree) for module, tree in trees.items()}

    def definition(address: str) -> str:
        module, _, name = address.rpartition(".")
        source = names.get(module, {}).get(name, address)
        return address if source == address else definition(source)

    def is_message(address: str) -> bool:
        return address.rpartition(".")[0] in HOMES

    for module, tree in trees.items():
        for address in names[module].values():
            if is_message(definition(address)) and definition(address) != address:
                yield f"{module} imports {address}"
        for expression in exports(tree):
            name, dot, attribute = expression.partition(".")
            if name in names[module] and is_message(definition(names[module][name]) + dot + attribute):
                yield f"{module} exports {expression}"


def test_a_message_is_imported_from_where_it_is_defined() -> None:
    assert list(second_addresses(sources())) == []


def test_no_two_messages_have_one_name() -> None:
    defined = [
        node.name
        for module in HOMES
        for node in ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]
    assert "Generate" in defined
    assert [name for name, n in Counter(defined).items() if n > 1] == []


@pytest.mark.parametrize(
    ("text", "violations"),
    [
        ("from server.engine.events import Delta", []),
        ("from server.ipc.messages import Delta", ["x imports server.ipc.messages.Delta"]),
        ("from facade import Piece", ["x imports facade.Piece"]),
        ("from server.engine.events import Delta\n__all__ = ['Delta']", ["x exports Delta"]),
        ("from server.engine.events import Delta\nPiece = Delta", ["x exports Delta"]),
        ("from server.engine import events\nPiece = events.Delta", ["x exports events.Delta"]),
        ("from server.engine.events import Delta\nclass Usage: pass\n__all__ = ['Usage']", []),
    ],
)
def test_a_second_address_is_noticed(text: str, violations: list[str]) -> None:
    modules = {
        "server.engine.events": "class Delta: pass",
        "server.ipc.messages": "from server.engine.events import Delta",
        "facade": "from server.engine.events import Delta as Piece",
    }
    assert list(second_addresses({**modules, "x": text})) == violations
