"""The built-in prompt formats, exact texts and stops of models without a chat template, as data. Pure.

    Alpaca, one turn      {system}\\n\\n### Instruction:\\n{instruction}\\n\\n### Response:
      with an input       … {instruction}\\n\\n### Input:\\n{input}\\n\\n### Response:
      several             {system}\\n\\n### Instruction: U1\\n\\n### Response: A1</s>### Instruction: U2…
    Vicuna v0             {system}\\n### Human: U1\\n### Assistant: A1\\n### Human: U2\\n### Assistant:
    Vicuna v1.1 to v1.5   {system} USER: U1 ASSISTANT: A1</s>USER: U2 ASSISTANT:
    Koala                 {system} USER: U1 GPT: A1</s>USER: U2 GPT:

A system message replaces the default system text; an empty one removes it. A conversation that ends with the
assistant's words is continued there. Alpaca's input comes from `chat_template_kwargs={"input": …}` (for the
last user message) or stands in the message itself, after a line `### Input:`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Any

from models.errors import RequestError
from server.chat.conversation import Conversation, Speaker

TEMPLATE = "template"
"""This name stands for the GGUF's own Jinja template."""

_INPUT_MARK = "### Input:\n"


@dataclass(frozen=True)
class PromptFormat:
    """A plain-text form of a conversation. `after_assistant` None: the model's end-of-sequence token."""

    name: str
    system: str
    after_system: str
    user: str
    after_user: str
    assistant: str
    after_assistant: str | None
    stops: tuple[str, ...]

    def render(
        self,
        conversation: Conversation,
        *,
        eos_token: str,
        add_generation_prompt: bool = True,
        template_kwargs: dict[str, Any] | None = None,  # noqa: ARG002 - as a template takes it
    ) -> str:
        """Return the prompt's text, without BOS.

        `template_kwargs` that the format doesn't know have no effect: clients send them to every model.
        """
        return self._turns(
            conversation, self._system(conversation, self.system), eos_token, add_generation_prompt
        )

    def _system(self, conversation: Conversation, default: str) -> str:
        system = default if conversation.system is None else conversation.system
        return system + self.after_system if system else ""

    def _turns(
        self, conversation: Conversation, start: str, eos_token: str, add_generation_prompt: bool
    ) -> str:
        labels: dict[Speaker, str] = {"user": self.user, "assistant": self.assistant}
        ends: dict[Speaker, str] = {
            "user": self.after_user,
            "assistant": eos_token if self.after_assistant is None else self.after_assistant,
        }
        parts = [start]
        for speaker, text in conversation.turns:
            parts += (labels[speaker], " ", text, ends[speaker])
        if conversation.continues:
            parts.pop()
        elif add_generation_prompt:
            parts.append(labels["assistant"])
        return "".join(parts)


@dataclass(frozen=True)
class AlpacaFormat(PromptFormat):
    """Alpaca's form: Stanford's for one instruction, FastChat's for several turns."""

    system_with_input: str = ""

    def render(
        self,
        conversation: Conversation,
        *,
        eos_token: str,
        add_generation_prompt: bool = True,
        template_kwargs: dict[str, Any] | None = None,
    ) -> str:
        text = (template_kwargs or {}).get("input")
        if text is not None and not isinstance(text, str):
            raise RequestError("Alpaca's input must be a string", param="chat_template_kwargs.input")
        if text:
            conversation = _with_input(conversation, text)
        has_input = any(speaker == "user" and _INPUT_MARK in text for speaker, text in conversation.turns)
        start = self._system(conversation, self.system_with_input if has_input else self.system)
        if not self._is_instruction(conversation, add_generation_prompt):
            return self._turns(conversation, start, eos_token, add_generation_prompt)
        head = f"{start}### Instruction:\n{conversation.turns[0][1]}\n\n"
        if len(conversation.turns) == 2:
            end = "" if conversation.continues else eos_token
            return f"{head}### Response: {conversation.turns[1][1]}{end}"
        return f"{head}### Response:" if add_generation_prompt else head

    @staticmethod
    def _is_instruction(conversation: Conversation, add_generation_prompt: bool) -> bool:
        """True for one user message, and perhaps the answer to it, after which no other begins."""
        if conversation.turns[0][0] != "user":
            return False
        ends = conversation.continues or not add_generation_prompt
        return len(conversation.turns) == 1 or (len(conversation.turns) == 2 and ends)


def _with_input(conversation: Conversation, alpaca_input: str) -> Conversation:
    """Put the input under the last user message."""
    turns = list(conversation.turns)
    for position in reversed(range(len(turns))):
        speaker, text = turns[position]
        if speaker == "user":
            turns[position] = (speaker, f"{text}\n\n{_INPUT_MARK}{alpaca_input}")
            return replace(conversation, turns=tuple(turns))
    raise RequestError(
        "an Alpaca input needs a user message to belong to", param="chat_template_kwargs.input"
    )


_VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
_VICUNA_V0_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
_ALPACA_SYSTEM = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
_ALPACA_SYSTEM_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)

# The stop `</s>` is for models that write it out as text; as a token it never becomes text.
_ALPACA = AlpacaFormat(
    name="alpaca",
    system=_ALPACA_SYSTEM,
    system_with_input=_ALPACA_SYSTEM_WITH_INPUT,
    after_system="\n\n",
    user="### Instruction:",
    after_user="\n\n",
    assistant="### Response:",
    after_assistant=None,
    stops=("### Instruction", "</s>"),
)
_VICUNA_V0 = PromptFormat(
    name="vicuna_v0",
    system=_VICUNA_V0_SYSTEM,
    after_system="\n",
    user="### Human:",
    after_user="\n",
    assistant="### Assistant:",
    after_assistant="\n",
    stops=("###",),
)


def _user_assistant(name: str, system: str, assistant: str) -> PromptFormat:
    return PromptFormat(
        name=name,
        system=system,
        after_system=" ",
        user="USER:",
        after_user=" ",
        assistant=assistant,
        after_assistant=None,
        stops=("</s>",),
    )


PROMPT_FORMATS: dict[str, PromptFormat] = {
    "alpaca": _ALPACA,
    "vicuna": _user_assistant("vicuna", _VICUNA_SYSTEM, "ASSISTANT:"),
    "vicuna_v0": _VICUNA_V0,
    "koala": _user_assistant("koala", "BEGINNING OF CONVERSATION:", "GPT:"),
    "wizardlm": _user_assistant("wizardlm", _VICUNA_SYSTEM, "ASSISTANT:"),
}

PROMPT_FORMAT_NAMES: tuple[str, ...] = (*PROMPT_FORMATS, TEMPLATE)
"""These names choose a format; the last is that of the model's own template."""

_ALIASES = dict.fromkeys(("vicuna_v1", "vicuna_v1.1", "vicuna_v1.3", "vicuna_v1.5"), "vicuna")


def canonical_name(name: str) -> str:
    """Return a format's one name: `Vicuna-v1.1` → `vicuna`. Raises RequestError, naming the nearest."""
    key = name.strip().lower().replace("-", "_")
    key = _ALIASES.get(key, key)
    if key in PROMPT_FORMAT_NAMES:
        return key
    near = difflib.get_close_matches(key, PROMPT_FORMAT_NAMES, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise RequestError(
        f"unknown prompt format '{name}'; {hint}known are {', '.join(PROMPT_FORMAT_NAMES)}",
        param="prompt_format",
    )
