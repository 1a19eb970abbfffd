"""Each template of llama.cpp's sources tells at most one format, and the right one."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from server.chat.tool_formats.registry import detect, tool_formats

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
TEMPLATES = sorted(Path(SOURCES, "models", "templates").glob("*.jinja")) if SOURCES else []
EXPECTED = {
    "Bielik-11B-v3.0-Instruct": "hermes",
    "MiMo-VL": "hermes",
    "Mistral-Small-3.2-24B-Instruct-2506": "mistral_named",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "qwen3_coder",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "hermes",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "hermes",
    "Qwen-QwQ-32B": "hermes",
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "Qwen3-Coder": "qwen3_coder",
    "Qwen3.5-4B": "qwen3_coder",
    "Reka-Edge": "hermes",
    "StepFun3.5-Flash": "qwen3_coder",
    "fireworks-ai-llama-3-firefunction-v2": "firefunction",
    "ibm-granite-granite-3.3-2B-Instruct": "granite",
    "ibm-granite-granite-4.0": "hermes",
    "ibm-granite-granite-4.1": "hermes",
    "meetkai-functionary-medium-v3.1": "functionary_v3_1",
    "meetkai-functionary-medium-v3.2": "functionary_v3_2",
    "meta-llama-Llama-3.1-8B-Instruct": "llama3",
    "meta-llama-Llama-3.2-3B-Instruct": "llama3",
    "meta-llama-Llama-3.3-70B-Instruct": "llama3",
    "mistralai-Ministral-3-14B-Reasoning-2512": "mistral_named",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral_list",
    "unsloth-mistral-Devstral-Small-2507": "mistral_named",
}
NO_CALLS = {
    "HuggingFaceTB-SmolLM3-3B",  # this copy of the template has no tools
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
    "google-gemma-2-2b-it",
    "llama-cpp-rwkv-world",
    "microsoft-Phi-3.5-mini-instruct",
}

PHI_4_MINI = (
    "{{ '<|system|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}"
)
SMOLLM3 = (
    "return a json object with function name and arguments within <tool_call></tool_call> XML tags:\\n"
    '<tool_call>\\n{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call>'
)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_template(path: Path) -> None:
    template = path.read_text()
    found = [name for name, known in tool_formats().items() if known.matches(template)]
    assert len(found) <= 1
    if path.stem in EXPECTED:
        assert found == [EXPECTED[path.stem]]
    if path.stem in NO_CALLS:
        assert found == []


@pytest.mark.parametrize(
    ("template", "name"),
    [(PHI_4_MINI, "phi4_mini"), (SMOLLM3, "hermes"), ("{{ messages[0].content }}", None), ("", None)],
)
def test_other_templates(template: str, name: str | None) -> None:
    assert detect(template) == name


@pytest.mark.parametrize("name", sorted(tool_formats()))
def test_a_format_shows_a_raw_sample_first(name: str) -> None:
    module = importlib.import_module(f"server.chat.tool_formats.{name}")
    assert any(mark.strip() in (module.__doc__ or "") for mark in tool_formats()[name].marks)
