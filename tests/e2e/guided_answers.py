"""Answers of a given form from a running server: schemas sent, what finished checked with `jsonschema`."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonschema
from jsonschema.validators import validator_for


@dataclass
class Tally:
    """The counts of answers; `wrong` has the schema and the text of each that isn't what was asked for."""

    finished: int = 0
    cut: int = 0
    wrong: list[tuple[Any, str, str]] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)


def problem(text: str, schema: Any) -> str | None:
    """The reason why a text isn't JSON that follows a schema; None if it is."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return str(error)
    validator = validator_for(schema, default=jsonschema.Draft202012Validator)
    found = validator(schema, format_checker=validator.FORMAT_CHECKER).iter_errors(value)
    return next((error.message for error in found), None)


async def generate(
    url: str, schemas: list[Any], wanted: int, *, n: int = 4, streams: int = 2, max_tokens: int = 400
) -> Tally:
    """Ask for answers under one schema after the other until `wanted` have finished, or enough were cut."""
    tally = Tally()
    seeds = iter(range(1, 1_000_000))
    n_requests = 4 * wanted // n

    async def ask(client: httpx.AsyncClient) -> None:
        while tally.finished < wanted and (seed := next(seeds)) <= n_requests:
            schema = schemas[seed % len(schemas)]
            body = {
                "messages": [{"role": "user", "content": "hi"}],
                "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
                "n": n, "seed": seed, "temperature": 1, "max_tokens": max_tokens, "show_schema": False,
            }  # fmt: skip
            response = await client.post("/v1/chat/completions", json=body)
            if response.status_code != 200:
                tally.refusals[response.text[:300]] += 1
                continue
            for choice in response.json()["choices"]:
                if choice["finish_reason"] != "stop":
                    tally.cut += 1
                    continue
                tally.finished += 1
                text = choice["message"]["content"]
                if (reason := problem(text, schema)) is not None:
                    tally.wrong.append((schema, text, reason))

    async with httpx.AsyncClient(base_url=url, timeout=600) as client, asyncio.TaskGroup() as group:
        for _ in range(streams):
            group.create_task(ask(client))
    return tally
