from __future__ import annotations

from typing import Any

import msgspec
import pytest

from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate, Pool
from server.ipc.prompts import (
    ChatPrompt,
    ExtraText,
    InfillPrompt,
    MixedPrompt,
    PooledInputs,
    Prompt,
    TextPrompt,
    TokenPrompt,
)
from server.requests.prefix_key import prefix_key

LONG = "All replicas hold what they have computed. " * 50
SYSTEM = {"role": "system", "content": "Be brief."}
FIRST = {"role": "user", "content": "What is a ring?"}


def key(prompt: Prompt | msgspec.Raw, name: str = "demo", **fields: Any) -> str:
    generate = Generate(id="r", prompt=prompt, params=SamplingParams(), **fields)  # type: ignore[arg-type]
    return prefix_key(name, generate)


def chat(*messages: dict[str, Any], **fields: Any) -> ChatPrompt:
    return ChatPrompt(messages=list(messages), **fields)


ALIKE: dict[str, tuple[Prompt, Prompt]] = {
    "text": (TextPrompt(f"{LONG}1"), TextPrompt(f"{LONG}and more")),
    "tokens": (TokenPrompt((*range(900), 1)), TokenPrompt((*range(900), 2, 3))),
    "mixed": (MixedPrompt((LONG, (1, 2))), MixedPrompt((f"{LONG}!",))),
    "turns of a chat": (
        chat(SYSTEM, FIRST),
        chat(SYSTEM, FIRST, {"role": "assistant", "content": "Order."}, {"role": "user", "content": "?"}),
    ),
    "a long system message": (
        chat({"role": "system", "content": LONG}, FIRST),
        chat({"role": "system", "content": LONG}, {"role": "user", "content": "other"}),
    ),
    "marks of images": (
        chat({"role": "user", "content": "see <a>0000000"}, image_mark="<a>"),
        chat({"role": "user", "content": "see <b>0000000"}, image_mark="<b>"),
    ),
    "a gap": (
        InfillPrompt(prefix="f", suffix="1", extra=(ExtraText(LONG),)),
        InfillPrompt(prefix="g", suffix="2", extra=(ExtraText(LONG),)),
    ),
}
DIFFERENT: list[Prompt] = [
    TextPrompt("a"),
    TextPrompt("b"),
    TokenPrompt((1, 2)),
    TokenPrompt((2, 1)),
    MixedPrompt(("m", (1,))),
    MixedPrompt(("m", (2,))),
    chat(FIRST),
    chat(SYSTEM, FIRST),
    chat({"role": "user", "content": None}),
    chat(FIRST, before=(7,)),
    InfillPrompt(prefix="p", suffix="s"),
    InfillPrompt(prefix="p", suffix="s", extra=(ExtraText("x"),)),
]


@pytest.mark.parametrize("case", ALIKE)
def test_prompts_that_begin_alike_have_one_key(case: str) -> None:
    one, other = ALIKE[case]
    assert key(one) == key(other)
    assert len(key(one)) == 16


def test_what_begins_otherwise_has_another() -> None:
    keys = [key(prompt) for prompt in DIFFERENT]
    keys += [key(DIFFERENT[0], "vicuna"), key(DIFFERENT[0], adapters=((1, 0.5),))]
    assert len(set(keys)) == len(keys)


def test_a_prompt_that_is_encoded_already_has_the_same_key() -> None:
    for prompt in (*DIFFERENT, *(prompt for pair in ALIKE.values() for prompt in pair)):
        assert key(msgspec.Raw(msgspec.msgpack.encode(prompt))) == key(prompt)


def test_vectors_have_none() -> None:
    assert prefix_key("demo", Pool(id="r", inputs=PooledInputs(("a",)))) == ""
