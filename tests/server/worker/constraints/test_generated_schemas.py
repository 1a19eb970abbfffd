"""Texts that random walks make under generated schemas are valid by Python's `jsonschema`."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from jsonschema.validators import validator_for

from models.llamacpp.vocab import Vocab
from server.ipc.constraint import Constraint
from server.worker.constraints.compiler import ConstraintCompiler
from tests.schema_generator import schemas
from tests.server.worker.constraints.walks import walk


@pytest.mark.parametrize(
    "seed", [12, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(100, 110))]
)
def test_all_walks_validate(seed: int, compiler: ConstraintCompiler, vocab: Vocab) -> None:
    rng = random.Random(seed)
    for schema in schemas(n=300, seed=seed):
        constraint = Constraint(kind="json_schema", text=json.dumps(schema), param="schema")
        grammar = compiler.compile(constraint)
        for _ in range(2):
            check(walk(grammar, vocab, rng), schema)


def check(text: str, schema: dict[str, Any]) -> None:
    """Fail if the text isn't JSON, or `jsonschema` refuses it."""
    value = json.loads(text)
    validator = validator_for(schema, default=jsonschema.Draft202012Validator)
    problems = list(validator(schema, format_checker=validator.FORMAT_CHECKER).iter_errors(value))
    assert not problems, (problems[0].message, text, schema)
