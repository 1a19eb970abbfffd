"""Prompts with tools, compared with those of llama.cpp's own server; where they differ, a reason stands here."""  # noqa: E501

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models.doctor.tiny_model import write_tiny_gguf
from server.chat.templates import ChatTemplate
from tests.e2e.running import free_port
from tests.server.chat.tool_chats import CHATS, TOOL

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
SERVER = Path(os.environ.get("CORRAL_LLAMA_CPP_TOOLS", "/nowhere")) / "llama-server"

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not SERVER.is_file(), reason="CORRAL_LLAMA_CPP_TOOLS has no llama-server"),
    pytest.mark.skipif(not SOURCES, reason="CORRAL_LLAMA_CPP_SOURCE doesn't point to llama.cpp's sources"),
]

_NO_TOOLS = "shows no tools: they are taught in words; llama-server drops them"
_ONE_CALL = "takes one call a message: each has one; llama-server fails or drops the others"
_NO_CONTENT = "it drops content beside calls: it stands before them; llama-server drops it"
_NO_CALLS = "it writes no calls: they stand in the content; llama-server drops them"
_ALL, _CALLED = set(CHATS), set(CHATS) - {"tools", "system"}

EXCEPTIONS: dict[str, tuple[str, set[str]]] = {
    "Apertus-8B-Instruct": (
        "enable_thinking is true; llama-server sees no thoughts in it and says false",
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
    "Mistral-Small-3.2-24B-Instruct-2506": ("it wants ids of nine letters; llama-server fails", _CALLED),
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": (_NO_CONTENT, {"content beside a call"}),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": (_NO_CONTENT, {"content beside a call"}),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": (_NO_TOOLS, _ALL),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": (_NO_TOOLS, _ALL),
    "deepseek-ai-DeepSeek-V3.1": (_NO_TOOLS, _ALL),
    "fireworks-ai-llama-3-firefunction-v2": ("it reads functions, which llama-server doesn't give", _ALL),
    "google-gemma-2-2b-it": (_NO_TOOLS, _ALL),
    "google-gemma-4-31B-it-interleaved": (
        "llama-server moves results into the message of the calls",
        _CALLED,
    ),
    "google-gemma-4-31B-it": (
        "it writes content beside calls behind the results: it stands before the calls here",
        {"content beside a call"},
    ),
    "ibm-granite-granite-3.3-2B-Instruct": (_NO_CALLS, _CALLED),
    "llama-cpp-deepseek-r1": (_NO_TOOLS, _ALL),
    "llama-cpp-rwkv-world": (_NO_TOOLS, _ALL),
    "meta-llama-Llama-3.1-8B-Instruct": (_ONE_CALL, {"two calls", "content beside a call"}),
    "meta-llama-Llama-3.2-3B-Instruct": (_ONE_CALL, {"two calls", "content beside a call"}),
    "meta-llama-Llama-3.3-70B-Instruct": (_ONE_CALL, {"two calls", "content beside a call"}),
    "microsoft-Phi-3.5-mini-instruct": (_NO_TOOLS, _ALL),
    "mistralai-Ministral-3-14B-Reasoning-2512": (
        "a user after a result fails there",
        {"a user after a result"},
    ),
    "mistralai-Mistral-Nemo-Instruct-2407": ("it wants ids of nine letters; llama-server fails", _CALLED),
    "muse-glimmer": (_NO_CONTENT, {"content beside a call"}),
    "openai-gpt-oss-120b": (_ONE_CALL, {"two calls"}),
    "upstage-Solar-Open-100B": (
        "it drops content and thoughts beside calls; llama-server drops them",
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
