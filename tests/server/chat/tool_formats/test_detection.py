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
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "deepseek_r1",
    "Apertus-8B-Instruct": "apertus",
    "Apriel-1.6-15b-Thinker-fixed": "apriel",
    "ByteDance-Seed-OSS": "seed_oss",
    "Cohere2MoE": "command_r7b",
    "CohereForAI-c4ai-command-r-plus-tool_use": "command_r",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": "command_r7b",
    "GLM-4.6": "glm",
    "GLM-4.7-Flash": "glm",
    "GigaChat3-10B-A1.8B": "gigachat",
    "GigaChat3.1-10B-A1.8B": "gigachat_3_1",
    "Kimi-K2-Instruct": "kimi_k2",
    "Kimi-K2-Thinking": "kimi_k2",
    "Kimi-K3": "kimi_k3",
    "LFM2-8B-A1B": "lfm2",
    "LFM2.5-8B-A1B": "lfm2",
    "LFM2.5-Instruct": "lfm2",
    "MiniMax-M1": "minimax_m1",
    "MiniMax-M2": "minimax_m2",
    "MiniMax-M3": "minimax_m3",
    "NVIDIA-Nemotron-Nano-v2": "nemotron_nano_v2",
    "Spark2.5": "glm",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "deepseek_r1",
    "deepseek-ai-DeepSeek-V3.1": "deepseek_v3_1",
    "deepseek-ai-DeepSeek-V3.2": "deepseek_v3_2",
    "deepseek-ai-DeepSeek-V4": "deepseek_v4",
    "deepseek-ai-DeepSeek-V4-Flash-0731": "deepseek_v4",
    "google-gemma-4-31B-it": "gemma4",
    "google-gemma-4-31B-it-interleaved": "gemma4",
    "inclusionai-ling-3.0-flash": "glm",
    "llama-cpp-deepseek-r1": "deepseek_r1",
    "moonshotai-Kimi-K2": "kimi_k2",
    "muse-glimmer": "muse",
    "openai-gpt-oss-120b": "harmony",
    "openbmb-MiniCPM5-1B": "minicpm",
    "poolside-Laguna-S-2.1": "glm",
    "poolside-Laguna-XS-2.1": "glm",
    "poolside-Laguna-XS.2": "glm",
    "tencent-Hy3": "hunyuan",
    "unsloth-Apriel-1.5": "apriel",
    "upstage-Solar-Open-100B": "solar",
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
    module = importlib.import_module(f"server.chat.tool_formats.formats.{name}")
    assert name == "command_r" or any(
        mark.strip() in (module.__doc__ or "") for mark in tool_formats()[name].marks
    )
