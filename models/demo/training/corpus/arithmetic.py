"""Task `arithmetic`: sums and differences of 0 to 20, and the multiplication table up to 10 x 10.

One in eight operand pairs is held out: it is asked in no phrasing during training. Only the ordered pair
is held out: when 7 + 15 is unseen, 15 + 7 may be seen.
"""

from __future__ import annotations

from models.demo.training.corpus.exchange import Fact, Family, is_held_out, words

LARGEST_TERM = 20
LARGEST_FACTOR = 10
WORDS = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)


def _fact(sign: str, a: int, b: int, result: int) -> Fact:
    held_out = is_held_out("pair", sign, str(a), str(b), every=8)
    slots = {"a": str(a), "b": str(b), "wa": WORDS[a], "wb": WORDS[b], "x": f"{a} {sign} {b}"}
    return Fact(slots, f"{a} {sign} {b} = {result}.", str(result), held_out)


_TERMS = range(LARGEST_TERM + 1)
_FACTORS = range(LARGEST_FACTOR + 1)
SUMS = tuple(_fact("+", a, b, a + b) for a in _TERMS for b in _TERMS)
DIFFERENCES = tuple(_fact("-", a, b, a - b) for a in _TERMS for b in _TERMS if b <= a)
PRODUCTS = tuple(_fact("x", a, b, a * b) for a in _FACTORS for b in _FACTORS)

_FOLLOW_UPS = ("And {x}?", "What about {x}?", "And what is {x}?", "{x}?")
_INPUTS = ("Calculate.", "What is the result?", "Solve this.", "Compute the result.", "Compute.")

FAMILIES = (
    Family(
        task="arithmetic",
        name="sum",
        facts=SUMS,
        phrasings=(
            "what is {a} + {b}?",
            "what is {a}+{b}?",
            "{a} + {b}",
            "{a} + {b} =",
            "{a}+{b}=?",
            "what is {a} plus {b}?",
            "how much is {a} + {b}?",
            "how much is {a} plus {b}?",
            "what's {a} + {b}?",
            "what is {wa} plus {wb}?",
            "add {a} and {b}.",
            "what is the sum of {a} and {b}?",
            "calculate {a} + {b}.",
            "{a} plus {b}?",
            "can you add {a} and {b}?",
            "can you compute the sum of {a} and {b} for me?",
            "work out {a} + {b}.",
            "compute the sum of {a} and {b}.",
            "what do {a} and {b} make?",
            "what does {a} + {b} make?",
            "could you tell me what {a} + {b} is?",
        ),
        unseen=("can you add {a} and {b} for me?", "compute {a} + {b}.", "what does {a} plus {b} make?"),
        with_input=_INPUTS,
        follow_ups=_FOLLOW_UPS,
    ),
    Family(
        task="arithmetic",
        name="difference",
        facts=DIFFERENCES,
        phrasings=(
            "what is {a} - {b}?",
            "what is {a}-{b}?",
            "{a} - {b}",
            "{a} - {b} =",
            "{a}-{b}=?",
            "what is {a} minus {b}?",
            "how much is {a} - {b}?",
            "how much is {a} minus {b}?",
            "what's {a} - {b}?",
            "what is {wa} minus {wb}?",
            "take {b} away from {a}.",
            "subtract {b} from {a}.",
            "calculate {a} - {b}.",
            "{a} minus {b}?",
            "can you take {b} away from {a}?",
            "can you compute {a} minus {b} for me?",
            "work out {a} - {b}.",
            "compute {a} minus {b}.",
            "take {b} from {a}.",
            "what does {a} - {b} make?",
            "could you tell me what {a} - {b} is?",
        ),
        unseen=("can you take {b} from {a}?", "compute {a} - {b}.", "what does {a} minus {b} make?"),
        with_input=_INPUTS,
        follow_ups=_FOLLOW_UPS,
    ),
    Family(
        task="arithmetic",
        name="product",
        facts=PRODUCTS,
        phrasings=(
            "what is {a} x {b}?",
            "what is {a} * {b}?",
            "{a} x {b}",
            "{a} x {b} =",
            "{a}*{b}=?",
            "what is {a} times {b}?",
            "how much is {a} x {b}?",
            "how much is {a} times {b}?",
            "what's {a} times {b}?",
            "what is {wa} times {wb}?",
            "multiply {a} by {b}.",
            "what is the product of {a} and {b}?",
            "calculate {a} * {b}.",
            "{a} times {b}?",
            "can you multiply {a} by {b}?",
            "can you compute {a} times {b} for me?",
            "work out {a} x {b}.",
            "compute the product of {a} and {b}.",
            "multiply {a} and {b}.",
            "what does {a} x {b} make?",
            "could you tell me what {a} x {b} is?",
        ),
        unseen=("can you multiply {a} and {b}?", "compute {a} x {b}.", "what does {a} times {b} make?"),
        with_input=_INPUTS,
        follow_ups=_FOLLOW_UPS,
    ),
)
