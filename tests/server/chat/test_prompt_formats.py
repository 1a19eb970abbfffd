"""The exact text of each built-in format; written out here a second time on purpose."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import RequestError
from server.chat import conversation
from server.chat.prompt_formats import PROMPT_FORMATS, canonical_name

ALPACA_TASK = "Write a response that appropriately completes the request."
ALPACA = f"Below is an instruction that describes a task. {ALPACA_TASK}"
ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
VICUNA_V0 = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)


def chat(*turns: str, system: str | None = None) -> list[dict[str, Any]]:
    """Messages by turns, the user's first."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
    return messages if system is None else [{"role": "system", "content": system}, *messages]


def render(name: str, messages: list[dict[str, Any]], **options: Any) -> str:
    continues = options.pop("continues", False)
    given = conversation.from_messages(messages, name, continues=continues)
    return PROMPT_FORMATS[name].render(given, eos_token="</s>", **options)


@pytest.mark.parametrize(
    ("name", "messages", "expected"),
    [
        ("alpaca", chat("Sing."), f"{ALPACA}\n\n### Instruction:\nSing.\n\n### Response:"),
        (
            "alpaca",
            chat("U1", "A1", "U2"),
            f"{ALPACA}\n\n### Instruction: U1\n\n### Response: A1</s>### Instruction: U2\n\n### Response:",
        ),
        (
            "alpaca",
            chat("Add.\n\n### Input:\n1 and 2"),
            f"{ALPACA_INPUT}\n\n### Instruction:\nAdd.\n\n### Input:\n1 and 2\n\n### Response:",
        ),
        ("alpaca", chat("U1", system="Be brief."), "Be brief.\n\n### Instruction:\nU1\n\n### Response:"),
        ("alpaca", chat("U1", system=""), "### Instruction:\nU1\n\n### Response:"),
        ("vicuna", chat("U1"), f"{VICUNA} USER: U1 ASSISTANT:"),
        ("vicuna", chat("U1", "A1", "U2"), f"{VICUNA} USER: U1 ASSISTANT: A1</s>USER: U2 ASSISTANT:"),
        ("vicuna", chat("U1", system="Be brief."), "Be brief. USER: U1 ASSISTANT:"),
        ("vicuna", chat("U1", system=""), "USER: U1 ASSISTANT:"),
        ("vicuna_v0", chat("U1"), f"{VICUNA_V0}\n### Human: U1\n### Assistant:"),
        (
            "vicuna_v0",
            chat("U1", "A1", "U2"),
            f"{VICUNA_V0}\n### Human: U1\n### Assistant: A1\n### Human: U2\n### Assistant:",
        ),
        ("koala", chat("U1"), "BEGINNING OF CONVERSATION: USER: U1 GPT:"),
        ("koala", chat("U1", "A1", "U2"), "BEGINNING OF CONVERSATION: USER: U1 GPT: A1</s>USER: U2 GPT:"),
        ("wizardlm", chat("U1"), f"{VICUNA} USER: U1 ASSISTANT:"),
    ],
)
def test_exact_text(name: str, messages: list[dict[str, Any]], expected: str) -> None:
    assert render(name, messages) == expected


def test_stops() -> None:
    assert {name: chosen.stops for name, chosen in PROMPT_FORMATS.items()} == {
        "alpaca": ("### Instruction", "</s>"),
        "vicuna": ("</s>",),
        "vicuna_v0": ("###",),
        "koala": ("</s>",),
        "wizardlm": ("</s>",),
    }


def test_alpaca_input_as_template_argument() -> None:
    text = render("alpaca", chat("Add."), template_kwargs={"input": "1 and 2"})
    assert text == f"{ALPACA_INPUT}\n\n### Instruction:\nAdd.\n\n### Input:\n1 and 2\n\n### Response:"


def test_alpaca_input_belongs_to_the_last_user_message() -> None:
    text = render("alpaca", chat("U1", "A1", "U2"), template_kwargs={"input": "I2"})
    assert text.endswith("A1</s>### Instruction: U2\n\n### Input:\nI2\n\n### Response:")
    assert text.startswith(ALPACA_INPUT)


@pytest.mark.parametrize(
    "kwargs", [{"enable_thinking": False}, {"thinking": True, "budget": 0}, {"inptu": "x"}, {"": [{}]}]
)
@pytest.mark.parametrize("name", sorted(PROMPT_FORMATS))
def test_template_arguments_that_a_format_does_not_know_change_nothing(
    name: str, kwargs: dict[str, Any]
) -> None:
    assert render(name, chat("U1"), template_kwargs=kwargs) == render(name, chat("U1"))


def test_alpaca_input_of_another_type() -> None:
    with pytest.raises(RequestError) as caught:
        render("alpaca", chat("U1"), template_kwargs={"input": 3})
    assert caught.value.param == "chat_template_kwargs.input"
    assert render("vicuna", chat("U1"), template_kwargs={"input": 3}) == render("vicuna", chat("U1"))


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("vicuna", "USER: U1 ASSISTANT: The answer is"),
        ("vicuna_v0", "### Human: U1\n### Assistant: The answer is"),
        ("alpaca", "### Instruction:\nU1\n\n### Response: The answer is"),
    ],
)
def test_an_answer_that_was_begun_is_continued(name: str, end: str) -> None:
    assert render(name, chat("U1", "The answer is"), continues=True).endswith(end)
    assert render(name, chat("U1", "The answer is"), continues=True, add_generation_prompt=False).endswith(
        end
    )


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("vicuna", "USER: U1 ASSISTANT: A1</s>ASSISTANT:"),
        ("vicuna_v0", "### Human: U1\n### Assistant: A1\n### Assistant:"),
        ("alpaca", "### Instruction: U1\n\n### Response: A1</s>### Response:"),
    ],
)
def test_an_answer_that_is_complete_is_followed_by_another(name: str, end: str) -> None:
    assert render(name, chat("U1", "A1")).endswith(end)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("vicuna", "USER: U1 ASSISTANT: A1</s>"),
        ("vicuna_v0", "### Human: U1\n### Assistant: A1\n"),
        ("alpaca", "### Instruction:\nU1\n\n### Response: A1</s>"),
    ],
)
def test_without_generation_prompt(name: str, end: str) -> None:
    assert render(name, chat("U1", "A1"), add_generation_prompt=False).endswith(end)


def test_the_models_own_end_token_is_written() -> None:
    given = conversation.from_messages(chat("U1", "A1", "U2"), "vicuna")
    assert "A1<|end|>USER:" in PROMPT_FORMATS["vicuna"].render(given, eos_token="<|end|>")


def test_messages_in_a_row_are_joined() -> None:
    messages = [
        {"role": "system", "content": "S1"},
        {"role": "user", "content": "U1"},
        {"role": "developer", "content": "S2"},
        {"role": "user", "content": "U2"},
    ]
    assert render("vicuna", messages) == "S1 USER: U1\n\nS2\nU2 ASSISTANT:"


@pytest.mark.parametrize("name", sorted(PROMPT_FORMATS))
def test_developer_messages_are_system_messages(name: str) -> None:
    def at(place: int, role: str) -> str:
        messages = chat("U1", "A1", "U2")
        messages.insert(place, {"role": role, "content": "Be brief."})
        return render(name, messages)

    assert all(at(place, "developer") == at(place, "system") for place in range(4))


def test_a_late_system_message_moves_no_other() -> None:
    first = {"role": "system", "content": "S1"}
    late = {"role": "system", "content": "S2"}
    u1, a1, u2 = chat("U1", "A1", "U2")
    assert (
        render("vicuna", [first, u1, a1, late, u2]) == "S1 USER: U1 ASSISTANT: A1</s>USER: S2\nU2 ASSISTANT:"
    )
    assert render("vicuna", [first, u1, late]) == "S1 USER: U1\n\nS2 ASSISTANT:"
    assert render("vicuna", [first, late, u1]) == "S1\n\nS2 USER: U1 ASSISTANT:"
    assert render("vicuna", [u1, a1, late]).endswith(" USER: U1 ASSISTANT: A1</s>USER: S2 ASSISTANT:")


def test_a_role_that_plain_text_cannot_express() -> None:
    with pytest.raises(RequestError) as caught:
        render("vicuna", [*chat("U1"), {"role": "tool", "content": "42"}])
    assert caught.value.param == "messages[1].role"


def test_a_chat_without_turns() -> None:
    with pytest.raises(RequestError, match="needs a user"):
        render("vicuna", [{"role": "system", "content": "S"}])


@pytest.mark.parametrize(
    ("given", "name"),
    [("Vicuna", "vicuna"), ("vicuna-v1.1", "vicuna"), ("vicuna_v1.5", "vicuna"), ("vicuna-v0", "vicuna_v0")],
)
def test_names_in_other_spellings(given: str, name: str) -> None:
    assert canonical_name(given) == name


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(RequestError, match="did you mean 'alpaca'") as caught:
        canonical_name("alpacca")
    assert caught.value.param == "prompt_format"
