"""Prompts with tools, compared with those of llama.cpp's own server; where they differ, a reason stands here."""  # noqa: E501

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pytest

from models.doctor.tiny_model import write_tiny_gguf
from server.chat.templates import ChatTemplate
from tests.e2e.running import free_port
from tests.server.chat.tool_chats import CHATS, TOOL

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
SERVER = Path(os.environ.get("CORRAL_LLAMA_CPP_TOOLS", "/nowhere")) / "llama-server"

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not SOURCES, reason="CORRAL_LLAMA_CPP_SOURCE doesn't point to llama.cpp's sources"),
]

Prompt = Callable[..., str]
"""Returns transformers' prompt of one of the chats, with variables; or its refusal's words."""


@dataclass(frozen=True)
class Reason:
    """Why prompts differ from llama-server's, and what of it transformers tells by the same template."""

    words: str
    holds: Callable[[Prompt], bool]


_NO_TOOLS = Reason(
    "shows no tools: they are taught in words; llama-server drops them",
    lambda prompt: "get_weather" not in prompt("tools"),
)
_ONE_CALL = Reason(
    "takes one call a message: each has one; llama-server fails or drops the others",
    lambda prompt: "Oslo" in prompt("call") and "Bern" not in prompt("two calls"),
)
_NO_CONTENT = Reason(
    "it drops content beside calls: it stands before them; llama-server drops it",
    lambda prompt: "I look." not in prompt("content beside a call"),
)
_NO_CALLS = Reason(
    "it writes no calls: they stand in the content; llama-server drops them",
    lambda prompt: "get_weather" in prompt("tools") and "Oslo" not in prompt("call"),
)
_SHORT_IDS = Reason(
    "it wants ids of nine letters, and an answer behind results; llama-server fails",
    lambda prompt: "length 9!" in prompt("call") and "must alternate" in prompt("a user after a result"),
)
_LATE_CONTENT = Reason(
    "it writes content beside calls behind them, or behind the results: it stands before the calls here",
    lambda prompt: "I look." in prompt("content beside a call").partition("Oslo")[2],
)
_ALL, _CALLED = set(CHATS), set(CHATS) - {"tools", "system"}

EXCEPTIONS: dict[str, tuple[Reason, set[str]]] = {
    "Apertus-8B-Instruct": (
        Reason(
            "enable_thinking is true, as everywhere; llama-server finds no thoughts in it and says false",
            lambda prompt: (
                "Deliberation: enabled" in prompt("tools", enable_thinking=True)
                and "Deliberation: disabled" in prompt("tools", enable_thinking=False)
                and "Hmm so." not in prompt("thoughts", enable_thinking=True)
            ),
        ),
        _ALL,
    ),
    "Cohere2MoE": (_NO_CONTENT, {"content beside a call"}),
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": (_NO_CONTENT, {"content beside a call"}),
    "GigaChat3-10B-A1.8B": (_ONE_CALL, {"two calls"}),
    "GigaChat3.1-10B-A1.8B": (_ONE_CALL, {"two calls"}),
    "HuggingFaceTB-SmolLM3-3B": (_NO_TOOLS, _ALL),
    "LFM2-8B-A1B": (_NO_CALLS, _CALLED),
    "LFM2.5-Instruct": (_NO_CALLS, _CALLED),
    "MiniMax-M1": (_NO_CONTENT, {"content beside a call"}),
    "Mistral-Small-3.2-24B-Instruct-2506": (_SHORT_IDS, _CALLED),
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": (_NO_CONTENT, {"content beside a call"}),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": (_NO_CONTENT, {"content beside a call"}),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": (_NO_TOOLS, _ALL),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": (_NO_TOOLS, _ALL),
    "deepseek-ai-DeepSeek-V3.1": (_NO_TOOLS, _ALL),
    "fireworks-ai-llama-3-firefunction-v2": (
        Reason(
            "it reads functions, which llama-server doesn't give",
            lambda prompt: (
                "'functions' is undefined" in prompt("tools")
                and "get_weather" in prompt("tools", functions=json.dumps([TOOL["function"]]), datetime="now")
            ),
        ),
        _ALL,
    ),
    "google-gemma-2-2b-it": (_NO_TOOLS, _ALL),
    "google-gemma-4-31B-it": (_LATE_CONTENT, {"content beside a call"}),
    "google-gemma-4-31B-it-interleaved": (_LATE_CONTENT, {"content beside a call"}),
    "ibm-granite-granite-3.3-2B-Instruct": (_NO_CALLS, _CALLED),
    "llama-cpp-deepseek-r1": (
        Reason(
            "transformers can't write its tools, which are no list; llama-server and this can",
            lambda prompt: "not JSON serializable" in prompt("tools"),
        ),
        {"content beside a call"},
    ),
    "llama-cpp-rwkv-world": (_NO_TOOLS, _ALL),
    "meta-llama-Llama-3.1-8B-Instruct": (_ONE_CALL, {"two calls", "content beside a call"}),
    "meta-llama-Llama-3.2-3B-Instruct": (_ONE_CALL, {"two calls", "content beside a call"}),
    "meta-llama-Llama-3.3-70B-Instruct": (_ONE_CALL, {"two calls", "content beside a call"}),
    "microsoft-Phi-3.5-mini-instruct": (_NO_TOOLS, _ALL),
    "mistralai-Ministral-3-14B-Reasoning-2512": (
        Reason(
            "it wants an answer behind results: it gets one; llama-server fails",
            lambda prompt: "must alternate" in prompt("a user after a result"),
        ),
        {"a user after a result"},
    ),
    "mistralai-Mistral-Nemo-Instruct-2407": (_SHORT_IDS, _CALLED),
    "muse-glimmer": (_NO_CONTENT, {"content beside a call"}),
    "openai-gpt-oss-120b": (_ONE_CALL, {"two calls"}),
    "upstage-Solar-Open-100B": (
        Reason(
            "it drops content and thoughts beside calls; llama-server drops them",
            lambda prompt: (
                "I look." not in prompt("content beside a call") and "Hmm so." not in prompt("thoughts")
            ),
        ),
        {"content beside a call", "thoughts"},
    ),
}
"""The templates whose prompts differ: the reason, and the chats that do."""


@contextmanager
def served(model: Path, template: Path) -> Iterator[str]:
    port = free_port()
    options = ["--jinja", "--no-warmup", "-c", "256", "-np", "1", "-t", "1", "--port", str(port)]
    command = [str(SERVER), "-m", str(model), "--chat-template-file", str(template), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1).close()  # noqa: S310
                break
            except OSError:
                assert process.poll() is None, template.stem
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


def theirs(address: str, chat: list[dict[str, Any]]) -> str | None:
    """Return llama-server's prompt; None where it refuses the chat."""
    body = json.dumps({"messages": chat, "tools": [TOOL]}).encode()
    request = urllib.request.Request(f"{address}/apply-template", body, {"content-type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return str(json.load(response)["prompt"]).removeprefix("<s>")
    except urllib.error.HTTPError as error:
        error.close()
        return None


@pytest.mark.parametrize("name", sorted(EXCEPTIONS))
def test_reasons_are_facts(name: str) -> None:
    """What a reason says of a template, transformers does with it."""
    transformers = pytest.importorskip("transformers.utils.chat_template_utils")
    source = Path(SOURCES or ".", "models", "templates", f"{name}.jinja").read_text()

    def prompt(chat: str, **variables: Any) -> str:
        messages = deepcopy(CHATS[chat])
        for message in messages:
            message["content"] = message["content"] or ""
            for made in message.get("tool_calls") or ():
                made["function"]["arguments"] = json.loads(made["function"]["arguments"])
        options = {"tools": [TOOL], "add_generation_prompt": True, "bos_token": "", "eos_token": ""}
        try:
            return str(
                transformers.render_jinja_template([messages], chat_template=source, **options, **variables)[
                    0
                ][0]
            )
        except (TypeError, jinja2.TemplateError) as error:
            return str(error)

    assert EXCEPTIONS[name][0].holds(prompt)


@pytest.mark.skipif(not SERVER.is_file(), reason="CORRAL_LLAMA_CPP_TOOLS has no llama-server")
def test_prompts_are_llama_servers(tmp_path: Path) -> None:
    model = write_tiny_gguf(tmp_path / "tiny.gguf")
    differ: dict[str, set[str]] = {}
    for path in sorted((Path(SOURCES or ".") / "models" / "templates").glob("*.jinja")):
        template = ChatTemplate(path.read_text(), bos_token="<s>", eos_token="</s>")
        with served(model, path) as address:
            for name, chat in CHATS.items():
                if template.render(chat, tools=[TOOL]).removeprefix("<s>") != theirs(address, chat):
                    differ.setdefault(path.stem, set()).add(name)
    assert differ == {template: chats for template, (_, chats) in EXCEPTIONS.items()}
