"""Chat templates by the names that llama.cpp has for them, and what `--chat-template` may be. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from models.errors import ConfigError


def _turns(before_role: str, after_role: str, after_content: str, content: str = "message['content']") -> str:
    """Return the template of chats whose turns all have one form, the generation prompt's too."""
    return (
        "{% for message in messages %}"
        f"{{{{ {before_role!r} + message['role'] + {after_role!r} + {content} + {after_content!r} }}}}"
        "{% endfor %}{% if add_generation_prompt %}"
        f"{{{{ {before_role + 'assistant' + after_role!r} }}}}"
        "{% endif %}"
    )


_COMMAND_R = (
    "{% set names = {'system': 'SYSTEM', 'user': 'USER', 'assistant': 'CHATBOT'} %}"
    "{% for message in messages %}"
    "{{ '<|START_OF_TURN_TOKEN|><|' + names.get(message['role'], 'USER') + '_TOKEN|>' }}"
    "{{ (message['content'] | trim) + '<|END_OF_TURN_TOKEN|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"
)
_GEMMA = (
    "{% set state = namespace(system='') %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set state.system = state.system + (message['content'] | trim) %}"
    "{% else %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\\n' }}"
    "{% if state.system and role != 'model' %}"
    "{{ state.system + '\\n\\n' }}{% set state.system = '' %}"
    "{% endif %}"
    "{{ (message['content'] | trim) + '<end_of_turn>\\n' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)


def _mistral(space: str) -> str:
    return (
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}"
        f"{{{{ '[SYSTEM_PROMPT]{space}' + message['content'] + '[/SYSTEM_PROMPT]' }}}}"
        "{% elif message['role'] == 'user' %}"
        f"{{{{ '[INST]{space}' + message['content'] + '[/INST]' }}}}"
        f"{{% else %}}{{{{ '{space}' + message['content'] + '</s>' }}}}{{% endif %}}"
        "{% endfor %}"
    )


NAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "chatml": _turns("<|im_start|>", "\n", "<|im_end|>\n"),
        "command-r": _COMMAND_R,
        "falcon3": _turns("<|", "|>\n", "\n"),
        "gemma": _GEMMA,
        "llama3": _turns(
            "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", "(message['content'] | trim)"
        ),
        "llama4": _turns("<|header_start|>", "<|header_end|>\n\n", "<|eot|>", "(message['content'] | trim)"),
        "mistral-v7": _mistral(" "),
        "mistral-v7-tekken": _mistral(""),
        "phi3": _turns("<|", "|>\n", "<|end|>\n"),
        "phi4": _turns("<|im_start|>", "<|im_sep|>", "<|im_end|>"),
        "zephyr": _turns("<|", "|>\n", "<|endoftext|>\n"),
    }
)
"""The Jinja source of each name."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def template_of(text: str) -> str:
    """Return the Jinja source that a name or a source stands for. Raises ConfigError for an unknown name."""
    if text in NAMED:
        return NAMED[text]
    if _NAME.fullmatch(text):
        raise ConfigError(
            f"{text!r} is no chat template's name here; known are {', '.join(NAMED)}. "
            "Give its Jinja source, or --chat-template-file"
        )
    return text
