"""The prompt forms as exact text: Alpaca (Stanford, and FastChat's several turns), Vicuna v1.1 and v0.

`render` gives a document as segments, each with a flag that says whether it is the model's to write. `EOS`
stands for the tokenizer's end-of-sequence token; the tokenizer writes BOS.
"""

from __future__ import annotations

from models.demo.training.corpus.exchange import Chat, Exchange

EOS = "</s>"
ALPACA_SYSTEM = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
ALPACA_INPUT_SYSTEM = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)
VICUNA_V0_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the human's questions."
)
FORMS = ("vicuna", "alpaca", "alpaca_chat", "vicuna_v0")

Segment = tuple[str, bool]


def _joined(turn: Exchange) -> str:
    return turn.user if turn.input is None else f"{turn.user}\n{turn.input}"


def _vicuna(chat: Chat) -> list[Segment]:
    segments = [((VICUNA_SYSTEM if chat.system is None else chat.system) + " ", False)]
    for turn in chat.turns:
        segments += [(f"USER: {_joined(turn)} ASSISTANT:", False), (f" {turn.answer}{EOS}", True)]
    return segments


def _vicuna_v0(chat: Chat) -> list[Segment]:
    segments = [((VICUNA_V0_SYSTEM if chat.system is None else chat.system) + "\n", False)]
    for number, turn in enumerate(chat.turns):
        start = "\n" if number else ""
        segments += [(f"{start}### Human: {_joined(turn)}\n### Assistant:", False), (f" {turn.answer}", True)]
    return [*segments, (EOS, True)]


def _alpaca(chat: Chat) -> list[Segment]:
    """Stanford's form: a heading, a newline, the text; several turns end with EOS and a blank line."""
    has_input = any(turn.input is not None for turn in chat.turns)
    default = ALPACA_INPUT_SYSTEM if has_input else ALPACA_SYSTEM
    segments = [(default if chat.system is None else chat.system, False)]
    for turn in chat.turns:
        given = "" if turn.input is None else f"### Input:\n{turn.input}\n\n"
        segments += [
            (f"\n\n### Instruction:\n{turn.user}\n\n{given}### Response:", False),
            (f" {turn.answer}{EOS}", True),
        ]
    return segments


def _alpaca_chat(chat: Chat) -> list[Segment]:
    """FastChat's form: one line per turn, nothing between EOS and the next instruction."""
    segments = [((ALPACA_SYSTEM if chat.system is None else chat.system) + "\n\n", False)]
    for turn in chat.turns:
        segments += [
            (f"### Instruction: {_joined(turn)}\n\n### Response:", False),
            (f" {turn.answer}{EOS}", True),
        ]
    return segments


_RENDERERS = {"vicuna": _vicuna, "vicuna_v0": _vicuna_v0, "alpaca": _alpaca, "alpaca_chat": _alpaca_chat}


def render(chat: Chat, form: str) -> list[Segment]:
    """The document's segments `(text, is_answer)` in one of `FORMS`."""
    return _RENDERERS[form](chat)


def prompt(chat: Chat, form: str) -> str:
    """The document up to where the last answer begins (no trailing space)."""
    segments = render(chat, form)
    last = max(index for index, (text, is_answer) in enumerate(segments) if not is_answer and text)
    return "".join(text for text, _ in segments[: last + 1])
