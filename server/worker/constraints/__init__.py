"""The forms that a request's answer must have, compiled for a vocabulary.

check.py             `checked_grammar`: a grammar that llguidance takes, or the refusal with keyword and path.
                     Pure.
checker.py           The process that makes and checks grammars, each in a fork of its own within hard limits.
compilation.py       `compiled_apart`: work in a thread of its own, without Python's lock, that gives way if
                     it is long.
compiler.py          `ConstraintCompiler`: constraints and tool formats' grammars as matchers over one
                     vocabulary.
explanations.py      `explained`: why llguidance refuses a grammar, in words for a client, with what to do.
                     Pure.
gbnf.py              llama.cpp's grammars (GBNF), read: rules of a syntax tree. Pure.
gbnf_lark.py         `gbnf_to_lark`: llama.cpp's grammars (GBNF) as llguidance's Lark, with the same texts.
                     Pure.
grammar_text.py      `grammar_of`: a request's constraint, and a tool format's grammar, as one Lark grammar.
                     Pure.
lark_rules.py        `read_rules`: the rules of a Lark grammar as far as their texts' ends and lengths go.
                     Pure.
lark_text.py         Lark grammars, token by token: a client's under names of its own, and the schemas in any.
                     Pure.
lark_tokens.py       `lark_tokens`: the tokens of a Lark grammar. Pure.
letter_automaton.py  `LetterAutomaton`: the texts of a part of a grammar without recursion, letter by letter.
                     Pure.
process.py           `GrammarProcess`: a child process that makes and checks grammars within hard limits.
refusals.py          `Refusals`: the grammars that were refused last, so that they cost nothing the next time.
                     Pure.
rule_endings.py      `check_rules`: a grammar whose texts never end, or are too long, is refused by its rule.
                     Pure.
schema/              JSON schemas, rewritten so that llguidance holds them.
"""
