"""JSON schemas, rewritten so that llguidance holds them.

arrays.py           The keywords of arrays, as llguidance holds them. Pure.
bounded_numbers.py  `BoundedNumbers`: numbers end within what readers of JSON keep exactly. Pure.
disjoint.py         `are_disjoint`: a proof that no value can match two schemas, for `oneOf`. Pure.
endings.py          `ending_fault`: the part of a schema whose values are endless, or longer than any answer.
                    Pure.
formats.py          The expressions of JSON Schema's formats. Pure.
fraction.py         `FRACTION`: the schema of numbers that aren't whole, which JSON Schema's keywords can't
                    say. Pure.
limits.py           `Limits` of schemas, and `Place`: where in a client's schema something is. Pure.
multiples.py        `check_multiples`: the `multipleOf` of schemas that hold together are few enough to count.
                    Pure.
negation.py         `negated`: a schema of values that don't match another, where schemas can say that. Pure.
objects.py          The keywords of objects, as llguidance holds them. Pure.
references.py       `References`: what `$ref`, `$dynamicRef` and `$recursiveRef` of one schema document lead
                    to. Pure.
repetitions.py      `check_repetitions`, `least_length`: what the repetitions of an expression multiply to.
                    Pure.
rewrite.py          `SchemaRewriter`: a client's schema as one that llguidance holds, or the refusal by name.
                    Pure.
scalars.py          The keywords of types, strings and numbers, as llguidance holds them. Pure.
shortest.py         `Shortest`: how many characters the shortest text of a rewritten schema has at least.
                    Pure.
values.py           Values in schemas: what JSON text can spell, their types, and a pattern of all texts but
                    some. Pure.
"""
