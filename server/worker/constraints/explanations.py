"""`explained`: why llguidance refuses a grammar, in words for a client, with what to do. Pure."""

from __future__ import annotations

import re

_LEFT = r"(?:C_|c_)?"
_CONTRADICTIONS = {
    "oneOf": "each value that matches one of its schemas matches another of them, too; use anyOf",
    "anyOf": "no value matches one of its schemas and the rest of what is said here; loosen one of them",
    "allOf": "no value matches all of its schemas together; loosen one of them",
    "not": "it excludes each value that the rest allows; loosen one of them",
    "const": "the value doesn't match the other keywords here; change it, or them",
    "enum": "none of its values matches the other keywords here; add one, or change them",
}
_CONTRADICTION = "no value matches all that is said here together; loosen one of its keywords"

_SENTENCES: tuple[tuple[str, str], ...] = (
    # expressions
    (
        r"look-around|lookarounds not supported",
        (
            "its expression has a look-around, a border of words or an anchor inside, which no grammar says; "
            r"write what the text is without (?=, (?!, (?<, \b and \B, with ^ and $ at its ends only"
        ),
    ),
    (
        r"backreferences",
        "its expression refers back to a group, which no grammar can say; write the options out",
    ),
    (r".*error: (?P<what>[^\n]+)$", "it is no regular expression in Rust's syntax: {what}; correct it"),
    (
        r"Regex is empty|match length constraints",
        "no text follows all of its pattern, format and lengths; change one",
    ),
    (
        r"Unable to determine if regex is empty",
        "its pattern, format and lengths are too complex together; leave one out",
    ),
    # numbers
    (r"contains no integer values", "no whole number lies between its bounds; widen them"),
    (
        r"does not contain a multiple of (?P<step>\S+)",
        "no multiple of {step} lies between its bounds; widen them",
    ),
    (r"too many digits", "its digits make a number above 4,294,967,295; round it"),
    (
        r"(?P<low>min\w+) \((?P<a>[^)]*)\) is \w+ \w+ (?P<high>max\w+) \((?P<b>[^)]*)\)",
        "{low} is {a} and {high} {b}, so no value is between; change one",
    ),
    (r"minimum|maximum|Minimum|Maximum", "no number lies between its bounds; widen them"),
    # objects and arrays
    (
        r"required property '(?P<name>.*?)' is unsatisfiable",
        "no value is possible for the required property '{name}'; loosen its schema, or don't require it",
    ),
    (
        r"required item|prefixItems",
        "no value is possible for an item that must be there; loosen its schema, or lower minItems",
    ),
    (
        r"required > maxProperties",
        "'required' has more names than maxProperties allows; raise it, or require fewer",
    ),
    (
        r"min/maxProperties only",
        "it is held only where each name in 'properties' is required; require them, or leave it out",
    ),
    (
        r"regexes (?P<one>.*) and (?P<other>.*) are not disjoint",
        "a name could match {one} and {other} both; make the patterns exclude each other",
    ),
    (
        r"circular references",
        "it refers in a circle with other keywords beside it; put those keywords into the definition",
    ),
    (
        r"schema too large|too large|too many",
        "its combinations multiply to too large a grammar; give it fewer options",
    ),
    (
        r"^(?:the )?(?P<what>\S+)(?: \S+)? (?:is |are )?not supported",
        "'{what}' isn't supported in a grammar here; leave it out",
    ),
    # Lark
    (rf'unknown name: "{_LEFT}(?P<name>[^"]*)"', "there is no rule or terminal '{name}'; define it"),
    (rf'duplicate \w+: "{_LEFT}(?P<name>[^"]*)"', "'{name}' is defined twice; join the options with |"),
    (
        rf'circular reference in token "{_LEFT}(?P<name>[^"]*)"',
        "the terminal '{name}' refers to a rule or to itself; write it as a rule, in small letters",
    ),
    (
        r"range end must be a single character",
        'a range such as "a".."z" is between two single characters; correct it',
    ),
    (r"invalid range order: (?P<range>.*)", "the range {range} ends before it begins; turn it round"),
    (
        r"range end must be >= start, got (?P<range>.*)",
        "the bounds {range} of a repetition contradict; turn them round",
    ),
    (
        r"(?P<what>%json|%lark|nested %lark).* in terminals",
        "{what} stands in a terminal; put it into a rule, in small letters",
    ),
    (
        r"%regex",
        '%regex is followed by one of {"substring_words": TEXT} and {"substring_chars": TEXT}; correct it',
    ),
    (r"parametric|::", "its rules have parameters that don't fit; write plain rules"),
    (
        r"lexer error",
        "a text, an expression or a letter{where} isn't Lark's; close its quotes, and escape what needs it",
    ),
    (
        r"(?P<what>[Ee]xpected .*?|[Ee]xpecting .*?|Unexpected .*?)(?: \(at .*)?$",
        "its syntax isn't Lark's{where}: {what}; correct it",
    ),
)
_UNSATISFIABLE = re.compile(r"Unsatisfiable|[Uu]nsatisfiable|incompatible|All options|No options")


def explained(problem: str, keyword: str | None = None, line: int | None = None) -> str:
    """Return a sentence on `problem` of the `keyword`, and in which `line` of a client's text."""
    if keyword in _CONTRADICTIONS and _UNSATISFIABLE.search(problem):
        return _CONTRADICTIONS[keyword]
    for pattern, sentence in _SENTENCES:
        found = re.search(pattern, problem, re.DOTALL)
        if found is not None:
            values = {name: _shown(value) for name, value in found.groupdict().items()}
            where = "" if line is None else f" in line {line}"
            return _filled(sentence, {**values, "where": where})
    if _UNSATISFIABLE.search(problem):
        return _CONTRADICTION
    return f"{problem}; make it simpler"


def _filled(sentence: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        sentence = sentence.replace(f"{{{name}}}", value)
    return sentence


def _shown(value: str) -> str:
    """Return a part of a message, short, with the client's name for the first rule."""
    return value.strip().replace("constrained_content", "start").replace("\n", " ")[:120]
