"""`hostile_constraints`: schemas and grammars that want to hurt whoever compiles or follows them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, cast

from server.ipc.constraint import Constraint, ConstraintKind


def hostile_constraints(n: int = 500, seed: int = 5) -> list[Constraint]:
    """Return `n` constraints, the same for the same seed: huge bounds, deep nests, blow-ups, nonsense."""
    rng = random.Random(seed)
    return [_MAKERS[index % len(_MAKERS)](rng) for index in range(n)]


def _made(kind: ConstraintKind, text: str) -> Constraint:
    return Constraint(kind=kind, text=text, param="form")


def _schema(schema: Any) -> Constraint:
    return _made("json_schema", json.dumps(schema))


def _bounds(rng: random.Random) -> Constraint:
    kind, keyword = rng.choice(
        [("string", "minLength"), ("string", "maxLength"), ("array", "minItems"), ("array", "maxItems"),
         ("object", "minProperties"), ("object", "maxProperties")]
    )  # fmt: skip
    return _schema({"type": kind, keyword: 10 ** rng.randrange(7, 30)})


def _bad_bounds(rng: random.Random) -> Constraint:
    keyword = rng.choice(
        ["minLength", "minItems", "maximum", "multipleOf", "required", "properties", "enum", "type"]
    )
    return _schema(
        {keyword: rng.choice(["x", -1, 0.5, [[]], {"a": 5}, None] if keyword != "maximum" else ["x", [1]])}
    )


def _nest(rng: random.Random) -> Constraint:
    depth = rng.choice([70, 90])
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = rng.choice(
            [{"items": schema}, {"anyOf": [schema, {"type": "null"}]}, {"properties": {"a": schema}}]
        )
    return _schema(schema)


def _deep(rng: random.Random) -> Constraint:
    n = rng.randrange(2_000, 20_000)
    return _made("json_schema", '{"items":' * n + "{}" + "}" * n)


def _endless(rng: random.Random) -> Constraint:
    return _schema(
        rng.choice(
            [
                {"$ref": "#"},
                {"allOf": [{"$ref": "#"}]},
                {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
                {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
                {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
            ]
        )
    )


def _elsewhere(rng: random.Random) -> Constraint:
    return _schema(
        {"$ref": rng.choice(["http://example.org/x", "other.json", "#/nowhere", "#no", "file:///etc/passwd"])}
    )


def _power(rng: random.Random) -> Constraint:
    n, k = rng.randrange(7, 12), rng.randrange(8, 14)
    options = [{"anyOf": [{"properties": {f"k{i}": {"const": j}}} for j in range(k)]} for i in range(n)]
    return _schema({"type": "object", "allOf": options})


def _many_patterns(rng: random.Random) -> Constraint:
    n = rng.randrange(25, 60)
    return _schema({"allOf": [{"type": "string", "pattern": f"a.{{{i}}}b.*c.*d"} for i in range(n)]})


def _many(rng: random.Random) -> Constraint:
    n = rng.randrange(6_000, 30_000)
    return _schema(
        rng.choice(
            [
                {"enum": list(range(n))},
                {"type": "object", "properties": {f"p{i}": {} for i in range(n)}},
                {"anyOf": [{"const": f"{i}"} for i in range(n)]},
                {"required": [f"r{i}" for i in range(n)]},
            ]
        )
    )


def _impossible(rng: random.Random) -> Constraint:
    return _schema(
        rng.choice(
            [
                False,
                {"enum": []},
                {"type": "string", "const": 1},
                {"type": "integer", "minimum": 9, "maximum": 3},
                {"type": "string", "minLength": 9, "maxLength": 3},
                {"allOf": [{"type": "string"}, {"type": "null"}]},
                {"type": "object", "required": ["a"], "properties": {"a": False}},
                {"const": 10**40},
                {"const": "\x00"},
            ]
        )
    )


def _unheld(rng: random.Random) -> Constraint:
    return _schema(
        rng.choice(
            [
                {"type": "array", "uniqueItems": True},
                {"not": {"pattern": "a"}},
                {"oneOf": [{"pattern": "a"}, {"pattern": "b"}]},
                {"type": "string", "format": "regex"},
                {
                    "type": "string",
                    "pattern": rng.choice(
                        [
                            "(?=a)",
                            "^(a{1,1000}){1,1000}$",
                            r"(a)\1",
                            "(",
                            "a{99999999999}",
                            "[z-a]",
                            "(?<n>a)\\k<n>",
                        ]
                    ),
                },
                {"type": "object", "minProperties": 5},
                {"patternProperties": {"^a": {}, "a$": {}}},
                {
                    "allOf": [
                        {"type": "integer", "multipleOf": p} for p in (99991, 99989, 99971, 99961, 99929)
                    ]
                },
                {"$dynamicRef": "#a", "$defs": {"x": {"$dynamicAnchor": "a"}, "y": {"$dynamicAnchor": "a"}}},
            ]
        )
    )


def _expressions(rng: random.Random) -> Constraint:
    return _made(
        "regex",
        rng.choice(
            [
                "(" * 5_000 + "a" + ")" * 5_000,
                "(a{1,1000}){1,1000}",
                "(((a{1,100}){1,100}){1,100}){1,100}",
                "(?=a)b",
                r"(a)\1",
                "(a",
                "[z-a]",
                "",
                "a{99999999999}",
                "|".join(f"w{i}x" for i in range(300_000)),
                "\\",
            ]
        ),
    )


def _choices(rng: random.Random) -> Constraint:
    return _made("choice", json.dumps(rng.choice([[], [""], 5, ["x", 1], [f"{i}" for i in range(50_000)]])))


def _lark(rng: random.Random) -> Constraint:
    n = rng.randrange(5_000, 20_000)
    return _made(
        "lark",
        rng.choice(
            [
                "start: " + "(" * 2_000 + '"a"' + ")" * 2_000,
                "start: a\na: a",
                "start: A\nA: A",
                "start: A0\n" + "\n".join(f"A{i}: A{i + 1} A{i + 1}" for i in range(40)) + '\nA40: "x"',
                "\n".join(f"r{i}: r{i + 1}?" for i in range(n)) + f'\nr{n}: "a"\nstart: r0',
                "start: <|im_end|>",
                "start: <[0-100]>",
                "start: @other",
                "%import common.INT\nstart: INT",
                "start[max_tokens=5]: /a*/",
                'start: %json {"type": "array", "uniqueItems": true}',
                'start: %json {"a',
                'begin: "a"',
                "",
                "start: x",
                'start: "a"{1000000000}',
                "start: /((a{1,1000}){1,1000})/",
                "{}{}{}",
            ]
        ),
    )


def _gbnf(rng: random.Random) -> Constraint:
    n = rng.randrange(60, 2_000)
    return _made(
        "gbnf",
        rng.choice(
            [
                'root ::= "(" root ")"',
                "root ::= a\na ::= b\nb ::= a",
                "root ::= missing",
                'other ::= "a"',
                "root ::= " + "(" * n + '"a"' + ")" * n,
                'root ::= "a"{1000000000}',
                'root ::= "a"{5,2}',
                'root ::= "unended',
                "root ::= [a-",
                "root ::= [z-a]",
                "root ::= <[1000]>",
                'root ::= "\\q"',
                'root ::= "\\uD800"',
                "::=",
                'root "a"',
                "",
                'root ::= "a" # ' + "x" * 300_000,
            ]
        ),
    )


def _explosive_schema(rng: random.Random) -> Constraint:
    """A schema that compiles, but may have far too many states or items when it is followed."""
    n = rng.randrange(6, 30)
    primes = (9973, 9967, 9949, 9941, 9931)
    loop = {
        "anyOf": [
            {"type": "null"},
            *({"type": "array", "items": {"$ref": "#"}, "maxItems": i} for i in range(n)),
        ]
    }
    return _schema(
        rng.choice(
            [
                {"type": "string", "pattern": f"(a|b)*a(a|b){{{10 * n}}}$"},
                {"type": "string", "pattern": f"^(.*a.{{{n}}}b.*){{3}}$", "minLength": 100 * n},
                {"allOf": [{"type": "integer", "multipleOf": prime} for prime in primes]},
                {"type": "integer", "multipleOf": rng.choice(primes)},
                {"type": "object", "properties": {f"p{i}": {} for i in range(30 * n)}},
                {
                    "anyOf": [
                        {"type": "array", "items": {"type": "integer"}, "minItems": i} for i in range(20 * n)
                    ]
                },
                {"enum": ["x" * i + "y" for i in range(30 * n)]},
                {"type": "array", "minItems": 100_000, "items": {"type": "string", "minLength": 1_000_000}},
                loop,
            ]
        )
    )


def _explosive_grammar(rng: random.Random) -> Constraint:
    """A grammar that compiles, but is as ambiguous as it can be, or whose expressions are exponential."""
    n = rng.randrange(6, 30)
    rules = "\n".join(f'r{i}: /[a-z]*{chr(97 + i % 26)}[a-z]{{{i % 9}}}/ "{i}"' for i in range(10 * n))
    kind, text = rng.choice(
        [
            ("regex", f"(a|b)*a(a|b){{{10 * n}}}"),
            ("regex", f"(a?){{{10 * n}}}a{{{10 * n}}}"),
            ("regex", "(" + "|".join(f".*{chr(97 + i % 26)}.{{{i}}}x" for i in range(n)) + ")"),
            ("regex", rf"[\p{{L}}\s]{{1,{1000 * n}}}"),
            ("regex", "(([a-z]+)*)*x"),
            ("lark", 'start: x+\nx: x x | x | "a"'),
            ("lark", 'start: e\ne: e e e | e e | "a" | ""'),
            ("lark", f'start: "a"{{{1000 * n}}}'),
            ("lark", "start: " + " | ".join(f"r{i}" for i in range(10 * n)) + "\n" + rules),
            ("gbnf", 'root ::= root root | "a" | "b"'),
            ("gbnf", 'root ::= a*\na ::= b* "x"?\nb ::= a* "a"?'),
        ]
    )
    return _made(cast("ConstraintKind", kind), text)


_MAKERS: tuple[Callable[[random.Random], Constraint], ...] = (
    _bounds, _bad_bounds, _nest, _deep, _endless, _elsewhere, _power, _many_patterns, _many, _impossible,
    _unheld, _expressions, _choices, _lark, _gbnf, _explosive_schema, _explosive_grammar,
)  # fmt: skip
